#![no_main]
#[path = "../../cluster-supervisor/tests/fuzz/supervisor_ops.rs"]
mod body;
#[path = "../../cluster-primary/tests/fuzz/bytes.rs"]
mod bytes;
#[path = "../../cluster-supervisor/tests/support/mod.rs"]
mod support;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    body::run(data);
});
