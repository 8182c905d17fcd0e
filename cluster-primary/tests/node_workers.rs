//! Unmodified Node.js workers under this primary: those that `CLUSTER_TEST_NODES` names (separated
//! as `PATH` is), else the one on `PATH`.

#[path = "support/node.rs"]
mod node;
#[path = "support/process.rs"]
mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use cluster_primary::proto::{BigInt, ErrorClass, ErrorValue, StructuredClone, ViewKind};
use cluster_primary::{
    Event, ExitStatus, InspectPort, Object, Placement, Serialization, Signal, Value, WorkerError,
};
use node::{nodes, own, script, under};
use support::{Cluster, Folder, placements};

fn get(address: SocketAddr) -> String {
    let mut client = TcpStream::connect(address).expect("it listens");
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("it answers");
    answer.rsplit("\r\n\r\n").next().unwrap_or_default().to_owned()
}

fn listens(cluster: &mut Cluster) -> SocketAddr {
    let listening = cluster.until("listening", |e| matches!(e, Event::Listening { .. }));
    let Event::Listening { address, .. } = listening else { unreachable!() };
    let port = address.port.and_then(|port| port.try_into().ok()).expect("a port");
    SocketAddr::from(([127, 0, 0, 1], port))
}

#[test]
fn messages_are_echoed() {
    for node in nodes() {
        let mut cluster = Cluster::with(under(&node, script("echo.cjs")));
        let worker = cluster.fork();
        assert_eq!(cluster.ask(worker, "hi there"), "hi there", "{}", node.display());
        let nested = Object::new().with("a", Object::new().with("b", "ü\n\u{1f600}"));
        cluster.primary.send(worker, nested.clone()).expect("it is connected");
        let Event::Message { message, .. } =
            cluster.until("echo", |e| matches!(e, Event::Message { .. }))
        else {
            unreachable!()
        };
        assert_eq!(message.value(), Ok(nested.into()));
    }
}

#[test]
fn long_messages_arrive_and_ones_that_nest_too_deep_are_lost_alone() {
    for node in nodes() {
        for serialization in [Serialization::Json, Serialization::Advanced] {
            let folder = support::Folder::new("long-and-deep");
            let path = folder.0.join("says.cjs");
            let text = "let deep = 'in the middle';
                for (let level = 0; level < 1000; level++) deep = [deep];
                process.send('x'.repeat(20 * 2 ** 20));
                process.send(deep);
                process.on('message', (long) => process.send(long.length));";
            std::fs::write(&path, text).expect("a file");
            let mut settings = under(&node, path);
            settings.serialization = serialization;
            let mut cluster = Cluster::with(settings);
            let worker = cluster.fork();
            assert_eq!(cluster.message(worker).len(), 20 << 20);
            let failed = |e: &Event| matches!(e, Event::Error { .. });
            let error = cluster.until("error", failed);
            assert!(
                matches!(error, Event::Error { error: WorkerError::TooDeep, .. }),
                "{serialization}: {error:?}"
            );
            cluster.primary.send(worker, "x".repeat(40 << 20)).expect("it is connected");
            let Event::Message { message, .. } =
                cluster.until("message", |e| matches!(e, Event::Message { .. }))
            else {
                unreachable!()
            };
            assert_eq!(message.decode(), Ok(40 << 20), "the channel is as it was");
        }
    }
}

/// What begins with `NODE_` is the protocol's: no program sees it, at either end.
#[test]
fn the_protocols_own_messages_reach_no_program() {
    for node in nodes() {
        let folder = support::Folder::new("internal");
        let path = folder.0.join("says.cjs");
        let text = "for (const cmd of ['NODE_', 'NODE_X', 'NODE_CLUSTER_X', 'mine']) \
                    process.send({ cmd });";
        std::fs::write(&path, text).expect("a file");
        let mut cluster = Cluster::with(under(&node, path));
        let worker = cluster.fork();
        let mut seen = Vec::new();
        while seen.last().is_none_or(|cmd| cmd != "mine") {
            let message = |e: &Event| matches!(e, Event::Message { .. });
            let Event::Message { message, .. } = cluster.until("message", message) else {
                unreachable!("it was waited for")
            };
            let message = message.value().expect("it can be decoded");
            seen.push(message["cmd"].as_str().unwrap_or_default().to_owned());
        }
        assert_eq!(seen, ["NODE_", "mine"]);
        let reserved = Object::new().with("cmd", "NODE_X");
        assert!(cluster.primary.send(worker, reserved).is_err());
    }
}

#[test]
fn each_serves_in_turn_and_leaves_when_told() {
    for node in nodes() {
        for placement in placements() {
            let settings = under(&node, script("which-worker.cjs")).placement(placement);
            let mut cluster = Cluster::with(settings);
            let workers = [cluster.fork(), cluster.fork()];
            let address = listens(&mut cluster);
            assert_eq!(listens(&mut cluster), address, "one port for both");
            let mut served = [0; 2];
            for count in 1..=10 {
                let by: usize = cluster.run(move || get(address)).parse().expect("an id");
                served[by - 1] += 1;
                if placement == Placement::Handoff {
                    cluster.until_handed_over(count);
                }
            }
            assert!(placement != Placement::Handoff || served == [5, 5], "{served:?}");
            cluster.primary.disconnect();
            cluster.until("disconnected", |e| matches!(e, Event::Disconnected));
            for worker in workers {
                assert!(cluster.disconnect_of(worker));
                assert_eq!(cluster.exit_of(worker), (ExitStatus::Code(0), true));
            }
        }
    }
}

#[test]
fn they_end_as_they_end() {
    let folder = Folder::new("exit-codes");
    for node in nodes() {
        // As a worker the page's program does nothing, and its channel keeps it.
        let mut cluster = Cluster::with(under(&node, script("exit-codes.cjs")));
        let worker = cluster.fork();
        assert!(cluster.primary.kill(worker, Signal::TERM).expect("it is there"));
        assert_eq!(cluster.exit_of(worker), (ExitStatus::Signal(Signal::TERM), false));

        for (text, expected) in [
            ("process.exit(7)", (ExitStatus::Code(7), false)),
            ("throw new Error('as told')", (ExitStatus::Code(1), false)),
            ("require('cluster').worker.disconnect()", (ExitStatus::Code(0), true)),
            ("require('cluster').worker.kill()", (ExitStatus::Code(0), true)),
            ("process.kill(process.pid, 'SIGKILL')", (ExitStatus::Signal(Signal::KILL), false)),
        ] {
            let settings = under(&node, own(&folder, text)).silent(true);
            let mut cluster = Cluster::with(settings);
            let worker = cluster.primary.fork().expect("there is node");
            assert_eq!(cluster.exit_of(worker), expected, "{text} under {}", node.display());
        }
    }
}

#[test]
fn one_whose_channel_is_closed_exits() {
    for node in nodes() {
        let mut cluster = Cluster::with(under(&node, script("echo.cjs")));
        let worker = cluster.fork();
        cluster.primary.close_channel(worker);
        assert_eq!(cluster.exit_of(worker), (ExitStatus::Code(0), false));
    }
}

#[test]
fn an_address_in_use_is_their_error_and_tried_again() {
    let folder = Folder::new("in-use");
    for node in nodes() {
        for placement in placements() {
            let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
            let port = taken.local_addr().expect("an address").port();
            let text = format!(
                "const listen = () => {{
                   const server = require('net').createServer((s) => s.end());
                   server.on('error', (e) => process.send(e.code));
                   server.listen({port}, '127.0.0.1', () => process.send('listens'));
                 }};
                 process.on('message', listen);
                 listen();"
            );
            let settings = under(&node, own(&folder, &text)).placement(placement);
            let mut cluster = Cluster::with(settings);
            let worker = cluster.fork();
            assert_eq!(cluster.message(worker), "EADDRINUSE", "{} {placement}", node.display());
            drop(taken);
            assert_eq!(cluster.ask(worker, "again"), "listens", "{} {placement}", node.display());
        }
    }
}

#[test]
fn inspected_workers_have_ports_of_their_own() {
    for node in nodes() {
        let folder = Folder::new("inspected");
        let script = own(
            &folder,
            "process.send([process.execArgv.at(-1), require('node:inspector').url() ?? 'none'])",
        );
        let mut settings = under(&node, script);
        settings.exec_argv = vec!["--no-warnings".into()];
        let mut cluster = Cluster::with(settings);
        let ask = |cluster: &mut Cluster| {
            let worker = cluster.primary.fork().expect("node is there");
            let message = |e: &Event| matches!(e, Event::Message { worker: w, .. } if *w == worker);
            match cluster.until("message", message) {
                Event::Message { message, .. } => message.value().expect("it can be decoded"),
                _ => unreachable!("it was asked for"),
            }
        };
        let plain = ask(&mut cluster);
        assert_eq!(plain[0].as_str(), Some("--no-warnings"), "inspection was not requested");
        assert_eq!(plain[1].as_str(), Some("none"));
        // Two free ports; the workers listen on them themselves.
        let ports: Vec<u16> = (0..2)
            .map(|_| std::net::TcpListener::bind("127.0.0.1:0").expect("a port"))
            .collect::<Vec<_>>()
            .iter()
            .map(|listener| listener.local_addr().expect("it is bound").port())
            .collect();
        let left = std::sync::Mutex::new(ports.clone());
        cluster.primary.setup(|settings| {
            settings.exec_argv = vec!["--inspect=127.0.0.1:0".into()];
            settings.inspect_port = InspectPort::With(std::sync::Arc::new(move || {
                left.lock().expect("no thread panics").remove(0)
            }));
        });
        for port in ports {
            let inspected = ask(&mut cluster);
            assert_eq!(inspected[0].as_str(), Some(&*format!("--inspect-port={port}")));
            let url = inspected[1].as_str().expect("a text");
            assert!(url.starts_with(&format!("ws://127.0.0.1:{port}/")), "{url}");
        }
    }
}

/// What a Node worker sends of each kind comes back to it as it went.
const CLONES: &str = r#"
const assert = require('node:assert');
const cycle = { list: [] };
cycle.list.push(cycle);
const values = [
  [undefined], null, -0, NaN, [2n ** 70n], 'x\ud800', new Date(5), /a/gu, [1, , 3],
  Object.assign([1], { named: true }), new Map([[{ a: 1 }, new Set([1])]]), Object('s'), Object(1n),
  new ArrayBuffer(4), Buffer.from('bytes'), new Float32Array([1.5]), new DataView(new ArrayBuffer(1)),
  cycle, Buffer.alloc(2_000_000, 1), new Error('plain'), new TypeError('t', { cause: new URIError('u') }),
];
let next = 0;
const send = () => process.send(values[next]);
process.on('message', (echo) => {
  if (echo?.show) return process.send(require('node:util').inspect(echo.show, { depth: 9 }));
  const value = values[next++];
  assert.deepStrictEqual(echo, value);
  if (value instanceof Error) assert.strictEqual(echo.stack, value.stack);
  if (next < values.length) send();
  else process.send('all came back');
});
send();
"#;

#[test]
fn structured_clones_go_both_ways() {
    for node in nodes() {
        let folder = Folder::new("clones");
        let mut settings = under(&node, own(&folder, CLONES));
        settings.serialization = Serialization::Advanced;
        let mut cluster = Cluster::with(settings);
        let worker = cluster.fork();
        loop {
            let message = |e: &Event| matches!(e, Event::Message { .. } | Event::Exit { .. });
            match cluster.until("message", message) {
                Event::Message { message, .. } if message == "all came back" => break,
                Event::Message { message, .. } => {
                    cluster.primary.send(worker, message).expect("what came can go");
                }
                other => panic!("{other:?}"),
            }
        }
        // And what starts here is what it is meant to be there.
        let error = ErrorValue {
            class: ErrorClass::RangeError,
            message: Some("too far".into()),
            stack: Some("RangeError: too far".into()),
            cause: Some(Value::from(BigInt::from(-5i64))),
        };
        let members = Object::new().with("named", true);
        for (value, seen) in [
            (Value::buffer(*b"hi"), "<Buffer 68 69>"),
            (
                StructuredClone::Map(vec![(
                    "k".into(),
                    StructuredClone::Set(vec![1.into()]).into(),
                )])
                .into(),
                "Map(1) { 'k' => Set(1) { 1 } }",
            ),
            (StructuredClone::Date(0.0).into(), "1970-01-01T00:00:00.000Z"),
            (StructuredClone::RegExp { source: "a+".into(), flags: "gi".into() }.into(), "/a+/gi"),
            (BigInt::from(1i128 << 64).into(), "18446744073709551616n"),
            (
                vec![Value::undefined(), StructuredClone::Boxed(Box::new(true.into())).into()]
                    .into(),
                "[ undefined, [Boolean: true] ]",
            ),
            (
                StructuredClone::Array { length: 3, elements: vec![(1, 5.into())], members }.into(),
                "[ <1 empty item>, 5, <1 empty item>, named: true ]",
            ),
            (
                vec![Value::from(Object::new()), StructuredClone::Back(2).into()].into(),
                "<ref *1> [ {}, [Circular *1] ]",
            ),
            (
                StructuredClone::View { kind: ViewKind::Uint16Array, bytes: vec![1, 0, 2, 0] }
                    .into(),
                "Uint16Array(2) [ 1, 2 ]",
            ),
            (StructuredClone::Utf16(vec![0x61, 0xd800]).into(), "'a\\uD800'"),
            (error.into(), "RangeError: too far { [cause]: -5n }"),
        ] {
            cluster.primary.send(worker, Object::new().with("show", value)).expect("connected");
            let said = cluster.message(worker);
            // Nodes differ in how they write hexadecimal digits, spaces, and errors without a place.
            let plain = said.replace("[RangeError: too far]", "RangeError: too far");
            let plain = plain.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(plain.to_lowercase(), seen.to_lowercase());
        }
        cluster.primary.disconnect_worker(worker);
        cluster.exit_of(worker);
    }
}
