#![no_main]
#[path = "../../cluster-control/tests/fuzz/control_sessions.rs"]
mod body;
#[path = "../../cluster-primary/tests/fuzz/bytes.rs"]
mod bytes;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    body::run(data);
});
