//! `cluster run --policy`: who gets which client, with real processes.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};

use rustix::process::Signal;
use support::{Cluster, cluster, file, get, get_from, kill, nodes, run_script};

fn demo(options: &[&str]) -> Cluster {
    let demo = ["run", "--demo-listen", "127.0.0.1:0"];
    Cluster::start(cluster().args(demo).args(options))
}

/// Which worker answers each of a few clients, from source addresses of their own; three
/// connections each, in turn with the others'.
fn served_by(address: SocketAddr) -> BTreeMap<Ipv4Addr, String> {
    let mut workers = BTreeMap::new();
    for round in 0..3 {
        for client in (2..18).map(|last| Ipv4Addr::new(127, 0, 0, last)) {
            let body = get_from(client, address).expect("somebody serves");
            let worker = body.split_whitespace().nth(3).expect("it names the worker").to_owned();
            let before = workers.entry(client).or_insert_with(|| worker.clone());
            assert_eq!(*before, worker, "{client} in round {round}");
        }
    }
    workers
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "loopback has 127.0.0.1 alone")]
fn sticky_clients_keep_their_worker_and_its_successor_inherits_them() {
    let cluster = demo(&["-n", "3", "--policy", "sticky"]);
    let address = cluster.listening(3);
    let before = served_by(address);
    let workers: BTreeSet<&String> = before.values().collect();
    assert_eq!(workers.len(), 3, "{before:?}");

    kill(cluster.worker_pids()[1], Signal::KILL);
    cluster.err.wait_for(1, |l| l.contains("worker 2 died (signal SIGKILL); starting another"));
    cluster.err.wait_for(4, |l| l.contains(" listens on "));
    let after = served_by(address);
    for (client, worker) in &before {
        assert_eq!(after[client], if worker == "2" { "4" } else { worker }, "{client}");
    }
    cluster.end();
}

#[test]
fn least_connections_says_what_it_does_not_know_of_node() {
    for node in nodes() {
        let script = file("testdata/js/which-worker.cjs");
        let options = ["-n", "2", "--policy", "least-connections", "--node-agent=false"];
        let cluster = Cluster::start(&mut run_script(&node, &script, &options));
        let address = cluster.listening(2);
        let answers: BTreeSet<_> = (0..4).map(|_| get(address).unwrap()).collect();
        assert_eq!(answers.len(), 2);
        let hints = cluster.err.all().into_iter().filter(|line| line.contains("hint: "));
        assert_eq!(hints.filter(|line| line.contains("least-connections")).count(), 1);
        cluster.end();
    }
}
