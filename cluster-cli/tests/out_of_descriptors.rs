//! A primary that is out of descriptors leaves clients in the kernel's queue, and loses none.

#[path = "support/client.rs"]
mod client;
mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use client::Client;
use rustix::process::Signal;
use serde_json::json;
use support::{Cluster, Folder, cluster, eventually, kill, nodes, now, state};

/// Descriptors that the primary may have; with two workers it starts with about twenty.
const LIMIT: usize = 64;

/// A cluster whose two workers are stopped, with many more clients than it has descriptors, of which
/// it has accepted what it accepts.
fn overrun() -> (Cluster, Vec<i32>, Vec<TcpStream>) {
    let program = env!("CARGO_BIN_EXE_cluster");
    let script = format!("ulimit -n {LIMIT}; exec {program} run -n 2 --demo-listen 127.0.0.1:0");
    let cluster = Cluster::start(Command::new("sh").args(["-c", &script]));
    let address = cluster.listening(2);
    let workers = cluster.worker_pids();
    for &worker in &workers {
        kill(worker, Signal::STOP);
        eventually("it has stopped", || (state(worker) == Some('T')).then_some(()));
    }
    let before = cluster.descriptors();
    let connect = |_| {
        let mut client = TcpStream::connect(address).expect("the kernel takes it");
        client.set_read_timeout(Some(support::PATIENCE)).unwrap();
        client
            .write_all(
                b"GET / HTTP/1.0

",
            )
            .unwrap();
        client
    };
    let clients = (0..3 * LIMIT).map(connect).collect();
    // One is under way to each worker; as many wait as are left of a half.
    let held = 2 + (LIMIT / 2 - 2) / 2;
    eventually("it has taken some", || (cluster.descriptors() >= before + held).then_some(()));
    (cluster, workers, clients)
}

fn all_are_served(clients: Vec<TcpStream>) {
    for (number, mut client) in clients.into_iter().enumerate() {
        let mut answer = String::new();
        let read = client.read_to_string(&mut answer);
        assert!(answer.starts_with("HTTP/1.1 200 "), "client {number}: {read:?} {answer:?}");
    }
}

#[test]
fn clients_that_connect_meanwhile_are_served_in_the_end() {
    let (cluster, workers, clients) = overrun();
    for &worker in &workers {
        kill(worker, Signal::CONT);
    }
    all_are_served(clients);
    cluster.end();
}

/// However many wait, no other client waits for them.
#[test]
fn a_worker_that_dies_is_replaced() {
    let (cluster, workers, clients) = overrun();
    kill(workers[1], Signal::KILL);
    cluster.listening(3);
    kill(workers[0], Signal::CONT);
    all_are_served(clients);
    cluster.end();
}

/// The number that stands before these words, in all lines that have them.
fn sum(lines: &[String], before: &str, after: &str) -> u64 {
    let count = |line: &String| {
        let (_, rest) = line.split_once(before)?;
        let (count, _) = rest.split_once(after)?;
        if count == "once" { Some(1) } else { count.trim_end_matches(" times").parse().ok() }
    };
    lines.iter().filter_map(count).sum()
}

/// What the cluster has counted.
fn total(name: &str, what: &str) -> u64 {
    let output = cluster().args(["status", "--json", "--name", name]).output().expect("it runs");
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    status["totals"][what].as_u64().expect("it is counted")
}

/// So few descriptors that clients which stay leave none for others.
#[test]
fn the_log_says_so_with_the_count_at_most_once_a_minute() {
    let begun = now();
    let name = format!("no-descriptors-{}", std::process::id());
    let program = env!("CARGO_BIN_EXE_cluster");
    let script =
        format!("ulimit -n 40; exec {program} run -n 1 --name {name} --demo-listen 127.0.0.1:0");
    let mut cluster = Cluster::start(
        Command::new("sh")
            .args(["-c", &script])
            .env("XDG_RUNTIME_DIR", env!("CARGO_TARGET_TMPDIR")),
    );
    let address = cluster.listening(1);
    let worker = cluster.worker_pids()[0];
    // The client that asks for the status keeps its connection, and takes what the primary has left.
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let control = eventually("there is its socket", || {
        let found = std::fs::read_dir(path.join("cluster")).ok()?.flatten();
        found.map(|entry| entry.path()).find(|at| at.to_string_lossy().contains(&name))
    });
    let mut client = Client::connect(&control);
    client.call("status", json!({}));
    kill(worker, Signal::STOP);
    eventually("it has stopped", || (state(worker) == Some('T')).then_some(()));
    // Clients of the control API have a share of them, which would be enough.
    cluster.leave_descriptors(3);
    let hold: Vec<_> =
        (0..40).map_while(|_| std::os::unix::net::UnixStream::connect(&control).ok()).collect();
    // Already those that come to the control socket find none.
    let warns = |line: &str| line.contains("accepting connections paused ");
    let line = cluster.err.wait_for(1, warns).remove(0);
    assert!(line.starts_with("cluster: warning: "), "{line}");
    assert!(line.contains("Too many open files") && line.contains("ulimit -n"), "{line}");
    let clients: Vec<_> = (0..40).map_while(|_| TcpStream::connect(address).ok()).collect();
    let counted = eventually("it pauses again and again", || {
        let pauses = client.call("status", json!({}))["totals"]["acceptPauses"].as_u64();
        pauses.filter(|pauses| *pauses >= 5)
    });
    drop((hold, clients, client));
    kill(worker, Signal::CONT);
    // What has not been said is said at the end.
    cluster.signal(Signal::TERM);
    let status = cluster.wait();
    assert_eq!(status.code(), Some(0), "{status}: {:#?}", cluster.err.all());
    let lines: Vec<_> = cluster.err.all().into_iter().filter(|line| warns(line)).collect();
    assert!(sum(&lines, "accepting connections paused ", "; ") >= counted, "{counted}: {lines:?}");
    let minutes = begun.elapsed().as_secs() / 60;
    assert!(lines.len() as u64 <= minutes + 2, "{lines:?}");
}

/// Connections that all workers refuse are closed in the end.
#[test]
fn connections_that_are_shed_are_told_with_their_count() {
    for node in nodes() {
        let folder = Folder::new("shed");
        let name = format!("shed-{}-{}", std::process::id(), folder.0.display().to_string().len());
        let script = "const server = require('node:net').createServer(() => {});
            server.maxConnections = 1;
            server.listen(0, '127.0.0.1');";
        let script = folder.file("full.cjs", script, 0o644);
        let mut run = cluster();
        run.args(["run", "-n", "1", "--name", &name, "--exec-path"]).arg(&node).arg(&script);
        let mut cluster = Cluster::start(&mut run);
        let address = cluster.listening(1);
        let held = TcpStream::connect(address).expect("it listens");
        eventually("it is taken", || (total(&name, "handedOver") == 1).then_some(()));
        let mut others: Vec<_> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
        for other in &mut others {
            other.set_read_timeout(Some(support::PATIENCE)).unwrap();
            let _ = other.read(&mut [0; 1]);
        }
        let warns = |line: &str| line.contains(" closed before a worker took ");
        let line = cluster.err.wait_for(1, warns).remove(0);
        assert!(line.contains(" because every worker refused them"), "{line}");
        eventually("all are shed", || (total(&name, "shedRefused") == 3).then_some(()));
        drop(held);
        cluster.signal(Signal::TERM);
        assert_eq!(cluster.wait().code(), Some(0), "{:#?}", cluster.err.all());
        let lines: Vec<_> = cluster.err.all().into_iter().filter(|line| warns(line)).collect();
        let sum = sum(&lines, "warning: ", " connection");
        assert_eq!(sum, 3, "{lines:?}");
    }
}
