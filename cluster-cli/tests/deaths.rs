//! Workers are killed under load, without a warning: what a client loses is what a worker had taken.

#[path = "support/load.rs"]
mod load;
mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use load::{Load, Target};
use rustix::process::Signal;
use support::{Cluster, cluster, file, kill, nodes, run_script, soaks};

fn deaths() -> usize {
    if soaks() { 200 } else { 25 }
}

/// The ports of clients whose connections a worker took, as the primary has it.
fn taken(cluster: &Cluster) -> BTreeSet<u16> {
    let port = |line: &String| {
        let (_, address) = line.split_once(" took a connection of ")?;
        address.rsplit(':').next()?.parse().ok()
    };
    cluster.err.all().iter().filter_map(port).collect()
}

/// Kills one worker after the other, and looks at what was lost.
fn kills(run: &mut Command) {
    let cluster = Cluster::start(run);
    let port = cluster.listening(3).port();
    let load = Load::start(&Target::Tcp(port), 6, 2);
    load.more(100);
    let mut living: Vec<_> = cluster.worker_pids();
    for number in 0..deaths() {
        let victim = living.remove((number * 7) % living.len());
        kill(victim, Signal::KILL);
        // The count of workers is exact again.
        cluster.err.wait_for(4 + number, |line| line.contains(" listens on "));
        let started = cluster.worker_pids();
        assert_eq!(started.len(), 4 + number, "{:#?}", cluster.err.all());
        living.push(started[started.len() - 1]);
        load.more(20);
    }
    let tally = load.stop();
    let taken = taken(&cluster);
    eprintln!("{} requests, {} lost", tally.fresh + tally.kept, tally.failures.len());
    for (port, what) in &tally.failures {
        assert!(taken.contains(port), "no worker had taken the connection of port {port}: {what}");
    }
    let served = tally.fresh + tally.kept;
    assert!(served > 500 && (tally.failures.len() as u64) < served / 10);
    cluster.end();
}

#[test]
fn of_rust_workers() {
    let worker = support::example("cluster-worker", "keep_alive");
    let run = &mut cluster();
    run.args(["run", "-n", "3", "--log-connections", "--stable-after", "0s"]);
    kills(run.arg(worker).arg("0.0.0.0:0"));
}

#[test]
fn of_node_workers() {
    for node in nodes() {
        let script = file("testdata/js/keep-alive.cjs");
        let options = ["-n", "3", "--log-connections", "--stable-after", "0s"];
        kills(run_script(&node, &script, &options).arg(Path::new("0")));
    }
}
