//! Workers' requests, where the primary is the program.

#[path = "support/client.rs"]
mod client;
mod support;

use std::path::PathBuf;

use client::Client;
use serde_json::json;
use support::{Cluster, Folder, cluster, nodes};

/// Asks once it is online, and says what it heard.
const ASKS: &str = "
    process.on('message', (m) => { if (m.cmd === 'CLUSTER_RESPONSE') console.log('heard', m.error ?? m.body) });
    process.on('message', (m) => { if (m.ask) process.send({ cmd: 'CLUSTER_REQUEST', id: 1, body: 'who?' }) });
    if (process.argv[2] === 'at once') process.send({ cmd: 'CLUSTER_REQUEST', id: 1, body: 'who?' });";

fn program(folder: &Folder) -> PathBuf {
    let path = folder.0.join("asks.cjs");
    std::fs::write(&path, ASKS).expect("a file");
    path
}

#[test]
fn without_an_answering_primary_the_worker_is_told_at_once() {
    for node in nodes() {
        let folder = Folder::new("requests-refused");
        let script = program(&folder);
        let mut command = cluster();
        command.args(["run", "-n", "1", "--exec-path"]).arg(&node).arg(&script).arg("at once");
        let cluster = Cluster::start(&mut command);
        cluster.out.wait_for(1, |line| line.contains("heard this primary is the program cluster"));
        cluster.end();
    }
}

#[test]
fn a_client_that_receives_messages_by_the_control_socket_can_answer() {
    for node in nodes() {
        let folder = Folder::new("requests-answered");
        let script = program(&folder);
        let socket = folder.0.join("s");
        let mut command = cluster();
        command.args(["run", "-n", "1", "--control"]).arg(&socket).arg("--exec-path").arg(&node);
        let cluster = Cluster::start(command.arg(&script));
        let mut client = Client::connect(&socket);
        client.call("subscribe", json!({"events": ["message"]}));
        client.call("send", json!({"worker": 1, "message": {"ask": true}}));
        let asked = client.until("message");
        assert_eq!(asked["message"], json!({"cmd": "CLUSTER_REQUEST", "id": 1, "body": "who?"}));
        let answer = json!({"cmd": "CLUSTER_RESPONSE", "id": 1, "body": "Ada"});
        client.call("send", json!({"worker": 1, "message": answer}));
        cluster.out.wait_for(1, |line| line.contains("heard Ada"));
        cluster.end();
    }
}

/// No client can answer what it was not shown.
#[test]
fn a_request_that_no_client_is_shown_is_refused() {
    const ASKS_TOO_MUCH: &str = "
        process.on('message', (m) => {
          if (m.cmd === 'CLUSTER_RESPONSE') console.log('heard', m.error ?? m.body);
          if (m.ask) process.send({ cmd: 'CLUSTER_REQUEST', id: 1, body: new Array(200_000).fill(1) });
        });";
    for node in nodes() {
        let folder = Folder::new("requests-too-large");
        let script = folder.0.join("asks.cjs");
        std::fs::write(&script, ASKS_TOO_MUCH).expect("a file");
        let socket = folder.0.join("s");
        let mut command = cluster();
        command.args(["run", "-n", "1", "--serialization", "advanced", "--control"]).arg(&socket);
        let cluster = Cluster::start(command.arg("--exec-path").arg(&node).arg(&script));
        let mut client = Client::connect(&socket);
        client.call("subscribe", json!({"events": ["message"]}));
        client.call("send", json!({"worker": 1, "message": {"ask": true}}));
        cluster
            .out
            .wait_for(1, |line| line.contains("heard no client of the control socket was shown"));
        cluster.end();
    }
}
