//! Replays the seeds of the fuzz target `driver`, and random runs.
//! (One test, alone in its binary: it counts the process's descriptors.)
#![cfg(target_os = "linux")]

#[path = "fuzz/bytes.rs"]
mod bytes;
#[path = "fuzz/driver.rs"]
mod driver;
#[path = "support/seeds.rs"]
mod seeds;

use seeds::{random_runs, replay};

#[test]
fn drivers_keep_their_promises_whatever_comes() {
    replay("driver", |_, seed| {
        driver::run(seed);
    });
    drivers();
}

fn drivers() {
    let mut all = driver::Report::default();
    random_runs(300, 1000, |bytes| {
        let report = driver::run(bytes);
        all.workers += report.workers;
        all.failed_channels += report.failed_channels;
        all.listening += report.listening;
        all.accepted += report.accepted;
        all.handed_over += report.handed_over;
        all.handles += report.handles;
        all.messages += report.messages;
        all.upgrades += report.upgrades;
    });
    println!("{all:?}");
    assert!(all.workers > 1000 && all.failed_channels > 100 && all.messages > 300, "{all:?}");
    assert!(all.listening > 20 && all.accepted > 20 && all.handed_over > 5, "{all:?}");
    assert!(all.handles > 20 && all.upgrades > 100, "{all:?}");
}
