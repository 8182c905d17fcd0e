//! Replays the seeds of the fuzz target `worker_ops`, and some thousands of random runs.

#[path = "support/ops.rs"]
mod ops;

use std::fs;
use std::path::Path;

#[test]
fn the_committed_seeds_pass() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/worker_ops");
    let Ok(entries) = fs::read_dir(&seeds) else {
        println!("skipped: {} is not there (a packaged crate?)", seeds.display());
        return;
    };
    let mut count = 0;
    for entry in entries {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        ops::run(&fs::read(path).unwrap());
        count += 1;
    }
    assert!(count > 0, "no seeds");
}

#[test]
fn random_runs_pass() {
    for seed in 1..=5000u64 {
        let mut state = seed;
        let bytes: Vec<u8> = (0..400)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state as u8
            })
            .collect();
        if let Err(panic) = std::panic::catch_unwind(|| ops::run(&bytes)) {
            panic!("seed {seed} fails: {panic:?}");
        }
    }
}
