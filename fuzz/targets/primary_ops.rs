#![no_main]
#[path = "../../cluster-primary/tests/support/ops/mod.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| drop(body::run(data)));
