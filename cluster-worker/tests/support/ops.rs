//! Drives a worker's machine by bytes, as an application, a driver and a primary that may each do
//! anything, and checks that nothing is lost, answered twice, or told after its end.
//!
//! The fuzz target `worker_ops` includes this file; `tests/fuzz_seeds.rs` replays its seeds.

use std::collections::{BTreeMap, BTreeSet};

use cluster_proto::{
    ClusterBody, HandleKind, ListenReply, Message, Object, ServerKey, SocketList, Value,
};
use cluster_worker::machine::{Config, Handle, HandleId, Input, Machine, Mono, Output, ServerId};
use cluster_worker::{ListenOptions, UdpOptions, UnixOptions};

/// Runs the bytes as operations. Panics if the machine breaks a promise.
#[allow(unreachable_pub, reason = "the fuzz target includes this file too")]
pub fn run(data: &[u8]) {
    let mut bytes = Bytes(data);
    let config = |flags: u8| {
        let mut config = Config::default();
        config.exit_when_orphaned = flags & 1 == 0;
        config.queue_limit = if flags & 2 == 0 { 3 } else { 100 };
        config.answer_timeout = (flags & 4 != 0).then_some(Mono::from_millis(50));
        config
    };
    let flags = bytes.next();
    let mut world = World::new(Machine::new(config(flags)));
    while !bytes.0.is_empty() {
        let op = bytes.next();
        world.step(op, &mut bytes);
    }
    world.input(Input::ChannelClosed);
    world.check_end();

    // How often one drains changes nothing.
    let mut undrained = Machine::new(config(flags));
    for event in &world.history {
        match event {
            Event::Input(now, input) => undrained.handle_input(*now, input.clone()),
            Event::Timeout(now) => undrained.handle_timeout(*now),
        }
    }
    for output in &world.outputs {
        assert_eq!(undrained.poll_output().as_ref(), Some(output));
    }
    assert_eq!(undrained.poll_output(), None);
}

struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn coin(&mut self) -> bool {
        self.next() < 128
    }
}

enum Event {
    Input(Mono, Input),
    Timeout(Mono),
}

/// Where a descriptor is.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    /// In the machine, as the connection of the `newconn` with this `seq`.
    Connection(u64),
    /// In the machine, with some other message.
    Elsewhere,
    /// With the driver, as a server's shared socket.
    Lent(ServerId),
    Gone,
}

struct World {
    machine: Machine,
    now: Mono,
    history: Vec<Event>,
    outputs: Vec<Output>,
    /// Listens that the primary has not answered, by `seq`.
    asked: Vec<u64>,
    servers: Vec<ServerId>,
    over: BTreeSet<ServerId>,
    listening: BTreeSet<ServerId>,
    opening: Vec<ServerId>,
    handles: BTreeMap<HandleId, Place>,
    /// Connections that came with messages and are open.
    sockets: u64,
    /// Connections by `seq`, and what was answered.
    connections: BTreeMap<u64, Option<bool>>,
    exit_asked: Option<u64>,
    worker_seq: u64,
    primary_seq: u64,
    closing: bool,
    closed: bool,
}

impl World {
    fn new(machine: Machine) -> Self {
        let mut world = Self {
            machine,
            now: Mono::ZERO,
            history: Vec::new(),
            outputs: Vec::new(),
            asked: Vec::new(),
            servers: Vec::new(),
            over: BTreeSet::new(),
            listening: BTreeSet::new(),
            opening: Vec::new(),
            handles: BTreeMap::new(),
            sockets: 0,
            connections: BTreeMap::new(),
            exit_asked: None,
            worker_seq: 0,
            primary_seq: 0,
            closing: false,
            closed: false,
        };
        world.drain();
        world
    }

    fn step(&mut self, op: u8, bytes: &mut Bytes<'_>) {
        match op % 23 {
            0 | 1 => self.listen(bytes),
            2 | 3 => self.answer_listen(bytes),
            4..=7 => {
                let handle = (bytes.next() % 8 != 7).then(|| self.handle(HandleKind::NetNative));
                let key = key(bytes.next());
                self.connections.insert(self.primary_seq, None);
                if let Some(handle) = &handle {
                    self.handles.insert(handle.id, Place::Connection(self.primary_seq));
                }
                self.primary_says(None, ClusterBody::NewConn { key }, handle);
            }
            8 | 9 => {
                let tracked = bytes.coin();
                if let Some(server) = self.server(bytes) {
                    self.input(Input::Take { server, tracked });
                }
            }
            10 => {
                if let Some(server) = self.server(bytes) {
                    self.input(Input::Ended(server));
                }
            }
            11 => {
                if let Some(server) = self.server(bytes) {
                    self.input(Input::CloseServer(server));
                }
            }
            12 => self.input(Input::TellHeld),
            13 => self.input(Input::Disconnect),
            14 => match bytes.next() % 5 {
                0 => self.input(Input::Kill),
                4 => self.input(Input::CloseChannel),
                1 => self.primary_says(None, ClusterBody::Disconnect, None),
                2 => {
                    if let Some(seq) = self.exit_asked.take() {
                        self.primary_says(Some(seq), ClusterBody::Ack, None);
                    }
                }
                _ => self.input(Input::ChannelClosed),
            },
            15 => {
                self.now += Mono::from_millis(u64::from(bytes.next()));
                self.history.push(Event::Timeout(self.now));
                self.machine.handle_timeout(self.now);
                self.drain();
                let due = self.machine.poll_timeout();
                assert!(due.is_none_or(|due| due > self.now), "a timer that does not go away");
            }
            16 => {
                let at = usize::from(bytes.next());
                let server = match self.opening.len() {
                    0 => self.server(bytes),
                    n => Some(self.opening.swap_remove(at % n)),
                };
                if let Some(server) = server {
                    self.input(if at.is_multiple_of(3) {
                        Input::OpenFailed { server, errno: 98 }
                    } else {
                        Input::Opened { server, port: Some(8080) }
                    });
                }
            }
            17 => {
                let handle = (bytes.coin()).then(|| self.handle(HandleKind::NetSocket));
                let message = match bytes.next() % 4 {
                    0 => Message::User("hello".into()),
                    1 => Message::SocketList(SocketList::GetCount { key: "k".into() }),
                    2 => Message::SocketList(SocketList::NotifyClose { key: "k".into() }),
                    _ => Message::Internal(Object::new().with("cmd", "NODE_DEBUG_ENABLED")),
                };
                self.input(Input::Received { message, handle });
            }
            18 => {
                let handle = (bytes.coin()).then(|| self.handle(HandleKind::NetNative));
                let ack = bytes.next();
                let body = match bytes.next() % 5 {
                    0 => ClusterBody::Online,
                    1 => ClusterBody::Accepted(true),
                    2 => ClusterBody::Close { key: key(ack) },
                    3 => ClusterBody::Other { act: "later".into() },
                    _ => ClusterBody::Ack,
                };
                self.asked.retain(|seq| *seq != u64::from(ack));
                self.primary_says(Some(ack.into()), body, handle);
            }
            19 => {
                if let Some(server) = self.server(bytes) {
                    self.input(Input::Track(server));
                }
            }
            20 => {
                let server = ServerId(self.servers.len() as u64);
                self.servers.push(server);
                self.input(Input::Own { server });
            }
            21 if self.sockets > 0 => {
                self.sockets -= 1;
                self.input(Input::SocketClosed("k".into()));
            }
            _ => {
                let when_closed = bytes.coin();
                self.input(Input::AskSockets { key: "k".into(), when_closed });
                if bytes.coin() {
                    let count = SocketList::Count { key: "k".into(), count: 7 };
                    let closed = SocketList::AllClosed { key: "k".into() };
                    for answer in [count, closed] {
                        let message = Message::SocketList(answer);
                        self.input(Input::Received { message, handle: None });
                    }
                }
            }
        }
    }

    fn listen(&mut self, bytes: &mut Bytes<'_>) {
        let server = ServerId(self.servers.len() as u64);
        self.servers.push(server);
        let what = bytes.next();
        let query = match what % 4 {
            0 => ListenOptions::from(0).query(),
            1 => ListenOptions::from(80).query(),
            2 => UnixOptions::new("/s").query(),
            _ => UdpOptions::new().query(),
        };
        let query = Box::new(query.expect("a good address"));
        let max_connections = (what & 16 != 0).then_some(2);
        self.input(Input::Listen { server, query, max_connections });
    }

    fn answer_listen(&mut self, bytes: &mut Bytes<'_>) {
        if self.asked.is_empty() {
            return;
        }
        let at = usize::from(bytes.next()) % self.asked.len();
        let seq = self.asked.swap_remove(at);
        let how = bytes.next();
        let handle = (how.is_multiple_of(3)).then(|| self.handle(HandleKind::NetNative));
        let errno = (how % 5 == 4).then_some(-98);
        let reply = ListenReply { errno, key: key(how / 16), data: Value::Null, sockname: None };
        self.primary_says(Some(seq), ClusterBody::ListenReply(Box::new(reply)), handle);
    }

    fn server(&self, bytes: &mut Bytes<'_>) -> Option<ServerId> {
        let at = usize::from(bytes.next());
        self.servers.get(at % self.servers.len().max(1)).copied()
    }

    fn handle(&mut self, kind: HandleKind) -> Handle {
        let id = HandleId(self.handles.len() as u64);
        self.handles.insert(id, Place::Elsewhere);
        // Each connection comes from a server of the primary's, which counts it.
        let key = (kind == HandleKind::NetSocket).then(|| "k".into());
        Handle { id, kind, key }
    }

    fn primary_says(&mut self, ack: Option<u64>, body: ClusterBody, handle: Option<Handle>) {
        let message = Message::cluster(self.primary_seq, ack, body);
        self.primary_seq += 1;
        self.input(Input::Received { message, handle });
    }

    fn input(&mut self, input: Input) {
        self.history.push(Event::Input(self.now, input.clone()));
        let closes = input == Input::ChannelClosed;
        self.machine.handle_input(self.now, input);
        self.drain();
        self.closed |= closes;
        if self.closed {
            let waits = |place: &Place| matches!(place, Place::Connection(_) | Place::Elsewhere);
            assert!(!self.handles.values().any(waits), "a descriptor outlives the channel");
        }
    }

    fn drain(&mut self) {
        let mut accepted = None;
        while let Some(output) = self.machine.poll_output() {
            let just_accepted = accepted.take();
            self.outputs.push(output.clone());
            match output {
                Output::Send(message) => {
                    assert!(!self.closed, "{message:?} after the end");
                    match &message {
                        Message::SocketList(SocketList::Count { count, .. }) => {
                            assert_eq!(*count, self.sockets, "connections that are open here");
                        }
                        Message::SocketList(SocketList::AllClosed { .. }) => {
                            assert_eq!(self.sockets, 0, "connections that are open here");
                        }
                        _ => {}
                    }
                    if let Message::Cluster(message) = message {
                        assert_eq!(message.seq, self.worker_seq, "a gap in seq");
                        self.worker_seq += 1;
                        match message.body {
                            ClusterBody::QueryServer(_) => self.asked.push(message.seq),
                            ClusterBody::ExitedAfterDisconnect => {
                                self.exit_asked = Some(message.seq);
                            }
                            ClusterBody::Accepted(yes) => {
                                let seq = message.ack.expect("an answer to something");
                                let answer = self.connections.get_mut(&seq).expect("it was sent");
                                assert_eq!(answer.replace(yes), None, "{seq} is answered twice");
                                accepted = yes.then_some(seq);
                            }
                            _ => {}
                        }
                    }
                }
                Output::Connection { handle, .. } => {
                    let place = self.leave(handle);
                    assert_eq!(just_accepted.map(Place::Connection), Some(place), "not accepted");
                }
                Output::CloseHandle(handle) => {
                    if let Place::Connection(seq) = self.leave(handle) {
                        let answer = self.connections[&seq];
                        let told = answer == Some(false) || answer.is_none();
                        assert!(told, "{seq} was accepted, and is closed");
                    }
                }
                Output::Open { server, handle, .. } => {
                    assert_eq!(self.leave(handle), Place::Elsewhere);
                    self.handles.insert(handle, Place::Lent(server));
                    self.opening.push(server);
                }
                Output::Deliver { handle: Some(handle), .. } => {
                    self.sockets += u64::from(handle.key.is_some());
                    assert_eq!(self.leave(handle.id), Place::Elsewhere);
                }
                Output::Listening { server, .. } => {
                    assert!(self.listening.insert(server), "{server} listens twice");
                    assert!(!self.over.contains(&server), "{server} listens after its end");
                }
                Output::ListenFailed { server, .. } => {
                    assert!(!self.listening.contains(&server), "{server} listened");
                    self.end(server);
                }
                Output::Closed(server) => self.end(server),
                Output::ConnectionReady(server) => {
                    assert!(!self.over.contains(&server), "{server} is over");
                }
                Output::CloseChannel => {
                    assert!(!std::mem::replace(&mut self.closing, true), "closes twice");
                }
                Output::Disconnected => assert!(!self.closed, "disconnects twice"),
                _ => {}
            }
        }
    }

    /// Takes a descriptor out of the machine.
    fn leave(&mut self, handle: HandleId) -> Place {
        let place = self.handles.insert(handle, Place::Gone).expect("it was received");
        assert!(
            matches!(place, Place::Connection(_) | Place::Elsewhere),
            "{handle:?} ends twice: {place:?}"
        );
        place
    }

    fn end(&mut self, server: ServerId) {
        assert!(self.over.insert(server), "{server} ends twice");
        for place in self.handles.values_mut() {
            if *place == Place::Lent(server) {
                *place = Place::Gone;
            }
        }
    }

    fn check_end(&self) {
        for server in &self.servers {
            assert!(self.over.contains(server), "{server} never ends");
        }
        for (handle, place) in &self.handles {
            assert_eq!(*place, Place::Gone, "{handle:?} is lost");
        }
    }
}

fn key(n: u8) -> ServerKey {
    format!("key {}", n % 4).into()
}
