//! Replays the seeds of the fuzz target `primary_ops`, and some thousands of random runs.

#[path = "support/ops.rs"]
mod ops;

use std::fs;
use std::path::Path;

#[test]
fn the_committed_seeds_pass() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/primary_ops");
    let Ok(entries) = fs::read_dir(&seeds) else {
        println!("skipped: {} is not there (a packaged crate?)", seeds.display());
        return;
    };
    let mut count = 0;
    for entry in entries {
        let path = entry.unwrap().path();
        println!("{}", path.display()); // shown when it fails
        let report = ops::run(&fs::read(&path).unwrap());
        assert!(!report.outputs.is_empty(), "{} does nothing", path.display());
        count += 1;
    }
    assert!(count > 0, "no seeds in {}", seeds.display());
}

#[test]
fn random_runs_pass_and_hand_connections_over() {
    let (mut accepted, mut handed_over) = (0, 0);
    for seed in 1..=3000u64 {
        let mut state = seed;
        let bytes: Vec<u8> = (0..400)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state as u8
            })
            .collect();
        match std::panic::catch_unwind(|| ops::run(&bytes)) {
            Ok(report) => {
                accepted += report.accepted;
                handed_over += report.handed_over;
            }
            Err(_) => panic!("seed {seed} fails"),
        }
    }
    assert!(accepted > 20_000 && handed_over > 4_000, "{accepted} {handed_over}");
}
