//! How often the outputs are drained changes nothing: neither what they are, nor their order, nor the
//! answers to the inputs, nor the timers.

#[path = "support/ops.rs"]
mod ops;

use cluster_sched::{Policy, PolicyName, Scheduler};
use ops::{Conn, Step, Worker};
use proptest::prelude::*;

fn replay<P: Policy<Worker, Conn>>(policy: P, report: &ops::Report, drains: &[bool]) {
    let mut scheduler = Scheduler::new(policy, report.config);
    let mut outputs = Vec::new();
    for (i, &step) in report.steps.iter().enumerate() {
        match step {
            Step::Input(now, input) => {
                let _ = scheduler.handle_input(now, input);
            }
            Step::Timeout(now) => scheduler.handle_timeout(now),
        }
        if drains[i % drains.len()] {
            outputs.extend(std::iter::from_fn(|| scheduler.poll_output()));
        }
    }
    outputs.extend(std::iter::from_fn(|| scheduler.poll_output()));
    assert_eq!(outputs, report.outputs);
    assert_eq!(scheduler.stats(), report.stats);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn draining_changes_nothing(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        drains in prop::collection::vec(any::<bool>(), 1..20),
    ) {
        for &name in PolicyName::ALL {
            // The recorded run drains after every step.
            let report = ops::run_with(name, name.build(7), &bytes);
            replay(name.build(7), &report, &drains);
            replay(name.build(7), &report, &[false]);
        }
    }
}
