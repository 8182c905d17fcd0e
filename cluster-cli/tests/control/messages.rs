//! Messages and output of workers, as clients get them.

use std::process::Command;

use rustix::process::Signal;
use serde_json::json;

use crate::client::Client;
use crate::support::{Cluster, Folder, cluster, eventually, nodes};
use crate::{serve, worker};

#[test]
fn structured_clones_are_described_in_json() {
    for node in nodes() {
        let folder = Folder::new("clones");
        let path = folder.0.join("control");
        let _served = serve(&path, &[]);
        let mut client = Client::connect(&path);
        client.call("subscribe", json!({"events": ["message", "online"]}));
        client.call(
            "setupPrimary",
            json!({"exec": worker(&folder), "execPath": node, "serialization": "advanced"}),
        );
        client.call("fork", json!({}));
        client.until("online");
        for message in [
            json!({"$type": "Buffer", "value": "aGk="}),
            json!({"list": [{"$type": "undefined"}, {"$type": "BigInt", "value": "-ff"}]}),
            json!({"$type": "Map", "value": [["k", {"$type": "Date", "value": 5}]]}),
            json!({"$type": "Object", "value": {"$type": "mine"}}),
        ] {
            client.call("send", json!({"worker": 1, "message": message}));
            assert_eq!(client.until("message")["message"]["echo"], message);
        }
        let odd = json!({"worker": 1, "message": {"$type": "Teapot"}});
        assert_eq!(client.fails("send", odd).0, -32602);
    }
}

#[test]
fn the_last_words_of_a_worker_are_told() {
    for node in nodes() {
        let folder = Folder::new("last-words");
        let path = folder.0.join("control");
        let script = folder.0.join("worker.cjs");
        let text = "process.send({ map: new Map([[1, 2n]]) }); process.exit();";
        std::fs::write(&script, text).expect("a file");
        let served = serve(&path, &[]);
        let mut client = Client::connect(&path);
        client.call("subscribe", json!({}));
        let set = json!({"exec": script, "execPath": node, "serialization": "advanced"});
        client.call("setupPrimary", set);
        let forked = client.call("fork", json!({}));
        // All that it does waits for the primary.
        served.signal(Signal::STOP);
        let stat = format!("/proc/{}/stat", forked["pid"]);
        eventually("the worker has died", || {
            let stat = std::fs::read_to_string(&stat).ok()?;
            stat.contains(") Z ").then_some(())
        });
        served.signal(Signal::CONT);
        let message = client.until("message")["message"].clone();
        let expected = json!([[1, {"$type": "BigInt", "value": "2"}]]);
        assert_eq!(message["map"], json!({"$type": "Map", "value": expected}));
        client.until("exit");
    }
}

#[test]
fn who_waits_for_a_descriptor_gets_one() {
    let folder = Folder::new("few");
    let path = folder.0.join("control");
    let command = cluster();
    let mut limited = Command::new("sh");
    limited.args(["-c", "ulimit -n 24; exec \"$@\"", "sh"]).arg(command.get_program());
    let _served = Cluster::start(limited.arg("serve").arg("--control").arg(&path));
    let mut clients: Vec<Client> = (0..40).map(|_| Client::connect(&path)).collect();
    for client in &mut clients {
        client.write("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"version\"}\n");
    }
    // Each is answered when those before it have gone.
    for mut client in clients {
        assert_eq!(client.read().expect("an answer")["id"], 1);
    }
}
