//! The committed seeds of fuzz targets, and random bytes.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Has the target run each of its seeds.
pub(crate) fn replay(target: &str, mut run: impl FnMut(&Path, &[u8])) {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target);
    let Ok(entries) = fs::read_dir(&seeds) else {
        println!("skipped: {} is not there (a packaged crate?)", seeds.display());
        return;
    };
    let mut count = 0;
    for entry in entries {
        let path = entry.unwrap().path();
        println!("{}", path.display()); // shown when it fails
        run(&path, &fs::read(&path).unwrap());
        count += 1;
    }
    assert!(count > 0, "no seeds in {}", seeds.display());
}

/// So many runs of so many random bytes, the same ones each time.
pub(crate) fn random_runs(count: u64, length: usize, mut run: impl FnMut(&[u8])) {
    for seed in 1..=count {
        let bytes = random(seed, length);
        if catch_unwind(AssertUnwindSafe(|| run(&bytes))).is_err() {
            panic!("seed {seed} fails");
        }
    }
}

/// Random bytes by that seed (xorshift).
pub(crate) fn random(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let byte = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(byte).collect()
}
