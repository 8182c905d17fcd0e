//! Replays the seeds of the fuzz targets `supervisor_ops` and `slots`, and thousands of random runs.

#[path = "fuzz/bytes.rs"]
mod bytes;
#[path = "support/seeds.rs"]
mod seeds;
#[path = "fuzz/slots.rs"]
mod slots;
#[path = "fuzz/supervisor_ops.rs"]
mod supervisor_ops;

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

#[test]
fn the_committed_seeds_of_slots_pass() {
    seeds::replay("slots", |_, seed| {
        slots::run(seed);
    });
}

#[test]
fn no_slot_is_lost_or_owned_twice_whatever_happens() {
    let (mut turns, mut successions, mut rescued) = (0, 0, 0);
    seeds::random_runs(500, 600, |bytes| {
        let report = slots::run(bytes);
        turns += report.turns;
        successions += report.successions;
        rescued += report.rescued;
    });
    assert!(turns > 5_000 && successions > 500 && rescued > 500, "{turns} {successions} {rescued}");
}
