//! Whole clusters on a network that is made up: the primary's machine and those of several workers,
//! joined by real channels over memory that cut, delay and fill up as a seed has it, while workers
//! crash, refuse, disconnect and come late. Thousands of seeds are run each time.
//!
//! A run that fails names its seed. To see it again, alone and with what happened:
//! ```console
//! $ CLUSTER_SIM_SEED=1234 cargo test -p cluster-primary --test simulation -- --nocapture
//! ```
//! `CLUSTER_SIM_SEEDS=100000` runs more of them.

use std::collections::{BTreeMap, BTreeSet};

use cluster_ipc::memory::{self, Chunks, MemoryTransport};
use cluster_ipc::{Channel, ChannelConfig, Outgoing, Recv};
use cluster_primary::machine::{
    self, Bound, Config, ConnOutcome, Input, LAST_CONNECTIONS, Machine, Output, SendHandle,
};
use cluster_primary::proto::{Family, HandleKind, SockName};
use cluster_primary::{
    ConnId, Event, ExitStatus, Mono, PolicyName, ServerId, Settings, Signal, WorkerError, WorkerId,
};
use cluster_worker::ListenOptions;
use cluster_worker::machine as worker;

/// What travels as a descriptor.
type Handle = u64;

/// The token of a probe.
const PROBE: u64 = u64::MAX;

/// Seeds of one test run: some seconds of them.
const SEEDS: u64 = 2000;

#[test]
fn every_connection_is_served_once_or_shed_with_a_reason() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("CLUSTER_SIM_SEED") {
        println!("{:?}", World::new(seed, true).run());
        return;
    }
    let seeds = number("CLUSTER_SIM_SEEDS").unwrap_or(SEEDS);
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let run = |first: u64| {
        let mut total = Tally::default();
        for seed in (first..seeds).step_by(threads as usize) {
            match std::panic::catch_unwind(|| World::new(seed, false).run()) {
                Ok(tally) => total.add(&tally),
                Err(_) => panic!("seed {seed} fails: run it alone with CLUSTER_SIM_SEED={seed}"),
            }
        }
        total
    };
    let mut total = Tally::default();
    std::thread::scope(|scope| {
        let parts: Vec<_> = (0..threads).map(|n| scope.spawn(move || run(n))).collect();
        for part in parts {
            total.add(&part.join().expect("a seed fails; it is named above"));
        }
    });
    // The runs are no good if nothing happens in them.
    println!("{total:?}");
    assert!(total.served > total.shed && total.shed > 0, "{total:?}");
    assert!(total.crashes > 0 && total.refused > 0 && total.saved > 0, "{total:?}");
}

/// What happened.
#[derive(Debug, Default)]
struct Tally {
    served: u64,
    shed: u64,
    refused: u64,
    crashes: u64,
    /// Served by a worker after another had been sent it.
    saved: u64,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.served += other.served;
        self.shed += other.shed;
        self.refused += other.refused;
        self.crashes += other.crashes;
        self.saved += other.saved;
    }
}

/// Numbers that are the same for the same seed (SplitMix64).
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        (!from.is_empty()).then(|| from[self.below(from.len() as u64) as usize])
    }
}

/// A worker's process.
struct Process {
    machine: worker::Machine,
    channel: Option<Channel<MemoryTransport<Handle>>>,
    handles: BTreeMap<u64, Handle>,
    last_handle: u64,
    last_server: u64,
    listening: Vec<worker::ServerId>,
    ready: BTreeMap<worker::ServerId, usize>,
    /// Taken connections whose acknowledgement may not be written yet.
    taken: Vec<(worker::ServerId, ConnId)>,
    /// Connections that the application serves.
    open: Vec<worker::ServerId>,
    closing: bool,
    exit: Option<ExitStatus>,
}

/// The primary's side of a worker.
#[derive(Default)]
struct Child {
    channel: Option<Channel<MemoryTransport<Handle>>>,
    exited: bool,
}

/// A worker's life as the primary tells it.
#[derive(Default)]
struct Life {
    online: bool,
    listening: bool,
    disconnected: Option<bool>,
    exited: bool,
}

struct World {
    rng: Rng,
    trace: bool,
    now: Mono,
    machine: Machine,
    children: BTreeMap<WorkerId, Child>,
    processes: BTreeMap<WorkerId, Process>,
    lives: BTreeMap<WorkerId, Life>,
    /// Open servers, and clients that wait in the kernel's queue of each.
    servers: BTreeMap<ServerId, usize>,
    conns: u64,
    sent: BTreeMap<ConnId, BTreeSet<WorkerId>>,
    /// Who acknowledged it.
    takers: BTreeMap<ConnId, WorkerId>,
    served: BTreeMap<ConnId, WorkerId>,
    ended: BTreeMap<ConnId, ConnOutcome>,
    crashed: BTreeSet<WorkerId>,
    all_gone: bool,
}

impl World {
    fn new(seed: u64, trace: bool) -> Self {
        let mut settings = Settings::new("app");
        settings.args = Vec::new();
        settings.placement = cluster_primary::Placement::Handoff;
        settings.policy = PolicyName::ALL[seed as usize % PolicyName::ALL.len()];
        Self {
            rng: Rng(seed),
            trace,
            now: Mono::ZERO,
            machine: Machine::new(Config::from(&settings), seed),
            children: BTreeMap::new(),
            processes: BTreeMap::new(),
            lives: BTreeMap::new(),
            servers: BTreeMap::new(),
            conns: 0,
            sent: BTreeMap::new(),
            takers: BTreeMap::new(),
            served: BTreeMap::new(),
            ended: BTreeMap::new(),
            crashed: BTreeSet::new(),
            all_gone: false,
        }
    }

    fn run(mut self) -> Tally {
        for _ in 0..1 + self.rng.below(3) {
            self.fork();
        }
        for _ in 0..200 {
            self.step();
        }
        self.finish()
    }

    fn log(&self, what: impl FnOnce() -> String) {
        if self.trace {
            println!("{:?} {}", self.now, what());
        }
    }

    fn step(&mut self) {
        let workers: Vec<_> = self.processes.keys().copied().collect();
        let one = self.rng.pick(&workers);
        match (self.rng.below(100), one) {
            (0..=24, Some(id)) => self.hear(id),
            (25..=54, Some(id)) => self.live(id),
            (55..=74, _) => self.client(),
            (75..=86, Some(id)) => self.end_one(id),
            (87..=91, _) => {
                self.now += Mono::from_millis(self.rng.below(100));
                self.machine.handle_timeout(self.now);
                self.carry_out();
            }
            (92 | 93, _) if self.processes.len() < 5 => self.fork(),
            (94, Some(id)) => self.crash(id),
            (95, Some(id)) => {
                if self.rng.below(2) == 0 {
                    // It is told to disconnect later, or at the end.
                    self.log(|| format!("the user takes {id} out of rotation"));
                    self.input(Input::TakeOutOfRotation { worker: id });
                } else {
                    self.log(|| format!("the user disconnects {id}"));
                    self.input(Input::Disconnect { worker: id });
                }
            }
            (96, Some(id)) => {
                let input = match self.rng.below(2) {
                    0 => worker::Input::Disconnect,
                    _ => worker::Input::Kill,
                };
                self.log(|| format!("{id} itself: {input:?}"));
                self.worker_input(id, input);
            }
            (97, Some(id)) => {
                let server = self.processes[&id].listening.first().copied();
                if let Some(server) = server {
                    self.log(|| format!("{id} closes {server}"));
                    self.worker_input(id, worker::Input::CloseServer(server));
                }
            }
            (98, Some(id)) => self.listen(id),
            (99, _) if self.rng.below(10) == 0 => {
                if self.rng.below(2) == 0 {
                    self.log(|| "the user takes all out of rotation".into());
                    self.input(Input::TakeAllOutOfRotation);
                }
                self.log(|| "the user disconnects all".into());
                self.input(Input::DisconnectAll);
            }
            _ => {}
        }
    }

    // ---- the primary's driver ----

    fn fork(&mut self) {
        let id = self.machine.next_worker();
        let (mut ours, mut theirs) = memory::pair();
        for end in [&mut ours, &mut theirs] {
            let capacity = 200 + self.rng.below(1000) as usize;
            end.set_capacity(capacity);
            end.set_send_chunks(Chunks::Seeded { seed: self.rng.next(), max: 200 });
            end.set_recv_chunks(Chunks::Seeded { seed: self.rng.next(), max: 300 });
        }
        let channel = Some(Channel::with_transport(ours, ChannelConfig::default()));
        self.children.insert(id, Child { channel, exited: false });
        let process = Process {
            machine: worker::Machine::new(worker::Config::default()),
            channel: Some(Channel::with_transport(theirs, ChannelConfig::default())),
            handles: BTreeMap::new(),
            last_handle: 0,
            last_server: 0,
            listening: Vec::new(),
            ready: BTreeMap::new(),
            taken: Vec::new(),
            open: Vec::new(),
            closing: false,
            exit: None,
        };
        self.processes.insert(id, process);
        self.lives.insert(id, Life::default());
        self.log(|| format!("fork {id}"));
        self.input(Input::Forked { worker: id, pid: id.0, slot: None });
        self.listen(id);
    }

    fn input(&mut self, input: Input) {
        self.machine.handle_input(self.now, input);
        self.carry_out();
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Send { worker, message, handle } => {
                    if let Some(SendHandle::Conn { conn }) = handle {
                        self.log(|| format!("{conn:?} is for {worker}"));
                        self.sent.entry(conn).or_default().insert(worker);
                    }
                    let outgoing = match handle {
                        Some(SendHandle::Conn { conn }) => {
                            let cluster_primary::proto::Message::Cluster(m) = &message else {
                                panic!("{message:?}");
                            };
                            Some(Outgoing::new(HandleKind::NetNative, conn.0).token(m.seq))
                        }
                        Some(SendHandle::Server { kind, .. } | SendHandle::Slot { kind, .. }) => {
                            Some(Outgoing::new(kind, 0))
                        }
                        None => None,
                    };
                    if let Some(channel) = self.channel(worker) {
                        let _ = channel.send(&message, outgoing);
                    }
                }
                Output::Probe { worker } => {
                    let sent = self.channel(worker).map(|channel| channel.probe(PROBE).is_ok());
                    if sent != Some(true) {
                        self.machine.handle_input(self.now, Input::Probed { worker });
                    }
                }
                // Its event loop will answer.
                Output::LookAtProbe { worker } => {
                    let input = Input::ProbeLooked { worker, read: Some(false) };
                    self.machine.handle_input(self.now, input);
                }
                Output::Bind { server, .. } => {
                    let result = if self.rng.below(10) == 0 {
                        Err(-98)
                    } else {
                        self.servers.insert(server, 0);
                        let address = "127.0.0.1".into();
                        let sockname = SockName { address, family: Family::Ipv4, port: 80 };
                        Ok(Bound { sockname: Some(sockname), kind: HandleKind::NetNative })
                    };
                    self.machine.handle_input(self.now, Input::Bound { server, result });
                }
                Output::CloseServer { server, accept_rest } => {
                    let waiting = self.servers.remove(&server).expect("it is open");
                    self.log(|| format!("{server:?} closes, {waiting} wait"));
                    for _ in 0..if accept_rest { waiting.min(LAST_CONNECTIONS) } else { 0 } {
                        self.accept(server);
                    }
                    self.machine.handle_input(self.now, Input::Closed { server });
                }
                Output::DropConn { conn, why } => {
                    self.log(|| format!("{conn:?} ends: {why:?}"));
                    let before = self.ended.insert(conn, why);
                    assert_eq!(before, None, "{conn:?} ends twice");
                    match (why, self.takers.get(&conn)) {
                        (ConnOutcome::HandedOver { .. }, None) => panic!("{conn:?}: unexpected"),
                        (ConnOutcome::Shed(_), Some(by)) => {
                            assert!(self.crashed.contains(by), "{conn:?} is shed, and {by} has it");
                        }
                        _ => {}
                    }
                }
                Output::CloseHandle { .. } => {}
                Output::AbortChannel { worker } => {
                    let child = self.children.get_mut(&worker);
                    if child.is_some_and(|child| child.channel.take().is_some()) {
                        self.machine.handle_input(self.now, Input::ChannelClosed { worker });
                    }
                }
                Output::Event(machine::Event::Plain(event)) => self.told(&event),
                Output::Event(event) => self.log(|| format!("{event:?}")),
                other => panic!("an output that this file does not know: {other:?}"),
            }
        }
    }

    fn channel(&mut self, id: WorkerId) -> Option<&mut Channel<MemoryTransport<Handle>>> {
        self.children.get_mut(&id)?.channel.as_mut()
    }

    /// The primary writes and reads some of what there is on that worker's channel.
    fn hear(&mut self, id: WorkerId) {
        for _ in 0..1 + self.rng.below(6) {
            let now = self.now;
            let Some(channel) = self.channel(id) else { break };
            channel.flush().expect("memory does not fail");
            let received = channel.recv();
            let mut inputs = Vec::new();
            while let Some(answer) = channel.poll_answer() {
                if answer.token == PROBE {
                    inputs.push(Input::Probed { worker: id });
                } else if !answer.delivered {
                    inputs.push(Input::Undelivered { worker: id, seq: answer.token });
                }
            }
            for input in inputs {
                self.machine.handle_input(now, input);
            }
            match received {
                Ok(Recv::Message(received)) => {
                    let message = received.message;
                    let input =
                        Input::Received { worker: id, message, handle: None, arrived: true };
                    self.input(input);
                }
                Ok(Recv::WouldBlock) => break,
                Ok(Recv::Closed) => self.close(id),
                Err(error) => {
                    // Cut off in the midst of a frame by a crash, and by nothing else.
                    assert!(self.crashed.contains(&id), "{id}: {error}");
                    let error = WorkerError::Channel { what: error.to_string() };
                    self.input(Input::ChannelFailed { worker: id, error });
                    self.close(id);
                }
            }
        }
        self.carry_out();
        if let Some(channel) = self.channel(id) {
            channel.flush().expect("memory does not fail");
        }
        self.reap(id);
    }

    fn close(&mut self, id: WorkerId) {
        if let Some(child) = self.children.get_mut(&id)
            && child.channel.take().is_some()
        {
            self.input(Input::ChannelClosed { worker: id });
        }
    }

    /// A process that has ended: its last words first, as the driver has it.
    fn reap(&mut self, id: WorkerId) {
        let Some(status) = self.processes.get(&id).and_then(|p| p.exit) else { return };
        let Some(child) = self.children.get_mut(&id) else { return };
        if std::mem::replace(&mut child.exited, true) {
            return;
        }
        while self.channel(id).is_some() {
            self.hear(id);
        }
        self.log(|| format!("{id} ends: {status}"));
        self.input(Input::Exited { worker: id, status });
        self.processes.remove(&id);
        self.children.remove(&id);
    }

    // ---- workers ----

    fn listen(&mut self, id: WorkerId) {
        let max_connections = self.rng.pick(&[None, None, Some(1), Some(3)]).flatten();
        let Some(process) = self.processes.get_mut(&id) else { return };
        if process.exit.is_some() || process.last_server >= 3 {
            return;
        }
        process.last_server += 1;
        let server = worker::ServerId(process.last_server);
        let port = 80 + (process.last_server as u16) % 2;
        let query = ListenOptions::from(("127.0.0.1", port)).query().expect("an address");
        let query = Box::new(query);
        self.worker_input(id, worker::Input::Listen { server, query, max_connections });
    }

    fn worker_input(&mut self, id: WorkerId, input: worker::Input) {
        let now = self.now;
        if let Some(process) = self.processes.get_mut(&id).filter(|p| p.exit.is_none()) {
            process.machine.handle_input(now, input);
            self.obey(id);
        }
    }

    /// The worker's driver does what its machine wants.
    fn obey(&mut self, id: WorkerId) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        while let Some(output) = process.machine.poll_output() {
            match output {
                worker::Output::Send(message) => {
                    if let Some(channel) = &mut process.channel {
                        let _ = channel.send(&message, None);
                    }
                }
                worker::Output::Listening { server, .. } => process.listening.push(server),
                worker::Output::Closed(server) => {
                    process.listening.retain(|s| *s != server);
                    process.ready.remove(&server);
                }
                worker::Output::ConnectionReady(server) => {
                    *process.ready.entry(server).or_default() += 1;
                }
                worker::Output::Connection { server, handle, tracked } => {
                    assert!(tracked);
                    let conn = ConnId(process.handles.remove(&handle.0).expect("it was received"));
                    let before = self.takers.insert(conn, id);
                    // One that crashed with its word unsaid has not taken it.
                    let unsaid = |by: WorkerId| {
                        self.crashed.contains(&by) && !self.served.contains_key(&conn)
                    };
                    assert!(before.is_none_or(unsaid), "{conn:?} is with {before:?} and {id}");
                    process.taken.push((server, conn));
                }
                worker::Output::CloseHandle(handle) => drop(process.handles.remove(&handle.0)),
                worker::Output::CloseChannel => process.closing = true,
                worker::Output::Disconnected => {
                    // Its main ends, with all that it serves.
                    process.exit = process.exit.or(Some(ExitStatus::Code(0)));
                }
                worker::Output::Exit { code } => process.exit = Some(ExitStatus::Code(code)),
                _ => {}
            }
        }
    }

    /// The worker reads, writes, and takes connections.
    fn live(&mut self, id: WorkerId) {
        for _ in 0..1 + self.rng.below(4) {
            let Some(process) = self.processes.get_mut(&id).filter(|p| p.exit.is_none()) else {
                return;
            };
            let Some(channel) = &mut process.channel else { return };
            match channel.recv() {
                Ok(Recv::Message(received)) => {
                    let handle = received.handle.map(|handle| {
                        process.last_handle += 1;
                        process.handles.insert(process.last_handle, handle.handle);
                        let id = worker::HandleId(process.last_handle);
                        worker::Handle { id, kind: handle.kind, key: handle.key }
                    });
                    self.worker_input(
                        id,
                        worker::Input::Received { message: received.message, handle },
                    );
                }
                Ok(Recv::WouldBlock) => break,
                Ok(Recv::Closed) | Err(_) => {
                    process.channel = None;
                    self.worker_input(id, worker::Input::ChannelClosed);
                    return;
                }
            }
        }
        let ready = self.processes.get(&id).map(|p| p.ready.clone()).unwrap_or_default();
        let ready: Vec<_> = ready.into_iter().filter(|(_, n)| *n > 0).map(|(s, _)| s).collect();
        if let Some(server) = self.rng.pick(&ready) {
            let process = self.processes.get_mut(&id).expect("it lives");
            *process.ready.entry(server).or_default() -= 1;
            self.worker_input(id, worker::Input::Take { server, tracked: true });
        }
        self.write(id);
    }

    /// The worker writes; what it took it serves when that is written.
    fn write(&mut self, id: WorkerId) {
        let Some(process) = self.processes.get_mut(&id).filter(|p| p.exit.is_none()) else {
            return;
        };
        let Some(channel) = &mut process.channel else { return };
        channel.flush().expect("memory does not fail");
        if !channel.can_send() {
            // The primary is gone from it: what was not written is not said.
            return;
        }
        if channel.queued_bytes() > 0 {
            return;
        }
        for (server, conn) in std::mem::take(&mut process.taken) {
            let before = self.served.insert(conn, id);
            assert_eq!(before, None, "{conn:?} is served twice");
            process.open.push(server);
        }
        if process.closing {
            process.channel = None;
            self.worker_input(id, worker::Input::ChannelClosed);
        }
    }

    /// A connection of that worker's ends.
    fn end_one(&mut self, id: WorkerId) {
        let Some(process) = self.processes.get_mut(&id) else { return };
        if let Some(server) = process.open.pop() {
            self.worker_input(id, worker::Input::Ended(server));
        }
    }

    fn crash(&mut self, id: WorkerId) {
        let Some(process) = self.processes.get_mut(&id).filter(|p| p.exit.is_none()) else {
            return;
        };
        process.channel = None;
        process.exit = Some(ExitStatus::Signal(Signal::KILL));
        self.crashed.insert(id);
        self.log(|| format!("{id} crashes"));
    }

    // ---- clients ----

    fn client(&mut self) {
        let servers: Vec<_> = self.servers.keys().copied().collect();
        let Some(server) = self.rng.pick(&servers) else { return };
        *self.servers.entry(server).or_default() += 1;
        // The primary does not always get to it.
        while self.servers.get(&server).is_some_and(|n| *n > 0)
            && self.machine.room(server) > 0
            && self.rng.below(3) > 0
        {
            *self.servers.entry(server).or_default() -= 1;
            self.accept(server);
            self.carry_out();
        }
    }

    fn accept(&mut self, server: ServerId) {
        self.conns += 1;
        let conn = ConnId(self.conns);
        // A fifth come from nowhere, the others from a few addresses.
        let client = (!self.conns.is_multiple_of(5)).then_some(self.conns as u32 * 7 % 11);
        self.machine.handle_input(self.now, Input::Accepted { server, conn, client });
    }

    // ---- checks ----

    fn told(&mut self, event: &Event) {
        self.log(|| format!("{event:?}"));
        let Self { lives, crashed, .. } = self;
        match event {
            Event::Online { worker } => {
                let life = lives.get_mut(worker).expect("it was forked");
                assert!(!std::mem::replace(&mut life.online, true), "online twice");
                assert!(life.disconnected.is_none() && !life.exited);
            }
            Event::Listening { worker, .. } => {
                let life = lives.get_mut(worker).expect("it was forked");
                assert!(life.online && life.disconnected.is_none() && !life.exited);
                life.listening = true;
            }
            Event::Disconnect { worker, exited_after_disconnect } => {
                let life = lives.get_mut(worker).expect("it was forked");
                assert!(life.disconnected.replace(*exited_after_disconnect).is_none(), "twice");
            }
            Event::Exit { worker, status, exited_after_disconnect, .. } => {
                let crashed = crashed.contains(worker);
                let life = lives.get_mut(worker).expect("it was forked");
                assert!(!std::mem::replace(&mut life.exited, true), "exits twice");
                assert!(life.disconnected.is_none_or(|meant| meant == *exited_after_disconnect));
                assert_eq!(status.signal().is_some(), crashed);
                assert!(crashed || *exited_after_disconnect, "{worker} went as it was meant to");
            }
            Event::Error { worker, .. } => {
                assert!(crashed.contains(worker), "{event:?}");
            }
            Event::Disconnected => {
                assert!(self.servers.is_empty(), "a socket is left");
                let left = self.children.values().any(|child| child.channel.is_some());
                assert!(!left, "a worker is left");
                self.all_gone = true;
            }
            _ => {}
        }
    }

    /// All are told to go, and everything that is under way arrives.
    fn finish(mut self) -> Tally {
        self.all_gone = false;
        self.log(|| "the end: the user disconnects all".into());
        self.input(Input::DisconnectAll);
        let mut rounds = 0;
        while !self.machine.is_empty() {
            for id in self.processes.keys().copied().collect::<Vec<_>>() {
                self.hear(id);
                self.live(id);
                self.end_one(id);
                let listening = self.processes.get(&id).and_then(|p| p.listening.first().copied());
                if let Some(server) = listening
                    && self.rng.below(20) == 0
                {
                    self.worker_input(id, worker::Input::CloseServer(server));
                }
            }
            if let Some(at) = self.machine.poll_timeout() {
                self.now = self.now.max(at);
                self.machine.handle_timeout(self.now);
                self.carry_out();
            }
            rounds += 1;
            assert!(rounds < 5_000, "it never ends: {:?}", self.machine);
        }
        assert!(self.all_gone, "it is told when all have gone");
        let stats = self.machine.stats();
        assert_eq!(stats.accepted, self.conns);
        assert_eq!(self.ended.len() as u64, self.conns, "every connection ends");
        let handed_over = |why: &&ConnOutcome| matches!(why, ConnOutcome::HandedOver { .. });
        assert_eq!(stats.handed_over, self.ended.values().filter(handed_over).count() as u64);
        for (conn, why) in &self.ended {
            let served = self.served.get(conn);
            match why {
                // What a worker said that it took, and crashed before it came to it, is lost.
                ConnOutcome::HandedOver { .. } => assert!(
                    served.is_some() || self.crashed.contains(&self.takers[conn]),
                    "{conn:?} is lost"
                ),
                ConnOutcome::Shed(_) => assert_eq!(served, None, "{conn:?} is served, and shed"),
            }
        }
        for (id, life) in &self.lives {
            assert!(life.exited && life.disconnected.is_some(), "{id} is not told of");
        }
        Tally {
            served: self.served.len() as u64,
            shed: stats.shed_closed + stats.shed_full + stats.shed_refused,
            refused: stats.refused,
            crashes: self.crashed.len() as u64,
            saved: self.served.keys().filter(|conn| self.sent[conn].len() > 1).count() as u64,
        }
    }
}
