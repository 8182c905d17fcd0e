#![no_main]
#[path = "../../cluster-proto/tests/fuzz/advanced_messages.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
