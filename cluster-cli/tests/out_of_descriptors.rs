//! A primary that is out of descriptors leaves clients in the kernel's queue, and loses none.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use rustix::process::Signal;
use support::{Cluster, eventually, kill, state};

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
fn whoever_connects_meanwhile_is_served_in_the_end() {
    let (cluster, workers, clients) = overrun();
    for &worker in &workers {
        kill(worker, Signal::CONT);
    }
    all_are_served(clients);
    cluster.end();
}

/// However many wait: they wait for nobody else.
#[test]
fn a_worker_that_dies_is_replaced() {
    let (cluster, workers, clients) = overrun();
    kill(workers[1], Signal::KILL);
    cluster.listening(3);
    kill(workers[0], Signal::CONT);
    all_are_served(clients);
    cluster.end();
}
