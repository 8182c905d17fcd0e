//! Replays the fuzz targets' seeds, so that plain `cargo test` covers what fuzzing once found.

#[path = "support/dispatch.rs"]
mod dispatch;
#[path = "support/ops.rs"]
mod ops;

use std::path::Path;

#[test]
fn every_seed_of_the_scheduler_passes() {
    each_seed("sched_ops", |bytes| {
        let report = ops::run(bytes);
        assert!(report.stats.arrived > 0, "the seed does nothing");
    });
}

#[test]
fn every_seed_of_the_dispatcher_passes() {
    each_seed("dispatch_ops", dispatch::run_and_replay);
}

fn each_seed(target: &str, run: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target);
    // Not part of the published package.
    let Ok(seeds) = folder.read_dir() else { return };
    let mut count = 0;
    for seed in seeds {
        let path = seed.expect("a readable folder").path();
        let bytes = std::fs::read(&path).expect("a readable seed");
        println!("{}", path.display()); // shown when it fails
        run(&bytes);
        count += 1;
    }
    assert!(count > 0, "no seeds in {}", folder.display());
}
