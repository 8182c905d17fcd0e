//! Replays the seeds of the fuzz target, and some thousands of random runs.

#[path = "fuzz/fd_pairing.rs"]
mod fd_pairing;

use std::fs;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;

#[test]
fn every_seed_passes() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    if !fuzz.exists() {
        return; // It is no part of the published package.
    }
    let folder = fuzz.join("seeds/fd_pairing");
    let mut count = 0;
    for seed in fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let path = seed.expect("a readable folder").path();
        println!("{}", path.display()); // Shown if it fails.
        fd_pairing::run(&fs::read(&path).expect("a readable seed"));
        count += 1;
    }
    assert!(count > 0, "no seeds in {}", folder.display());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_descriptor_goes_to_the_frame_that_it_came_with(steps in vec(any::<u8>(), 0..120)) {
        fd_pairing::run(&steps);
    }
}
