//! `cluster run --policy`: which worker gets which client, with real processes.

#[path = "support/programs.rs"]
mod programs;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use rustix::process::Signal;
use serde_json::Value;
use support::{
    Cluster, PATIENCE, cluster, eventually, file, get, get_from, get_path, kill, nodes, run_script,
};

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
            let body = get_from(client, address).expect("a worker serves");
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

/// A connection that stays, after a request on it; the worker that has it.
fn hold(address: SocketAddr) -> (String, TcpStream) {
    let mut connection = TcpStream::connect(address).expect("it listens");
    connection.set_read_timeout(Some(PATIENCE)).expect("a socket");
    connection.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    let mut buffer = [0; 1024];
    loop {
        let length = connection.read(&mut buffer).expect("there is an answer");
        assert!(length > 0, "the connection stays: {answer:?}");
        answer.push_str(std::str::from_utf8(&buffer[..length]).expect("it is text"));
        if let Some((head, body)) = answer.split_once("\r\n\r\n")
            && head.contains(&format!("Content-Length: {}", body.len()))
        {
            return (body.to_owned(), connection);
        }
    }
}

/// By process id, how many connections each worker holds, as far as the primary knows.
fn held(http: SocketAddr) -> BTreeMap<String, u64> {
    let status = get_path(http, "/status").expect("it is served");
    let status: Value = serde_json::from_str(&status).expect("it is JSON");
    let workers = status["workers"].as_array().expect("a list").iter();
    let held = |worker: &Value| worker["held"].as_u64().expect("a number");
    workers.map(|worker| (worker["pid"].to_string(), held(worker))).collect()
}

#[test]
fn least_connections_goes_by_open_connections_of_node() {
    programs::each_node(|node| {
        let options = ["-n", "2", "--policy", "least-connections", "--http", "0"];
        let cluster = programs::start(node, &options, &["server.cjs", "close"]);
        let port = cluster.listening(2).port();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let line = cluster.err.wait_for(1, |line| line.contains("http://")).remove(0);
        let http = line.split("http://").nth(1).and_then(|rest| rest.split('/').next());
        let http = http.and_then(|http| http.parse().ok()).expect("an address");

        let mut connections: Vec<_> = (0..6).map(|_| hold(address)).collect();
        let (busy, idle) = {
            let pids: BTreeSet<_> = connections.iter().map(|(worker, _)| worker.clone()).collect();
            assert_eq!(pids.len(), 2, "{pids:?}");
            let mut pids = pids.into_iter();
            (pids.next().expect("one"), pids.next().expect("another"))
        };
        connections.retain(|(worker, _)| *worker == busy);
        let many = u64::try_from(connections.len()).expect("it fits");
        assert_eq!(many, 3, "each had its half");
        let known = BTreeMap::from([(busy.clone(), many), (idle.clone(), 0)]);
        eventually("the primary knows", || (held(http) == known).then_some(()));

        // All go to the other until it has as many.
        for number in 1..=many {
            let (worker, connection) = hold(address);
            assert_eq!(worker, idle, "connection {number}");
            connections.push((worker, connection));
        }
        drop(connections);
        eventually("the primary knows", || held(http).values().all(|n| *n == 0).then_some(()));
        cluster.end();
    });
}
