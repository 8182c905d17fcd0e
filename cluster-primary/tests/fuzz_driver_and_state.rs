//! Replays the seeds of the fuzz targets `driver`, `upgrade_state` and `control_sessions`, and random runs.
//! (One test, alone in its binary: it counts the process's descriptors.)
#![cfg(target_os = "linux")]

#[path = "fuzz/bytes.rs"]
mod bytes;
#[path = "fuzz/control_sessions.rs"]
mod control_sessions;
#[path = "fuzz/driver.rs"]
mod driver;
#[path = "support/seeds.rs"]
mod seeds;
#[path = "fuzz/upgrade_state.rs"]
mod upgrade_state;

use seeds::{random, random_runs, replay};

#[test]
fn drivers_states_and_sessions_keep_their_promises_whatever_comes() {
    replay("driver", |_, seed| {
        driver::run(seed);
    });
    drivers();
    replay("upgrade_state", |_, seed| {
        upgrade_state::run(seed);
    });
    states();
    replay("control_sessions", |_, seed| {
        control_sessions::run(seed);
    });
    sessions();
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

fn states() {
    let (mut taken, mut refused) = (0, 0);
    for seed in 1..=300 {
        let mut bytes = random(seed, 300);
        // Changes of a good state; few of them, or hardly any is good any more.
        bytes[0] |= 1;
        bytes[1] %= 4;
        println!("seed {seed}"); // shown when it fails
        match upgrade_state::run(&bytes) {
            upgrade_state::Report::Taken => taken += 1,
            upgrade_state::Report::Refused => refused += 1,
        }
    }
    assert!(taken > 50 && refused > 50, "{taken} {refused}");
}

fn sessions() {
    let mut all = control_sessions::Report::default();
    random_runs(200, 600, |bytes| {
        let report = control_sessions::run(bytes);
        all.clients += report.clients;
        all.answers += report.answers;
        all.events += report.events;
        all.upgrades += report.upgrades;
    });
    println!("{all:?}");
    assert!(all.clients > 400 && all.answers > 400, "{all:?}");
    assert!(all.events > 400 && all.upgrades > 100, "{all:?}");
}
