//! Clients of the control API that read slowly, or not at all.

#[path = "support/client.rs"]
mod client;
mod support;

use std::io::{BufRead, Read};
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};

use client::Client;
use serde_json::{Value, json};
use support::{Cluster, Folder, cluster, eventually, get, nodes, run_script};

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
        let bursts = [(1, 20 << 20), (500, 100_000), (120, 1_000_000), (1_000, 10)];
        for (count, length) in bursts {
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

/// Serves HTTP, and sends the primary 4 MB for each request.
const CHATTY: &str = "
    let next = 0;
    const text = 'x'.repeat(100_000);
    require('node:http').createServer((request, response) => {
      for (let i = 0; i < 40; i++) process.send([next++, text]);
      response.end('answered');
    }).listen(8000);";

/// Ten requests make 40 MB of events: more than any buffer on the way to the client holds.
const REQUESTS: usize = 10;

#[test]
fn a_client_that_reads_nothing_does_not_hold_up_the_service() {
    let Some(node) = nodes().into_iter().next() else { return };
    let folder = Folder::new("chatty");
    let (script, path) = (folder.file("server.js", CHATTY, 0o644), folder.0.join("control"));
    let control = path.to_str().expect("a plain path");
    let cluster =
        Cluster::start(&mut run_script(&node, &script, &["-n", "1", "--control", control]));
    let address = cluster.listening(1);
    let mut other = Client::connect(&path);
    // A client that needed more than 10 s for this was cut off, and has proved nothing.
    eventually("all is done while the client is connected and has read nothing", || {
        let mut idle = Client::connect(&path);
        idle.call("subscribe", json!({"events": ["message"]}));
        for _ in 0..REQUESTS {
            assert_eq!(get(address).expect("an answer"), "answered");
        }
        other.call("reload", json!({}));
        assert_eq!(get(address).expect("an answer"), "answered");
        for at in 0..REQUESTS * 40 {
            let event = idle.event()?;
            if event["type"] == "cutOff" {
                return None;
            }
            assert_eq!(event["message"][1].as_str().map(str::len), Some(100_000), "event {at}");
        }
        Some(())
    });

    let mut idle = Client::connect(&path);
    idle.call("subscribe", json!({}));
    for _ in 0..REQUESTS {
        assert_eq!(get(address).expect("an answer"), "answered");
    }
    let err = cluster.err.clone();
    cluster.end();
    let killed = err
        .all()
        .into_iter()
        .find(|line| line.contains("did not leave in time") || line.contains("SIGKILL"));
    assert_eq!(killed, None, "it stopped gracefully");
}

impl Client {
    /// The next event, if its connection is not closed.
    fn event(&mut self) -> Option<Value> {
        if !self.events.is_empty() {
            return Some(self.events.remove(0));
        }
        Some(self.read()?["params"].clone())
    }
}

/// It reads a little for each message that another client reads, so that it falls behind by more than the
/// primary keeps for it.
#[test]
fn a_client_that_falls_far_behind_is_cut_off_and_told_why() {
    const COUNT: usize = 3_300;
    const LENGTH: usize = 100_000;
    let Some(node) = nodes().into_iter().next() else { return };
    let folder = Folder::new("cut-off");
    let (cluster, mut reader) = primary(&folder, &node);
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
    let (mut heard, mut most) = (0, 0);
    let mut rest = Vec::new();
    while heard < COUNT {
        if heard % 300 == 0 {
            ask(&mut reader, 1, 300, LENGTH);
        }
        let message = next_message(&mut reader);
        assert!(message.contains(&format!("[{heard},")), "none is missing: {message}");
        heard += 1;
        most = most.max(cluster.rss_kib());
        // In total 50 MB of 330.
        said.by_ref().take(15_000).read_to_end(&mut rest).expect("it is a pipe");
    }
    println!("{most} KiB at the most, {before} KiB before");
    assert!(most < before + (320 << 10), "{most} KiB, {before} KiB before");

    // It gets the rest of the line that it was sent the beginning of, and the reason.
    said.read_to_end(&mut rest).expect("it is a pipe");
    let rest = String::from_utf8(rest).expect("text");
    // Its first byte was read before.
    let lines: Vec<_> = rest.lines().skip(1).collect();
    assert!(lines.len() < COUNT, "{} lines", lines.len());
    for line in lines {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "the last line is whole, too");
    }
    assert!(rest.ends_with('\n'));
    let status = events.wait().expect("it ends");
    let mut error = String::new();
    events.stderr.take().expect("a pipe").read_to_string(&mut error).expect("text");
    assert_eq!(status.code(), Some(1), "{error}");
    assert!(error.contains("has cut off this client: "), "{error}");
}

/// The beginning of the next line that tells of a text. (To parse hundreds of megabytes takes long in a
/// debug build.)
fn next_message(client: &mut Client) -> String {
    let mut line = String::new();
    loop {
        line.clear();
        client.lines.read_line(&mut line).expect("it does not hang up");
        assert!(!line.is_empty(), "it does not hang up");
        if line.len() > 1_000 {
            line.truncate(200);
            return line;
        }
    }
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
