#![no_main]
#[path = "../../cluster-primary/tests/fuzz/slots.rs"]
mod body;
#[path = "../../cluster-primary/tests/fuzz/bytes.rs"]
mod bytes;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    body::run(data);
});
