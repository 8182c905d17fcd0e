#![no_main]
#[path = "../../cluster-worker/tests/support/ops.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
