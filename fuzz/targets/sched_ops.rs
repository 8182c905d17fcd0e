#![no_main]
#[path = "../../cluster-sched/tests/support/ops.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| drop(body::run(data)));
