//! Clients that are odd, slow, or many; those of the documentation.

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::process::Command;

use rustix::process::Signal;
use serde_json::json;

use crate::client::Client;
use crate::ctl::said;
use crate::support::{Folder, eventually, file, nodes};
use crate::{serve, worker};

#[test]
fn nonsense_is_answered_and_changes_nothing() {
    let folder = Folder::new("nonsense");
    let path = folder.0.join("control");
    let mut served = serve(&path, &[]);
    let mut client = Client::connect(&path);
    for (line, code) in [
        ("{", -32700),
        ("\u{0}", -32700),
        ("[]", -32600),
        ("[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"version\"}]", -32600),
        ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"dance\"}", -32601),
        (
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"send\",\"params\":{\"worker\":\"x\",\"message\":1}}",
            -32602,
        ),
        (
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"setupPrimary\",\"params\":{\"exce\":\"x\"}}",
            -32602,
        ),
        (
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"setupPrimary\",\"params\":{\"stdio\":[\"tape\"]}}",
            -32602,
        ),
        (
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"setupPrimary\",\"params\":{\"stdio\":[7777]}}",
            -32602,
        ),
        (
            "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"subscribe\",\"params\":{\"events\":[\"fart\"]}}",
            -32602,
        ),
    ] {
        client.write(&format!("{line}\n"));
        let answer = client.read().expect("an answer");
        assert_eq!(answer["error"]["code"], code, "{line}: {answer}");
    }
    // Notifications are carried out and not answered.
    client.write("{\"jsonrpc\":\"2.0\",\"method\":\"setupPrimary\",\"params\":{\"exec\":\"no-such-program\"}}\n");
    assert_eq!(client.call("settings", json!({}))["exec"], "no-such-program");
    assert_eq!(client.fails("fork", json!({})), (-32000, json!("ENOENT")));
    // A line without end is not kept, and the next one is heard.
    let mut chunk = "x".repeat(1 << 20);
    for _ in 0..66 {
        client.write(&chunk);
    }
    chunk.clear();
    client.write("\n");
    assert_eq!(client.read().expect("an answer")["error"]["code"], -32700);
    assert_eq!(client.call("version", json!({}))["protocol"], 1);
    // Who has said all is still answered.
    client.write("{\"jsonrpc\":\"2.0\",\"id\":\"last\",\"method\":\"version\"}");
    client.lines.get_mut().shutdown(std::net::Shutdown::Write).expect("a socket");
    assert_eq!(client.read().expect("an answer")["id"], "last");
    assert_eq!(client.read(), None);
    served.signal(Signal::TERM);
    assert_eq!(served.wait().code(), Some(0));
}

#[test]
fn a_client_that_stops_reading_is_dropped_and_the_others_go_on() {
    for node in nodes().into_iter().take(1) {
        let folder = Folder::new("deaf");
        let path = folder.0.join("control");
        let _served = serve(&path, &[]);
        let mut deaf = Client::connect(&path);
        deaf.call("subscribe", json!({"events": ["message"]}));
        let mut client = Client::connect(&path);
        client.call("subscribe", json!({"events": ["message", "online"]}));
        client.call("setupPrimary", json!({"exec": worker(&folder), "execPath": node}));
        client.call("fork", json!({}));
        client.until("online");
        let text = "x".repeat(1 << 20);
        for _ in 0..40 {
            client.call("send", json!({"worker": 1, "message": text}));
            assert_eq!(client.until("message")["message"]["echo"], text);
        }
        // It was sent what its socket held, was cut off, and did not take the rest of its line.
        eventually("it is dropped", || deaf.lines.get_mut().write_all(b"\n").err());
        let mut heard = 0;
        while let Some(line) = deaf.read_or_end() {
            heard += line.len();
        }
        assert!(heard < 20 << 20, "{heard} bytes");
        client.call("version", json!({}));
    }
}

impl Client {
    /// What comes until the end, broken off as it may be.
    fn read_or_end(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.lines.read_line(&mut line) {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(line),
        }
    }
}

#[test]
fn many_come_and_go() {
    let folder = Folder::new("many");
    let path = folder.0.join("control");
    let served = serve(&path, &[]);
    let before = served.descriptors();
    for _ in 0..300 {
        let mut client = Client::connect(&path);
        assert_eq!(client.call("workers", json!({})), json!([]));
    }
    eventually("they are let go of", || (served.descriptors() <= before).then_some(()));
}

/// What is said last counts, with or without a newline, though its speaker has closed his half.
#[test]
fn a_client_that_closes_one_direction_is_answered_and_affects_no_other() {
    let folder = Folder::new("half");
    let path = folder.0.join("control");
    let _served = serve(&path, &[]);
    for last in ["", "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"version\"}", "{\"jsonrpc"] {
        let mut client = Client::connect(&path);
        client.write("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"subscribe\"}\n");
        client.write(last);
        client.lines.get_ref().shutdown(std::net::Shutdown::Write).expect("it is open");
        assert_eq!(client.read().expect("an answer")["result"], true);
        if !last.is_empty() {
            assert!(client.read().is_some(), "an answer to {last}");
        }
        drop(client);
        assert!(Client::connect(&path).call("version", json!({})).is_object());
    }
}

#[test]
fn who_reads_hears_all_to_the_end() {
    for node in nodes() {
        let folder = Folder::new("all");
        let path = folder.0.join("control");
        let mut served = serve(&path, &[]);
        let mut client = Client::connect(&path);
        client.call("setupPrimary", json!({"exec": worker(&folder), "execPath": node}));
        client.call("fork", json!({}));
        let mut listener = Client::connect(&path);
        listener.call("subscribe", json!({}));
        client.call("subscribe", json!({"events": ["message"]}));
        // More than a socket holds.
        client.call("send", json!({"worker": 1, "message": "x".repeat(3_000_000)}));
        client.until("message");
        client.call("stop", json!({}));
        listener.until("message");
        listener.until("exit");
        assert_eq!(served.wait().code(), Some(0));
    }
}

#[test]
fn the_clients_of_the_documentation_work() {
    let mut clients: Vec<(PathBuf, &str)> =
        nodes().into_iter().map(|node| (node, "docs/clients/client.cjs")).collect();
    if Command::new("python3").arg("--version").output().is_ok_and(|o| o.status.success()) {
        clients.push(("python3".into(), "docs/clients/client.py"));
    } else {
        println!("skipped: there is no python3");
    }
    for (program, client) in clients {
        let folder = Folder::new("clients");
        let path = folder.0.join("control");
        let mut served = serve(&path, &[]);
        let ran = Command::new(&program)
            .args([file(client), path, file("docs/clients/server.cjs")])
            .output()
            .expect("it runs");
        let said = said(&ran);
        let lines: Vec<_> = said.lines().collect();
        assert!(lines[0].starts_with("worker 1 listens on port "), "{said}");
        assert!(lines[1].starts_with("worker 1: ") && lines[1].contains("who are you?"), "{said}");
        assert!(said.contains("ERR_UNKNOWN_SIGNAL"), "{said}");
        assert!(said.contains("all have disconnected"), "{said}");
        assert_eq!(served.wait().code(), Some(0), "{program:?}");
    }
}

/// Half a surrogate pair, which JSON can name and UTF-8 cannot hold, and a line that cannot be parsed.
#[test]
fn the_clients_of_the_documentation_survive_what_is_odd() {
    let js = "const { Cluster } = require(process.argv[1]);
        (async () => {
          const cluster = new Cluster(process.argv[2]);
          for (const message of ['a\\ud83d', 'x'.repeat(65 * 2 ** 20)]) {
            const answer = cluster.call('send', { worker: 9, message });
            await answer.catch(({ code, message }) => console.log(code ?? message));
          }
          console.log((await cluster.call('version')).protocol);
          await cluster.call('stop');
          cluster.close();
        })();";
    let py = "import sys, os; sys.path.insert(0, os.path.dirname(sys.argv[1])); import client
c = client.Cluster(sys.argv[2])
for message in ['a\\ud83d', 'x' * (65 << 20)]:
    try:
        c.call('send', worker=9, message=message)
    except client.ClusterError as error:
        print(error.code or error)
print(c.call('version')['protocol'])
c.call('stop')
c.close()";
    let node = |node| (node, vec!["-e", js], "docs/clients/client.cjs");
    let mut clients: Vec<_> = nodes().into_iter().map(node).collect();
    if Command::new("python3").arg("--version").output().is_ok_and(|o| o.status.success()) {
        clients.push(("python3".into(), vec!["-B", "-c", py], "docs/clients/client.py"));
    } else {
        println!("skipped: there is no python3");
    }
    for (program, arguments, client) in clients {
        let folder = Folder::new("odd-clients");
        let path = folder.0.join("control");
        let mut served = serve(&path, &[]);
        let ran = Command::new(&program)
            .args(arguments)
            .args([file(client), path])
            .output()
            .expect("it runs");
        let said = said(&ran);
        let lines: Vec<_> = said.lines().collect();
        assert_eq!(lines.len(), 3, "{said}{}", String::from_utf8_lossy(&ran.stderr));
        assert_eq!((lines[0], lines[2]), ("ERR_IPC_CHANNEL_CLOSED", "1"));
        assert!(lines[1].contains("longer than 67108864 bytes"), "{said}");
        assert_eq!(served.wait().code(), Some(0), "{program:?}");
    }
}
