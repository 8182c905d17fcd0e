//! Descriptors beside messages, both ways.

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use super::steps::{RR, Scenario, cluster, end, gone};
use crate::compat::stage::{Played, Stage, connect, read_all};
use crate::compat::trace::Party;

pub(super) const ALL: &[Scenario] = &[
    Scenario { name: "a-listener-down", policies: RR, play: |s| listener(s, Way::Down) },
    Scenario { name: "a-listener-up", policies: RR, play: |s| listener(s, Way::Up) },
    Scenario { name: "a-connection-down", policies: RR, play: |s| connection(s, Way::Down) },
    Scenario { name: "a-connection-up", policies: RR, play: |s| connection(s, Way::Up) },
    Scenario { name: "a-unix-connection-down", policies: RR, play: |s| unix(s, Way::Down) },
    Scenario { name: "a-unix-connection-up", policies: RR, play: |s| unix(s, Way::Up) },
    Scenario { name: "a-kept-connection-down", policies: RR, play: |s| kept(s, Way::Down) },
    Scenario { name: "a-kept-connection-up", policies: RR, play: |s| kept(s, Way::Up) },
    Scenario { name: "a-datagram-socket-down", policies: RR, play: |s| datagrams(s, Way::Down) },
    Scenario { name: "a-datagram-socket-up", policies: RR, play: |s| datagrams(s, Way::Up) },
    Scenario { name: "descriptors-at-once", policies: RR, play: at_once },
    Scenario { name: "messages-behind-a-descriptor", policies: RR, play: behind },
];

/// Where actors make what they send.
const LOCAL: &str = "127.0.0.1";

#[derive(Clone, Copy)]
enum Way {
    /// From the primary to the worker.
    Down,
    Up,
}

impl Way {
    fn order(self, stage: &mut Stage<'_>, order: Value) -> Played<Value> {
        match self {
            Self::Down => stage.primary(order),
            Self::Up => stage.worker(1, order),
        }
    }

    fn send(self, stage: &mut Stage<'_>, id: &str, message: Value, keep: bool) -> Played {
        let mut order = json!({ "do": "sendHandle", "id": id, "message": message });
        if keep {
            order["keepOpen"] = true.into();
        }
        match self {
            Self::Down => {
                order["worker"] = 1.into();
                stage.primary(order)?;
                stage.worker_sees(1, "message")
            }
            Self::Up => {
                stage.worker(1, order)?;
                stage.sees(1, "message")
            }
        }
    }
}

fn make(stage: &mut Stage<'_>, way: Way, id: &str, kind: &str) -> Played<Value> {
    Ok(way.order(stage, json!({ "do": "make", "id": id, "kind": kind }))?["port"].clone())
}

fn listener(stage: &mut Stage<'_>, way: Way) -> Played {
    cluster(stage, 1)?;
    let port = make(stage, way, "l", "listener")?;
    way.send(stage, "l", json!("serve this"), false)?;
    stage.client(LOCAL, &port)?;
    stage.client(LOCAL, &port)?;
    way.order(stage, json!({ "do": "state", "worker": 1 }))?;
    leave(stage)
}

/// A worker that serves what it was sent would serve it forever.
fn leave(stage: &mut Stage<'_>) -> Played {
    stage.worker(1, json!({ "do": "exit", "code": 0 }))?;
    gone(stage, 1)
}

fn connection(stage: &mut Stage<'_>, way: Way) -> Played {
    cluster(stage, 1)?;
    let port = make(stage, way, "c", "connection")?;
    let client = connect(LOCAL, &port)?;
    way.send(stage, "c", json!({ "with": "a connection" }), false)?;
    let told = read_all(client)?;
    stage.client_says(&json!({ "port": port }), &told);
    end(stage, &[1])
}

fn unix(stage: &mut Stage<'_>, way: Way) -> Played {
    cluster(stage, 1)?;
    let path = stage.folder().join("connection");
    let order = json!({ "do": "make", "id": "c", "kind": "connection", "path": path });
    way.order(stage, order)?;
    let client = UnixStream::connect(&path)?;
    way.send(stage, "c", json!("over a path"), false)?;
    let told = read_all(client)?;
    stage.client_says(&json!({ "path": path }), &told);
    end(stage, &[1])
}

fn kept(stage: &mut Stage<'_>, way: Way) -> Played {
    cluster(stage, 1)?;
    let port = make(stage, way, "c", "connection")?;
    let mut client = BufReader::new(connect(LOCAL, &port)?);
    way.send(stage, "c", json!("ours too"), true)?;
    let mut told = String::new();
    client.read_line(&mut told)?;
    stage.client_says(&json!({ "port": port }), &told);
    way.order(stage, json!({ "do": "say", "id": "c" }))?;
    let told = read_all(client)?;
    stage.client_says(&json!({ "port": port }), &told);
    end(stage, &[1])
}

fn datagrams(stage: &mut Stage<'_>, way: Way) -> Played {
    cluster(stage, 1)?;
    let port = make(stage, way, "u", "udp")?;
    way.send(stage, "u", json!("answer there"), false)?;
    stage.datagram(LOCAL, &port)?;
    leave(stage)
}

/// Both ends send several at once, before either has acknowledged any.
fn at_once(stage: &mut Stage<'_>) -> Played {
    const EACH: u32 = 4;
    cluster(stage, 1)?;
    let ways = [(Way::Down, Party::Primary), (Way::Up, Party::Worker(1))];
    let mut ports = Vec::new();
    for (way, _) in ways {
        for n in 0..EACH {
            ports.push(make(stage, way, &n.to_string(), "listener")?);
        }
    }
    let payload = "x".repeat(20_000);
    let mut begun = Vec::new();
    for n in 0..EACH {
        for (_, party) in ways {
            let mut order = json!({ "do": "sendHandle", "id": n.to_string(),
                "message": { "n": n, "payload": payload } });
            if party == Party::Primary {
                order["worker"] = 1.into();
            }
            begun.push(stage.begin(party, order)?);
        }
    }
    for n in begun {
        stage.answer(n)?;
    }
    for _ in 0..EACH {
        stage.sees(1, "message")?;
        stage.worker_sees(1, "message")?;
    }
    for port in ports {
        stage.client(LOCAL, &port)?;
    }
    leave(stage)
}

/// What is sent behind a descriptor stays behind it.
fn behind(stage: &mut Stage<'_>) -> Played {
    cluster(stage, 1)?;
    let ways = [(Way::Down, Party::Primary), (Way::Up, Party::Worker(1))];
    for (way, party) in ways {
        make(stage, way, "l", "listener")?;
        let mut begun = Vec::new();
        for order in [
            json!({ "do": "sendHandle", "id": "l", "message": "with" }),
            json!({ "do": "send", "message": "behind" }),
            json!({ "do": "send", "message": "last" }),
        ] {
            let mut order = order;
            if party == Party::Primary {
                order["worker"] = 1.into();
            }
            begun.push(stage.begin(party, order)?);
        }
        for n in begun {
            stage.answer(n)?;
        }
        for _ in 0..3 {
            match way {
                Way::Down => stage.worker_sees(1, "message")?,
                Way::Up => stage.sees(1, "message")?,
            }
        }
    }
    leave(stage)
}
