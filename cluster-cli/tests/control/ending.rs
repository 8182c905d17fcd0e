//! The end of workers and of the cluster, and what clients are told of it.

use std::os::unix::net::UnixStream;

use serde_json::json;

use crate::client::Client;
use crate::support::{Folder, assert_gone, cluster, nodes};
use crate::{serve, worker};

#[test]
fn with_once_it_ends_with_its_first_client_and_so_do_the_workers() {
    for node in nodes() {
        let folder = Folder::new("once");
        let path = folder.0.join("control");
        let mut served = serve(&path, &["--once"]);
        // A client that only checks for a listener does not count as connected.
        let second = cluster().arg("serve").arg("--control").arg(&path).output().expect("it runs");
        assert_eq!(second.status.code(), Some(1));
        let mut client = Client::connect(&path);
        client.call("setupPrimary", json!({"exec": worker(&folder), "execPath": node}));
        let pid = client.call("fork", json!({}))["pid"].as_i64().expect("a pid");
        let mut second = Client::connect(&path);
        second.call("version", json!({}));
        drop(second);
        assert_eq!(client.call("version", json!({}))["protocol"], 1, "the second does not matter");
        drop(client);
        served.wait();
        assert_gone(&[i32::try_from(pid).expect("a pid")]);
        assert!(!path.exists());
    }
}

#[test]
fn with_once_the_first_to_connect_counts_though_it_says_nothing() {
    let folder = Folder::new("silent");
    let path = folder.0.join("control");
    let mut served = serve(&path, &["--once"]);
    let silent = UnixStream::connect(&path).expect("the primary listens");
    // An answer shows that it has been taken in, for they are in their order.
    let mut second = Client::connect(&path);
    second.call("version", json!({}));
    drop(silent);
    served.wait();
    assert!(!path.exists());
}

#[test]
fn each_disconnect_is_answered_when_those_before_it_have_gone() {
    for node in nodes() {
        let folder = Folder::new("rounds");
        let path = folder.0.join("control");
        let _served = serve(&path, &[]);
        let mut client = Client::connect(&path);
        client.call("subscribe", json!({}));
        client.call("setupPrimary", json!({"exec": worker(&folder), "execPath": node}));
        let call = |id: u32, method: &str| {
            format!("{}\n", json!({"jsonrpc": "2.0", "id": id, "method": method}))
        };
        client.events.clear();
        client.write(&[call(11, "disconnect"), call(12, "fork"), call(13, "disconnect")].concat());
        let mut seen = Vec::new();
        while !seen.contains(&"13".to_owned()) {
            let line = client.read().expect("it does not hang up");
            let event = line["params"]["type"].as_str().map(str::to_owned);
            seen.push(event.unwrap_or_else(|| line["id"].to_string()));
        }
        let place = |name: &str| seen.iter().position(|s| s == name);
        assert!(place("11") < place("13"), "{seen:?}");
        assert!(place("disconnect").is_some_and(|at| Some(at) < place("13")), "{seen:?}");
    }
}

#[test]
fn what_ends_forks_nothing() {
    let folder = Folder::new("ends");
    let path = folder.0.join("control");
    let mut served = serve(&path, &[]);
    let mut client = Client::connect(&path);
    client.call("setupPrimary", json!({"exec": "/bin/sleep", "args": ["1000"]}));
    client.write("{\"jsonrpc\":\"2.0\",\"id\":91,\"method\":\"stop\"}\n{\"jsonrpc\":\"2.0\",\"id\":92,\"method\":\"fork\"}\n");
    assert_eq!(client.read().expect("an answer")["result"], true);
    assert_eq!(client.read().expect("an answer")["error"]["data"]["code"], "ERR_ENDING");
    assert_eq!(served.wait().code(), Some(0));
}
