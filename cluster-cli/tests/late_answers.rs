//! A Node worker that has read a probe and is too busy to answer it.
//!
//! Node reads what there is, and then handles one message after the other: if one of them takes long,
//! those behind it are read and not answered.

#[path = "support/client.rs"]
mod client;
mod support;

use std::path::{Path, PathBuf};
use std::time::Duration;

use client::Client;
use serde_json::json;
use support::{Cluster, Folder, cluster, eventually, get, nodes};

/// Worker 1 does nothing else until the file `1` is there; and for each message that it gets, until the
/// file named by it is.
const BLOCKS: &str = "
    const fs = require('node:fs');
    const { join } = require('node:path');
    const cluster = require('node:cluster');
    const block = (name) => {
      console.log(`blocks until ${name}`);
      while (!fs.existsSync(join(__dirname, name)));
    };
    const server = require('node:http').createServer((request, response) => response.end('ok'));
    server.on('connection', (socket) => console.log(`connection from ${socket.remotePort}`));
    process.on('message', block);
    server.listen(0, '127.0.0.1', () => {
      if (cluster.worker.id === 1) setTimeout(block, 0, '1');
    });";

/// How long worker 1 is left alone with the probe that it has read. (Nothing fails if that is too short:
/// then it is not misjudged either.)
const LEFT_ALONE: Duration = Duration::from_secs(2);

const REQUESTS: usize = 6;

fn hung(line: &str) -> bool {
    line.contains("worker 1 ") && line.contains("has not answered for ")
}

fn answers_again(line: &str) -> bool {
    line.contains("worker 1 ") && line.contains("responds again")
}

/// The same Node, by a name that does not tell what it is.
fn nameless(folder: &Folder, node: &Path) -> PathBuf {
    let path = folder.0.join("engine");
    let node = node.canonicalize().unwrap();
    if std::fs::hard_link(&node, &path).is_err() {
        std::fs::copy(&node, &path).unwrap();
    }
    path
}

fn every_connection_reaches_one_worker(folder: &Folder, node: &Path, is_known: bool) {
    // The agent tells what a worker is, too.
    let agent = if is_known { "--node-agent=true" } else { "--node-agent=false" };
    let script = folder.file("blocks.cjs", BLOCKS, 0o644);
    let socket = folder.0.join("s");
    let mut command = cluster();
    command.args(["run", "-n", "2", "--placement", "handoff", "--hang-after", "2s"]);
    command.arg(agent).arg("--control").arg(&socket);
    let cluster = Cluster::start(command.arg("--exec-path").arg(node).arg(&script));
    let address = cluster.listening(2);
    cluster.out.wait_for(1, |line| line.ends_with("blocks until 1"));
    let mut client = Client::connect(&socket);
    client.call("send", json!({"worker": 1, "message": "2"}));
    // The probe stands behind that message.
    cluster.err.wait_for(1, hung);
    folder.file("1", "", 0o644);
    cluster.out.wait_for(1, |line| line.ends_with("blocks until 2"));
    if !is_known {
        // It was seen that it has read the probe.
        cluster.err.wait_for(1, answers_again);
    }
    std::thread::sleep(LEFT_ALONE);
    let requests: Vec<_> =
        (0..REQUESTS).map(|_| std::thread::spawn(move || get(address))).collect();
    let connection = |line: &str| line.contains("connection from ");
    // Those that go to the other worker.
    cluster.out.wait_for(REQUESTS / 2, connection);
    folder.file("2", "", 0o644);
    for request in requests {
        assert_eq!(request.join().unwrap().unwrap(), "ok");
    }
    let before = eventually("worker 1 has answered", || {
        let lines = cluster.err.all();
        let count = |fits: fn(&str) -> bool| lines.iter().filter(|line| fits(line)).count();
        (count(hung) == count(answers_again)).then(|| count(hung))
    });
    // Whatever went to it is heard of before that.
    client.call("send", json!({"worker": 1, "message": "3"}));
    cluster.out.wait_for(1, |line| line.ends_with("blocks until 3"));
    let log = format!("{:#?}\n{:#?}", cluster.out.all(), cluster.err.all());
    let seen = cluster.out.all().iter().filter(|line| connection(line)).count();
    assert_eq!(seen, REQUESTS, "{log}");
    assert!(!log.contains("was not asked"), "{log}");
    // It is looked after as before: nothing is on its way to it but probes.
    cluster.err.wait_for(before + 1, hung);
    folder.file("3", "", 0o644);
    cluster.err.wait_for(before + 1, answers_again);
    cluster.end();
}

#[test]
fn every_connection_reaches_one_worker_while_node_is_busy() {
    for node in nodes() {
        let folder = Folder::new("late-answer");
        every_connection_reaches_one_worker(&folder, &node, true);
    }
}

#[test]
fn every_connection_reaches_one_worker_while_an_unknown_runtime_is_busy() {
    for node in nodes() {
        let folder = Folder::new("late-answer-nameless");
        let node = nameless(&folder, &node);
        every_connection_reaches_one_worker(&folder, &node, false);
    }
}
