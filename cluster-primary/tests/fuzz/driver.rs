//! The body of the fuzz target `driver`: a primary with its driver and real sockets, and workers without
//! processes whose bytes and descriptors, in any pieces, are the fuzzer's; the user and clients do anything
//! meanwhile. What is checked:
//! - events of a worker come in the order of its life, and none after its end;
//! - a well-behaved worker beside them keeps its channel, and is heard and answered in the end;
//! - every accepted connection is with a worker, waits or was shed for a counted reason;
//! - in the end no descriptor is left open.
//!
//! (A worker's listens are refused by the driver unless the socket is private to this process: see
//! `driver/fuzz.rs`.)

use std::collections::{BTreeMap, BTreeSet};
use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use cluster_primary::proto::{Advanced, Codec, Json, Message, Postcard, native};
use cluster_primary::{
    Event, Frozen, Placement, PolicyName, Primary, Serialization, Settings, Signal, StateError,
    Stats, WorkerId,
};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::Value;

use super::bytes::Bytes;

/// What happened in a run.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) workers: u32,
    pub(crate) failed_channels: u32,
    pub(crate) listening: u32,
    pub(crate) accepted: u64,
    pub(crate) handed_over: u64,
    pub(crate) handles: u32,
    pub(crate) messages: u32,
    pub(crate) upgrades: u32,
}

/// Runs the bytes as operations. Panics if the primary breaks a promise.
pub(crate) fn run(data: &[u8]) -> Report {
    let mut bytes = Bytes(data);
    let flags = bytes.next();
    // What a process opens once, and keeps.
    drop(Primary::new(Settings::new("/nonexistent")).expect("a poll"));
    let before = open_descriptors();
    let mut world = World::new(flags);
    while !bytes.is_empty() {
        world.step(&mut bytes);
    }
    let report = world.finish();
    assert_eq!(open_descriptors(), before, "descriptors are left open");
    report
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

const MOST_WORKERS: usize = 4;
const MOST_CLIENTS: usize = 6;

/// The worker that does nothing wrong.
const GOOD: WorkerId = WorkerId(1);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Wire {
    Json,
    Advanced,
    Native,
}

/// The worker's end.
struct Worker {
    stream: Option<UnixStream>,
    wire: Wire,
    /// What it wants to send, and how many descriptors with the first byte.
    unsent: Vec<(Vec<u8>, Vec<OwnedFd>)>,
    received: Vec<u8>,
    seq: u64,
    /// Connections that it has not answered for, and handles that it has not acknowledged.
    conns: Vec<u64>,
    handles: u32,
    keys: Vec<String>,
    ended: bool,
    told: Told,
}

/// What the primary has told of a worker.
#[derive(Debug, Default)]
struct Told {
    disconnect: bool,
    exit: bool,
}

struct World {
    primary: Primary,
    workers: BTreeMap<WorkerId, Worker>,
    ports: BTreeSet<u16>,
    clients: Vec<TcpStream>,
    /// At the end another image of the program takes over.
    upgrades: bool,
    is_upgraded: bool,
    report: Report,
}

impl World {
    fn new(flags: u8) -> Self {
        let mut settings = Settings::new("/nonexistent");
        settings.placement = if flags & 1 == 0 { Placement::Handoff } else { Placement::Shared };
        settings.policy = match flags >> 1 & 3 {
            0 => PolicyName::LeastConnections,
            1 => PolicyName::Sticky,
            _ => PolicyName::RoundRobin,
        };
        if flags & 8 != 0 {
            settings.serialization = Serialization::Advanced;
        }
        settings.keep_listeners = flags & 0x10 != 0;
        settings.report_connections = flags & 0x20 != 0;
        settings.limits.max_frame = 16 << 10;
        settings.limits.high_water = 1 << 10;
        settings.limits.queue_limit = 64 << 10;
        settings.limits.max_servers = 4;
        settings.limits.max_waiting = 8;
        let mut world = Self {
            primary: Primary::new(settings).expect("a poll"),
            workers: BTreeMap::new(),
            ports: BTreeSet::new(),
            clients: Vec::new(),
            upgrades: flags & 0x40 != 0,
            is_upgraded: false,
            report: Report::default(),
        };
        world.add();
        world.send(GOOD, r#"{"cmd":"NODE_CLUSTER","act":"online"}"#, Vec::new());
        world.workers.get_mut(&GOOD).expect("it was added").send(usize::MAX);
        world
    }

    fn step(&mut self, bytes: &mut Bytes<'_>) {
        match bytes.next() % 24 {
            0 => self.add(),
            1..=5 => self.template(bytes),
            6 => self.raw(bytes, false),
            7 => self.raw(bytes, true),
            8..=10 => {
                let most = usize::from(bytes.next()) + 1;
                if let Some(worker) = self.bad(bytes) {
                    self.known(worker).send(if most > 128 { usize::MAX } else { most });
                }
            }
            11 | 12 => {
                let most = usize::from(bytes.next_u16());
                if let Some(worker) = self.any(bytes) {
                    self.read(worker, most);
                }
            }
            13 => {
                let how = bytes.next();
                if let Some(worker) = self.bad(bytes) {
                    self.known(worker).close(how);
                }
            }
            14 => {
                if let Some(worker) = self.bad(bytes).filter(|_| bytes.next() < 128) {
                    self.end(worker);
                }
            }
            15..=17 => self.user(bytes),
            18 => self.connect(bytes),
            23 => {
                let how = bytes.next();
                if !self.clients.is_empty() {
                    let client = self.clients.remove(usize::from(how) % self.clients.len());
                    drop(client);
                }
            }
            19..=21 => self.serve(bytes),
            _ => self.turn(4),
        }
    }

    /// So many steps of what a worker does that serves.
    fn serve(&mut self, bytes: &mut Bytes<'_>) {
        let (steps, number) = (bytes.next(), bytes.next());
        let Some(id) = self.bad(bytes) else { return };
        for step in 0..steps % 8 {
            let kind = [0, 3, 10, 11][usize::from(step % 4)];
            self.template_of(id, kind, number);
            self.known(id).send(usize::MAX);
            self.turn(8);
            self.read(id, usize::MAX);
            if let Some(port) = self.ports.last().copied()
                && self.clients.len() < MOST_CLIENTS
                && let Ok(client) = TcpStream::connect(("127.0.0.1", port))
            {
                self.clients.push(client);
            }
        }
    }

    fn known(&mut self, worker: WorkerId) -> &mut Worker {
        self.workers.get_mut(&worker).expect("it was added")
    }

    fn any(&self, bytes: &mut Bytes<'_>) -> Option<WorkerId> {
        bytes.pick(&self.workers.keys().copied().collect::<Vec<_>>())
    }

    /// One that may do anything.
    fn bad(&self, bytes: &mut Bytes<'_>) -> Option<WorkerId> {
        bytes.pick(&self.workers.keys().copied().filter(|id| *id != GOOD).collect::<Vec<_>>())
    }

    fn add(&mut self) {
        if self.workers.values().filter(|worker| !worker.ended).count() >= MOST_WORKERS {
            return;
        }
        let (id, theirs) = self.primary.fuzz_worker().expect("there is room");
        let stream = UnixStream::from(theirs);
        stream.set_nonblocking(true).expect("a socket");
        let wire = match self.primary.settings().serialization {
            Serialization::Advanced => Wire::Advanced,
            _ => Wire::Json,
        };
        self.report.workers += 1;
        self.workers.insert(
            id,
            Worker {
                stream: Some(stream),
                wire,
                unsent: Vec::new(),
                received: Vec::new(),
                seq: 0,
                conns: Vec::new(),
                handles: 0,
                keys: Vec::new(),
                ended: false,
                told: Told::default(),
            },
        );
    }

    fn end(&mut self, worker: WorkerId) {
        let known = self.known(worker);
        if !std::mem::replace(&mut known.ended, true) {
            self.primary.fuzz_exit(worker);
        }
    }

    /// Queues a message, given as JSON, in the form that the worker's channel has now.
    fn send(&mut self, worker: WorkerId, json: &str, fds: Vec<OwnedFd>) {
        let known = self.known(worker);
        let mut frame = Vec::new();
        let message = Json.decode(json.as_bytes());
        let encoded = match (known.wire, message) {
            (Wire::Advanced, Ok(message)) => Advanced.encode(&message, &mut frame).is_ok(),
            (Wire::Native, Ok(message)) => Postcard.encode(&message, &mut frame).is_ok(),
            _ => false,
        };
        if !encoded {
            frame = format!("{json}\n").into_bytes();
        }
        known.unsent.push((frame, fds));
    }

    fn template(&mut self, bytes: &mut Bytes<'_>) {
        let (what, number) = (bytes.next(), bytes.next());
        if let Some(id) = self.bad(bytes) {
            self.template_of(id, what, number);
        }
    }

    fn template_of(&mut self, id: WorkerId, what: u8, number: u8) {
        let worker = self.known(id);
        worker.seq += 1;
        let seq = worker.seq;
        let head = r#""cmd":"NODE_CLUSTER""#;
        let key = worker.keys.get(usize::from(number)).or(worker.keys.last());
        let key = key.map_or_else(|| "none".to_owned(), Clone::clone);
        let fds = |count| descriptors(number, count);
        let query = |address: &str, port: i32, kind: &str, more: &str| {
            format!(
                "{{{head},\"act\":\"queryServer\",\"seq\":{seq},\"address\":{address},\"port\":{port},\
                 \"addressType\":{kind},\"index\":{},\"flags\":0{more}}}",
                number % 2
            )
        };
        let (json, with) = match what % 24 {
            0 => (format!("{{{head},\"act\":\"online\",\"seq\":{seq}}}"), fds(0)),
            1 => {
                let text = format!("{{{head},\"act\":\"online\",\"seq\":{seq}}}");
                let mut message = Json.decode(text.as_bytes()).expect("it is JSON");
                if let Message::Cluster(message) = &mut message {
                    native::offer(message);
                }
                let mut frame = Vec::new();
                let encoded = Json.encode(&message, &mut frame);
                encoded.expect("it can be");
                (String::from_utf8_lossy(&frame).trim_end().to_owned(), fds(0))
            }
            2 => {
                // From here on it speaks the native wire.
                let mut frame = Vec::new();
                Json.encode(&native::marker(1), &mut frame).expect("it can be");
                let marker = String::from_utf8_lossy(&frame).trim_end().to_owned();
                self.send(id, &marker, Vec::new());
                self.known(id).wire = Wire::Native;
                return;
            }
            3..=5 => (query("\"127.0.0.1\"", 0, "4", ""), fds(0)),
            6 => (query("\"127.0.0.1\"", 0, "\"udp4\"", ""), fds(0)),
            7 => {
                let address = format!("\"\\u0000cluster-fuzz-{}-{number}\"", std::process::id());
                (query(&address, -1, "-1", ""), fds(0))
            }
            8 => (query("null", 0, "null", &format!(",\"fd\":{}", i32::from(number) - 2)), fds(0)),
            9 => (query("\"127.0.0.1\"", 0, "4", ",\"data\":{\"a\":[1]},\"backlog\":7"), fds(0)),
            10 => {
                let port = self.ports.iter().nth(usize::from(number) % self.ports.len().max(1));
                let port = port.copied().unwrap_or_default();
                let json = format!(
                    "{{{head},\"act\":\"listening\",\"seq\":{seq},\"address\":\"127.0.0.1\",\
                     \"port\":{port},\"addressType\":4}}"
                );
                (json, fds(0))
            }
            11 | 12 => {
                let known = self.known(id);
                let conn = known.conns.pop().unwrap_or(u64::from(number));
                if known.handles > 0 {
                    known.handles -= 1;
                    self.send(id, r#"{"cmd":"NODE_HANDLE_ACK"}"#, Vec::new());
                }
                let accepted = number < 192;
                let json =
                    format!("{{{head},\"ack\":{conn},\"accepted\":{accepted},\"seq\":{seq}}}");
                (json, fds(0))
            }
            13 => (r#"{"cmd":"NODE_HANDLE_ACK"}"#.into(), fds(0)),
            14 => (r#"{"cmd":"NODE_HANDLE_NACK"}"#.into(), fds(0)),
            15 => (format!("{{{head},\"act\":\"close\",\"key\":\"{key}\",\"seq\":{seq}}}"), fds(0)),
            16 => (format!("{{{head},\"act\":\"exitedAfterDisconnect\",\"seq\":{seq}}}"), fds(0)),
            17 => {
                let handle = r#"{"cmd":"NODE_HANDLE","type":"net.Socket","msg":"yours","key":"k"}"#;
                (handle.into(), fds(1 + usize::from(number & 1)))
            }
            18 => {
                let handle = r#"{"cmd":"NODE_HANDLE","type":"net.Server","msg":{"a":1}}"#;
                (handle.into(), fds(usize::from(number % 4)))
            }
            19 => (format!("\"{}\"", "x".repeat(usize::from(number) * 4)), fds(0)),
            20 => (r#"{"cmd":"NODE_SOCKET_GET_COUNT","key":"k"}"#.into(), fds(0)),
            21 => (r#"{"cmd":"NODE_SOCKET_NOTIFY_CLOSE","key":"k"}"#.into(), fds(0)),
            22 => (format!("{{\"a\":{number},\"b\":[null,true]}}"), fds(usize::from(number % 8))),
            _ => {
                (format!("{{{head},\"act\":\"{number}\",\"seq\":{seq},\"ack\":{number}}}"), fds(0))
            }
        };
        self.send(id, &json, with);
    }

    fn raw(&mut self, bytes: &mut Bytes<'_>, framed: bool) {
        let (most, number) = (bytes.next(), bytes.next());
        let Some(id) = self.bad(bytes) else { return };
        let payload = bytes.take(most.into());
        let count = if number < 128 { 0 } else { usize::from(number % 16) };
        let worker = self.known(id);
        let frame = match (framed, worker.wire) {
            (false, _) => payload.to_vec(),
            (true, Wire::Json) => [payload, b"\n"].concat(),
            (true, _) => {
                let length = u32::try_from(payload.len()).expect("it is short");
                [&length.to_be_bytes(), payload].concat()
            }
        };
        worker.unsent.push((frame, descriptors(number, count)));
    }

    fn read(&mut self, id: WorkerId, most: usize) {
        let worker = self.known(id);
        for (port, key) in worker.read(most) {
            self.ports.extend(port);
            self.known(id).keys.extend(key);
        }
    }

    /// The user's verbs.
    fn user(&mut self, bytes: &mut Bytes<'_>) {
        let (what, number) = (bytes.next(), bytes.next());
        let Some(worker) = self.bad(bytes) else { return };
        match what % 20 {
            0 | 1 => drop(self.primary.send(worker, "hello")),
            2 => drop(self.primary.send(worker, "x".repeat(usize::from(number) * 64))),
            3 => drop(self.primary.send_reported(worker, "reported", None)),
            4 => {
                let (ours, _) = UnixStream::pair().expect("there is room");
                drop(self.primary.send_handle(worker, "yours", ours));
            }
            5 => drop(self.primary.count_sockets(worker, "k")),
            6 => drop(self.primary.await_sockets(worker, "k")),
            7 => self.primary.disconnect_worker(worker),
            8 => self.primary.close_channel(worker),
            9 => self.primary.take_out_of_rotation(worker),
            10 => self.primary.finish_work(worker),
            11 => self.primary.ask_stop(worker, Some(Signal::TERM), number & 1 == 0),
            12 => assert!(!self.primary.kill(worker, Signal::KILL).expect("a signal")),
            13 => self.primary.release_unused(),
            14 => self.primary.flush_sends(),
            15 => self.primary.setup(|settings| settings.limits.max_servers = 3),
            16 => drop(self.primary.request(worker, "well?", Duration::from_secs(5))),
            17 => drop(self.primary.listening(worker)),
            18 => drop(self.primary.worker_state(worker)),
            _ => drop(self.primary.serialization(worker)),
        }
    }

    fn connect(&mut self, bytes: &mut Bytes<'_>) {
        let ports: Vec<_> = self.ports.iter().copied().collect();
        let Some(port) = bytes.pick(&ports) else { return };
        if self.clients.len() < MOST_CLIENTS
            && let Ok(client) = TcpStream::connect(("127.0.0.1", port))
        {
            self.clients.push(client);
        }
    }

    /// The next image of the process takes up what this one has written down. It finds that the workers'
    /// processes are not there.
    fn upgrade(&mut self) {
        self.turn(256);
        let Frozen { text, fds } = match self.primary.state() {
            Ok(frozen) => frozen,
            Err(StateError::EventsWait) => return,
            Err(error) => panic!("it cannot be written down: {error}"),
        };
        let new = Primary::from_state(&text, fds).expect("it can be taken up");
        std::mem::replace(&mut self.primary, new).abandon();
        self.report.upgrades += 1;
        self.is_upgraded = true;
        self.workers.values_mut().for_each(|worker| worker.ended = true);
    }

    /// Takes events, at most so many.
    fn turn(&mut self, most: usize) {
        for _ in 0..most {
            let Some(event) = self.primary.try_event().expect("a poll") else { break };
            self.told(event);
        }
        self.check();
    }

    fn told(&mut self, event: Event) {
        let report = &mut self.report;
        match event {
            Event::Disconnect { worker, .. } => {
                let told = &mut self.workers.get_mut(&worker).expect("it was added").told;
                assert!(!std::mem::replace(&mut told.disconnect, true), "{worker} twice");
                assert!(worker != GOOD || self.is_upgraded, "the good one has lost its channel");
            }
            Event::Exit { worker, .. } => {
                let known = self.workers.get_mut(&worker).expect("it was added");
                assert!(known.ended && !std::mem::replace(&mut known.told.exit, true));
            }
            Event::Error { worker, error } => {
                assert!(!error.to_string().is_empty());
                assert!(worker != GOOD, "{error}");
                report.failed_channels += 1;
            }
            Event::Message { worker, handle, .. } => {
                assert!(!self.workers[&worker].told.disconnect, "{worker} has disconnected");
                report.messages += 1;
                report.handles += u32::from(handle.is_some());
            }
            Event::Online { worker } | Event::Listening { worker, .. } => {
                assert!(!self.workers[&worker].told.disconnect, "{worker} has disconnected");
                report.listening += u32::from(matches!(event, Event::Listening { .. }));
            }
            _ => {}
        }
    }

    fn check(&self) {
        let stats = self.primary.stats();
        let Stats { accepted, handed_over, shed_full, shed_refused, shed_closed, .. } = stats;
        let states = self.workers.keys().filter_map(|id| self.primary.worker_state(*id));
        let in_flight: u64 = states.map(|state| u64::from(state.in_flight)).sum();
        let ended = handed_over + shed_full + shed_refused + shed_closed;
        assert_eq!(accepted, ended + in_flight + stats.waiting as u64, "{stats:?}");
    }

    fn finish(mut self) -> Report {
        self.turn(256);
        self.check_good();
        let stats = self.primary.stats();
        (self.report.accepted, self.report.handed_over) = (stats.accepted, stats.handed_over);
        if self.upgrades {
            self.upgrade();
        }
        self.clients.clear();
        for id in self.workers.keys().copied().collect::<Vec<_>>() {
            if id != GOOD {
                self.known(id).stream = None;
                self.end(id);
            }
        }
        self.until(|world| world.workers.values().all(|worker| !worker.ended || worker.told.exit));
        for (id, worker) in self.workers.iter().filter(|(_, worker)| worker.ended) {
            assert!(worker.told.disconnect, "{id}: {:?}", worker.told);
        }
        let left: &[WorkerId] = if self.is_upgraded { &[] } else { &[GOOD] };
        assert_eq!(self.primary.all_workers(), left);
        let Self { primary, workers, report, .. } = self;
        drop(workers);
        drop(primary);
        report
    }

    /// The well-behaved worker is heard, and hears.
    fn check_good(&mut self) {
        let before = self.report.messages;
        self.primary.send(GOOD, "ping").expect("its channel is open");
        self.known(GOOD).read(usize::MAX);
        self.send(GOOD, "\"pong\"", Vec::new());
        self.known(GOOD).send(usize::MAX);
        self.until(|world| world.report.messages > before);
        self.known(GOOD).read(usize::MAX);
        let received = &self.known(GOOD).received;
        assert!(received.windows(4).any(|four| four == b"ping"), "it was sent nothing");
    }

    fn until(&mut self, done: impl Fn(&Self) -> bool) {
        for _ in 0..1000 {
            if done(self) {
                return;
            }
            self.turn(64);
            let good = self.known(GOOD);
            good.send(usize::MAX);
        }
        panic!("it does not come to that");
    }
}

impl Worker {
    /// Sends some of what it wants to send: at most so many bytes.
    fn send(&mut self, mut most: usize) {
        while most > 0
            && let Some(stream) = &self.stream
            && let Some((frame, fds)) = self.unsent.first_mut()
        {
            if frame.is_empty() {
                self.unsent.remove(0);
                continue;
            }
            let length = most.min(frame.len());
            match send(stream, &frame[..length], fds) {
                Some(sent) => {
                    drop(frame.drain(..sent));
                    fds.clear();
                    most -= sent;
                }
                None => return,
            }
        }
    }

    /// Reads some of what it is sent, and remembers what it has to answer for: the ports and keys of
    /// servers in it.
    fn read(&mut self, most: usize) -> Vec<(Option<u16>, Option<String>)> {
        let mut chunk = vec![0; most.clamp(1, 64 << 10)];
        // Descriptors that come along are lost, and so closed by the system.
        let length = self.stream.as_mut().and_then(|stream| stream.read(&mut chunk).ok());
        self.received.extend_from_slice(&chunk[..length.unwrap_or_default()]);
        let mut servers = Vec::new();
        while let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
            let line: Vec<_> = self.received.drain(..=end).collect();
            let Ok(value) = serde_json::from_slice::<Value>(&line) else { continue };
            if value == "ping" {
                self.received.splice(0..0, *b"ping");
                break;
            }
            let is_handle = value["cmd"] == "NODE_HANDLE";
            self.handles += u32::from(is_handle);
            let message = if is_handle { &value["msg"] } else { &value };
            if message["act"] == "newconn"
                && let Some(seq) = message["seq"].as_u64()
            {
                self.conns.push(seq);
            }
            let port = message["sockname"]["port"].as_u64();
            let port = port.and_then(|port| u16::try_from(port).ok()).filter(|port| *port > 0);
            servers.push((port, message["key"].as_str().map(str::to_owned)));
        }
        servers
    }

    fn close(&mut self, how: u8) {
        let Some(stream) = &self.stream else { return };
        let _ = match how % 4 {
            0 => stream.shutdown(Shutdown::Write),
            1 => stream.shutdown(Shutdown::Read),
            2 => stream.shutdown(Shutdown::Both),
            _ => {
                self.stream = None;
                Ok(())
            }
        };
    }
}

/// Writes with descriptors beside it; none if that cannot be done now.
fn send(mut stream: &UnixStream, bytes: &[u8], fds: &[OwnedFd]) -> Option<usize> {
    if fds.is_empty() {
        return stream.write(bytes).ok();
    }
    let fds: Vec<BorrowedFd<'_>> = fds.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(16))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&fds)), "there is space for 16");
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    sendmsg(stream, &[IoSlice::new(bytes)], &mut control, flags).ok()
}

/// So many descriptors, of a kind.
fn descriptors(kind: u8, count: usize) -> Vec<OwnedFd> {
    let count = count.min(16);
    let one = || -> OwnedFd {
        match kind % 4 {
            0 => std::fs::File::open("/dev/null").expect("it is there").into(),
            1 => std::io::pipe().expect("there is room").0.into(),
            2 => std::net::TcpListener::bind("127.0.0.1:0").expect("a port").into(),
            _ => UnixStream::pair().expect("there is room").0.into(),
        }
    };
    (0..count).map(|_| one()).collect()
}
