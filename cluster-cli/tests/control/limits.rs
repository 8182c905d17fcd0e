//! What clients may cost.

use std::process::Command;

use serde_json::json;

use crate::client::Client;
use crate::serve;
use crate::support::{Cluster, Folder, cluster, eventually};

/// The client of a long line costs the line, and what it is decoded to: not several copies of it.
#[test]
fn a_long_line_takes_little_more_memory_than_it_has_bytes() {
    let folder = Folder::new("long-line");
    let path = folder.0.join("control");
    let served = serve(&path, &[]);
    let mut client = Client::connect(&path);
    let before = peak_rss(served.pid());
    let text = "x".repeat(60 << 20);
    let code = client.fails("send", json!({"worker": 1, "message": text})).1;
    assert_eq!(code, "ERR_IPC_CHANNEL_CLOSED");
    let took = peak_rss(served.pid()) - before;
    assert!(took < 150 << 20, "it took {took} bytes");
    client.call("version", json!({}));
}

fn peak_rss(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("Linux tells it");
    let kib = line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok());
    kib.expect("it is a number") << 10
}

/// Clients have a share of the descriptors that the primary may have; more of them wait, and are not refused.
#[test]
fn clients_take_no_more_than_their_share_of_the_descriptors() {
    let folder = Folder::new("share");
    let path = folder.0.join("control");
    let command = cluster();
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 256; exec \"$@\"", "sh"]).arg(command.get_program());
    let served = Cluster::start(limited.arg("serve").arg("--control").arg(&path));
    served.err.wait_for(1, |line| line.contains("ready"));
    let before = served.descriptors();
    let mut clients: Vec<Client> = (0..64).map(|_| Client::connect(&path)).collect();
    for client in &mut clients {
        client.write("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"version\"}\n");
    }
    // A sixteenth of 256. They are answered in the order in which they have connected.
    for client in &mut clients[..16] {
        assert_eq!(client.read().expect("an answer")["id"], 1);
    }
    // A process may be started meanwhile.
    clients[0].call("setupPrimary", json!({"exec": "/bin/true"}));
    clients[0].call("fork", json!({}));
    eventually("only clients are left", || {
        (clients[0].call("workers", json!({})) == json!([])).then_some(())
    });
    assert!(served.descriptors() <= before + 16 + 4, "{} of {before}", served.descriptors());
    for mut client in clients.drain(..).skip(16).collect::<Vec<_>>() {
        assert_eq!(client.read().expect("an answer")["id"], 1);
    }
}
