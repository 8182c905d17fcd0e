//! Workers that disconnect voluntarily are replaced, unless that is not wanted; a cluster that ends for lack of
//! workers says so by its exit status.

#[path = "support/client.rs"]
mod client;
mod support;

use std::net::SocketAddr;
use std::path::Path;

use client::Client;
use serde_json::json;
use support::{
    Cluster, Folder, assert_gone, cluster, eventually, file, get_path, nodes, run_script,
};

fn start(node: &Path, options: &[&str]) -> (Cluster, SocketAddr) {
    let script = file("testdata/js/supervised.cjs");
    let cluster = Cluster::start(&mut run_script(node, &script, options));
    let address = cluster.listening(2);
    (cluster, address)
}

/// Has a worker disconnect, by that path.
fn disconnect(address: SocketAddr, path: &str) {
    get_path(address, path).expect("it is answered before that");
}

#[test]
fn a_worker_that_disconnects_is_replaced() {
    for node in nodes() {
        let (cluster, address) = start(&node, &["-n", "2"]);
        disconnect(address, "/disconnect");
        cluster.err.wait_for(1, |line| line.ends_with(" disconnected; starting another"));
        cluster.err.wait_for(3, |line| line.contains(" listens on "));
        let answers = || (0..2).map(|_| get_path(address, "/").expect("it serves"));
        let slots: std::collections::BTreeSet<_> = answers().collect();
        assert_eq!(slots.len(), 2, "{slots:?}");
        let lines = cluster.err.all();
        assert!(!lines.iter().any(|line| line.contains(" died ")), "{lines:#?}");
        assert_eq!(cluster.worker_pids().len(), 3);
        cluster.end();
    }
}

/// Its program has something else to do: it serves no more, and is not waited for.
#[test]
fn one_whose_process_stays_is_replaced_at_once_and_made_to_leave() {
    for node in nodes() {
        let (cluster, address) = start(&node, &["-n", "2", "--grace", "1"]);
        disconnect(address, "/linger");
        let replaced = |line: &str| line.ends_with(" disconnected; starting another");
        cluster.err.wait_for(1, replaced);
        cluster.err.wait_for(3, |line| line.contains(" listens on "));
        cluster.err.wait_for(1, |line| line.ends_with("did not leave in time: SIGTERM"));
        let pids = cluster.worker_pids();
        eventually("it is gone", || pids[..2].iter().find(|pid| !support::is_there(**pid)));
        assert_eq!(pids.len(), 3);
        cluster.end();
    }
}

#[test]
fn without_replacement_the_cluster_ends_with_the_last_worker_and_says_so() {
    for node in nodes() {
        let name = format!("disconnects-{}", std::process::id());
        let options = ["-n", "2", "--replace-disconnected=false", "--name", &name];
        let (mut cluster, address) = start(&node, &options);
        disconnect(address, "/disconnect");
        cluster.err.wait_for(1, |line| line.ends_with(" left (code 0)"));
        // The option and the slot that was given up go through an upgrade.
        let upgrade = support::cluster().args(["upgrade", "--name", &name]).output().unwrap();
        assert!(upgrade.status.success(), "{upgrade:?}");
        let status =
            support::cluster().args(["status", "--json", "--name", &name]).output().unwrap();
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
        assert_eq!(status["wanted"], 1, "{status}");
        disconnect(address, "/disconnect");
        assert_eq!(cluster.wait().code(), Some(5), "{:#?}", cluster.err.all());
        let said = "cluster: error: no worker is left: all have disconnected, and none is replaced";
        cluster.err.wait_for(1, |line| line.starts_with(said));
        assert_gone(&cluster.worker_pids());
    }
}

/// What Node's `cluster.disconnect()` does is an end that was asked for.
#[test]
fn a_client_that_disconnects_all_ends_the_cluster() {
    let folder = Folder::new("disconnect-all");
    let path = folder.0.join("control");
    let mut run = cluster();
    run.args(["run", "-n", "2", "--demo-listen", "127.0.0.1:0", "--control"]).arg(&path);
    let mut cluster = Cluster::start(&mut run);
    cluster.listening(2);
    let mut client = Client::connect(&path);
    // One alone is replaced.
    assert_eq!(client.call("disconnectWorker", json!({"worker": 1})), true);
    cluster.listening(3);
    assert_eq!(client.call("disconnect", json!({})), true);
    assert_eq!(cluster.wait().code(), Some(0), "{:#?}", cluster.err.all());
    assert_eq!(cluster.worker_pids().len(), 3);
    assert_gone(&cluster.worker_pids());
}
