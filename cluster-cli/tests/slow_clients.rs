//! Clients of the control API that read slowly, or not at all.

#[path = "support/client.rs"]
mod client;
mod support;

use std::io::Read;
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};

use client::Client;
use serde_json::{Value, json};
use support::{Cluster, Folder, cluster, eventually, nodes};

/// Sends the messages that it is asked for: `[count, length]`; each begins with its number.
const SENDER: &str = "
    let next = 0;
    process.on('message', ([count, length]) => {
      const text = 'x'.repeat(length);
      for (let i = 0; i < count; i++) process.send([next++, text]);
      process.send({ sent: next });
    });";

fn primary(folder: &Folder, node: &Path) -> (Cluster, Client) {
    let path = folder.0.join("control");
    let served = Cluster::start(cluster().arg("serve").arg("--control").arg(&path));
    served.err.wait_for(1, |line| line.contains("ready"));
    let mut client = Client::connect(&path);
    let script = folder.file("worker.js", SENDER, 0o644);
    client.call("setupPrimary", json!({"exec": script, "execPath": node}));
    client.call("fork", json!({}));
    (served, client)
}

fn ask(client: &mut Client, worker: u32, count: u32, length: usize) {
    let order = json!({"worker": worker, "message": [count, length]});
    client.call("send", order);
}

#[test]
fn a_client_that_reads_loses_no_event_however_large() {
    for node in nodes() {
        let folder = Folder::new("large");
        let (_cluster, mut client) = primary(&folder, &node);
        client.call("subscribe", json!({"events": ["message"]}));
        let mut next = 0;
        for (count, length) in [(1, 20 << 20), (500, 100_000), (1_000, 10)] {
            ask(&mut client, 1, count, length);
            for _ in 0..count {
                let message = client.until("message")["message"].clone();
                assert_eq!(message[0], next);
                assert_eq!(message[1].as_str().map(str::len), Some(length));
                next += 1;
            }
            assert_eq!(client.until("message")["message"], json!({"sent": next}));
        }
    }
}

#[test]
fn the_shell_loses_no_event_either() {
    if let Some(node) = nodes().into_iter().next() {
        let folder = Folder::new("shell");
        let (mut cluster, mut client) = primary(&folder, &node);
        let control = folder.0.join("control");
        let mut events = Command::new(env!("CARGO_BIN_EXE_cluster"));
        events.args(["ctl", "--json", "--control"]).arg(control);
        let mut events = Cluster::start(events.args(["events", "message", "exit"]));
        // It has subscribed once it tells of a message.
        eventually("it listens", || {
            ask(&mut client, 1, 0, 0);
            events.out.all().iter().any(|line| line.contains("sent")).then_some(())
        });
        ask(&mut client, 1, 200, 100_000);
        let lines = events.out.wait_for(200, |line| line.len() > 100_000);
        for (at, line) in lines.iter().enumerate() {
            let event: Value = serde_json::from_str(line).expect("a whole line");
            assert_eq!(event["message"][0], at);
        }
        client.call("stop", json!({}));
        assert_eq!(cluster.wait().code(), Some(0));
        assert_eq!(events.wait().code(), Some(0), "the cluster has ended: {:?}", events.err.all());
    }
}

/// What it has not read holds the worker up that sends it for some seconds, but no other worker, and no
/// other client.
#[test]
fn a_client_that_does_not_read_is_cut_off_and_told_why() {
    const COUNT: u32 = 120;
    let Some(node) = nodes().into_iter().next() else { return };
    let folder = Folder::new("cut-off");
    let (cluster, mut reader) = primary(&folder, &node);
    reader.call("fork", json!({}));
    reader.call("subscribe", json!({"events": ["message"]}));
    // `cluster ctl events | less`
    let mut events = Command::new(env!("CARGO_BIN_EXE_cluster"));
    events.args(["ctl", "--json", "--control"]).arg(folder.0.join("control"));
    events.args(["events", "message"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut events = events.spawn().expect("it starts");
    let mut said = events.stdout.take().expect("a pipe");
    until_it_listens(&mut reader, &mut said);
    reader.events.clear();

    let before = cluster.rss_kib();
    ask(&mut reader, 1, COUNT, 1_000_000);
    let (mut heard, mut other, mut most) = (0, None, 0);
    loop {
        let event = reader.until("message");
        most = most.max(cluster.rss_kib());
        match (&event["worker"], &event["message"]) {
            (worker, message) if worker == 2 => other = other.or(Some(message.clone())),
            // Behind all that waited.
            (_, message) if message["sent"] == COUNT => break,
            (_, message) if message.get("sent").is_some() => {}
            (_, message) => {
                assert_eq!(message[0], heard, "none is missing");
                heard += 1;
                // By now the other client holds worker 1 up, or will before the last message.
                if heard == COUNT / 4 {
                    ask(&mut reader, 2, 0, 0);
                }
            }
        }
    }
    assert_eq!(heard, COUNT);
    assert_eq!(other, Some(json!({"sent": 0})), "worker 2 was heard meanwhile");
    println!("{most} KiB at the most, {before} KiB before");
    assert!(most < before + (90 << 10), "{most} KiB, {before} KiB before");

    // The worker could not have sent all of it, were it not cut off. It gets the rest of the line that
    // it has the beginning of, and the reason.
    let mut rest = String::new();
    said.read_to_string(&mut rest).expect("text");
    // Its first byte was read.
    let lines: Vec<_> = rest.lines().skip(1).collect();
    assert!(lines.len() < COUNT as usize, "{} lines", lines.len());
    for line in lines {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "the last line is whole, too");
    }
    assert!(rest.ends_with('\n'));
    let status = events.wait().expect("it ends");
    let mut error = String::new();
    events.stderr.take().expect("a pipe").read_to_string(&mut error).expect("text");
    assert_eq!(status.code(), Some(1), "{error}");
    assert!(error.contains("has cut off this client: more than 16 MiB waited"), "{error}");
}

/// Until events are printed: what happens before it has subscribed it does not hear.
fn until_it_listens(client: &mut Client, said: &mut ChildStdout) {
    std::thread::scope(|scope| {
        let first = scope.spawn(|| said.read_exact(&mut [0]).expect("an event"));
        eventually("it listens", || {
            ask(client, 1, 0, 0);
            first.is_finished().then_some(())
        });
    });
}
