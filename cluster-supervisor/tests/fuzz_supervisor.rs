//! Replays the seeds of the fuzz target `supervisor_ops`, and thousands of random runs.

#[path = "../../cluster-primary/tests/fuzz/bytes.rs"]
mod bytes;
#[path = "../../cluster-primary/tests/support/seeds.rs"]
mod seeds;
#[path = "fuzz/supervisor_ops.rs"]
mod supervisor_ops;
mod support;

#[test]
fn the_committed_seeds_of_the_supervisor_pass() {
    seeds::replay("supervisor_ops", |_, seed| {
        supervisor_ops::run(seed);
    });
}

#[test]
fn a_supervisor_keeps_its_promises_whatever_happens() {
    let (mut forked, mut ready, mut killed) = (0, 0, 0);
    let (mut reloaded, mut aborted, mut gave_up) = (0, 0, 0);
    seeds::random_runs(1000, 400, |bytes| {
        let report = supervisor_ops::run(bytes);
        forked += report.forked;
        ready += report.ready;
        killed += report.killed;
        reloaded += report.reloaded;
        aborted += report.aborted;
        gave_up += u32::from(report.gave_up);
    });
    let all = (forked, ready, killed, reloaded, aborted, gave_up);
    assert!(forked > 3_000 && ready > 1_000 && killed > 500, "{all:?}");
    assert!(reloaded > 15 && aborted > 30 && gave_up > 30, "{all:?}");
}
