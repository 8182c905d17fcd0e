//! Replays the seeds of the fuzz target `slots`, and hundreds of random runs.

#[path = "fuzz/bytes.rs"]
mod bytes;
#[path = "support/seeds.rs"]
mod seeds;
#[path = "fuzz/slots.rs"]
mod slots;

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
