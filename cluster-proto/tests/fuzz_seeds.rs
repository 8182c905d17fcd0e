//! Replays the seeds of the fuzz targets, so that plain `cargo test` covers what fuzzing found.

#[path = "fuzz/advanced_messages.rs"]
mod advanced_messages;
#[path = "fuzz/ipc_frames.rs"]
mod ipc_frames;
#[path = "fuzz/json_messages.rs"]
mod json_messages;
#[path = "fuzz/postcard_messages.rs"]
mod postcard_messages;

use std::fs;
use std::path::Path;

fn replay(target: &str, run: fn(&[u8])) {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    if !fuzz.exists() {
        return; // It is no part of the published package.
    }
    let folder = fuzz.join("seeds").join(target);
    let mut count = 0;
    for seed in fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let path = seed.expect("a readable folder").path();
        println!("{}", path.display()); // Shown if it fails.
        run(&fs::read(&path).expect("a readable seed"));
        count += 1;
    }
    assert!(count > 0, "no seeds in {}", folder.display());
}

#[test]
fn advanced_messages() {
    replay("advanced_messages", advanced_messages::run);
}

#[test]
fn ipc_frames() {
    replay("ipc_frames", ipc_frames::run);
}

#[test]
fn json_messages() {
    replay("json_messages", json_messages::run);
}

#[test]
fn postcard_messages() {
    replay("postcard_messages", postcard_messages::run);
}
