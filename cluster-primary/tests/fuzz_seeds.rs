//! Replays the seeds of the fuzz targets, and some thousands of random runs.

#[path = "support/ops/mod.rs"]
mod ops;
#[path = "support/seeds.rs"]
mod seeds;

use seeds::replay;

#[test]
fn the_committed_seeds_pass() {
    replay("primary_ops", |path, seed| {
        let report = ops::run(seed);
        assert!(!report.outputs.is_empty(), "{} does nothing", path.display());
    });
}

#[test]
fn random_runs_pass_and_hand_connections_over() {
    let (mut accepted, mut handed_over) = (0, 0);
    seeds::random_runs(3000, 400, |bytes| {
        let report = ops::run(bytes);
        accepted += report.accepted;
        handed_over += report.handed_over;
    });
    assert!(accepted > 20_000 && handed_over > 4_000, "{accepted} {handed_over}");
}
