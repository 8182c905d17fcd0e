//! A Rust worker under real Node.js primaries: those that `CLUSTER_TEST_NODES` names, else the one on
//! `PATH`.

#[path = "support/node.rs"]
mod support;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, test_kill_process};
use support::{LIMIT, Primary, nodes};

fn run(scenario: &str) {
    support::run("primary.cjs", "probe", scenario);
}

#[test]
fn serves_talks_and_disconnects() {
    run("serve");
}

#[test]
fn serves_evented() {
    run("evented");
}

#[test]
fn kill_and_exit_have_their_codes() {
    run("kill");
}

#[test]
fn an_address_in_use_is_an_error() {
    run("in_use");
}

#[test]
fn serves_a_unix_path() {
    run("unix");
}

#[test]
fn shares_a_udp_socket() {
    run("udp");
}

#[test]
fn a_disconnect_waits_for_open_connections() {
    run("drain");
}

#[test]
fn a_disconnect_waits_for_open_connections_evented() {
    run("drain_evented");
}

#[test]
fn refused_connections_go_to_another_worker() {
    run("full");
}

#[test]
fn asks_and_answers() {
    run("requests");
}

/// The same on tokio.
#[cfg(feature = "tokio")]
mod on_tokio {
    fn run(scenario: &str) {
        crate::support::run("primary.cjs", "probe_tokio", scenario);
    }

    #[test]
    fn serves_talks_and_disconnects() {
        run("serve");
    }

    #[test]
    fn kill_and_exit_have_their_codes() {
        run("kill");
    }

    #[test]
    fn an_address_in_use_is_an_error() {
        run("in_use");
    }

    #[test]
    fn shares_a_udp_socket() {
        run("udp");
    }

    #[test]
    fn a_disconnect_waits_for_open_connections() {
        run("drain");
    }

    #[test]
    fn asks_and_answers() {
        run("requests");
    }
}

#[test]
fn workers_go_with_a_primary_that_is_killed() {
    for node in nodes() {
        let mut primary = Primary::start(&node, "primary.cjs", "probe", "orphans", "rr");
        let stdout = primary.child.stdout.take().unwrap();
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
            let _ = tell.send(lines.find(|line| line.starts_with("pids ")));
        });
        let line = told.recv_timeout(LIMIT).expect("the workers start in time").expect("they do");
        let pids: Vec<Pid> = line["pids ".len()..]
            .split(' ')
            .map(|pid| Pid::from_raw(pid.parse().unwrap()).unwrap())
            .collect();
        assert_eq!(pids.len(), 3);
        primary.child.kill().unwrap();
        primary.child.wait().unwrap();
        for pid in pids {
            let mut waited = Duration::ZERO;
            while lives(pid) {
                let pause = Duration::from_millis(20);
                thread::sleep(pause);
                waited += pause;
                assert!(waited < LIMIT, "{pid:?} is an orphan");
            }
        }
    }
}

/// Whether the process is there, and not merely unreaped.
fn lives(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    match stat {
        Ok(stat) => !stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z')),
        Err(_) if Path::new("/proc/self").exists() => false,
        Err(_) => test_kill_process(pid).is_ok(),
    }
}
