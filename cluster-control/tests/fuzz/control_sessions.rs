//! The body of the fuzz target `control_sessions`: several clients of the control API on real sockets, with
//! lines in pieces, interleaved, cut off by a close, and answers that are read late or never. What is
//! checked of every client that reads to the end:
//! - each line that it gets is an object of JSON-RPC;
//! - each request that it sent with an id is answered once, and nothing else is;
//! - it gets the events that it subscribed to, in their order, and no others;
//! - nothing of one client's lines goes to another.
//!
//! The server is handed over to another one meanwhile, as by an upgrade in place. Nothing is forked: the
//! server has been told that the cluster ends.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cluster_control::{CommandId, ControlServer, Refusal};
use cluster_primary::{Frozen, Primary, Settings};
use cluster_supervisor::driver::Notice;
use serde_json::Value;

use super::bytes::Bytes;

/// What happened in a run.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) clients: u32,
    pub(crate) answers: u32,
    pub(crate) events: u32,
    pub(crate) upgrades: u32,
}

/// Runs the bytes as operations. Panics if the server breaks a promise.
pub(crate) fn run(data: &[u8]) -> Report {
    let mut bytes = Bytes(data);
    let mut world = World::new(bytes.next());
    while !bytes.is_empty() {
        world.step(&mut bytes);
    }
    world.finish()
}

const MOST_CLIENTS: usize = 5;

struct Client {
    /// None once it has closed.
    stream: Option<UnixStream>,
    /// It said all that it will.
    has_ended: bool,
    /// What is not sent yet of what it wants to say.
    unsent: Vec<u8>,
    received: Vec<u8>,
    /// Ids of requests that are to be answered.
    asked: BTreeSet<u64>,
    /// Numbers of events that it gets, from the one that followed its subscription on.
    expected: Vec<u32>,
    subscribed: bool,
    /// Lines were sent of which it is not known what they call for.
    talks_nonsense: bool,
}

struct World {
    primary: Primary,
    server: Option<ControlServer>,
    path: PathBuf,
    clients: Vec<Client>,
    last_id: u64,
    last_event: u32,
    commands: Vec<CommandId>,
    report: Report,
}

impl World {
    fn new(flags: u8) -> Self {
        static RUNS: AtomicU64 = AtomicU64::new(0);
        let number = RUNS.fetch_add(1, Ordering::Relaxed);
        let name = format!("cluster-fuzz-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let mut server = ControlServer::bind(&path).expect("a socket");
        if flags & 1 == 0 {
            server = server.accepting_commands();
        }
        server.end_forks();
        Self {
            primary: Primary::new(Settings::new("/nonexistent")).expect("a poll"),
            server: Some(server),
            path,
            clients: Vec::new(),
            last_id: 0,
            last_event: 0,
            commands: Vec::new(),
            report: Report::default(),
        }
    }

    fn server(&mut self) -> &mut ControlServer {
        self.server.as_mut().expect("there is one")
    }

    fn step(&mut self, bytes: &mut Bytes<'_>) {
        match bytes.next() % 20 {
            0 => self.connect(),
            1..=5 => self.call(bytes),
            6 => self.subscribe(bytes),
            7 => {
                let raw = bytes.next();
                let raw = bytes.take(raw.into());
                if let Some(client) = self.open(bytes).filter(|_| bytes.next() < 64) {
                    self.nonsense(client, raw);
                }
            }
            8..=10 => {
                let most = usize::from(bytes.next()) + 1;
                if let Some(client) = self.open(bytes) {
                    self.clients[client].send(most);
                }
            }
            11 => {
                let most = usize::from(bytes.next_u16());
                if let Some(client) = self.open(bytes) {
                    self.clients[client].read(most);
                }
            }
            12 => {
                let how = bytes.next();
                if let Some(client) = self.open(bytes) {
                    self.clients[client].close(how);
                }
            }
            13 | 14 => self.event(bytes.next()),
            15 => self.answer(bytes),
            16 => {
                if bytes.next() < 64 {
                    self.upgrade();
                }
            }
            _ => self.process(),
        }
    }

    fn open(&self, bytes: &mut Bytes<'_>) -> Option<usize> {
        let open = (0..self.clients.len()).filter(|nth| self.clients[*nth].stream.is_some());
        bytes.pick(&open.collect::<Vec<_>>())
    }

    fn connect(&mut self) {
        if self.clients.len() == MOST_CLIENTS {
            return;
        }
        let stream = UnixStream::connect(&self.path).expect("it listens");
        stream.set_nonblocking(true).expect("a socket");
        self.report.clients += 1;
        self.clients.push(Client {
            stream: Some(stream),
            has_ended: false,
            unsent: Vec::new(),
            received: Vec::new(),
            asked: BTreeSet::new(),
            expected: Vec::new(),
            subscribed: false,
            talks_nonsense: false,
        });
    }

    /// A request, good or bad, with an id of its own or none.
    fn call(&mut self, bytes: &mut Bytes<'_>) {
        const CALLS: [&str; 24] = [
            r#""method":"version""#,
            r#""method":"workers""#,
            r#""method":"settings""#,
            r#""method":"status""#,
            r#""method":"reload""#,
            r#""method":"scale","params":{"workers":3}"#,
            r#""method":"scale","params":{"workers":0}"#,
            r#""method":"drain","params":{"delayMs":10}"#,
            r#""method":"upgrade""#,
            r#""method":"fork""#,
            r#""method":"schedulingPolicy""#,
            r#""method":"schedulingPolicy","params":{"policy":"kernel-sticky"}"#,
            r#""method":"setupPrimary","params":{"args":["a"],"silent":true,"cwd":null}"#,
            r#""method":"setupPrimary","params":{"stdio":["pipe",1,"ipc"]}"#,
            r#""method":"setupPrimary","params":{"uid":-1}"#,
            r#""method":"send","params":{"worker":1,"message":{"a":[1,null,"b"]}}"#,
            r#""method":"kill","params":{"worker":1,"signal":"SIGNONE"}"#,
            r#""method":"kill","params":{"worker":1}"#,
            r#""method":"disconnectWorker","params":{"worker":4294967295}"#,
            r#""method":"closeChannel","params":{"worker":-1}"#,
            r#""method":"disconnect""#,
            r#""method":"stop""#,
            r#""method":"dance""#,
            r#""method":"subscribe","params":{"events":["dance"]}"#,
        ];
        let (nth, how) = (usize::from(bytes.next()), bytes.next());
        let Some(client) = self.open(bytes).filter(|nth| !self.clients[*nth].has_ended) else {
            return;
        };
        let call = CALLS[nth % CALLS.len()];
        self.last_id += 1;
        let id = self.last_id;
        let client = &mut self.clients[client];
        // A notification is not answered, and a line without its end is none yet.
        let line = if how % 8 == 7 {
            format!("{{\"jsonrpc\":\"2.0\",{call}}}")
        } else {
            client.asked.insert(id);
            format!("{{\"id\":{id},{call},\"jsonrpc\":\"2.0\"}}")
        };
        client.unsent.extend_from_slice(line.as_bytes());
        client.unsent.extend_from_slice(if how & 0x40 == 0 { b"\n" } else { b"\r\n\n" });
    }

    fn subscribe(&mut self, bytes: &mut Bytes<'_>) {
        let Some(nth) = self.open(bytes).filter(|nth| !self.clients[*nth].has_ended) else {
            return;
        };
        self.last_id += 1;
        let id = self.last_id;
        self.clients[nth].asked.insert(id);
        let params = r#"{"events":["scaled"]}"#;
        let line = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"subscribe\",\"params\":{params}}}\n"
        );
        self.clients[nth].unsent.extend_from_slice(line.as_bytes());
        // The server hears of it now, so that it is known from when on the events come.
        while !self.clients[nth].unsent.is_empty() {
            self.clients[nth].send(usize::MAX);
            self.process();
        }
        self.settle();
        self.clients[nth].subscribed = true;
    }

    /// Lines that may be anything: their client's answers cannot be told any more.
    fn nonsense(&mut self, nth: usize, raw: &[u8]) {
        let client = &mut self.clients[nth];
        if !client.has_ended {
            client.talks_nonsense = true;
            client.unsent.extend_from_slice(raw);
        }
    }

    fn event(&mut self, size: u8) {
        self.last_event += 1;
        let from = self.last_event;
        // Some are followed by so many others that a client that reads slowly has to wait.
        let notice = Notice::Scaled { from, to: 0 };
        self.server().notice(&notice);
        let mut said = 1;
        if size > 250 {
            (0..2000).for_each(|_| self.server().notice(&notice));
            said += 2000;
        }
        for client in self.clients.iter_mut().filter(|client| client.subscribed) {
            client.expected.extend(std::iter::repeat_n(from, said));
        }
        self.report.events += 1;
    }

    fn answer(&mut self, bytes: &mut Bytes<'_>) {
        self.take_orders();
        let (nth, how) = (usize::from(bytes.next()), bytes.next());
        if self.commands.is_empty() {
            return;
        }
        let command = self.commands.remove(nth % self.commands.len());
        let refusal = Refusal::new("ERR_NOT_NOW", "not now");
        self.server()
            .answer(command, if how.is_multiple_of(2) { Ok(true.into()) } else { Err(refusal) });
    }

    fn take_orders(&mut self) {
        while let Some((id, _)) = self.server().next_command() {
            self.commands.push(id);
        }
    }

    /// The next image of the process takes up what this one has written down.
    fn upgrade(&mut self) {
        let mut old = self.server.take().expect("there is one");
        let Frozen { text, fds } = old.state().expect("it can be written down");
        old.abandon();
        let new = ControlServer::from_state(&text, fds).expect("it can be taken up");
        self.server = Some(new);
        self.report.upgrades += 1;
    }

    fn process(&mut self) {
        let Self { primary, server, .. } = self;
        let server = server.as_mut().expect("there is one");
        server.process(primary).expect("a poll");
        // `disconnect` is answered by an event.
        while let Some(event) = primary.try_event().expect("a poll") {
            let _ = server.event(primary, &event);
        }
    }

    /// Until the server has nothing more to do.
    fn settle(&mut self) {
        for _ in 0..1000 {
            self.process();
            if self.server().poll_timeout() != Some(Duration::ZERO) {
                break;
            }
        }
    }

    fn finish(mut self) -> Report {
        // All that clients have to say is said, and all commands are answered.
        for _ in 0..10_000 {
            self.clients.iter_mut().for_each(|client| client.send(usize::MAX));
            self.settle();
            self.take_orders();
            while let Some(command) = self.commands.pop() {
                self.server().answer(command, Ok(true.into()));
            }
            self.settle();
            let read = self.clients.iter_mut().map(|client| client.read(usize::MAX)).sum::<usize>();
            let waits = self.clients.iter().any(|c| c.stream.is_some() && !c.unsent.is_empty());
            if read == 0 && !waits {
                break;
            }
        }
        for client in std::mem::take(&mut self.clients) {
            self.report.answers += client.check();
        }
        if let Some(server) = self.server.take() {
            drop(server);
        }
        assert!(!self.path.exists(), "the socket's file is left");
        self.report
    }
}

impl Client {
    /// Sends some of what it has to say.
    fn send(&mut self, most: usize) {
        let Some(stream) = &mut self.stream else { return };
        let most = most.min(self.unsent.len());
        match stream.write(&self.unsent[..most]) {
            Ok(sent) => drop(self.unsent.drain(..sent)),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            // The server has closed.
            Err(_) => self.unsent.clear(),
        }
    }

    /// Reads some of what it is sent; how much that was.
    fn read(&mut self, most: usize) -> usize {
        let Some(stream) = &mut self.stream else { return 0 };
        let mut chunk = vec![0; most.clamp(1, 1 << 20)];
        match stream.read(&mut chunk) {
            Ok(length) => {
                self.received.extend_from_slice(&chunk[..length]);
                length
            }
            Err(_) => 0,
        }
    }

    fn close(&mut self, how: u8) {
        match how % 3 {
            // It says nothing more, and still listens.
            0 if self.unsent.is_empty() => {
                self.has_ended = true;
                if let Some(stream) = &self.stream {
                    stream.shutdown(Shutdown::Write).expect("a socket");
                }
            }
            1 => self.stream = None,
            _ => {}
        }
    }

    /// What it was told is what it should have been. How many answers there were.
    fn check(self) -> u32 {
        let reads = self.stream.is_some();
        let mut lines: Vec<_> = self.received.split(|byte| *byte == b'\n').collect();
        let last = lines.pop().unwrap_or_default();
        assert!(last.is_empty() || !reads, "it ends at the end of a line");
        let mut answered = BTreeSet::new();
        for line in lines {
            let value: Value = serde_json::from_slice(line).expect("JSON");
            assert_eq!(value["jsonrpc"], "2.0");
            if value["method"] == "event" {
                let subscribed = self.talks_nonsense || value["params"]["type"] == "scaled";
                assert!(subscribed, "it did not subscribe to {value}");
                continue;
            }
            assert!(value["result"].is_null() != value["error"].is_null(), "{value}");
            if self.talks_nonsense {
                continue;
            }
            let id = value["id"].as_u64().unwrap_or_else(|| panic!("no id in {value}"));
            assert!(self.asked.contains(&id), "{value} is not its answer");
            assert!(answered.insert(id), "{id} is answered twice");
        }
        if self.talks_nonsense {
            return 0;
        }
        if reads {
            assert_eq!(answered.len(), self.asked.len(), "{:?} of {:?}", answered, self.asked);
        }
        let told = self.told();
        assert!(told.len() <= self.expected.len(), "events that it did not subscribe to");
        assert_eq!(told, self.expected[..told.len()], "events in their order");
        assert!(!reads || told.len() == self.expected.len(), "all events");
        answered.len() as u32
    }

    /// The numbers of the events that it was told.
    fn told(&self) -> Vec<u32> {
        let lines = self.received.split_inclusive(|byte| *byte == b'\n');
        let lines = lines.filter(|line| line.ends_with(b"\n"));
        let values = lines.map(|line| serde_json::from_slice::<Value>(line).expect("JSON"));
        let scaled = values.filter(|value| value["params"]["type"] == "scaled");
        scaled.map(|value| value["params"]["from"].as_u64().expect("a number") as u32).collect()
    }
}
