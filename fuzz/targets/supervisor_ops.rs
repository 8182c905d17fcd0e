#![no_main]
#[path = "../../cluster-primary/tests/fuzz/supervisor_ops.rs"]
mod body;
#[path = "../../cluster-primary/tests/fuzz/bytes.rs"]
mod bytes;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    body::run(data);
});
