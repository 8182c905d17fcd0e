#![no_main]
#[path = "../../cluster-sched/tests/support/dispatch.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run_and_replay(data));
