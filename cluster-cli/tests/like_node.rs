//! What Node's own cluster does in odd cases, done alike.

#[path = "support/client.rs"]
mod client;
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use client::Client;
use serde_json::{Value, json};
use support::{Cluster, Folder, cluster, eventually, get, nodes};

fn serve(path: &Path) -> Cluster {
    let served = Cluster::start(cluster().arg("serve").arg("--control").arg(path));
    served.err.wait_for(1, |line| line.contains("ready"));
    served
}

/// A primary, and a client that hears everything.
fn primary(folder: &Folder) -> (Cluster, Client) {
    let path = folder.0.join("control");
    let served = serve(&path);
    let mut client = Client::connect(&path);
    client.call("subscribe", json!({}));
    (served, client)
}

fn fork(client: &mut Client, node: &Path, script: &Path) {
    client.call("setupPrimary", json!({"exec": script, "execPath": node}));
    client.call("fork", json!({}));
}

/// The next messages of workers.
fn messages(client: &mut Client, count: usize) -> Vec<Value> {
    (0..count).map(|_| client.until("message")["message"].clone()).collect()
}

/// Runs to the end; what was printed.
fn fail(command: &mut Command) -> String {
    let mut cluster = Cluster::start(command);
    assert_eq!(cluster.wait().code(), Some(1), "{:?}", cluster.err.all());
    cluster.err.all().join("\n")
}

/// Nitro listens so.
#[cfg(target_os = "linux")]
#[test]
fn abstract_sockets_are_shared_whatever_the_working_directory() {
    use std::io::Read;
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixStream};

    for (node, policy) in nodes().iter().flat_map(|node| [(node, "rr"), (node, "none")]) {
        let folder = Folder::new("abstract");
        let name = folder.0.file_name().expect("a name").to_str().expect("UTF-8").to_owned();
        let script = folder.file(
            "worker.js",
            &format!(
                "const server = require('node:net').createServer((s) => s.end(String(process.pid)));
                 server.on('error', (error) => process.send(error.code));
                 server.listen('\\0{name}', () => process.send(server.address()));"
            ),
            0o644,
        );
        let (cluster, mut client) = primary(&folder);
        client.call("schedulingPolicy", json!({"policy": policy}));
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let connect = || UnixStream::connect_addr(&address);
        assert!(connect().is_err(), "no process listens yet");
        let inside = folder.0.join("inside");
        std::fs::create_dir(&inside).expect("a folder");
        for cwd in [&folder.0, &inside] {
            client.call("setupPrimary", json!({"exec": script, "execPath": node, "cwd": cwd}));
            client.call("fork", json!({}));
            assert_eq!(messages(&mut client, 1), [json!(format!("\0{name}"))]);
            let listening = client.until("listening");
            let said = listening["address"]["address"].as_str().expect("a path").to_owned();
            assert_eq!(said, format!("{}/\0{name}", cwd.display()), "as Node's event has it");
            assert_eq!(listening["address"]["addressType"], -1);
        }
        let workers = client.call("workers", json!({}));
        let pids: Vec<_> = (0..2).map(|at| workers[at]["pid"].to_string()).collect();
        let mut served = std::collections::BTreeSet::new();
        eventually("both serve", || {
            let mut pid = String::new();
            connect().expect("it listens").read_to_string(&mut pid).expect("it answers");
            assert!(pids.contains(&pid), "{pid} is none of {pids:?}");
            served.insert(pid);
            (served.len() == 2 || policy == "none").then_some(())
        });
        assert!(
            std::fs::read_dir(&folder.0).expect("a folder").count() == 3,
            "there is no file beside the script, the folder and the control socket"
        );
        client.call("disconnect", json!({}));
        assert!(connect().is_err(), "the name is free again");
        drop(cluster);
    }
}

/// Also after it was taken by another program.
#[cfg(target_os = "linux")]
#[test]
fn an_abstract_name_that_is_taken_is_an_error_that_says_so() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener};

    for node in nodes() {
        let folder = Folder::new("taken");
        let name = folder.0.file_name().expect("a name").to_str().expect("UTF-8").to_owned();
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let _other = UnixListener::bind_addr(&address).expect("it is free");
        let text = format!("require('node:net').createServer().listen('\\0{name}');");
        let script = folder.file("worker.js", &text, 0o644);
        let mut cluster = Cluster::start(
            cluster()
                .args([
                    "run",
                    "-n",
                    "1",
                    "--max-failures",
                    "1",
                    "--backoff-first",
                    "10ms",
                    "--exec-path",
                ])
                .args([&node, &script]),
        );
        let said = cluster.err.wait_for(1, |line| line.contains("cannot listen on"));
        assert!(said[0].contains(&format!("cannot listen on @{name}: ")), "{said:?}");
        assert!(said[0].contains("another program listens there"), "{said:?}");
        cluster.wait();
    }
}

#[test]
fn a_udp_socket_of_the_other_family_is_an_error() {
    let text = "
        const dgram = require('node:dgram');
        for (const [type, address] of [
          ['udp4', '::1'], ['udp6', '127.0.0.1'], ['udp4', '::'], ['udp6', '0.0.0.0'],
          ['udp6', '::ffff:127.0.0.1'], ['udp4', '127.0.0.1'],
        ]) {
          const socket = dgram.createSocket(type);
          socket.on('error', ({ code, syscall }) => process.send([type, address, code, syscall]));
          socket.bind({ port: 0, address }, () => {
            process.send([type, address, 'bound', socket.address().family]);
          });
        }";
    for node in nodes() {
        let folder = Folder::new("family");
        let (_cluster, mut client) = primary(&folder);
        fork(&mut client, &node, &folder.file("worker.js", text, 0o644));
        let mut said = messages(&mut client, 6);
        said.sort_by_key(Value::to_string);
        let mut expected = vec![
            json!(["udp4", "::1", "EINVAL", "bind"]),
            json!(["udp6", "127.0.0.1", "EINVAL", "bind"]),
            json!(["udp4", "::", "EINVAL", "bind"]),
            json!(["udp6", "0.0.0.0", "EINVAL", "bind"]),
            json!(["udp6", "::ffff:127.0.0.1", "bound", "IPv6"]),
            json!(["udp4", "127.0.0.1", "bound", "IPv4"]),
        ];
        expected.sort_by_key(Value::to_string);
        assert_eq!(said, expected, "{}", node.display());
    }
}

const SERVER: &str = "require('node:http').createServer((_, response) => response.end('hi'))
    .listen(0, '127.0.0.1');";

/// A folder in which `node` is that Node.js.
fn path_of(folder: &Folder, node: &Path) -> String {
    let link = folder.0.join("node");
    std::os::unix::fs::symlink(node, link).expect("a link");
    format!("{}:{}", folder.0.display(), std::env::var("PATH").unwrap_or_default())
}

#[test]
fn typescript_of_either_kind_runs_under_node() {
    for node in nodes() {
        let folder = Folder::new("typescript");
        let path = path_of(&folder, &node);
        // It is not for every Node.js; it is enough that it is Node.js that says so.
        let takes = Command::new(&node)
            .args(["-e", "process.exit(process.features.typescript ? 0 : 1)"])
            .status()
            .is_ok_and(|status| status.success());
        for (name, text) in [
            ("app.cts", format!("const one: number = 1;\n{SERVER}")),
            (
                "app.mts",
                format!(
                    "import {{ createRequire }} from 'node:module';
                 const one: number = 1; const require = createRequire(import.meta.url);\n{SERVER}"
                ),
            ),
        ] {
            folder.file(name, &text, 0o644);
            let mut command = cluster();
            command.current_dir(&folder.0).env("PATH", &path);
            let mut cluster = Cluster::start(command.args([
                "run",
                "-n",
                "1",
                "--max-failures",
                "1",
                "--backoff-first",
                "10ms",
                name,
            ]));
            if takes {
                assert_eq!(get(cluster.listening(1)).expect("it serves"), "hi");
                cluster.end();
            } else {
                let said = cluster.err.wait_for(1, |line| {
                    line.contains("ERR_UNKNOWN_FILE_EXTENSION") || line.contains("SyntaxError")
                });
                assert!(!said.is_empty());
                cluster.wait();
            }
        }
    }
}

#[test]
fn a_script_that_cannot_be_executed_is_advised_about() {
    let folder = Folder::new("advised");
    folder.file("server", SERVER, 0o644);
    folder.file("tool", "#!/usr/bin/env node\n", 0o644);
    folder.file("main.js", SERVER, 0o644);
    folder.file("package.json", r#"{"main": "main.js"}"#, 0o644);
    let run = |program: &str| fail(cluster().current_dir(&folder.0).args(["run", program]));
    for program in ["server", "./server"] {
        let said = run(program);
        assert!(
            said.contains("server is not executable, and has no first line (#!)")
                && said.ends_with("for a Node.js script use --exec-path node"),
            "{said}"
        );
    }
    let said = run("./tool");
    assert!(said.contains("chmod +x, or name its interpreter: --exec-path node"), "{said}");
    for program in ["main", "./main"] {
        let said = run(program);
        assert!(said.contains(&format!("did you mean {program}.js?")), "{said}");
    }
    // What is said is what works.
    if let Some(node) = nodes().first() {
        let mut command = cluster();
        command.current_dir(&folder.0).args(["run", "-n", "1", "--exec-path"]).arg(node);
        let cluster = Cluster::start(command.arg("server"));
        assert_eq!(get(cluster.listening(1)).expect("it serves"), "hi");
        cluster.end();
    }
}

/// Ports that are likely to stay free: no other test uses those above them in the range.
fn free_port() -> u16 {
    let listeners = || (0..3).map(|_| std::net::TcpListener::bind("127.0.0.1:0").expect("a port"));
    loop {
        let first = listeners().next().expect("one").local_addr().expect("bound").port();
        let next = [first + 1, first + 2];
        if next.iter().all(|port| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok()) {
            return first;
        }
    }
}

#[test]
fn the_inspectors_port_of_node_options_is_counted_up_from() {
    let text = "process.send([process.debugPort, require('node:inspector').url() ?? '']);
        setInterval(() => {}, 1000);";
    for (node, program) in nodes().iter().flat_map(|node| [(node, false), (node, true)]) {
        let folder = Folder::new("inspector");
        let script: PathBuf = folder.file("worker.js", text, 0o644);
        let (_cluster, mut client) = primary(&folder);
        let port = free_port();
        let set = match program {
            false => json!({"exec": script, "execPath": node}),
            // `cluster run node worker.js`
            true => json!({"exec": node, "args": [script]}),
        };
        client.call("setupPrimary", set);
        let options = format!("--inspect=127.0.0.1:{port}");
        client.call("setupPrimary", json!({"env": {"NODE_OPTIONS": options}}));
        for worker in 1..=2 {
            client.call("fork", json!({}));
            let said = &messages(&mut client, 1)[0];
            let port = port + worker;
            assert_eq!(said[0], port, "{}: {said}", node.display());
            let url = said[1].as_str().expect("a text");
            assert!(url.starts_with(&format!("ws://127.0.0.1:{port}/")), "{url}");
        }
    }
}

/// A message and its echo, and what the worker saw of it.
#[test]
fn lone_surrogates_survive_both_ways() {
    let text = "
        process.on('message', (message) => {
          process.send([message, [...message.text].map((c) => c.codePointAt(0).toString(16))]);
        });
        process.send({ text: 'a\\ud83d', pair: '\\ud83d\\ude00', mark: '\\u{10ffff}x\\udc00' });";
    for node in nodes() {
        let folder = Folder::new("surrogates");
        let (cluster, mut client) = primary(&folder);
        fork(&mut client, &node, &folder.file("worker.js", text, 0o644));
        // serde_json reads no such line.
        let line = |client: &mut Client| {
            let mut line = String::new();
            std::io::BufRead::read_line(&mut client.lines, &mut line).expect("a line");
            line
        };
        let line =
            eventually("a message", || Some(line(&mut client)).filter(|l| l.contains("text")));
        let message = r#""message":{"text":"a\ud83d","pair":"😀","mark":"#;
        assert!(line.contains(message) && line.contains(r"x\udc00"), "{line}");
        let control = folder.0.join("control");
        let mut events = Command::new(env!("CARGO_BIN_EXE_cluster"));
        events.args(["ctl", "--json", "--control"]).arg(&control).args(["events", "message"]);
        let events = Cluster::start(&mut events);
        eventually("the echo is heard", || {
            let mut send = Command::new(env!("CARGO_BIN_EXE_cluster"));
            send.args(["ctl", "--control"]).arg(&control);
            let sent = send.args(["send", "1", r#"{"text":"\udc00b😀"}"#]).status();
            assert!(sent.expect("it runs").success());
            let expected = r#"[{"text":"\udc00b😀"},["dc00","62","1f600"]]"#;
            let heard = events.out.all();
            assert!(events.err.all().is_empty(), "{:?}", events.err.all());
            heard.iter().any(|line| line.contains(expected)).then_some(())
        });
        drop((events, cluster));
    }
}

#[test]
fn messages_of_the_protocols_that_mean_nothing_are_ignored() {
    let text = "
        for (const message of [
          { cmd: 'NODE_CLUSTER', act: 'unknown' }, { cmd: 'NODE_CLUSTER' },
          { cmd: 'NODE_CLUSTER', act: 5, seq: 'x' }, { cmd: 'NODE_CLUSTER', act: 'close' },
          { cmd: 'NODE_CLUSTER', ack: 'x', act: 'unknown' }, { cmd: 'NODE_CLUSTER', act: 'newconn' },
          { cmd: 'NODE_SOCKET_COUNT' }, { cmd: 'NODE_UNHEARD_OF' },
        ]) process.send(message);
        process.send('still here');
        process.on('message', (message) => process.send(message));
        process.on('internalMessage', (message) => process.send({ internal: message }));";
    for (node, serialization) in nodes().iter().flat_map(|n| [(n, "json"), (n, "advanced")]) {
        let folder = Folder::new("ignored");
        let (_cluster, mut client) = primary(&folder);
        client.call("setupPrimary", json!({"serialization": serialization}));
        fork(&mut client, node, &folder.file("worker.js", text, 0o644));
        client.until("online");
        while client.events.iter().all(|event| event["type"] != "message") {
            let line = client.read().expect("it does not hang up");
            client.events.push(line["params"].clone());
        }
        let kinds: Vec<_> = client.events.iter().map(|event| event["type"].clone()).collect();
        assert_eq!(kinds, ["message"], "nothing comes of them: {:?}", client.events);
        assert_eq!(messages(&mut client, 1), ["still here"]);

        // And the other way, as Node's `worker.send()` has it.
        let unknown = json!({"cmd": "NODE_CLUSTER", "act": "unknown", "more": [1]});
        assert_eq!(client.call("send", json!({"worker": 1, "message": unknown})), true);
        assert_eq!(messages(&mut client, 1), [json!({"internal": unknown})]);
        for cmd in ["NODE_HANDLE", "NODE_HANDLE_ACK", "NODE_CLUSTER_NATIVE"] {
            let order = json!({"worker": 1, "message": {"cmd": cmd}});
            assert_eq!(client.fails("send", order), (-32000, json!("ERR_INVALID_ARG_VALUE")));
        }
        client.call("send", json!({"worker": 1, "message": "as ever"}));
        assert_eq!(messages(&mut client, 1), ["as ever"]);
        let disconnect = json!({"cmd": "NODE_CLUSTER", "act": "disconnect"});
        client.call("send", json!({"worker": 1, "message": disconnect}));
        client.until("disconnect");
        client.until("exit");
    }
}

/// Whatever wire it speaks.
#[test]
fn a_rust_worker_is_told_by_the_protocols_messages_too() {
    let folder = Folder::new("rust-worker");
    let (_cluster, mut client) = primary(&folder);
    let program = env!("CARGO_BIN_EXE_cluster");
    client.call("setupPrimary", json!({"exec": program, "args": ["demo-worker", "127.0.0.1:0"]}));
    client.call("fork", json!({}));
    client.until("listening");
    for act in ["unknown", "disconnect"] {
        let message = json!({"cmd": "NODE_CLUSTER", "act": act});
        client.call("send", json!({"worker": 1, "message": message}));
    }
    let exit = client.until("exit");
    assert_eq!((&exit["code"], &exit["signal"]), (&json!(0), &Value::Null));
}
