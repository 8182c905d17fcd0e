#![no_main]
#[path = "../../cluster-ipc/tests/fuzz/fd_pairing.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
