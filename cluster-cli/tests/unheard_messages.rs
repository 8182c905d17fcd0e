//! Messages that workers send to a primary on which nothing listens.

#[path = "support/client.rs"]
mod client;
mod support;

use client::Client;
use rustix::process::Signal;
use serde_json::json;
use support::{Cluster, Folder, cluster, nodes};

/// Sends one message each time that it gets one, and one at its start.
const SENDS: &str = "
    const text = process.argv[2] ?? 'hello';
    process.on('message', () => { process.send(text); console.log('sent'); });
    process.send(text, () => console.log('sent'));
    require('node:http').createServer((req, res) => res.end('ok')).listen(0, '127.0.0.1');";

const WARNING: &str =
    "sends messages to its primary (process.send), but nothing there receives them";

fn warnings(cluster: &Cluster) -> usize {
    cluster.err.all().iter().filter(|line| line.contains(WARNING)).count()
}

fn start(folder: &Folder, options: &[&str], words: &[&str]) -> Option<Cluster> {
    let node = nodes().into_iter().next()?;
    let script = folder.0.join("sends.cjs");
    std::fs::write(&script, SENDS).unwrap();
    let mut command = cluster();
    command.args(["run", "-n", "2", "--control"]).arg(folder.0.join("s")).args(options);
    Some(Cluster::start(command.arg("--exec-path").arg(node).arg(&script).args(words)))
}

#[test]
fn it_is_said_once_for_each_program() {
    let folder = Folder::new("unheard");
    let Some(cluster) = start(&folder, &[], &[]) else { return };
    let line = cluster.err.wait_for(1, |line| line.contains(WARNING)).remove(0);
    assert!(line.contains("docs/messages.md"), "{line}");
    cluster.out.wait_for(2, |line| line.ends_with("sent"));
    let mut client = Client::connect(&folder.0.join("s"));
    client.call("send", json!({"worker": 1, "message": "more"}));
    cluster.out.wait_for(3, |line| line.ends_with("sent"));
    cluster.signal(Signal::USR2);
    cluster.err.wait_for(1, |line| line.contains("upgraded to version"));
    cluster.signal(Signal::HUP);
    cluster.err.wait_for(1, |line| line.contains("reload 1 done"));
    cluster.out.wait_for(5, |line| line.ends_with("sent"));
    assert_eq!(warnings(&cluster), 1, "{:#?}", cluster.err.all());
    cluster.end();
}

#[test]
fn a_message_that_something_waits_for_is_no_reason_to_warn() {
    let folder = Folder::new("ready-message");
    let Some(cluster) = start(&folder, &["--ready", "message"], &["ready"]) else { return };
    cluster.out.wait_for(2, |line| line.ends_with("sent"));
    cluster.signal(Signal::HUP);
    cluster.err.wait_for(1, |line| line.contains("reload 1 done"));
    assert_eq!(warnings(&cluster), 0, "{:#?}", cluster.err.all());
    cluster.end();
}

#[test]
fn pm2s_sign_of_readiness_is_named() {
    let folder = Folder::new("ready-unheard");
    let Some(cluster) = start(&folder, &[], &["ready"]) else { return };
    cluster.err.wait_for(1, |line| line.contains("--ready message waits for it"));
    cluster.listening(2);
    assert_eq!(warnings(&cluster), 0, "{:#?}", cluster.err.all());
    cluster.end();
}

#[test]
fn where_a_client_listens_nothing_is_said() {
    let folder = Folder::new("heard");
    let Some(node) = nodes().into_iter().next() else { return };
    let script = folder.file("app.cjs", "process.on('message', (m) => process.send(m));", 0o644);
    let socket = folder.0.join("s");
    let mut command = cluster();
    command.args(["run", "-n", "1", "--control"]).arg(&socket).arg("--exec-path").arg(node);
    let cluster = Cluster::start(command.arg(&script));
    let mut client = Client::connect(&socket);
    client.call("subscribe", json!({"events": ["message"]}));
    client.call("send", json!({"worker": 1, "message": "echo"}));
    assert_eq!(client.until("message")["message"], "echo");
    assert_eq!(warnings(&cluster), 0, "{:#?}", cluster.err.all());
    cluster.end();
}
