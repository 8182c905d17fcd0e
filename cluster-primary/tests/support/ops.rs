//! Drives a primary's machine by bytes, as a driver, a user and workers that may each do anything,
//! and checks that no connection is lost, handed over twice or answered for by a stranger, and that
//! every worker's life is told in its order.
//!
//! The fuzz target `primary_ops` includes this file; `tests/fuzz_seeds.rs` replays its seeds.

use std::collections::{BTreeMap, BTreeSet};

use cluster_primary::agent::{AgentMessage, AgentReport, Work};
use cluster_primary::machine::{
    Bound, Config, ConnOutcome, Event as Told, Handle, Input, Machine, Origin, Output, Queue,
    SendHandle, Sending,
};
use cluster_primary::proto::{
    AddressType, ClusterBody, ClusterMessage, Exchange, Family, Field, HandleKind, ListenQuery,
    ListenReply, Message, Object, SockName, SocketList,
};
use cluster_primary::{
    ConnId, Event, ExitStatus, HandleId, LeaveProgress, Mono, Placement, PolicyName, RequestId,
    SendError, SendId, ServerId, Settings, Signal, WorkerError, WorkerId,
};

/// What happened in a run.
#[allow(unreachable_pub, dead_code, reason = "included by the fuzz target and by tests")]
#[derive(Debug)]
pub struct Report {
    /// Connections that were accepted.
    pub accepted: u64,
    /// Those of them that a worker took.
    pub handed_over: u64,
    /// The settings, inputs and outputs, to be repeated.
    pub settings: Settings,
    /// All inputs, with their times.
    pub history: Vec<Step>,
    /// All outputs, as text.
    pub outputs: Vec<String>,
}

/// One call of the machine.
#[allow(unreachable_pub, reason = "included by the fuzz target and by tests")]
#[derive(Clone, Debug)]
pub enum Step {
    /// `next_worker`, then `handle_input` of it.
    Fork(Mono, u32),
    /// `handle_input`
    Input(Mono, Input),
    /// `handle_timeout`
    Timeout(Mono),
}

/// Runs the bytes as operations. Panics if the machine breaks a promise.
#[allow(unreachable_pub, reason = "included by the fuzz target and by tests")]
pub fn run(data: &[u8]) -> Report {
    let mut bytes = Bytes(data);
    let settings = settings(bytes.next());
    let mut world = World::new(settings);
    while !bytes.0.is_empty() {
        let op = bytes.next();
        world.step(op, &mut bytes);
    }
    world.finish()
}

/// The same calls again, with the outputs drained after those for which `drain` says so.
#[allow(unreachable_pub, dead_code, reason = "included by the fuzz target and by tests")]
pub fn replay(report: &Report, mut drain: impl FnMut() -> bool) -> Vec<String> {
    let mut machine = Machine::new(Config::from(&report.settings), SEED);
    let mut outputs = Vec::new();
    for step in &report.history {
        repeat(&mut machine, step);
        if drain() {
            take(&mut machine, &mut outputs);
        }
    }
    take(&mut machine, &mut outputs);
    outputs
}

/// The same calls again, with what `change` makes of the machine whenever its outputs were drained.
#[allow(unreachable_pub, dead_code, reason = "included by the fuzz target and by tests")]
pub fn replay_changing(
    report: &Report,
    mut change: impl FnMut(Mono, Machine) -> Machine,
) -> Vec<String> {
    let mut machine = Machine::new(Config::from(&report.settings), SEED);
    let mut outputs = Vec::new();
    for step in &report.history {
        let now = repeat(&mut machine, step);
        take(&mut machine, &mut outputs);
        machine = change(now, machine);
    }
    outputs
}

/// Makes one call again; when that was.
fn repeat(machine: &mut Machine, step: &Step) -> Mono {
    match step.clone() {
        Step::Fork(now, pid) => {
            let worker = machine.next_worker();
            machine.handle_input(now, Input::Forked { worker, pid, slot: None });
            now
        }
        Step::Input(now, input) => {
            machine.handle_input(now, input);
            now
        }
        Step::Timeout(now) => {
            machine.handle_timeout(now);
            now
        }
    }
}

fn take(machine: &mut Machine, outputs: &mut Vec<String>) {
    while let Some(output) = machine.poll_output() {
        outputs.push(text(&output));
    }
}

const SEED: u64 = 5;

fn settings(flags: u8) -> Settings {
    let mut settings = Settings::new("app");
    settings.args = Vec::new();
    settings.placement = match flags & 0x21 {
        0x00 => Placement::Handoff,
        0x01 => Placement::Shared,
        _ => Placement::Kernel,
    };
    settings.policy = match flags & 0x12 {
        0x00 => PolicyName::RoundRobin,
        0x02 => PolicyName::Random,
        0x10 => PolicyName::LeastConnections,
        _ => PolicyName::Sticky,
    };
    settings.limits.max_servers = if flags & 4 == 0 { 3 } else { 100 };
    settings.limits.max_waiting = if flags & 8 == 0 { 4 } else { 512 };
    if flags & 0x40 != 0 {
        settings.limits.max_sockets = 5;
    }
    if flags & 0x80 != 0 {
        settings.limits.max_sockets_per_slot = 2;
    }
    settings
}

fn text(output: &Output) -> String {
    match output {
        Output::Event(Told::Setup { .. }) => "setup".into(),
        other => format!("{other:?}"),
    }
}

struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        let nth = usize::from(self.next());
        (!from.is_empty()).then(|| from[nth % from.len()])
    }
}

#[derive(Default)]
struct Worker {
    connected: bool,
    exited: bool,
    told_exit: bool,
    told_disconnect: bool,
    /// The user wants it to disconnect.
    to_go: bool,
    /// The user wants it out of rotation.
    retiring: bool,
    /// Either side said so.
    leaving: bool,
    /// It was sent `disconnect`.
    sent_away: bool,
    seq: u64,
    /// Keys that it was told.
    keys: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Place {
    /// With the primary alone.
    Here,
    /// On its way to that worker, or there and not answered for.
    With(WorkerId, u64),
    /// That worker has said that it takes it.
    Taken(WorkerId),
    Gone,
}

struct World {
    machine: Machine,
    settings: Settings,
    now: Mono,
    history: Vec<Step>,
    outputs: Vec<String>,
    workers: BTreeMap<WorkerId, Worker>,
    conns: BTreeMap<ConnId, Place>,
    /// Queries that await an answer.
    asked: BTreeSet<(WorkerId, u64)>,
    binding: Vec<ServerId>,
    open: BTreeSet<ServerId>,
    closed: BTreeSet<ServerId>,
    /// Sockets that the machine wants closed, and whether what waits there is wanted first.
    closing: BTreeMap<ServerId, bool>,
    /// Servers that are, or were, served to the last connection.
    drained: BTreeSet<ServerId>,
    /// Workers whose event loops are to answer, and how often.
    probing: BTreeMap<WorkerId, u32>,
    /// Workers whose unanswered probes the machine wants looked at.
    looking: BTreeSet<WorkerId>,
    /// Workers that answer no probe, as the machine has learned.
    ignoring: BTreeSet<WorkerId>,
    /// Sockets of slots: those that are to be made, and those that are there, with what waits.
    opening: BTreeSet<(ServerId, u32)>,
    queues: BTreeMap<(ServerId, Option<u32>), u32>,
    on: BTreeSet<(ServerId, u32)>,
    /// Servers whose queues are to be looked at.
    looks: BTreeSet<ServerId>,
    /// What workers asked, and what they have to say once they listen.
    queries: BTreeMap<(WorkerId, u64), ListenQuery>,
    to_listen: Vec<(WorkerId, ListenQuery)>,
    /// Descriptors that the machine has to let go of.
    handles: BTreeSet<HandleId>,
    last_handle: u64,
    /// Connections that each worker counts.
    sockets: BTreeMap<WorkerId, u64>,
    /// Questions about connections (`true`: when the last closes) that may be answered.
    socket_answers: BTreeSet<(WorkerId, bool)>,
    /// Users' messages and requests of whose end nothing is told yet.
    reported: BTreeSet<(WorkerId, SendId)>,
    /// By which the worker answers.
    requested: BTreeMap<(WorkerId, RequestId), u64>,
    /// Workers whose queues are full.
    pressed: BTreeSet<WorkerId>,
    disconnect_alls: u32,
    disconnecteds: u32,
    handed_over: u64,
    shed: u64,
    frozen: bool,
}

impl World {
    fn new(settings: Settings) -> Self {
        Self {
            machine: Machine::new(Config::from(&settings), SEED),
            settings,
            now: Mono::ZERO,
            history: Vec::new(),
            outputs: Vec::new(),
            workers: BTreeMap::new(),
            conns: BTreeMap::new(),
            asked: BTreeSet::new(),
            binding: Vec::new(),
            open: BTreeSet::new(),
            closed: BTreeSet::new(),
            closing: BTreeMap::new(),
            drained: BTreeSet::new(),
            probing: BTreeMap::new(),
            looking: BTreeSet::new(),
            ignoring: BTreeSet::new(),
            opening: BTreeSet::new(),
            queues: BTreeMap::new(),
            on: BTreeSet::new(),
            looks: BTreeSet::new(),
            queries: BTreeMap::new(),
            to_listen: Vec::new(),
            handles: BTreeSet::new(),
            last_handle: 0,
            sockets: BTreeMap::new(),
            socket_answers: BTreeSet::new(),
            reported: BTreeSet::new(),
            requested: BTreeMap::new(),
            pressed: BTreeSet::new(),
            disconnect_alls: 0,
            disconnecteds: 0,
            handed_over: 0,
            shed: 0,
            frozen: false,
        }
    }

    fn step(&mut self, op: u8, bytes: &mut Bytes<'_>) {
        match op % 24 {
            0 => self.fork(),
            1..=3 => self.query(bytes),
            5 if self.finish_one(bytes) => {}
            4 | 5 => {
                let ok = !bytes.next().is_multiple_of(4);
                if let Some(server) = bytes.pick(&self.binding.clone()) {
                    self.answer_bind(server, ok);
                }
            }
            6..=9 => {
                let last_ones = self.closing.iter().filter(|(_, wanted)| **wanted);
                let servers: Vec<_> = self.open.iter().chain(last_ones.map(|(id, _)| id)).collect();
                if let Some(server) = bytes.pick(&servers).copied() {
                    self.accept(server);
                }
            }
            10..=13 => {
                let accepted = op % 24 != 13;
                if let Some((conn, worker, seq)) = bytes.pick(&self.in_flight()) {
                    self.answer(conn, worker, seq, accepted);
                }
            }
            14 => self.stray_answer(bytes),
            15 => self.odd_message(bytes),
            16 => {
                let what = bytes.next();
                let handle = what.is_multiple_of(2);
                if let Some(worker) = self.worker(bytes) {
                    if what >= 128 {
                        return self.talk(worker, what);
                    }
                    let message = Message::User("hello".into());
                    let handle = handle.then(|| self.handle(HandleKind::NetSocket));
                    self.input(Input::Received { worker, message, handle, arrived: true });
                }
            }
            17 => match bytes.next() {
                0..=7 => {
                    self.disconnect_alls += 1;
                    for worker in self.workers.values_mut().filter(|w| w.connected) {
                        worker.to_go = true;
                        worker.leaving = true;
                    }
                    self.input(Input::DisconnectAll);
                }
                what @ 8..=95 => {
                    if let Some(worker) = self.worker(bytes) {
                        self.leaves_by_steps(worker, what, bytes);
                    }
                }
                _ => {
                    if let Some(worker) = self.worker(bytes) {
                        let known = self.workers.get_mut(&worker).expect("it was picked");
                        known.to_go |= known.connected;
                        known.leaving = true;
                        self.input(Input::Disconnect { worker });
                    }
                }
            },
            18 => {
                let what = bytes.next();
                if let Some(worker) = self.worker(bytes) {
                    match what % 4 {
                        0 => self.close_channel(worker),
                        1 => self.exit(worker),
                        2 => {
                            self.close_channel(worker);
                            self.exit(worker);
                        }
                        _ => {
                            let error = WorkerError::Channel { what: "as it comes".into() };
                            self.input(Input::ChannelFailed { worker, error });
                            if self.workers[&worker].connected {
                                self.close_channel(worker);
                            }
                        }
                    }
                }
            }
            19 => {
                self.now += Mono::from_millis(u64::from(bytes.next()) * 4);
                self.timeout();
            }
            20 => {
                if let Some(at) = self.machine.poll_timeout() {
                    self.now = self.now.max(at);
                    self.timeout();
                }
            }
            21 => {
                if let Some((conn, worker, seq)) = bytes.pick(&self.in_flight()) {
                    self.conns.insert(conn, Place::Here);
                    self.input(Input::Undelivered { worker, seq });
                }
            }
            22 => self.stranger(bytes),
            _ => {
                let mut settings = self.settings.clone();
                settings.placement =
                    if self.frozen { Placement::ALL[0] } else { self.settings.placement };
                self.input(Input::Setup { config: Config::from(&settings) });
                self.frozen = true;
                let placement = self.machine.config().placement;
                assert_eq!(placement, self.settings.placement, "the placement is frozen");
            }
        }
        self.check();
    }

    fn fork(&mut self) {
        if self.workers.values().filter(|w| w.connected).count() >= 6 {
            return;
        }
        let pid = 100;
        self.history.push(Step::Fork(self.now, pid));
        let worker = self.machine.next_worker();
        let new = Worker { connected: true, ..Worker::default() };
        assert!(self.workers.insert(worker, new).is_none(), "{worker} was there before");
        self.machine.handle_input(self.now, Input::Forked { worker, pid, slot: None });
        self.frozen = true;
        self.drain();
    }

    fn worker(&self, bytes: &mut Bytes<'_>) -> Option<WorkerId> {
        bytes.pick(&self.workers.keys().copied().collect::<Vec<_>>())
    }

    fn handle(&mut self, kind: HandleKind) -> Handle {
        self.last_handle += 1;
        self.handles.insert(HandleId(self.last_handle));
        Handle { id: HandleId(self.last_handle), kind, key: None }
    }

    fn says(&mut self, worker: WorkerId, ack: Option<u64>, body: ClusterBody) -> u64 {
        let known = self.workers.get_mut(&worker).expect("only known ones say anything");
        let seq = known.seq;
        known.seq += 1;
        let message = Message::cluster(seq, ack, body);
        self.input(Input::Received { worker, message, handle: None, arrived: true });
        seq
    }

    fn query(&mut self, bytes: &mut Bytes<'_>) {
        let (kind, index) = (bytes.next(), u32::from(bytes.next() % 3));
        let Some(worker) = self.worker(bytes) else { return };
        let address = Field::Is("127.0.0.1".into());
        let tcp = |port| ListenQuery {
            address: address.clone(),
            port: Field::Is(port),
            address_type: Field::Is(AddressType::Tcp4),
            index,
            ..ListenQuery::default()
        };
        let query = match kind % 6 {
            0 | 1 => tcp(i32::from(kind >> 6) + 80),
            2 => tcp(0),
            3 => ListenQuery { address_type: Field::Is(AddressType::Udp4), ..tcp(53) },
            4 => ListenQuery {
                address: Field::Is("/run/s".into()),
                address_type: Field::Is(AddressType::Pipe),
                data: "data".into(),
                ..tcp(-1)
            },
            _ => ListenQuery { fd: Field::Is(5), index, ..ListenQuery::default() },
        };
        let known = &self.workers[&worker];
        if known.connected && !known.leaving {
            self.asked.insert((worker, known.seq));
            self.queries.insert((worker, known.seq), query.clone());
        }
        self.says(worker, None, ClusterBody::QueryServer(Box::new(query)));
    }

    fn answer_bind(&mut self, server: ServerId, ok: bool) {
        self.binding.retain(|s| *s != server);
        let sockname = SockName { address: "127.0.0.1".into(), family: Family::Ipv4, port: 99 };
        let bound = Bound { sockname: Some(sockname), kind: HandleKind::NetNative };
        if ok {
            self.open.insert(server);
        } else {
            self.closed.insert(server);
        }
        self.input(Input::Bound { server, result: if ok { Ok(bound) } else { Err(-98) } });
    }

    /// Closes a socket, or has an event loop answer, if the machine waits for such.
    fn finish_one(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let probing: Vec<_> = self.probing.keys().copied().collect();
        let closing: Vec<_> = self.closing.keys().copied().collect();
        let looking: Vec<_> = self.looking.iter().copied().collect();
        if let Some(worker) = bytes.pick(&looking) {
            self.looking.remove(&worker);
            let read = [None, Some(false), Some(true), Some(true)][usize::from(bytes.next() % 4)];
            self.input(Input::ProbeLooked { worker, read });
            return true;
        }
        // Which of them were busy and answer late is not known before.
        let ignoring: Vec<_> = self.ignoring.iter().copied().collect();
        if bytes.next().is_multiple_of(4)
            && let Some(worker) = bytes.pick(&ignoring)
        {
            self.ignoring.remove(&worker);
            self.input(Input::Probed { worker });
            return true;
        }
        if let Some(worker) = bytes.pick(&probing) {
            self.answer_probe(worker);
        } else if let Some(server) = bytes.pick(&closing) {
            self.closing.remove(&server);
            self.input(Input::Closed { server });
        }
        !probing.is_empty() || !closing.is_empty() || self.advance_slots(bytes)
    }

    fn answer_probe(&mut self, worker: WorkerId) {
        let due = self.probing.remove(&worker).expect("it was asked");
        if due > 1 {
            self.probing.insert(worker, due - 1);
        }
        self.input(Input::Probed { worker });
    }

    /// Makes a slot's socket, has a worker listen, or looks at queues.
    fn advance_slots(&mut self, bytes: &mut Bytes<'_>) -> bool {
        let opening: Vec<_> = self.opening.iter().copied().collect();
        let looks: Vec<_> = self.looks.iter().copied().collect();
        if let Some((server, slot)) = bytes.pick(&opening) {
            self.opening.remove(&(server, slot));
            let made = bytes.next() % 8 != 7;
            if made && self.open.contains(&server) {
                self.queues.entry((server, Some(slot))).or_default();
            }
            let result = if made { Ok(()) } else { Err(-24) };
            self.input(Input::SlotOpened { server, slot, result });
        } else if let Some((worker, query)) = self.to_listen.pop() {
            self.says(worker, None, ClusterBody::Listening(Box::new(query)));
        } else if let Some(server) = bytes.pick(&looks) {
            self.looks.remove(&server);
            let mut queues = Vec::new();
            for (&(_, slot), length) in
                self.queues.range_mut((server, None)..=(server, Some(u32::MAX)))
            {
                *length = u32::from(bytes.next() % 4);
                queues.push(Queue { slot, length: *length });
            }
            self.input(Input::Queues { server, queues });
        } else {
            return false;
        }
        true
    }

    fn rescue(&mut self, server: ServerId, slot: Option<u32>, most: usize) {
        assert!(!slot.is_some_and(|slot| self.on.contains(&(server, slot))), "it accepts itself");
        // A server that is closed by now has none.
        let Some(length) = self.queues.get_mut(&(server, slot)) else { return };
        let rescued = (*length).min(most as u32);
        assert!(most > 0);
        *length -= rescued;
        for _ in 0..rescued {
            self.accept(server);
        }
    }

    fn switch(&mut self, server: ServerId, slot: u32, on: bool) {
        assert!(self.queues.contains_key(&(server, Some(slot))), "slot {slot} has no socket");
        match on {
            true => assert!(self.on.insert((server, slot)), "slot {slot} was on"),
            false => assert!(self.on.remove(&(server, slot)), "slot {slot} was off"),
        }
    }

    /// Whether a slot of that worker's is on.
    fn is_on(&self, worker: WorkerId) -> bool {
        let slot = self.machine.worker(worker).map(|state| state.slot);
        self.on.iter().any(|(_, on)| Some(*on) == slot)
    }

    fn accept(&mut self, server: ServerId) {
        let conn = ConnId(self.conns.len() as u64 + 1);
        self.conns.insert(conn, Place::Here);
        // A third without an address.
        let client = (!conn.0.is_multiple_of(3)).then_some(conn.0 as u32 % 7);
        self.input(Input::Accepted { server, conn, client });
    }

    fn in_flight(&self) -> Vec<(ConnId, WorkerId, u64)> {
        let with = |(conn, place): (&ConnId, &Place)| match place {
            Place::With(worker, seq) => Some((*conn, *worker, *seq)),
            _ => None,
        };
        self.conns.iter().filter_map(with).collect()
    }

    fn answer(&mut self, conn: ConnId, worker: WorkerId, seq: u64, accepted: bool) {
        let place = if accepted { Place::Taken(worker) } else { Place::Here };
        self.conns.insert(conn, place);
        let body = if accepted { ClusterBody::Accepted(true) } else { ClusterBody::Ack };
        self.says(worker, Some(seq), body);
        if accepted {
            assert_eq!(self.conns[&conn], Place::Gone, "{conn:?} was taken");
        }
    }

    /// An answer that is not this worker's to give.
    fn stray_answer(&mut self, bytes: &mut Bytes<'_>) {
        let (seq, accepted) = (u64::from(bytes.next()), bytes.next().is_multiple_of(2));
        let Some(worker) = self.worker(bytes) else { return };
        if self.in_flight().iter().any(|(_, w, s)| (*w, *s) == (worker, seq)) {
            return;
        }
        let before = (self.handed_over, self.machine.stats());
        self.says(worker, Some(seq), ClusterBody::Accepted(accepted));
        assert_eq!((self.handed_over, self.machine.stats()), before, "it changes nothing");
    }

    fn odd_message(&mut self, bytes: &mut Bytes<'_>) {
        let (what, nth) = (bytes.next(), bytes.next());
        let Some(worker) = self.worker(bytes) else { return };
        let body = match what % 9 {
            0 => ClusterBody::Online,
            1 => ClusterBody::Listening(Box::default()),
            2 | 3 => {
                let keys = &self.workers[&worker].keys;
                let own = keys.get(usize::from(nth) % keys.len().max(1));
                ClusterBody::Close { key: own.map_or("none", String::as_str).into() }
            }
            4 => {
                let known = self.workers.get_mut(&worker).expect("it was picked");
                known.leaving |= known.connected;
                ClusterBody::ExitedAfterDisconnect
            }
            5 => ClusterBody::NewConn { key: "theirs".into() },
            6 => ClusterBody::Disconnect,
            7 => ClusterBody::Other { act: "dance".into() },
            _ => {
                if nth.is_multiple_of(2) {
                    return self.sockets(worker, nth / 2);
                }
                let message = Message::Internal(Object::new().with("cmd", "NODE_DEBUG_ENABLED"));
                let handle = Some(self.handle(HandleKind::NetNative));
                return self.input(Input::Received { worker, message, handle, arrived: true });
            }
        };
        self.says(worker, None, body);
    }

    /// The user and the worker send each other messages, requests and answers.
    fn talk(&mut self, worker: WorkerId, what: u8) {
        let message = || Message::User("hello".into());
        let sending = match what % 8 {
            0 => Sending::Message(message()),
            1 => Sending::Reported(message()),
            2 | 3 => Sending::Request { body: "and?".into(), timeout: Mono::from_millis(300) },
            4 => Sending::Answer { id: 1, answer: Ok("so".into()) },
            5 => {
                let id = self.requested.values().next().copied().unwrap_or(1);
                let message = Exchange::Response { id, answer: Ok("so".into()) }.into_message();
                let message = Message::User(message);
                return self.input(Input::Received {
                    worker,
                    message,
                    handle: None,
                    arrived: true,
                });
            }
            6 => {
                let Some((to, id)) = self.reported.first().copied() else { return };
                return self.input(Input::Sent { worker: to, id, delivered: what >= 192 });
            }
            _ if self.pressed.remove(&worker) => return self.input(Input::Drained { worker }),
            _ if self.workers[&worker].connected => return self.input(Input::HighWater { worker }),
            _ => return,
        };
        self.input(Input::Send { worker, sending, handle: what >= 224 });
    }

    /// Connections that the worker counts, and those that the user asks it about.
    fn sockets(&mut self, worker: WorkerId, what: u8) {
        let key = || String::from("4:127.0.0.1:80");
        let from = |list| Input::Received {
            worker,
            message: Message::SocketList(list),
            handle: None,
            arrived: true,
        };
        match what % 8 {
            0 | 1 => {
                let mut handle = self.handle(HandleKind::NetSocket);
                handle.key = Some(key());
                let message = Message::User("yours".into());
                *self.sockets.entry(worker).or_default() += 1;
                self.input(Input::Received {
                    worker,
                    message,
                    handle: Some(handle),
                    arrived: true,
                });
            }
            2 | 3 => {
                let open = self.sockets.entry(worker).or_default();
                // One that was never counted cannot be closed.
                if *open == 0 {
                    return;
                }
                *open -= 1;
                self.input(Input::SocketClosed { worker, key: key() });
            }
            4 => self.input(from(SocketList::GetCount { key: key() })),
            5 => self.input(from(SocketList::NotifyClose { key: key() })),
            6 => {
                let when_closed = what.is_multiple_of(16);
                self.input(Input::AskSockets { worker, key: key(), when_closed });
            }
            _ => {
                let before = self.socket_answers.len();
                self.input(from(SocketList::Count { key: key(), count: 7 }));
                self.input(from(SocketList::AllClosed { key: key() }));
                assert!(before >= self.socket_answers.len(), "an answer to no question is none");
            }
        }
    }

    fn close_channel(&mut self, worker: WorkerId) {
        self.goes(worker, |w| w.connected = false);
        self.input(Input::ChannelClosed { worker });
        self.release(worker);
    }

    fn exit(&mut self, worker: WorkerId) {
        self.goes(worker, |w| w.exited = true);
        let status = ExitStatus::Signal(Signal::KILL);
        self.input(Input::Exited { worker, status });
        self.release(worker);
    }

    fn goes(&mut self, worker: WorkerId, how: impl Fn(&mut Worker)) {
        let known = self.workers.get_mut(&worker).expect("it was picked");
        how(known);
        if !known.connected {
            for place in self.conns.values_mut() {
                if matches!(place, Place::With(holder, _) if *holder == worker) {
                    *place = Place::Here;
                }
            }
        }
    }

    fn release(&mut self, worker: WorkerId) {
        if !self.workers[&worker].connected {
            self.probing.remove(&worker);
            self.looking.remove(&worker);
            self.to_listen.retain(|(listening, _)| *listening != worker);
            assert!(!self.is_on(worker), "{worker} has a slot that is on");
            self.asked.retain(|(asking, _)| *asking != worker);
        }
    }

    /// The user, or the agent, of a worker that leaves step by step.
    fn leaves_by_steps(&mut self, worker: WorkerId, what: u8, bytes: &mut Bytes<'_>) {
        let number = u32::from(bytes.next());
        let said = |message| Input::AgentMessage { worker, message };
        let input = match what {
            8..=31 => {
                let known = self.workers.get_mut(&worker).expect("it was picked");
                known.retiring |= known.connected;
                known.leaving = true;
                Input::TakeOutOfRotation { worker }
            }
            32..=35 => {
                self.disconnect_alls += 1;
                for known in self.workers.values_mut() {
                    known.retiring |= known.connected;
                    known.leaving |= known.connected || !known.exited;
                }
                Input::TakeAllOutOfRotation
            }
            36..=47 => Input::FinishWork { worker },
            48..=59 => Input::AskStop {
                worker,
                signal: (number & 1 == 0).then_some(Signal::TERM),
                message: number & 2 == 0,
                catches: (number & 4 == 0).then_some(number & 8 == 0),
                serves_aside: number & 16 != 0,
            },
            60..=65 => said(AgentMessage::Hello { protocol: 1 }),
            66..=71 => {
                let mut report = AgentReport::default();
                report.connections = number;
                said(AgentMessage::Report(report))
            }
            72..=77 => said(AgentMessage::Connections(number)),
            78..=83 => {
                let mut work = Work::default();
                work.requests = number;
                work.started = number / 2;
                work.connections = number / 3;
                said(AgentMessage::Work(work))
            }
            84..=89 => {
                said(AgentMessage::Listeners { id: u64::from(number % 4), count: number % 2 })
            }
            _ => Input::AgentLost { worker },
        };
        self.input(input);
    }

    fn timeout(&mut self) {
        self.history.push(Step::Timeout(self.now));
        self.machine.handle_timeout(self.now);
        self.drain();
        let due = self.machine.poll_timeout();
        assert!(due.is_none_or(|due| due > self.now), "a timer that does not go away");
    }

    /// Names that the machine does not know.
    fn stranger(&mut self, bytes: &mut Bytes<'_>) {
        let (worker, server) = (WorkerId(9999), ServerId(9999));
        let before = self.outputs.len();
        let handle = Some(Handle { id: HandleId(0), kind: HandleKind::NetNative, key: None });
        match bytes.next() % 8 {
            0 => {
                self.input(Input::Disconnect { worker });
                self.input(Input::TakeOutOfRotation { worker });
                self.input(Input::FinishWork { worker });
                self.input(Input::AgentLost { worker });
            }
            1 => self.input(Input::ChannelClosed { worker }),
            2 => self.input(Input::Exited { worker, status: ExitStatus::Code(0) }),
            3 => self.input(Input::Undelivered { worker, seq: 0 }),
            4 => self.input(Input::Bound { server, result: Err(-1) }),
            5 => {
                self.handles.insert(HandleId(0));
                let message = Message::User("boo".into());
                self.input(Input::Received { worker, message, handle, arrived: true });
                return assert!(!self.handles.contains(&HandleId(0)), "the handle is let go of");
            }
            6 => {
                self.accept(server);
                return assert_eq!(*self.conns.values().last().unwrap(), Place::Gone);
            }
            _ => {
                if let Some(closed) = bytes.pick(&self.closed.iter().copied().collect::<Vec<_>>()) {
                    self.input(Input::Bound { server: closed, result: Err(-1) });
                }
            }
        }
        assert_eq!(self.outputs.len(), before, "it changes nothing");
    }

    fn input(&mut self, input: Input) {
        self.history.push(Step::Input(self.now, input.clone()));
        self.machine.handle_input(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            self.outputs.push(text(&output));
            match output {
                Output::Send { worker, message, handle } => self.sent(worker, &message, handle),
                Output::Bind { server, .. } => {
                    assert!(!self.open.contains(&server) && !self.closed.contains(&server));
                    self.binding.push(server);
                }
                Output::BindSlots { server, .. } => {
                    assert!(!self.open.contains(&server) && !self.closed.contains(&server));
                    self.binding.push(server);
                    self.queues.insert((server, None), 0);
                }
                Output::OpenSlot { server, slot } => drop(self.opening.insert((server, slot))),
                Output::Slot { server, slot, on, .. } => self.switch(server, slot, on),
                Output::Look { server } => {
                    if self.open.contains(&server) {
                        self.looks.insert(server);
                    }
                }
                Output::Rescue { server, slot, most } => self.rescue(server, slot, most),
                Output::CloseServer { server, accept_rest } => {
                    self.queues.retain(|(of, _), _| *of != server);
                    self.on.retain(|(of, _)| *of != server);
                    self.looks.remove(&server);
                    assert!(self.open.remove(&server), "{server:?} was not open");
                    self.closed.insert(server);
                    self.closing.insert(server, accept_rest);
                    if accept_rest {
                        self.drained.insert(server);
                    }
                }
                Output::Probe { worker } => {
                    let known = &self.workers[&worker];
                    assert!(
                        known.to_go || known.retiring || self.is_on(worker),
                        "{worker} was not told to go"
                    );
                    assert!(!self.ignoring.contains(&worker), "{worker} answers no probe");
                    let asked = self.probing.entry(worker).or_default();
                    *asked += 1;
                    // Once for its queue, and once because it leaves.
                    let most = if self.settings.placement == Placement::Kernel { 2 } else { 1 };
                    assert!(*asked <= most, "{worker} is probed {asked} times");
                }
                Output::LookAtProbe { worker } => {
                    assert!(self.looking.insert(worker), "{worker} is being looked at");
                }
                Output::AbandonProbe { worker } => {
                    assert!(self.probing.remove(&worker).is_some(), "{worker} has no probe");
                    self.ignoring.insert(worker);
                }
                Output::DropConn { conn, why } => {
                    let place = self.conns.insert(conn, Place::Gone).expect("it was accepted");
                    match (why, place) {
                        (ConnOutcome::HandedOver { .. }, Place::Taken(_)) => self.handed_over += 1,
                        (ConnOutcome::Shed(_), Place::Here) => self.shed += 1,
                        odd => panic!("{conn:?} ends as {odd:?}"),
                    }
                }
                Output::NotifyAgent { worker, .. } => {
                    assert!(self.workers.contains_key(&worker), "{worker} was never forked");
                }
                Output::CloseHandle { handle } => {
                    assert!(self.handles.remove(&handle), "{handle:?} ends twice");
                }
                Output::Submit { worker, message, origin, .. } => {
                    assert!(self.workers[&worker].connected, "sent to {worker}, which is gone");
                    match origin {
                        Origin::Reported(id) => assert!(self.reported.insert((worker, id))),
                        Origin::Request(id) => {
                            let Message::User(asked) = &message else { panic!("{message:?}") };
                            let number = asked["id"].as_u64().expect("a request has one");
                            assert!(self.requested.insert((worker, id), number).is_none());
                        }
                        Origin::Message | Origin::Answer(_) => {}
                        other => panic!("an origin that this file does not know: {other:?}"),
                    }
                }
                Output::MarkDrained { worker } => {
                    assert!(self.pressed.insert(worker), "{worker} is marked twice");
                }
                Output::AbortChannel { worker } => {
                    assert!(self.workers[&worker].connected, "{worker} has no channel");
                }
                Output::Event(event) => self.told(event),
                other => panic!("an output that this file does not know: {other:?}"),
            }
        }
    }

    fn sent(&mut self, to: WorkerId, message: &Message, handle: Option<SendHandle>) {
        let worker = self.workers.get_mut(&to).expect("sent to a worker");
        if let Message::SocketList(list) = message {
            assert!(worker.connected, "{list:?} to one that is gone");
            let open = self.sockets.get(&to).copied().unwrap_or_default();
            return match list {
                SocketList::Count { count, .. } => assert_eq!(*count, open, "{to}"),
                SocketList::AllClosed { .. } => assert_eq!(open, 0, "{to}"),
                SocketList::GetCount { .. } => drop(self.socket_answers.insert((to, false))),
                SocketList::NotifyClose { .. } => drop(self.socket_answers.insert((to, true))),
            };
        }
        let Message::Cluster(ClusterMessage { seq, ack, body, .. }) = message else {
            panic!("not a cluster message: {message:?}");
        };
        match body {
            ClusterBody::NewConn { .. } => {
                let Some(SendHandle::Conn { conn }) = handle else {
                    panic!("a connection without one: {handle:?}");
                };
                let place = self.conns.insert(conn, Place::With(to, *seq));
                assert_eq!(place, Some(Place::Here), "{conn:?} goes to {to}");
                assert!(worker.connected, "{conn:?} goes to {to}, which is gone");
                // What came before is served before a server's last workers are sent away.
                let drains = self.closed.iter().any(|id| self.drained.contains(id));
                let rotates = !worker.to_go && !worker.retiring;
                assert!(rotates || drains, "{conn:?} goes to {to}, which is out of rotation");
                assert!(!worker.sent_away, "{conn:?} goes to {to}, which was sent away");
            }
            ClusterBody::Disconnect => {
                assert!(worker.to_go, "{to} was not told to go");
                assert!(!std::mem::replace(&mut worker.sent_away, true), "{to} is told twice");
                let waits = self.in_flight().iter().any(|(_, holder, _)| *holder == to);
                assert!(!waits, "{to} has not answered for all that is on its way to it");
                assert!(!self.probing.contains_key(&to), "{to} has not answered the probe");
                assert!(!self.is_on(to), "{to} has a slot that is on");
            }
            ClusterBody::ListenReply(reply) => {
                let ListenReply { errno, key, .. } = &**reply;
                let ack = ack.expect("an answer says to what");
                assert!(self.asked.remove(&(to, ack)), "{to} did not ask {ack}, or has its answer");
                assert!(!worker.leaving, "{to} is on its way out");
                if errno.is_none_or(|errno| errno == 0) {
                    worker.keys.push(key.as_str().to_owned());
                }
                let query = self.queries.remove(&(to, ack));
                if let Some(SendHandle::Server { server, .. }) = handle {
                    assert!(self.open.contains(&server), "{server:?} is not open");
                }
                if let Some(SendHandle::Slot { server, slot, .. }) = handle {
                    assert!(
                        self.queues.contains_key(&(server, Some(slot))),
                        "{slot} has no socket"
                    );
                    let query = query.expect("it asked");
                    self.to_listen.push((to, ListenQuery { port: Field::Is(99), ..query }));
                }
            }
            ClusterBody::Ack => assert!(worker.leaving && ack.is_some()),
            odd => panic!("a primary does not say {odd:?}"),
        }
    }

    fn told(&mut self, event: Told) {
        let known = |id: WorkerId, workers: &BTreeMap<WorkerId, Worker>| {
            assert!(workers.contains_key(&id), "{id} was never forked");
            assert!(!workers[&id].told_disconnect, "{id} has disconnected");
        };
        let event = match event {
            Told::Plain(event) => event,
            Told::Setup { .. } => return,
            Told::Message { worker, handle, .. } | Told::Request { worker, handle, .. } => {
                known(worker, &self.workers);
                if let Some(handle) = handle {
                    assert!(self.handles.remove(&handle.id), "it ends twice");
                }
                return;
            }
            other => panic!("an event that this file does not know: {other:?}"),
        };
        match event {
            Event::Fork { worker, .. } => known(worker, &self.workers),
            Event::Sent { worker, id, error } => {
                known(worker, &self.workers);
                assert!(self.reported.remove(&(worker, id)), "{id:?} ends twice");
                let gone = matches!(error, Some(SendError::Closed { .. }));
                assert!(!gone || !self.workers[&worker].connected, "{worker} has its channel");
            }
            Event::Answered { worker, request, .. } => {
                known(worker, &self.workers);
                assert!(
                    self.requested.remove(&(worker, request)).is_some(),
                    "{request:?} ends twice"
                );
            }
            Event::Drained { worker } => known(worker, &self.workers),
            Event::Online { worker }
            | Event::Listening { worker, .. }
            | Event::ListenFailed { worker, .. } => known(worker, &self.workers),
            Event::Error { .. }
            | Event::NoAgent { .. }
            | Event::Leftovers { .. }
            | Event::HandsOver { .. } => {}
            Event::Leaving { worker, progress, .. } => {
                let retired = &self.workers[&worker];
                // Its process may outlive its channel.
                assert!(!(retired.told_disconnect && retired.told_exit), "{worker} has gone");
                if progress == LeaveProgress::OutOfRotation && retired.connected && !retired.to_go {
                    assert!(retired.retiring, "{worker} is in rotation");
                    let waits = self.in_flight().iter().any(|(_, holder, _)| *holder == worker);
                    assert!(!waits, "{worker} has not answered for all that is on its way to it");
                    assert!(!self.is_on(worker), "{worker} has a slot that is on");
                }
            }
            Event::Disconnect { worker, exited_after_disconnect } => {
                known(worker, &self.workers);
                let known = self.workers.get_mut(&worker).expect("just looked");
                assert!(!known.connected);
                known.told_disconnect = true;
                let of_it = |open: WorkerId| open == worker;
                assert!(!self.reported.iter().any(|(to, _)| of_it(*to)), "a message has no end");
                assert!(!self.requested.keys().any(|(to, _)| of_it(*to)), "a request has no end");
                self.pressed.remove(&worker);
                assert_eq!(exited_after_disconnect, known.leaving, "{worker}");
                // From here on it is settled.
            }
            Event::Exit { worker, exited_after_disconnect, .. } => {
                let known = self.workers.get_mut(&worker).expect("it was forked");
                assert!(known.exited);
                assert!(!std::mem::replace(&mut known.told_exit, true), "{worker} exits twice");
                assert_eq!(exited_after_disconnect, known.leaving, "{worker}");
            }
            Event::SocketCount { worker, .. } => {
                assert!(self.socket_answers.remove(&(worker, false)), "{worker} was not asked");
            }
            Event::SocketsClosed { worker, .. } => {
                assert!(self.socket_answers.remove(&(worker, true)), "{worker} was not asked");
            }
            Event::Disconnected => {
                self.disconnecteds += 1;
                assert!(self.disconnecteds <= self.disconnect_alls);
                assert!(self.workers.values().all(|w| !w.connected), "a worker is left");
                assert!(self.open.is_empty() && self.binding.is_empty(), "a socket is left");
            }
            other => panic!("an event that this file does not know: {other:?}"),
        }
    }

    fn check(&self) {
        let stats = self.machine.stats();
        let ended = self.handed_over + self.shed;
        assert_eq!(stats.accepted, self.conns.len() as u64);
        assert_eq!(stats.handed_over, self.handed_over);
        assert_eq!(stats.shed_full + stats.shed_refused + stats.shed_closed, self.shed);
        let here = self.conns.values().filter(|place| **place == Place::Here).count();
        assert_eq!(stats.waiting, here);
        assert_eq!(stats.accepted, ended + here as u64 + self.in_flight().len() as u64);

        let there = self.workers.iter().filter(|(_, w)| w.connected || !w.exited);
        let there: Vec<_> = there.map(|(id, _)| *id).collect();
        assert_eq!(self.machine.all_workers().collect::<Vec<_>>(), there);
        for (id, worker) in &self.workers {
            let Some(state) = self.machine.worker(*id) else { continue };
            assert_eq!((state.connected, state.dead), (worker.connected, worker.exited));
        }
        // Sockets of slots are counted as well.
        let closing = self.closing.values().filter(|wanted| **wanted).count();
        let sockets = self.binding.len() + self.open.len() + closing;
        let counted = self.machine.open_sockets();
        let by_slots = self.settings.placement == Placement::Kernel;
        assert!(counted == sockets || (by_slots && counted > sockets), "{counted}, not {sockets}");
        assert!(counted <= self.settings.limits.max_sockets, "{counted} are too many");
        // The worker that asked waits for a socket that is being made.
        assert!(
            self.asked.iter().all(|(w, _)| self.workers[w].leaving)
                || !self.binding.is_empty()
                || !self.opening.is_empty()
        );
    }

    /// All workers leave: nothing may be left.
    fn finish(mut self) -> Report {
        while let Some(server) = self.binding.last().copied() {
            self.answer_bind(server, server.0.is_multiple_of(2));
        }
        self.check();
        while self.finish_one(&mut Bytes(&[])) {}
        for worker in self.workers.keys().copied().collect::<Vec<_>>() {
            if self.workers[&worker].connected {
                self.close_channel(worker);
            }
            if !self.workers[&worker].exited {
                self.exit(worker);
            }
        }
        self.check();
        while self.finish_one(&mut Bytes(&[])) {}
        self.check();
        assert!(self.machine.is_empty());
        assert!(self.open.is_empty(), "{:?} are left", self.open);
        assert_eq!(self.machine.open_sockets(), 0);
        assert!(self.handles.is_empty(), "{:?} are left", self.handles);
        for (conn, place) in &self.conns {
            assert_eq!(*place, Place::Gone, "{conn:?} is left");
        }
        for (id, worker) in &self.workers {
            assert!(worker.told_disconnect && worker.told_exit, "{id} was not told of");
        }
        assert_eq!(self.machine.poll_timeout(), None);
        Report {
            accepted: self.conns.len() as u64,
            handed_over: self.handed_over,
            settings: self.settings,
            history: self.history,
            outputs: self.outputs,
        }
    }
}
