//! Every worker is replaced, again and again, under load, and no request is lost.
//!
//! A few reloads each; `cargo xtask soak` has it do a hundred, with at least 100,000 connections in
//! all.

#[path = "support/load.rs"]
mod load;
mod support;

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use load::{Load, Target, rust_worker, tcp};
use rustix::process::Signal;
use support::{Cluster, Folder, assert_gone, cluster, file, nodes, now, run_script, soaks};

/// How often each is reloaded.
fn reloads() -> u64 {
    if soaks() { 100 } else { 4 }
}

/// Connections of their own at the least.
fn connections() -> u64 {
    if soaks() { 100_000 } else { 0 }
}

/// Reloads under load, and checks that no connection was lost and no process is left.
fn reload_under_load(mut run: Command, target: impl FnOnce(&Cluster) -> Target) {
    let what = format!("{run:?}");
    let mut cluster = Cluster::start(&mut run);
    cluster.err.wait_for(2, |line| line.contains(" listens on "));
    let load = Load::start(&target(&cluster), 4, 4);
    load.more(200);
    let begun = now();
    for number in 1..=reloads() {
        cluster.signal(Signal::HUP);
        let done = |line: &str| line.contains(&format!("reload {number} done"));
        cluster.err.wait_for(1, |line| done(line) || line.contains("reload 1 is not"));
        load.more(50);
        // As many connections between any two as between the others.
        while load.fresh() < connections() * number / reloads() {
            load.more(50);
        }
    }
    let took = begun.elapsed();
    let tally = load.stop();
    eprintln!(
        "{what}: {} reloads in {took:?}; {} fresh and {} kept requests, {} retried",
        reloads(),
        tally.fresh,
        tally.kept,
        tally.retried
    );
    assert!(tally.failures.is_empty(), "{what}: {:?}\n{:#?}", tally.failures, cluster.err.all());
    assert!(tally.fresh >= connections() && tally.fresh > 0 && tally.kept > 0);
    // Every generation has served.
    let generations = usize::try_from(reloads()).unwrap() + 1;
    assert!(tally.answers.len() >= generations, "{:?}", tally.answers);
    let workers = cluster.worker_pids();
    assert_eq!(workers.len(), generations * 2, "{:#?}", cluster.err.all());
    assert_gone(&workers[..workers.len() - 2]);
    let lost = |line: &String| line.contains("died") || line.contains("did not leave");
    assert!(!cluster.err.all().iter().any(lost), "{:#?}", cluster.err.all());
    cluster.signal(Signal::TERM);
    assert_eq!(cluster.wait().code(), Some(0));
    assert_gone(&workers);
}

fn node_worker(node: &Path, options: &[&str], at: &Path) -> Command {
    let script = file("testdata/js/keep-alive.cjs");
    let mut command = run_script(node, &script, &[&["-n", "2"], options].concat());
    command.arg(at);
    command
}

/// A server of ours on that foundation.
fn worker_on(foundation: &str, options: &[&str]) -> Command {
    let mut command = cluster();
    let server = support::example("cluster-examples", foundation);
    command.args(["run", "-n", "2", "--min-ready-time", "0"]).args(options);
    command.arg(server).arg("0.0.0.0:0");
    command
}

const KERNEL: [&str; 2] = ["--placement", "kernel"];

#[test]
fn rust_workers_by_hand_off() {
    reload_under_load(rust_worker(&[], "0.0.0.0:0"), tcp);
}

#[test]
fn rust_workers_by_the_kernel() {
    reload_under_load(rust_worker(&KERNEL, "0.0.0.0:0"), tcp);
}

#[test]
fn rust_workers_on_a_path() {
    let folder = Folder::new("reload-rust");
    let path = folder.0.join("app.sock");
    let target = Target::Unix(path.clone());
    reload_under_load(rust_worker(&[], path.to_str().unwrap()), |_| target);
}

#[test]
fn axum_servers_by_hand_off() {
    reload_under_load(worker_on("axum", &[]), tcp);
}

#[test]
fn axum_servers_by_the_kernel() {
    reload_under_load(worker_on("axum", &KERNEL), tcp);
}

/// Clients that connect and take their time are heard, though an axum server that is shut down would close
/// connections on which nothing has come.
#[test]
fn slow_clients_of_axum_servers_are_heard() {
    const CLIENTS: usize = 12;
    for options in [&[][..], &KERNEL] {
        let cluster = Cluster::start(&mut worker_on("axum", options));
        let address = cluster.listening(2);
        let over = Arc::new(AtomicBool::new(false));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let over = Arc::clone(&over);
                thread::spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        let connection = TcpStream::connect(address).expect("it listens");
                        // As one far away would.
                        thread::sleep(Duration::from_millis(20));
                        support::ask(connection).expect("an answer");
                    }
                })
            })
            .collect();
        for number in 1..=reloads() {
            cluster.signal(Signal::HUP);
            cluster.err.wait_for(1, |line| line.contains(&format!("reload {number} done")));
        }
        over.store(true, Ordering::Relaxed);
        clients.into_iter().for_each(|client| client.join().expect("none is lost"));
        cluster.end();
    }
}

#[test]
fn hyper_servers_by_hand_off() {
    reload_under_load(worker_on("hyper", &[]), tcp);
}

#[test]
fn hyper_servers_by_the_kernel() {
    reload_under_load(worker_on("hyper", &KERNEL), tcp);
}

#[test]
fn node_workers_by_hand_off() {
    for node in nodes() {
        reload_under_load(node_worker(&node, &[], Path::new("0")), tcp);
    }
}

#[test]
fn node_workers_by_the_kernel() {
    for node in nodes() {
        reload_under_load(node_worker(&node, &KERNEL, Path::new("0")), tcp);
    }
}

#[test]
fn node_workers_on_a_path() {
    for (node, number) in nodes().into_iter().zip(0..) {
        let folder = Folder::new(&format!("reload-node-{number}"));
        let path: PathBuf = folder.0.join("app.sock");
        let target = Target::Unix(path.clone());
        reload_under_load(node_worker(&node, &[], &path), |_| target);
    }
}
