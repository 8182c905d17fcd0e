//! The body of the fuzz target `slots`: slots and their succession under [`Placement::Kernel`], with a
//! driver, a user and workers that do anything in any order. What is checked:
//! - no turn is taken by two sockets, and none by the socket of a worker that does not serve (any more);
//! - where no worker can be found stuck, each turn is taken exactly if a worker of that slot serves, and
//!   by the latest of these: no turn is lost;
//! - no socket is lent to a worker while another one has it;
//! - every connection that was rescued ends once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use cluster_primary::machine::{Bound, Config, Input, Machine, Output, Queue, SendHandle};
use cluster_primary::proto::{
    AddressType, ClusterBody, ClusterMessage, Family, Field, HandleKind, ListenQuery, Message,
    ServerKey, SockName,
};
use cluster_primary::{
    ConnId, ExitStatus, Fallback, Mono, Placement, PolicyName, ServerId, Settings, WorkerId,
};

use super::bytes::Bytes;

/// What happened in a run.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// How often a socket was given a turn.
    pub(crate) turns: u32,
    /// How often it was given one that another had.
    pub(crate) successions: u32,
    pub(crate) rescued: u32,
}

/// Runs the bytes as operations. Panics if the machine breaks a promise.
pub(crate) fn run(data: &[u8]) -> Report {
    let mut bytes = Bytes(data);
    let mut world = World::new(bytes.next());
    while !bytes.is_empty() {
        world.step(&mut bytes);
        world.check();
    }
    world.finish()
}

#[derive(Debug, Default)]
struct Worker {
    turn: u32,
    connected: bool,
    exited: bool,
    /// It was told to leave, or all were.
    leaves: bool,
    seq: u64,
    /// Servers that it asked for: the `seq`, the port.
    asked: BTreeMap<u64, i32>,
    /// Servers whose socket it was given, by its number, and whether it has said that it listens.
    has: BTreeMap<ServerId, Lent>,
}

#[derive(Debug)]
struct Lent {
    number: u32,
    key: ServerKey,
    port: i32,
    listens: bool,
}

struct World {
    machine: Machine,
    /// No worker can be found stuck.
    exact: bool,
    now: Mono,
    workers: BTreeMap<WorkerId, Worker>,
    ports: BTreeMap<ServerId, i32>,
    /// Servers that are being bound, and whether with slots.
    binding: Vec<(ServerId, bool)>,
    open: BTreeSet<ServerId>,
    closing: Vec<ServerId>,
    opening: Vec<(ServerId, u32)>,
    sockets: BTreeSet<(ServerId, u32)>,
    /// What the driver has the kernel choose: the socket of each turn.
    turns: BTreeMap<(ServerId, u32), u32>,
    /// Which sockets are on.
    on: BTreeSet<(ServerId, u32)>,
    looks: VecDeque<ServerId>,
    probes: VecDeque<WorkerId>,
    probe_looks: VecDeque<WorkerId>,
    conns: BTreeMap<ConnId, bool>,
    in_flight: Vec<(ConnId, WorkerId, u64)>,
    report: Report,
}

impl World {
    fn new(flags: u8) -> Self {
        let mut settings = Settings::new("app").placement(Placement::Kernel);
        settings.policy = match flags & 3 {
            0 | 1 => PolicyName::RoundRobin,
            2 => PolicyName::Random,
            _ => PolicyName::Sticky,
        };
        settings.keep_listeners = flags & 4 != 0;
        let exact = flags & 8 == 0;
        if exact {
            settings.limits.stuck_after = Duration::from_secs(1 << 20);
        }
        Self {
            machine: Machine::new(Config::from(&settings), 7),
            exact,
            now: Mono::ZERO,
            workers: BTreeMap::new(),
            ports: BTreeMap::new(),
            binding: Vec::new(),
            open: BTreeSet::new(),
            closing: Vec::new(),
            opening: Vec::new(),
            sockets: BTreeSet::new(),
            turns: BTreeMap::new(),
            on: BTreeSet::new(),
            looks: VecDeque::new(),
            probes: VecDeque::new(),
            probe_looks: VecDeque::new(),
            conns: BTreeMap::new(),
            in_flight: Vec::new(),
            report: Report::default(),
        }
    }

    fn step(&mut self, bytes: &mut Bytes<'_>) {
        match bytes.next() % 24 {
            0 | 1 => self.fork(bytes.next()),
            2 | 3 => {
                let port = 80 + i32::from(bytes.next() % 2);
                if let Some(worker) = self.worker(bytes) {
                    self.ask(worker, port);
                }
            }
            4 => self.bind(bytes.next()),
            5 | 6 => self.open_slot(bytes.next()),
            7 | 8 => {
                if let Some(worker) = self.worker(bytes) {
                    self.listens(worker, bytes.next());
                }
            }
            9 => {
                let nth = usize::from(bytes.next());
                if let Some(worker) = self.worker(bytes) {
                    self.close(worker, nth);
                }
            }
            10 => {
                let how = bytes.next();
                if let Some(worker) = self.worker(bytes) {
                    self.leave(worker, how);
                }
            }
            // A worker that starts without trouble.
            19..=22 => {
                let slot = bytes.next();
                self.fork(slot);
                let forked = *self.workers.keys().next_back().expect("one at least");
                if self.workers[&forked].connected && !self.workers[&forked].leaves {
                    self.ask(forked, 80);
                    self.bind(0);
                    self.open_slot(0);
                    self.listens(forked, 0);
                }
            }
            11 => {
                let gone = self.workers.iter().find(|(_, w)| !w.connected && !w.exited);
                if let Some((&worker, _)) = gone {
                    self.workers.get_mut(&worker).expect("just seen").exited = true;
                    self.input(Input::Exited { worker, status: ExitStatus::Code(0) });
                }
            }
            12 => {
                let how = bytes.next();
                if let Some(worker) = self.worker(bytes) {
                    self.go(worker, how);
                }
            }
            13 => self.look(bytes),
            14 => match bytes.next() % 3 {
                0 => {
                    if let Some(worker) = self.probes.pop_front() {
                        self.input(Input::Probed { worker });
                    }
                }
                1 => {
                    if let Some(worker) = self.probe_looks.pop_front() {
                        let read = [None, Some(true), Some(false)][usize::from(bytes.next() % 3)];
                        self.input(Input::ProbeLooked { worker, read });
                    }
                }
                _ => self.input(Input::ReleaseUnused),
            },
            15 => {
                let accepted = !bytes.next().is_multiple_of(4);
                self.answer(usize::from(bytes.next()), accepted);
            }
            16 => {
                if let Some(server) = self.closing.pop() {
                    self.input(Input::Closed { server });
                }
            }
            17 => {
                self.now += Mono::from_millis(u64::from(bytes.next()) * 8);
                self.timeout();
            }
            18 => {
                if let Some(due) = self.machine.poll_timeout() {
                    self.now = self.now.max(due);
                    self.timeout();
                }
            }
            _ => {
                if bytes.next() < 16 {
                    self.workers.values_mut().for_each(|worker| worker.leaves = true);
                    self.input(Input::DisconnectAll);
                }
            }
        }
    }

    fn worker(&self, bytes: &mut Bytes<'_>) -> Option<WorkerId> {
        let there = self.workers.iter().filter(|(_, worker)| worker.connected);
        bytes.pick(&there.map(|(id, _)| *id).collect::<Vec<_>>())
    }

    fn fork(&mut self, slot: u8) {
        if self.workers.values().filter(|worker| !worker.exited).count() >= 12 {
            return;
        }
        let worker = self.machine.next_worker();
        let turn = match slot % 4 {
            3 => self.machine.next_slot(),
            slot => slot.into(),
        };
        let new = Worker { turn, connected: true, ..Worker::default() };
        self.workers.insert(worker, new);
        self.input(Input::Forked { worker, pid: 1, slot: Some(turn) });
    }

    fn says(&mut self, worker: WorkerId, ack: Option<u64>, body: ClusterBody) -> u64 {
        let known = self.workers.get_mut(&worker).expect("it was picked");
        let seq = known.seq;
        known.seq += 1;
        let message = Message::cluster(seq, ack, body);
        self.input(Input::Received { worker, message, handle: None, arrived: true });
        seq
    }

    fn ask(&mut self, worker: WorkerId, port: i32) {
        let known = self.workers.get_mut(&worker).expect("it was picked");
        let asked = known.asked.values().any(|asked| *asked == port);
        if asked || known.has.values().any(|lent| lent.port == port) {
            return;
        }
        known.asked.insert(known.seq, port);
        self.says(worker, None, ClusterBody::QueryServer(Box::new(query(port))));
    }

    fn bind(&mut self, how: u8) {
        if self.binding.is_empty() {
            return;
        }
        let (server, slots) = self.binding.remove(usize::from(how) % self.binding.len());
        if slots && how >= 0xf0 {
            let (instead, reason) = (Fallback::Handoff, String::new());
            self.input(Input::FellBack { server, instead, reason });
        }
        let port = u16::try_from(self.ports[&server]).expect("a port");
        let sockname = SockName { address: "127.0.0.1".into(), family: Family::Ipv4, port };
        let bound = Bound { sockname: Some(sockname), kind: HandleKind::NetNative };
        let fails = how & 7 == 7;
        if !fails {
            self.open.insert(server);
        }
        self.input(Input::Bound { server, result: if fails { Err(-98) } else { Ok(bound) } });
    }

    fn open_slot(&mut self, how: u8) {
        if self.opening.is_empty() {
            return;
        }
        let (server, slot) = self.opening.remove(usize::from(how) % self.opening.len());
        let is_open = self.open.contains(&server);
        let result = if is_open && how < 0xf0 { Ok(()) } else { Err(-24) };
        if result.is_ok() {
            self.sockets.insert((server, slot));
        }
        self.input(Input::SlotOpened { server, slot, result });
    }

    fn listens(&mut self, worker: WorkerId, nth: u8) {
        let known = self.workers.get_mut(&worker).expect("it was picked");
        let count = known.has.len();
        let Some(lent) = known.has.values_mut().nth(usize::from(nth) % count.max(1)) else {
            return;
        };
        lent.listens = true;
        let query = query(lent.port);
        self.says(worker, None, ClusterBody::Listening(Box::new(query)));
    }

    fn close(&mut self, worker: WorkerId, nth: usize) {
        let known = self.workers.get_mut(&worker).expect("it was picked");
        let Some(server) = known.has.keys().nth(nth % known.has.len().max(1)).copied() else {
            return;
        };
        let key = known.has.remove(&server).expect("just seen").key;
        self.says(worker, None, ClusterBody::Close { key });
    }

    fn leave(&mut self, worker: WorkerId, how: u8) {
        self.workers.get_mut(&worker).expect("it was picked").leaves = true;
        self.input(match how % 3 {
            0 => Input::Disconnect { worker },
            1 => Input::TakeOutOfRotation { worker },
            _ => Input::CloseChannel { worker },
        });
    }

    fn go(&mut self, worker: WorkerId, how: u8) {
        let known = self.workers.get_mut(&worker).expect("it was picked");
        // Its process may outlive its channel for long.
        known.connected = false;
        known.exited |= how.is_multiple_of(2);
        let exited = known.exited;
        // While it may still have its sockets it does not serve by them.
        known.has.values_mut().for_each(|lent| lent.listens = false);
        self.in_flight.retain(|(_, holder, _)| *holder != worker);
        self.probes.retain(|probed| *probed != worker);
        self.probe_looks.retain(|probed| *probed != worker);
        self.input(Input::ChannelClosed { worker });
        if exited {
            self.input(Input::Exited { worker, status: ExitStatus::Code(0) });
        }
    }

    fn look(&mut self, bytes: &mut Bytes<'_>) {
        let Some(server) = self.looks.pop_front() else { return };
        if !self.open.contains(&server) {
            return;
        }
        let numbers = self.sockets.iter().filter(|(of, _)| *of == server).map(|(_, n)| Some(*n));
        let wheres: Vec<_> = std::iter::once(None).chain(numbers).collect();
        let queues =
            wheres.into_iter().map(|slot| Queue { slot, length: (bytes.next() % 4).into() });
        let queues = queues.collect();
        self.input(Input::Queues { server, queues });
    }

    fn answer(&mut self, nth: usize, accepted: bool) {
        if self.in_flight.is_empty() {
            return;
        }
        let (_, worker, seq) = self.in_flight.remove(nth % self.in_flight.len());
        self.says(worker, Some(seq), ClusterBody::Accepted(accepted));
    }

    fn timeout(&mut self) {
        self.machine.handle_timeout(self.now);
        self.drain();
    }

    fn input(&mut self, input: Input) {
        self.machine.handle_input(self.now, input);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::BindSlots { server, query, .. } => self.binds(server, &query, true),
                Output::Bind { server, query, .. } => self.binds(server, &query, false),
                Output::OpenSlot { server, slot } => self.opening.push((server, slot)),
                Output::Slot { server, slot, position, on } => {
                    self.switch(server, slot, position, on);
                }
                Output::Look { server } => self.looks.push_back(server),
                Output::Probe { worker } => self.probes.push_back(worker),
                Output::LookAtProbe { worker } => self.probe_looks.push_back(worker),
                Output::AbandonProbe { worker } => {
                    self.probes.retain(|probed| *probed != worker);
                }
                Output::Rescue { server, slot, most } => self.rescue(server, slot, most),
                Output::CloseServer { server, .. } => {
                    assert!(self.open.remove(&server), "{server:?} is not open");
                    self.turns.retain(|(of, _), _| *of != server);
                    self.on.retain(|(of, _)| *of != server);
                    self.sockets.retain(|(of, _)| *of != server);
                    self.opening.retain(|(of, _)| *of != server);
                    // Those that have sockets of it serve no more by them.
                    for worker in self.workers.values_mut() {
                        worker.has.remove(&server);
                    }
                    self.closing.push(server);
                }
                Output::DropConn { conn, .. } => {
                    let ended = self.conns.insert(conn, true);
                    assert_eq!(ended, Some(false), "{conn:?} ends twice, or was never accepted");
                    self.in_flight.retain(|(under_way, ..)| *under_way != conn);
                }
                Output::Send { worker, message, handle } => self.sent(worker, message, handle),
                _ => {}
            }
        }
    }

    fn binds(&mut self, server: ServerId, query: &ListenQuery, slots: bool) {
        assert!(!self.open.contains(&server));
        self.ports.insert(server, query.port.value().expect("it was asked for"));
        self.binding.push((server, slots));
    }

    fn switch(&mut self, server: ServerId, number: u32, turn: u32, on: bool) {
        assert!(self.open.contains(&server) && self.sockets.contains(&(server, number)));
        // As the driver does it: see `Group::switch`.
        if on {
            assert!(self.on.insert((server, number)), "{number} is on already");
            let before = self.turns.insert((server, turn), number);
            self.report.turns += 1;
            self.report.successions += u32::from(before.is_some());
        } else {
            assert!(self.on.remove(&(server, number)), "{number} is off already");
            if self.turns.get(&(server, turn)) == Some(&number) {
                self.turns.remove(&(server, turn));
            }
        }
    }

    fn rescue(&mut self, server: ServerId, number: Option<u32>, most: usize) {
        assert!(!number.is_some_and(|number| self.on.contains(&(server, number))));
        for _ in 0..most.min(4) {
            let conn = ConnId(self.conns.len() as u64 + 1);
            self.conns.insert(conn, false);
            self.report.rescued += 1;
            self.machine.handle_input(self.now, Input::Accepted { server, conn, client: Some(7) });
        }
    }

    fn sent(&mut self, to: WorkerId, message: Message, handle: Option<SendHandle>) {
        let Message::Cluster(ClusterMessage { seq, ack, body, .. }) = message else { return };
        match (body, handle) {
            (ClusterBody::NewConn { .. }, Some(SendHandle::Conn { conn })) => {
                assert!(self.workers[&to].connected, "{conn:?} goes to {to}, which is gone");
                self.in_flight.push((conn, to, seq));
            }
            (ClusterBody::ListenReply(reply), handle) => {
                let ack = ack.expect("an answer says to what");
                let asked = self.workers.get_mut(&to).expect("it asked").asked.remove(&ack);
                let port = asked.unwrap_or_else(|| panic!("{to} did not ask {ack}"));
                let Some(SendHandle::Slot { server, slot: number, .. }) = handle else { return };
                assert!(self.sockets.contains(&(server, number)));
                let has = |worker: &Worker| {
                    worker.has.get(&server).is_some_and(|lent| lent.number == number)
                };
                let holder = self.workers.iter().find(|(_, worker)| !worker.exited && has(worker));
                assert!(holder.is_none(), "{to} is lent what {} has", holder.expect("one").0);
                let lent = Lent { number, key: reply.key, port, listens: false };
                self.workers.get_mut(&to).expect("it asked").has.insert(server, lent);
            }
            _ => {}
        }
    }

    fn check(&self) {
        let turns: BTreeSet<_> = self.turns.iter().map(|((server, _), n)| (*server, *n)).collect();
        assert_eq!(turns.len(), self.turns.len(), "a socket takes two turns");
        assert_eq!(turns, self.on, "sockets that are on, and those that take turns, differ");
        // Who serves which turn, the latest last.
        let mut serving = BTreeMap::<_, Vec<_>>::new();
        for (id, worker) in &self.workers {
            for (server, lent) in worker.has.iter().filter(|(_, lent)| lent.listens) {
                if worker.connected && !worker.leaves && self.open.contains(server) {
                    let turn = (*server, worker.turn);
                    serving.entry(turn).or_default().push((*id, lent.number));
                }
            }
        }
        for (turn, number) in &self.turns {
            let serves = serving.get(turn).is_some_and(|all| all.iter().any(|(_, n)| n == number));
            assert!(
                serves,
                "turn {turn:?} is that of {number}, whose worker does not serve: {:#?}",
                self.workers
            );
        }
        if self.exact {
            let latest = |all: Vec<(WorkerId, u32)>| all.last().expect("one at least").1;
            let expected: BTreeMap<_, _> =
                serving.into_iter().map(|(turn, all)| (turn, latest(all))).collect();
            assert_eq!(self.turns, expected, "turns that are taken, and those that should be");
        }
    }

    /// All workers go: nothing is left.
    fn finish(mut self) -> Report {
        for id in self.workers.keys().copied().collect::<Vec<_>>() {
            if self.workers[&id].connected {
                self.go(id, 0);
            } else if !self.workers[&id].exited {
                self.workers.get_mut(&id).expect("just seen").exited = true;
                let status = ExitStatus::Code(0);
                self.input(Input::Exited { worker: id, status });
            }
            self.check();
        }
        while !self.binding.is_empty() {
            self.bind(0);
        }
        self.input(Input::DisconnectAll);
        while let Some(server) = self.closing.pop() {
            self.input(Input::Closed { server });
        }
        assert!(self.machine.is_empty() && self.turns.is_empty());
        assert!(self.open.is_empty(), "{:?} are left", self.open);
        for (conn, ended) in &self.conns {
            assert!(ended, "{conn:?} is left");
        }
        self.report
    }
}

fn query(port: i32) -> ListenQuery {
    ListenQuery {
        address: Field::Is("127.0.0.1".into()),
        port: Field::Is(port),
        address_type: Field::Is(AddressType::Tcp4),
        flags: Field::Is(0),
        ..ListenQuery::default()
    }
}
