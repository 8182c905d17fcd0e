//! Drives a primary's machine by bytes, as a driver, a user and workers that may each do anything,
//! and checks that no connection is lost, handed over twice or answered for by a stranger, and that
//! every worker's life is told in its order.
//!
//! The fuzz target `primary_ops` includes this file; `tests/fuzz_seeds.rs` replays its seeds.

mod checks;
mod lives;
mod messages;
mod outputs;
mod placement;
mod sockets;
mod world;

use cluster_primary::machine::{Config, Input, Machine};
use cluster_primary::proto::{HandleKind, Message};
use cluster_primary::{Mono, Placement, PolicyName, Settings, WorkerError};

use self::world::{Bytes, Place, SEED, World, text};

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

impl World {
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
