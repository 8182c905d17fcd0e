//! A client that is connected when the end is requested gets an answer.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use rustix::process::Signal;
use support::{Cluster, cluster, eventually, file, kill, nodes, run_script, state};

/// While no worker runs, many clients connect, most of them further than to the primary's queue;
/// then the end is asked for. Node's primary would drop all that wait.
fn end_with_clients_waiting(mut cluster: Cluster, clients: usize) {
    let port = cluster.listening(2).port();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    // A first connection each, so that it matters what a worker heard of the later ones.
    for _ in 0..4 {
        support::get(address).expect("it serves");
    }
    let workers = cluster.worker_pids();
    for &worker in &workers {
        kill(worker, Signal::STOP);
        eventually("it has stopped", || (state(worker) == Some('T')).then_some(()));
    }
    let waiting: Vec<_> = (0..clients)
        .map(|_| {
            let mut connection = TcpStream::connect(address).expect("the kernel takes it");
            connection.set_read_timeout(Some(support::PATIENCE)).unwrap();
            connection.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
            connection
        })
        .collect();
    cluster.signal(Signal::TERM);
    cluster.err.wait_for(1, |l| l.contains("stopping: waiting"));
    eventually("new clients are refused", || TcpStream::connect(address).err());
    for &worker in &workers {
        kill(worker, Signal::CONT);
    }
    for (number, mut connection) in waiting.into_iter().enumerate() {
        let mut answer = String::new();
        let read = connection.read_to_string(&mut answer);
        assert!(answer.starts_with("HTTP/1.1 200 "), "client {number}: {read:?} {answer:?}");
    }
    assert_eq!(cluster.wait().code(), Some(0), "{:#?}", cluster.err.all());
    support::assert_gone(&workers);
}

#[test]
fn with_rust_workers() {
    let args = ["run", "-n", "2", "--grace", "60", "--demo-listen", "127.0.0.1:0"];
    end_with_clients_waiting(Cluster::start(cluster().args(args)), 700);
}

/// New clients are refused at once only where a program may be loaded for that.
#[test]
#[cfg(target_os = "linux")]
fn with_workers_that_the_kernel_deals_out_to() {
    use rustix::thread::{CapabilitySet, capabilities};
    let lets = CapabilitySet::BPF | CapabilitySet::SYS_ADMIN;
    if !capabilities(None).expect("they can be read").effective.intersects(lets) {
        return;
    }
    let args = ["run", "-n", "2", "--placement", "kernel", "--grace", "60"];
    let run = &mut cluster();
    run.args(args).args(["--demo-listen", "127.0.0.1:0"]);
    end_with_clients_waiting(Cluster::start(run), 700);
    for node in nodes() {
        let script = file("testdata/js/server.cjs");
        let run = &mut run_script(&node, &script, &args[1..]);
        end_with_clients_waiting(Cluster::start(run), 100);
    }
}

#[test]
fn with_node_workers() {
    for node in nodes() {
        for _ in 0..5 {
            let script = file("testdata/js/server.cjs");
            let run = &mut run_script(&node, &script, &["-n", "2", "--grace", "60"]);
            end_with_clients_waiting(Cluster::start(run), 100);
        }
    }
}
