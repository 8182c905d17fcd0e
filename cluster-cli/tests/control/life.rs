//! A worker's life, as a client of the control API drives and sees it.

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::Path;

use serde_json::{Value, json};

use crate::client::Client;
use crate::support::{Cluster, Folder, nodes};
use crate::{serve, worker};

/// A primary with the tests' worker set up, a client that has subscribed, and the folder of both.
struct Stage {
    served: Cluster,
    client: Client,
    folder: Folder,
}

impl Stage {
    fn new(node: &Path) -> Self {
        let folder = Folder::new("life");
        let path = folder.0.join("control");
        let served = serve(&path, &[]);
        let mut client = Client::connect(&path);
        assert_eq!(client.call("subscribe", json!({})), true);
        let set = json!({"exec": worker(&folder), "execPath": node, "silent": true});
        client.call("setupPrimary", set);
        client.until("setup");
        Self { served, client, folder }
    }

    /// Forks a worker, and waits until it is online; its process id.
    fn fork(&mut self) -> Value {
        let forked = self.client.call("fork", json!({"env": {"FROM_FORK": "x", "HOME": null}}));
        self.client.until("online");
        forked["pid"].clone()
    }
}

#[test]
fn the_socket_is_for_this_user_alone_and_says_what_it_speaks() {
    let folder = Folder::new("version");
    let path = folder.0.join("control");
    let _served = serve(&path, &[]);
    let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let version = Client::connect(&path).call("version", json!({}));
    assert_eq!((&version["program"], &version["protocol"]), (&json!("cluster"), &json!(1)));
}

#[test]
fn the_placement_is_frozen_by_the_first_setup() {
    let folder = Folder::new("frozen");
    let path = folder.0.join("control");
    let _served = serve(&path, &[]);
    let mut client = Client::connect(&path);
    assert_eq!(client.fails("fork", json!({})), (-32000, json!("ERR_NO_EXEC")));
    assert_eq!(client.call("schedulingPolicy", json!({})), "rr");
    for policy in ["kernel", "kernel-random", "kernel-sticky", "none"] {
        assert_eq!(client.call("schedulingPolicy", json!({"policy": policy})), policy);
    }
    client.call("setupPrimary", json!({"exec": "/bin/true"}));
    assert_eq!(client.call("schedulingPolicy", json!({"policy": "rr"})), "none");
}

#[test]
fn a_setting_that_is_not_named_stays() {
    let folder = Folder::new("setup");
    let path = folder.0.join("control");
    let _served = serve(&path, &[]);
    let mut client = Client::connect(&path);
    client.call("subscribe", json!({}));
    let settings = client.call("setupPrimary", json!({"exec": "/bin/true", "silent": true}));
    assert_eq!((&settings["silent"], &settings["args"]), (&json!(true), &json!([])));
    assert_eq!(client.until("setup")["settings"], settings);
    let settings = client.call("setupPrimary", json!({"args": ["a"], "inspectPort": 0}));
    assert_eq!((&settings["silent"], &settings["args"]), (&json!(true), &json!(["a"])));
    assert_eq!(client.call("settings", json!({})), settings);
}

#[test]
fn a_worker_is_forked_and_listens() {
    for node in nodes() {
        let Stage { mut client, served: _served, folder: _folder } = Stage::new(&node);
        client.events.clear();
        let forked = client.call("fork", json!({}));
        let pid = forked["pid"].as_i64().expect("a pid");
        assert_eq!(forked["worker"], 1);
        // The answer comes before the events that the call causes.
        assert!(client.events.iter().all(|event| event["type"] != "fork"), "{:?}", client.events);
        assert_eq!(client.until("fork"), json!({"type": "fork", "worker": 1, "pid": pid}));
        assert_eq!(client.until("online"), json!({"type": "online", "worker": 1}));
        let printed = client.until("stdio");
        assert_eq!((&printed["fd"], &printed["data"]), (&json!(1), &json!("cHJpbnRlZAo=")));
        assert_eq!(client.call("send", json!({"worker": 1, "message": {"listen": true}})), true);
        let listening = client.until("listening");
        assert_eq!(listening["address"]["address"], "127.0.0.1");
        assert_eq!(listening["address"]["addressType"], 4);
        let workers = client.call("workers", json!({}));
        assert_eq!(workers[0]["id"], 1);
        assert_eq!(workers[0]["pid"], pid);
        assert_eq!(workers[0]["state"], "listening");
        assert_eq!(workers[0]["connected"], true);
        assert_eq!(workers[0]["dead"], false);
        assert_eq!(workers[0]["exitedAfterDisconnect"], Value::Null);
        assert_eq!(workers[0]["listening"][0]["port"], listening["address"]["port"]);
    }
}

#[test]
fn messages_go_both_ways_and_descriptors_are_named() {
    for node in nodes() {
        let mut stage = Stage::new(&node);
        stage.fork();
        let Stage { mut client, served: _served, folder } = stage;
        for message in [json!(null), json!([1, {"a": []}]), json!("text"), json!({"$type": "mine"})]
        {
            assert_eq!(client.call("send", json!({"worker": 1, "message": message})), true);
            let echo = client.until("message");
            assert_eq!(echo["message"], json!({"echo": message, "env": "x"}));
            assert_eq!(echo.get("handle"), None);
        }
        let near = UnixListener::bind(folder.0.join("peer")).expect("a socket");
        let order = json!({"worker": 1, "message": {"sendHandle": folder.0.join("peer")}});
        client.call("send", order);
        let with = client.until("message");
        assert_eq!(
            (&with["message"], &with["handle"]),
            (&json!("with a handle"), &json!("net.Socket"))
        );
        // The primary closes its copy: the other end sees that.
        let (mut peer, _) = near.accept().expect("it connected");
        assert_eq!(peer.read(&mut [0; 1]).expect("it closes"), 0);
    }
}

#[test]
fn a_worker_is_killed() {
    for node in nodes() {
        let mut stage = Stage::new(&node);
        stage.fork();
        let Stage { mut client, served: _served, folder: _folder } = stage;
        assert_eq!(client.call("kill", json!({"worker": 1, "signal": 0})), true);
        for signal in [json!("SIGFOO"), json!(12345)] {
            assert_eq!(
                client.fails("kill", json!({"worker": 1, "signal": signal})),
                (-32000, json!("ERR_UNKNOWN_SIGNAL"))
            );
        }
        assert_eq!(client.call("kill", json!({"worker": 9})), false);
        assert_eq!(client.call("kill", json!({"worker": 1})), true);
        assert_eq!(
            client.until("disconnect"),
            json!({"type": "disconnect", "worker": 1, "exitedAfterDisconnect": false})
        );
        assert_eq!(
            client.until("exit"),
            json!({"type": "exit", "worker": 1, "code": null, "signal": "SIGTERM", "exitedAfterDisconnect": false})
        );
        assert_eq!(client.call("workers", json!({})), json!([]));
        assert_eq!(
            client.fails("send", json!({"worker": 1, "message": 1})),
            (-32000, json!("ERR_IPC_CHANNEL_CLOSED"))
        );
        assert_eq!(
            client.fails("disconnectWorker", json!({"worker": 1})),
            (-32000, json!("ERR_WORKER_NOT_FOUND"))
        );
    }
}

#[test]
fn only_a_worker_that_was_told_to_disconnect_exits_after_it() {
    for node in nodes() {
        let mut stage = Stage::new(&node);
        for (worker, method, meant) in [(1, "disconnectWorker", true), (2, "closeChannel", false)] {
            stage.fork();
            assert_eq!(stage.client.call(method, json!({"worker": worker})), true);
            let exit = stage.client.until("exit");
            assert_eq!(
                (&exit["worker"], &exit["exitedAfterDisconnect"]),
                (&json!(worker), &json!(meant))
            );
        }
    }
}

#[test]
fn disconnect_is_answered_when_all_have_and_the_end_removes_the_socket() {
    for node in nodes() {
        let mut stage = Stage::new(&node);
        stage.fork();
        stage.fork();
        let Stage { mut client, mut served, folder } = stage;
        client.events.clear();
        assert_eq!(client.call("disconnect", json!({})), true);
        let gone = client.events.iter().filter(|event| event["type"] == "disconnect").count();
        assert_eq!(gone, 2, "its answer comes last: {:?}", client.events);
        assert_eq!(client.call("stop", json!({})), true);
        assert_eq!(served.wait().code(), Some(0));
        assert!(!folder.0.join("control").exists(), "its file goes with it");
    }
}
