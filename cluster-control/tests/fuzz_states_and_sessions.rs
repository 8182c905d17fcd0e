//! Replays the seeds of the fuzz targets `upgrade_state` and `control_sessions`, and random runs.
//! (One test, alone in its binary: it counts the process's descriptors.)
#![cfg(target_os = "linux")]

#[path = "../../cluster-primary/tests/fuzz/bytes.rs"]
mod bytes;
#[path = "fuzz/control_sessions.rs"]
mod control_sessions;
#[path = "../../cluster-primary/tests/support/seeds.rs"]
mod seeds;
#[path = "fuzz/upgrade_state.rs"]
mod upgrade_state;

use seeds::{random, random_runs, replay};

#[test]
fn states_and_sessions_keep_their_promises_whatever_comes() {
    replay("upgrade_state", |_, seed| {
        upgrade_state::run(seed);
    });
    states();
    replay("control_sessions", |_, seed| {
        control_sessions::run(seed);
    });
    sessions();
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
