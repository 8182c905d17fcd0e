//! A primary that is out of descriptors leaves clients in the kernel's queue, and loses none.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use rustix::process::Signal;
use support::{Cluster, eventually, kill, state};

/// Descriptors that the primary may have; with two workers it starts with about twenty.
const LIMIT: usize = 40;

#[test]
fn whoever_connects_meanwhile_is_served_in_the_end() {
    let program = env!("CARGO_BIN_EXE_cluster");
    let script = format!("ulimit -n {LIMIT}; exec {program} run -n 2 --demo-listen 127.0.0.1:0");
    let cluster = Cluster::start(Command::new("sh").args(["-c", &script]));
    let address = cluster.listening(2);
    let workers = cluster.worker_pids();
    for &worker in &workers {
        kill(worker, Signal::STOP);
        eventually("it has stopped", || (state(worker) == Some('T')).then_some(()));
    }
    let clients: Vec<_> = (0..3 * LIMIT)
        .map(|_| {
            let mut client = TcpStream::connect(address).expect("the kernel takes it");
            client.set_read_timeout(Some(support::PATIENCE)).unwrap();
            client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
            client
        })
        .collect();
    // It may hold one of a higher number besides, which it inherited.
    eventually("the primary is full", || (cluster.descriptors() >= LIMIT).then_some(()));
    for &worker in &workers {
        kill(worker, Signal::CONT);
    }
    for (number, mut client) in clients.into_iter().enumerate() {
        let mut answer = String::new();
        let read = client.read_to_string(&mut answer);
        assert!(answer.starts_with("HTTP/1.1 200 "), "client {number}: {read:?} {answer:?}");
    }
    cluster.end();
}
