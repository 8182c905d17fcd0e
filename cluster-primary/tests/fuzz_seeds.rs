//! Replays the seeds of the fuzz targets, and some thousands of random runs.

#[path = "fuzz/control_lines.rs"]
mod control_lines;
#[path = "support/ops.rs"]
mod ops;

use std::fs;
use std::path::Path;

/// Has the target run each of its seeds.
fn replay(target: &str, run: impl Fn(&Path, &[u8])) {
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

#[test]
fn the_committed_seeds_pass() {
    replay("primary_ops", |path, seed| {
        let report = ops::run(seed);
        assert!(!report.outputs.is_empty(), "{} does nothing", path.display());
    });
}

#[test]
fn the_committed_lines_pass() {
    replay("control_lines", |path, seed| {
        let report = control_lines::run(seed);
        let expected = match path.file_name().and_then(|name| name.to_str()) {
            Some("calls") => (11, 0),
            // Two more are wrong only when they are tried.
            Some("mistakes") => (3, 11),
            _ => return,
        };
        assert_eq!((report.requests, report.errors), expected, "{}", path.display());
    });
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
