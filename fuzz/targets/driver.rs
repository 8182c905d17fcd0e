#![no_main]
#[path = "../../cluster-primary/tests/fuzz/driver.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    body::run(data);
});
