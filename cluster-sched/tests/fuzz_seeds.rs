//! Replays the fuzz target's seeds, so that plain `cargo test` covers what fuzzing once found.

#[path = "support/ops.rs"]
mod ops;

use std::path::Path;

#[test]
fn every_seed_passes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/sched_ops");
    // Not part of the published package.
    let Ok(seeds) = folder.read_dir() else { return };
    let mut count = 0;
    for seed in seeds {
        let path = seed.expect("a readable folder").path();
        let bytes = std::fs::read(&path).expect("a readable seed");
        println!("{}", path.display()); // shown when it fails
        let report = ops::run(&bytes);
        assert!(report.stats.arrived > 0, "{} does nothing", path.display());
        count += 1;
    }
    assert!(count > 0, "no seeds in {}", folder.display());
}
