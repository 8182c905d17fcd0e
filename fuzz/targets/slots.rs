#![no_main]
#[path = "../../cluster-primary/tests/fuzz/slots.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    body::run(data);
});
