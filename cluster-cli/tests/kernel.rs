//! `cluster run --placement kernel`: with the privilege, without it, and what is said of that.
#![cfg(target_os = "linux")]

mod support;

use std::net::SocketAddr;
use std::process::Command;
use std::thread;

use rustix::process::Signal;
use rustix::thread::{CapabilitySet, capabilities, remove_capability_from_bounding_set};
use support::{Cluster, cluster, eventually, get, kill, state};

/// Whether programs may be loaded into the kernel.
fn privileged() -> bool {
    let lets = CapabilitySet::BPF | CapabilitySet::SYS_ADMIN;
    capabilities(None).expect("they can be read").effective.intersects(lets)
}

/// Starts it without the privilege.
fn start_without(mut command: Command) -> Cluster {
    let start = move || {
        if privileged() {
            // What is bounded so is not had back by an exec, not even by root's.
            for capability in [CapabilitySet::BPF, CapabilitySet::SYS_ADMIN] {
                remove_capability_from_bounding_set(capability).expect("less is granted");
            }
        }
        Cluster::start(&mut command)
    };
    thread::spawn(start).join().expect("it starts")
}

fn run(args: &[&str]) -> Command {
    let mut command = cluster();
    command.args(["run", "-n", "2", "--placement", "kernel", "--demo-listen", "127.0.0.1:0"]);
    command.args(args);
    command
}

/// A worker dies, and a hundred clients are served while it is replaced.
fn serves_on(cluster: &Cluster, address: SocketAddr) {
    kill(cluster.worker_pids()[0], Signal::KILL);
    for _ in 0..100 {
        get(address).expect("a worker serves");
    }
    cluster.listening(3);
}

#[test]
fn what_is_missing_is_said_and_all_goes_on() {
    let cluster = start_without(run(&[]));
    let address = cluster.listening(2);
    let warning = cluster.err.wait_for(1, |line| line.contains("warning"));
    assert_eq!(warning.len(), 1);
    for part in ["placement kernel", "127.0.0.1", "at random", "CAP_BPF", "not permitted"] {
        assert!(warning[0].contains(part), "{warning:?}");
    }
    serves_on(&cluster, address);
    cluster.end();
}

#[test]
fn machines_are_told_too() {
    let cluster = start_without(run(&["--json", "--policy", "random"]));
    let said = cluster.out.wait_for(1, |line| line.contains("\"fallback\""));
    assert!(said[0].contains("\"instead\":\"random\""), "{said:?}");
    cluster.signal(Signal::TERM);
}

#[test]
fn with_the_privilege_nothing_is_said() {
    if !privileged() {
        return;
    }
    let cluster = Cluster::start(&mut run(&[]));
    let address = cluster.listening(2);
    serves_on(&cluster, address);
    assert!(!cluster.err.all().iter().any(|line| line.contains("warning")));
    cluster.end();
}

/// One that has stopped is noticed with the default limits, and no client waits for it forever.
#[test]
fn a_stopped_worker_keeps_no_client_waiting() {
    let cluster = Cluster::start(&mut run(&[]));
    let address = cluster.listening(2);
    let stopped = cluster.worker_pids()[1];
    kill(stopped, Signal::STOP);
    eventually("it has stopped", || (state(stopped) == Some('T')).then_some(()));
    for _ in 0..20 {
        get(address).expect("the other serves");
    }
    kill(stopped, Signal::CONT);
    cluster.end();
}
