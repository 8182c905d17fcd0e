//! The programs in `tests/programs`, as workers of a `cluster run`.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part of it")]

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::JoinHandle;

use rustix::process::Signal;

use crate::support::{Cluster, assert_gone, cluster, file, get_path, no_trial, nodes};

pub fn program(name: &str) -> PathBuf {
    file("cluster-cli/tests/programs").join(name)
}

/// Runs the test with each Node.js.
pub fn each_node(test: impl Fn(&Path)) {
    for node in nodes() {
        eprintln!("with {}", node.display());
        test(&node);
    }
}

/// `cluster run` of a program, with its arguments, under that Node.js.
pub fn run_node(node: &Path, options: &[&str], words: &[&str]) -> Command {
    let mut command = cluster();
    command.arg("run").args(options).args(no_trial(options)).arg("--exec-path").arg(node);
    command.arg(program(words[0])).args(&words[1..]);
    command
}

pub fn start(node: &Path, options: &[&str], words: &[&str]) -> Cluster {
    Cluster::start(&mut run_node(node, options, words))
}

/// A request of a client that waits for the whole response.
pub struct Request(JoinHandle<io::Result<String>>);

impl Request {
    /// Sends it, and waits until the program works on it (`server.cjs` logs each but those of `/`).
    #[track_caller]
    pub fn begin(cluster: &Cluster, address: SocketAddr, path: &'static str) -> Self {
        let before = seen(cluster, path);
        let request = Self(std::thread::spawn(move || get_path(address, path)));
        cluster.out.wait_for(before + 1, |line| is_request(line, path));
        request
    }

    #[track_caller]
    pub fn assert_answered(self) {
        let answer = self.0.join().expect("the client does not panic");
        answer.expect("the request is not cut off");
    }

    #[track_caller]
    pub fn assert_cut_off(self) {
        let answer = self.0.join().expect("the client does not panic");
        answer.expect_err("nothing answers it");
    }
}

fn is_request(line: &str, path: &str) -> bool {
    line.ends_with(&format!("request {path}"))
}

fn seen(cluster: &Cluster, path: &str) -> usize {
    cluster.out.all().iter().filter(|line| is_request(line, path)).count()
}

/// Replaces all workers, and waits until the old ones are gone.
#[track_caller]
pub fn reload(cluster: &Cluster, number: u32) {
    let old = cluster.worker_pids();
    cluster.signal(Signal::HUP);
    cluster.err.wait_for(1, |line| line.contains(&format!("reload {number} done")));
    assert_gone(&old);
}

/// Ends the cluster, which takes its time and leaves with status 0.
#[track_caller]
pub fn end(cluster: &mut Cluster) {
    cluster.signal(Signal::TERM);
    let status = cluster.wait();
    assert_eq!(status.code(), Some(0), "{}", log(cluster));
}

/// No worker was made to leave, and each left with status 0.
#[track_caller]
pub fn assert_graceful(cluster: &Cluster) {
    let bad = |line: &String| {
        line.contains("did not leave in time")
            || line.contains("is not waited for")
            || line.contains(" died ")
            || line.contains(" left (") && !line.contains(" left (code 0)")
    };
    assert!(!cluster.err.all().iter().any(bad), "{}", log(cluster));
}

/// How many workers left with that status.
pub fn left(cluster: &Cluster, status: &str) -> usize {
    let left = format!(" left ({status})");
    cluster.err.all().iter().filter(|line| line.contains(&left)).count()
}

/// Whether a worker printed such a line.
pub fn printed(cluster: &Cluster, text: &str) -> usize {
    cluster.out.all().iter().filter(|line| line.contains(text)).count()
}

/// All that the cluster and its workers printed.
pub fn log(cluster: &Cluster) -> String {
    format!("{:#?}\n{:#?}", cluster.err.all(), cluster.out.all())
}
