//! Recordings of real Node channels: given the primary's frames and what the application did, the
//! machine says what Node's worker said.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use cluster_proto::{
    ClusterBody, ClusterMessage, Codec, Field, Json, ListenQuery, Message, Object, Value,
};
use cluster_worker::machine::{Config, Handle, HandleId, Input, Machine, Mono, Output, ServerId};
use cluster_worker::{ListenOptions, UdpOptions, UnixOptions};

#[test]
fn says_what_nodes_worker_said() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../cluster-proto/tests/golden");
    if !folder.exists() {
        println!("skipped: {} is not there (a packaged crate?)", folder.display());
        return;
    }
    // One worker, and the same application, in each.
    for name in ["node20-rr", "node20-none", "node26-rr", "node26-none"] {
        println!("{name}");
        replay(&fs::read_to_string(folder.join(name).with_extension("jsonl")).unwrap());
    }
}

struct Replay {
    machine: Machine,
    said: Vec<Value>,
    recorded: Vec<Value>,
    servers: u64,
    handles: u64,
    /// The `seq` of our query by that of the recorded one: ours says `listening` sooner.
    seqs: BTreeMap<u64, u64>,
    last_seq: u64,
}

fn replay(recording: &str) {
    let lines: Vec<Value> = recording.lines().map(parse).collect();
    let mut replay = Replay {
        machine: Machine::new(Config::default()),
        said: Vec::new(),
        recorded: Vec::new(),
        servers: 0,
        handles: 0,
        seqs: BTreeMap::new(),
        last_seq: 0,
    };
    for line in &lines {
        replay.line(line, &lines);
    }
    // Node says `listening` when its event loop comes round to it, so the order of frames of
    // different kinds differs; that of each kind does not.
    for kind in ["online", "queryServer", "listening", "close", "accepted", "user"] {
        let of_kind = |frames: &[Value]| -> Vec<Value> {
            frames.iter().filter(|frame| kind_of(frame) == kind).cloned().collect()
        };
        assert_eq!(sorted(kind, of_kind(&replay.said)), sorted(kind, of_kind(&replay.recorded)));
    }
    assert_eq!(replay.said.len(), replay.recorded.len());
}

/// `listening` follows no order: Node resolves some addresses before it binds.
fn sorted(kind: &str, mut frames: Vec<Value>) -> Vec<Value> {
    if kind == "listening" {
        frames.sort_by_key(|frame| format!("{frame:?}"));
    }
    frames
}

fn parse(line: &str) -> Value {
    match Json.decode(line.as_bytes()).unwrap() {
        Message::User(value) => value,
        other => panic!("{other:?}"),
    }
}

fn kind_of(frame: &Value) -> &str {
    match (frame["act"].as_str(), frame["accepted"].as_bool()) {
        (Some(act), _) => act,
        (None, Some(_)) => "accepted",
        (None, None) => "user",
    }
}

/// A frame without what may differ: the `seq`, and the ways to spell a default.
fn normal(frame: &Value) -> Value {
    let Some(object) = frame.as_object() else { return frame.clone() };
    let mut object: Object = object.clone();
    object.remove("seq");
    if object.member("backlog").is_some_and(|backlog| !backlog.is_truthy()) {
        object.insert("backlog", 0);
    }
    // Node 20 leaves it out where there is no address.
    if object.member("address").is_some_and(Value::is_null) {
        object.remove("flags");
    }
    // The order of members means nothing.
    let mut members: Vec<(String, Value)> =
        object.iter().map(|(name, value)| (name.to_owned(), value.clone())).collect();
    members.sort_by(|a, b| a.0.cmp(&b.0));
    Object::from_members(members).into()
}

fn query(frame: &Value) -> ListenQuery {
    let (address, port) = (frame["address"].as_str(), frame["port"].as_i64().unwrap());
    let port = u16::try_from(port).unwrap_or(0);
    match (frame["addressType"].as_i64(), address) {
        (Some(-1), Some(path)) => {
            UnixOptions::new(path).readable_all(frame["readableAll"].is_truthy()).query()
        }
        (Some(_), Some(ip)) => {
            ListenOptions::from((ip, port)).ipv6_only(frame["flags"].is_truthy()).query()
        }
        (Some(_), None) => ListenOptions::from(port).query(),
        (None, ip) => UdpOptions::from((ip.unwrap(), port)).query(),
    }
    .unwrap()
}

impl Replay {
    fn line(&mut self, line: &Value, lines: &[Value]) {
        let frame = &line["frame"];
        let message = Message::from_value(frame.clone()).unwrap();
        if line["dir"].as_str() == Some("W>P") {
            if message.is_handle_answer() {
                return; // The channel's business.
            }
            self.recorded.push(normal(frame));
            match message {
                // The driver's business.
                Message::User(_) => self.said.push(normal(frame)),
                Message::Cluster(message) => {
                    if let ClusterBody::QueryServer(_) = message.body {
                        self.servers += 1;
                        let server = ServerId(self.servers);
                        let query = Box::new(query(frame));
                        let listen = Input::Listen { server, query, max_connections: None };
                        self.input(listen, lines);
                        self.seqs.insert(message.seq, self.last_seq);
                    }
                }
                other => panic!("{other:?}"),
            }
            return;
        }
        let (mut message, handle) = match message {
            Message::Handle(handle) => {
                self.handles += 1;
                let id = HandleId(self.handles);
                (*handle.message, Some(Handle { id, kind: handle.kind, key: handle.key }))
            }
            message => (message, None),
        };
        if let Message::Cluster(ClusterMessage { ack: Some(ack), .. }) = &mut message {
            *ack = self.seqs[ack];
        }
        self.input(Input::Received { message, handle }, lines);
    }

    fn input(&mut self, input: Input, lines: &[Value]) {
        self.machine.handle_input(Mono::ZERO, input);
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Send(message) => {
                    if let Message::Cluster(message) = &message {
                        self.last_seq = message.seq;
                    }
                    let mut bytes = Vec::new();
                    Json.encode(&message, &mut bytes).unwrap();
                    // Through the codec, so that the members are those on the wire.
                    let text = String::from_utf8(bytes).unwrap();
                    let wrapped = parse(&format!("{{\"frame\":{}}}", text.trim_end()));
                    self.said.push(normal(&wrapped["frame"]));
                }
                Output::Open { server, .. } => {
                    let mut asked = self.said.iter().filter(|f| kind_of(f) == "queryServer");
                    let asked = asked.nth(server.0 as usize - 1);
                    let port = bound_port(asked.expect("it was asked for"), lines);
                    self.machine.handle_input(Mono::ZERO, Input::Opened { server, port });
                }
                Output::ConnectionReady(server) => {
                    let take = Input::Take { server, tracked: false };
                    self.machine.handle_input(Mono::ZERO, take);
                }
                Output::CloseChannel => {
                    self.machine.handle_input(Mono::ZERO, Input::ChannelClosed);
                }
                _ => {}
            }
        }
    }
}

/// The port that the recorded worker found its shared socket bound to.
fn bound_port(asked: &Value, lines: &[Value]) -> Option<u16> {
    let same = |frame: &&Value| {
        kind_of(frame) == "listening"
            && frame["address"] == asked["address"]
            && frame["addressType"] == asked["addressType"]
    };
    let frame = lines.iter().map(|line| &line["frame"]).find(same)?;
    match Message::from_value(frame.clone()).unwrap() {
        Message::Cluster(message) => match message.body {
            ClusterBody::Listening(query) => match query.port {
                Field::Is(port) => u16::try_from(port).ok(),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}
