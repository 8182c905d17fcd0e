//! `cluster serve`, `cluster run --control` and `cluster ctl`, from outside.

#[path = "support/client.rs"]
mod client;
mod support;

use std::io::{BufRead, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use client::Client;
use rustix::process::Signal;
use serde_json::{Value, json};
use support::{Cluster, Folder, assert_gone, cluster, eventually, file, nodes};

fn serve(path: &Path, options: &[&str]) -> Cluster {
    let served = Cluster::start(cluster().arg("serve").arg("--control").arg(path).args(options));
    served.err.wait_for(1, |line| line.contains("ready"));
    served
}

/// A worker that echoes messages, and listens if it is told to.
fn worker(folder: &Folder) -> PathBuf {
    let path = folder.0.join("worker.cjs");
    let script = "
        const net = require('node:net');
        process.on('message', (message) => {
          if (message?.listen) {
            net.createServer((socket) => socket.end('hi')).listen(0, '127.0.0.1');
          } else if (message?.sendHandle) {
            const peer = net.connect(message.sendHandle);
            peer.on('connect', () => process.send('with a handle', peer));
          } else process.send({ echo: message, env: process.env.FROM_FORK ?? null });
        });
        console.log('printed');
    ";
    std::fs::write(&path, script).expect("a file");
    path
}

#[test]
fn a_primary_is_driven_through_a_workers_life() {
    for node in nodes() {
        let folder = Folder::new("life");
        let path = folder.0.join("control");
        let mut served = serve(&path, &[]);
        let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let mut client = Client::connect(&path);
        let version = client.call("version", json!({}));
        assert_eq!((&version["program"], &version["protocol"]), (&json!("cluster"), &json!(1)));
        assert_eq!(client.call("subscribe", json!({})), true);
        assert_eq!(client.fails("fork", json!({})), (-32000, json!("ERR_NO_EXEC")));
        assert_eq!(client.call("schedulingPolicy", json!({})), "rr");
        for kernel in ["kernel", "kernel-random", "kernel-sticky"] {
            assert_eq!(client.call("schedulingPolicy", json!({"policy": kernel})), kernel);
        }
        assert_eq!(client.call("schedulingPolicy", json!({"policy": "none"})), "none");
        let set = json!({"exec": worker(&folder), "execPath": node, "silent": true});
        let settings = client.call("setupPrimary", set);
        assert_eq!((&settings["silent"], &settings["args"]), (&json!(true), &json!([])));
        assert_eq!(client.until("setup")["settings"], settings);
        // Frozen by now.
        assert_eq!(client.call("schedulingPolicy", json!({"policy": "rr"})), "none");
        // What is not named stays.
        let settings = client.call("setupPrimary", json!({"args": ["a"], "inspectPort": 0}));
        assert_eq!((&settings["silent"], &settings["args"]), (&json!(true), &json!(["a"])));
        assert_eq!(client.call("settings", json!({})), settings);

        let forked = client.call("fork", json!({"env": {"FROM_FORK": "x", "HOME": null}}));
        let pid = forked["pid"].as_i64().expect("a pid");
        assert_eq!(forked["worker"], 1);
        // The answer came before the events that the call caused.
        client.events.retain(|event| event["type"] != "setup");
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
        // It is closed here: the other end sees that.
        let (mut peer, _) = near.accept().expect("it connected");
        assert_eq!(peer.read(&mut [0; 1]).expect("it closes"), 0);

        assert_eq!(client.call("kill", json!({"worker": 1, "signal": 0})), true);
        assert_eq!(
            client.fails("kill", json!({"worker": 1, "signal": "SIGFOO"})),
            (-32000, json!("ERR_UNKNOWN_SIGNAL"))
        );
        assert_eq!(
            client.fails("kill", json!({"worker": 1, "signal": 12345})),
            (-32000, json!("ERR_UNKNOWN_SIGNAL"))
        );
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

        assert_eq!(client.call("fork", json!({}))["worker"], 2);
        client.until("online");
        assert_eq!(client.call("disconnectWorker", json!({"worker": 2})), true);
        assert_eq!(client.until("exit")["exitedAfterDisconnect"], true);
        assert_eq!(client.call("fork", json!({}))["worker"], 3);
        client.until("online");
        assert_eq!(client.call("closeChannel", json!({"worker": 3})), true);
        assert_eq!(client.until("exit")["exitedAfterDisconnect"], false);

        for _ in 0..2 {
            client.call("fork", json!({}));
            client.until("online");
        }
        client.events.clear();
        assert_eq!(client.call("disconnect", json!({})), true);
        let gone = client.events.iter().filter(|event| event["type"] == "disconnect").count();
        assert_eq!(gone, 2, "its answer comes last: {:?}", client.events);
        assert_eq!(client.call("stop", json!({})), true);
        assert_eq!(served.wait().code(), Some(0));
        assert!(!path.exists(), "its file goes with it");
    }
}

/// What is not of Node's is set, kept and refused as what is.
#[test]
fn a_worker_is_started_as_the_settings_say() {
    let folder = Folder::new("start");
    let path = folder.0.join("control");
    let mut served = serve(&path, &[]);
    let mut client = Client::connect(&path);
    let defaults = json!({
        "exec": "/bin/sh",
        "launcher": [], "groups": null, "noNewPrivs": false, "affinity": null, "dieWithPrimary": false,
        "keepCapabilities": true, "listenAsWorker": false, "privilegedPorts": [],
    });
    let settings = client.call("setupPrimary", json!({"exec": "/bin/sh"}));
    for (name, value) in defaults.as_object().expect("it is one") {
        assert_eq!(settings[name], *value, "{name}");
    }
    let set = json!({
        "launcher": ["env", "A=b"], "groups": [1, 2], "noNewPrivs": true, "affinity": [[0, 1], [1]],
        "dieWithPrimary": true, "keepCapabilities": false, "listenAsWorker": true,
        "privilegedPorts": [80, 443],
    });
    let settings = client.call("setupPrimary", set.clone());
    for (name, value) in set.as_object().expect("it is one") {
        assert_eq!(settings[name], *value, "{name}");
    }
    assert_eq!(client.call("setupPrimary", json!({"affinity": "each"}))["affinity"], "each");
    for params in [
        json!({"launcher": "env"}),
        json!({"groups": 1}),
        json!({"groups": [-1]}),
        json!({"noNewPrivs": 1}),
        json!({"keepCapabilities": 1}),
        json!({"listenAsWorker": "yes"}),
        json!({"privilegedPorts": 80}),
        json!({"privilegedPorts": [0]}),
        json!({"privilegedPorts": [65536]}),
        json!({"affinity": "all"}),
        json!({"affinity": []}),
        json!({"affinity": [[]]}),
        json!({"affinity": [0]}),
        json!({"dieWithPrimary": "yes"}),
    ] {
        assert_eq!(client.fails("setupPrimary", params.clone()).0, -32602, "{params}");
    }
    assert_eq!(client.call("setupPrimary", defaults), client.call("settings", json!({})));

    // What cannot be is an error of the fork's, by the system's name for it.
    client.call("setupPrimary", json!({"affinity": [[1023]]}));
    assert_eq!(client.fails("fork", json!({})), (-32000, json!("EINVAL")));
    let script = "grep NoNewPrivs /proc/self/status; echo $A $CLUSTER_SLOT";
    let args = json!({"args": ["-c", script], "silent": true, "noNewPrivs": true,
        "launcher": ["env", "A=b"], "affinity": "each"});
    client.call("setupPrimary", args);
    client.call("subscribe", json!({"events": ["stdio", "exit"]}));
    client.call("fork", json!({}));
    let mut said = Vec::new();
    while !said.ends_with(b"b 0\n") {
        let data = client.until("stdio")["data"].as_str().map(|data| BASE64.decode(data));
        said.extend(data.expect("it is text").expect("it is base64"));
    }
    assert_eq!(said, b"NoNewPrivs:\t1\nb 0\n");
    assert_eq!(client.until("exit")["code"], 0);
    served.signal(Signal::TERM);
    assert_eq!(served.wait().code(), Some(0));
}

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

#[test]
fn with_once_it_ends_with_its_first_client_and_so_do_the_workers() {
    for node in nodes() {
        let folder = Folder::new("once");
        let path = folder.0.join("control");
        let mut served = serve(&path, &["--once"]);
        // Who only looks whether somebody is there does not connect.
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
    let silent = UnixStream::connect(&path).expect("somebody listens");
    // An answer shows that it has been taken in, for they are in their order.
    let mut second = Client::connect(&path);
    second.call("version", json!({}));
    drop(silent);
    served.wait();
    assert!(!path.exists());
}

#[test]
fn what_looks_for_clusters_is_no_client_of_theirs() {
    let folder = Folder::new("looked-for");
    let there = folder.0.join("cluster");
    std::fs::create_dir(&there).expect("a folder");
    std::fs::set_permissions(&there, PermissionsExt::from_mode(0o700)).expect("it is ours");
    let (one, two) = (there.join("one.sock"), there.join("two.sock"));
    let mut served = serve(&one, &["--once"]);
    let _other = serve(&two, &[]);
    // With two of them it must be told which, and has asked nobody.
    let looked = cluster().args(["ctl", "ls"]).env("XDG_RUNTIME_DIR", &folder.0).output();
    let looked = looked.expect("it runs");
    assert_eq!(looked.status.code(), Some(1));
    let said = String::from_utf8_lossy(&looked.stderr).into_owned();
    assert!(said.contains("one") && said.contains("two"), "{said}");
    let mut client = Client::connect(&one);
    assert_eq!(client.call("version", json!({}))["protocol"], 1);
    drop(client);
    served.wait();
    let looked = cluster().args(["ctl", "ls"]).env("XDG_RUNTIME_DIR", &folder.0).output();
    assert_eq!(looked.expect("it runs").status.code(), Some(0), "there is one left");
}

#[test]
fn settings_are_told_as_they_were_set() {
    let folder = Folder::new("told");
    let path = folder.0.join("control");
    let _served = serve(&path, &[]);
    let mut client = Client::connect(&path);
    let stdio = json!(["ignore", 2, 2, "ipc", "pipe", "inherit"]);
    let set = client.call("setupPrimary", json!({"exec": "x", "stdio": stdio}));
    assert_eq!(set["stdio"], stdio);
    // And what was told can be set.
    let again = client.call("setupPrimary", json!({"stdio": set["stdio"]}));
    assert_eq!(again["stdio"], stdio);
}

#[test]
fn the_environment_says_who_accepts_as_in_node() {
    for (value, policy) in [("none", "none"), ("rr", "rr")] {
        let folder = Folder::new(&format!("environment-{value}"));
        let path = folder.0.join("control");
        let served = Cluster::start(
            cluster()
                .args(["serve", "--control"])
                .arg(&path)
                .env("NODE_CLUSTER_SCHED_POLICY", value),
        );
        served.err.wait_for(1, |line| line.contains("ready"));
        let mut client = Client::connect(&path);
        assert_eq!(client.call("schedulingPolicy", json!({})), policy);
        // Whoever sets it has the last word, before the first fork.
        assert_eq!(client.call("schedulingPolicy", json!({"policy": "rr"})), "rr");
    }
}

#[test]
fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
    let folder = Folder::new("stale");
    let path = folder.0.join("control");
    drop(UnixListener::bind(&path).expect("a socket"));
    let served = serve(&path, &[]);
    let second = cluster().arg("serve").arg("--control").arg(&path).output().expect("it runs");
    assert_eq!(second.status.code(), Some(1));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("is in use") && said.contains(path.to_str().expect("text")), "{said}");
    Client::connect(&path).call("version", json!({}));
    drop(served);
}

fn ctl(arguments: &[&str]) -> Output {
    cluster().arg("ctl").args(arguments).stdin(Stdio::null()).output().expect("it runs")
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn ctl_looks_at_a_cluster_that_runs_and_drives_it() {
    let name = format!("ctl-test-{}", std::process::id());
    let run = ["run", "-n", "2", "--demo-listen", "127.0.0.1:0", "--name", &name];
    let mut running = Cluster::start(cluster().args(run));
    let address = running.listening(2);
    let order = |arguments: &[&str]| ctl(&[&["--name", &name], arguments].concat());
    let table = said(&order(&["ls"]));
    assert_eq!(table.lines().count(), 3, "{table}");
    assert!(table.contains(&address.to_string()), "{table}");
    let json: Value = serde_json::from_str(&said(&order(&["--json", "ls"]))).expect("JSON");
    assert_eq!(json[1]["id"], 2);
    assert!(said(&order(&["version"])).starts_with("cluster "));

    let mut events = cluster();
    events.args(["ctl", "--name", &name, "events", "exit", "fork"]).stdout(Stdio::piped());
    let mut events = events.spawn().expect("it runs");
    let lines = support::Lines::default();
    lines.collect(events.stdout.take().expect("a pipe"));
    // It has subscribed when it tells of something.
    let mut last = 2;
    eventually("an event", || {
        said(&order(&["fork", "A=1"]));
        last += 1;
        lines.all().iter().any(|l| l.contains("fork")).then_some(())
    });
    assert_eq!(said(&order(&["kill", "1", "SIGKILL"])), "signalled\n");
    lines.wait_for(1, |l| l == "worker 1 exit: signal SIGKILL");
    running.err.wait_for(1, |l| l.contains("worker 1 died (signal SIGKILL); starting another"));
    assert_eq!(said(&order(&["send", "2", "{\"x\": 1}"])), "sent\n");
    assert_eq!(said(&order(&["disconnect", "2"])), "told to disconnect\n");
    running.err.wait_for(1, |l| l == "cluster: worker 2 left (code 0)");

    for (arguments, code, expected) in [
        (&["kill", "3", "SIGFOO"][..], 1, "unknown signal \"SIGFOO\"; name one as SIGTERM"),
        (&["send", "99", "1"], 1, "there is no worker 99 (ERR_IPC_CHANNEL_CLOSED)"),
        (&["disconnect", "99"], 1, "there is no worker 99 (ERR_WORKER_NOT_FOUND)"),
        (&["send", "3", "hello"], 2, "--text"),
        (&["setup", "[]"], 2, "the settings should be a JSON object"),
        (&["call", "fork", "{"], 2, "the parameters should be a JSON object"),
        (&["call", "dance"], 1, "no method \"dance\"; there are subscribe, "),
        (&["events", "dance"], 1, "no event \"dance\"; there are setup, "),
        (&["call", "send"], 1, "\"worker\" should be a worker's number"),
        (&["setup", "{\"exce\": 1}"], 1, "exce"),
    ] {
        let refused = order(arguments);
        assert_eq!(refused.status.code(), Some(code), "{arguments:?}");
        let why = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(why.contains(expected), "{arguments:?}: {why}");
    }
    let nowhere = ctl(&["--control", "/no/such/socket", "ls"]);
    let why = String::from_utf8_lossy(&nowhere.stderr).into_owned();
    assert!(why.contains("/no/such/socket") && why.contains("is the cluster running?"), "{why}");

    assert_eq!(said(&order(&["stop"])), "ending\n");
    assert_eq!(running.wait().code(), Some(0));
    let _over = events.wait();
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

/// Half a surrogate pair, which JSON can name and UTF-8 cannot hold, and a line that nobody can read.
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

/// What is said last counts, with or without a newline, though its speaker has closed his half.
#[test]
fn who_closes_a_half_is_answered_and_harms_nobody() {
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

/// The client of a long line costs the line, and what it is decoded to: not several copies of it.
#[cfg(target_os = "linux")]
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

#[cfg(target_os = "linux")]
fn peak_rss(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("Linux tells it");
    let kib = line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok());
    kib.expect("it is a number") << 10
}

/// Clients have a share of the descriptors that the primary may have; more of them wait, and are not refused.
#[cfg(target_os = "linux")]
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
