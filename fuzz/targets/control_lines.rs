#![no_main]
#[path = "../../cluster-control/tests/fuzz/control_lines.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    body::run(data);
});
