//! Bytes as inputs of a dispatcher: drives it through its public API alone, keeps books of its own, and
//! panics as soon as the two disagree.
//!
//! Standalone, so that a fuzz target can `#[path]`-include it. The first byte chooses the settings, and
//! each further pair of bytes is one step.
#![allow(dead_code, unreachable_pub, reason = "each includer uses a part of this file")]

use cluster_sched::{
    BoxedPolicy, Config, DispatchInput, DispatchLimits, DispatchOutput, Dispatcher, Mono,
    PolicyName, ShedReason,
};
use std::collections::{BTreeMap, BTreeSet};

pub type Input = DispatchInput<u8, u8, u32>;
pub type Output = DispatchOutput<u8, u8, u32>;
pub type Machine = Dispatcher<u8, u8, u32, BoxedPolicy<u8, u32>>;

/// One call of the dispatcher, for replay.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    Input(Mono, Input),
    Timeout(Mono),
    Open(u8),
}

/// The settings that the first byte chose, all calls, and all outputs.
#[derive(Debug)]
pub struct Report {
    pub setup: Setup,
    pub steps: Vec<Step>,
    pub outputs: Vec<Output>,
    pub most_kept: usize,
}

#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub policy: PolicyName,
    pub limits: DispatchLimits,
}

impl Setup {
    fn of(first: u8) -> Self {
        let bits = |shift: u8| usize::from(first >> shift & 3);
        let limits = DispatchLimits::default()
            .window([1, 2, 8, 64][bits(2)])
            .waiting([4, 16, 64, 512][bits(4)])
            .in_flight(if first & 0x40 == 0 { usize::MAX } else { 12 })
            .held(if first & 0x80 == 0 { usize::MAX } else { 24 });
        let names = PolicyName::ALL;
        Self { policy: names[bits(0) % names.len()], limits }
    }

    pub fn policy(self, server: u8) -> (BoxedPolicy<u8, u32>, Config) {
        (self.policy.build(u64::from(server)), Config::default().max_refusal_rounds(3))
    }

    pub fn open(self, dispatcher: &mut Machine, server: u8) {
        let (policy, config) = self.policy(server);
        dispatcher.open(server, policy, config);
    }
}

/// Takes all outputs, and gives each hand-off the next number.
pub fn drain(dispatcher: &mut Machine, numbers: &mut u64) -> Vec<Output> {
    let mut outputs = Vec::new();
    while let Some(output) = dispatcher.poll_output() {
        if let DispatchOutput::HandOff { server, conn, .. } = output {
            dispatcher.set_number(server, conn, *numbers);
            *numbers += 1;
        }
        outputs.push(output);
    }
    outputs
}

/// The same calls. `drains` says before each of them whether outputs are taken; before an answer they
/// always are, since the worker has to have been sent something. Then `exchange` may put another
/// dispatcher in the place of this one.
pub fn replay(
    report: &Report,
    mut drains: impl FnMut() -> bool,
    mut exchange: impl FnMut(Mono, Machine) -> Machine,
) -> Vec<Output> {
    let mut dispatcher = Machine::new(report.setup.limits);
    let (mut outputs, mut numbers, mut now) = (Vec::new(), 0, Mono::ZERO);
    for &step in &report.steps {
        use DispatchInput::{Answered, Undelivered};
        let answers = matches!(step, Step::Input(_, Answered { .. } | Undelivered { .. }));
        if drains() || answers {
            outputs.extend(drain(&mut dispatcher, &mut numbers));
            dispatcher = exchange(now, dispatcher);
        }
        match step {
            Step::Input(at, input) => {
                now = at;
                // What did not fit the first time does not fit now.
                let _ = dispatcher.handle_input(at, input);
            }
            Step::Timeout(at) => {
                now = at;
                dispatcher.handle_timeout(at);
            }
            Step::Open(server) => report.setup.open(&mut dispatcher, server),
        }
    }
    outputs.extend(drain(&mut dispatcher, &mut numbers));
    outputs
}

/// Runs the bytes, and checks that how often outputs are taken changes nothing.
pub fn run_and_replay(bytes: &[u8]) {
    let report = run(bytes);
    assert_eq!(replay(&report, || false, |_, dispatcher| dispatcher), report.outputs);
}

struct Run {
    dispatcher: Machine,
    now: Mono,
    numbers: u64,
    next_conn: u32,
    next_worker: u8,
    report: Report,
    workers: BTreeSet<u8>,
    closed: BTreeSet<u8>,
    servers: BTreeSet<u8>,
    held: BTreeSet<u32>,
    /// Connections in flight: worker and connection, by number.
    in_flight: BTreeMap<u64, (u8, u32)>,
}

/// Runs `bytes`.
pub fn run(bytes: &[u8]) -> Report {
    let (&first, rest) = bytes.split_first().unwrap_or((&0, &[]));
    let setup = Setup::of(first);
    let report = Report { setup, steps: Vec::new(), outputs: Vec::new(), most_kept: 0 };
    let mut run = Run {
        dispatcher: Machine::new(setup.limits),
        now: Mono::ZERO,
        numbers: 0,
        next_conn: 0,
        next_worker: 0,
        report,
        workers: BTreeSet::new(),
        closed: BTreeSet::new(),
        servers: BTreeSet::new(),
        held: BTreeSet::new(),
        in_flight: BTreeMap::new(),
    };
    for pair in rest.chunks_exact(2) {
        run.step(pair[0], pair[1]);
        run.check();
    }
    run.finish();
    run.report
}

impl Run {
    fn step(&mut self, kind: u8, arg: u8) {
        let server = arg & 1;
        let worker = self.workers.iter().copied().nth(usize::from(arg >> 1) % 4).unwrap_or(200);
        match kind % 16 {
            0 if self.next_worker < 100 => {
                let worker = self.next_worker;
                self.next_worker += 1;
                self.workers.insert(worker);
                self.feed(DispatchInput::Enter { worker });
                self.open(server);
                self.feed(DispatchInput::Join { server, worker, slot: worker.into() });
            }
            1 => {
                self.open(server);
                self.feed(DispatchInput::Join { server, worker, slot: worker.into() });
            }
            2 => self.feed(DispatchInput::Retire { server, worker }),
            3 if arg < 100 => {
                self.workers.remove(&worker);
                self.in_flight.retain(|_, (to, _)| *to != worker);
                self.feed(DispatchInput::Leave { worker });
            }
            4 if arg < 20 && self.servers.contains(&server) => {
                if self.closed.insert(server) {
                    self.feed(DispatchInput::Close { server });
                }
            }
            5 => self.feed(DispatchInput::Held { worker, held: (arg >> 3).into() }),
            6 => {
                self.now += Mono::from_millis(u64::from(arg));
                self.timeout();
            }
            // A crowd comes at once.
            7 | 8 => (0..arg >> 3).for_each(|_| self.arrive(server, arg)),
            9 => self.arrive(server, arg),
            10 => self.answer(arg, false),
            11 => {
                if let Some((&number, &(worker, _))) = self.pick(arg) {
                    self.in_flight.remove(&number);
                    self.feed(DispatchInput::Undelivered { worker, number });
                }
            }
            12 => self.feed(DispatchInput::Answered {
                worker,
                number: self.numbers + u64::from(arg),
                accepted: true,
            }),
            _ => {
                self.now += Mono::from_millis(u64::from(arg & 7));
                self.answer(arg, true);
            }
        }
    }

    fn pick(&self, nth: u8) -> Option<(&u64, &(u8, u32))> {
        self.in_flight.iter().nth(usize::from(nth).checked_rem(self.in_flight.len())?)
    }

    fn open(&mut self, server: u8) {
        if self.servers.insert(server) {
            self.report.steps.push(Step::Open(server));
            self.report.setup.open(&mut self.dispatcher, server);
        }
    }

    fn arrive(&mut self, server: u8, client: u8) {
        let conn = self.next_conn;
        self.next_conn += 1;
        if self.servers.contains(&server) {
            self.held.insert(conn);
        }
        let beyond = usize::from(client & 0x40 != 0);
        let client = Some(client.into());
        self.feed(DispatchInput::Arrive { server, conn, client, beyond });
    }

    fn answer(&mut self, nth: u8, accepted: bool) {
        if let Some((&number, &(worker, _))) = self.pick(nth) {
            self.in_flight.remove(&number);
            self.feed(DispatchInput::Answered { worker, number, accepted });
        }
    }

    fn feed(&mut self, input: Input) {
        self.report.steps.push(Step::Input(self.now, input));
        // Some do not fit, on purpose.
        let _ = self.dispatcher.handle_input(self.now, input);
        self.drain();
    }

    fn timeout(&mut self) {
        self.report.steps.push(Step::Timeout(self.now));
        self.dispatcher.handle_timeout(self.now);
        self.drain();
        let due = self.dispatcher.poll_timeout();
        assert!(due.is_none_or(|due| due > self.now), "what is due at {due:?} is done");
    }

    fn drain(&mut self) {
        let mut number = self.numbers;
        for output in drain(&mut self.dispatcher, &mut self.numbers) {
            match output {
                DispatchOutput::HandOff { worker, conn, .. } => {
                    assert!(self.held.contains(&conn), "{conn} is handed over after its end");
                    assert!(self.workers.contains(&worker), "{conn} goes to a worker that left");
                    let twice = self.in_flight.values().any(|(_, other)| *other == conn);
                    assert!(!twice, "{conn} is in flight twice");
                    self.in_flight.insert(number, (worker, conn));
                    number += 1;
                }
                DispatchOutput::Done { conn, .. } | DispatchOutput::Shed { conn, .. } => {
                    assert!(self.held.remove(&conn), "{conn} ends twice");
                }
                DispatchOutput::Answered { .. } => {}
            }
            if let DispatchOutput::Shed { server, reason: ShedReason::Closed, .. } = output {
                assert!(self.closed.contains(&server), "{server} is open");
            }
            self.report.outputs.push(output);
        }
    }

    fn check(&mut self) {
        let dispatcher = &self.dispatcher;
        assert_eq!(dispatcher.held(), self.held.len());
        assert_eq!(dispatcher.all_waiting(), self.held.len() - self.in_flight.len());
        let mut kept = 0;
        for &worker in &self.workers {
            let theirs = self.in_flight.iter().filter(|(_, (to, _))| *to == worker);
            assert_eq!(dispatcher.in_flight(worker), theirs.clone().count());
            for (&number, &(_, conn)) in theirs {
                assert_eq!(dispatcher.hand_off(worker, number).map(|(_, conn)| conn), Some(conn));
            }
            if dispatcher.kept(worker) > 0 {
                assert!(dispatcher.in_flight(worker) > 0, "{worker} could have what is kept back");
            }
            kept += dispatcher.kept(worker);
        }
        assert!(kept <= dispatcher.all_waiting());
        self.report.most_kept = self.report.most_kept.max(kept);
    }

    /// Everything closes, and every worker answers.
    fn finish(&mut self) {
        for server in self.servers.clone() {
            if self.closed.insert(server) {
                self.feed(DispatchInput::Close { server });
            }
        }
        while !self.in_flight.is_empty() {
            self.answer(0, true);
            self.check();
        }
        for worker in self.workers.clone() {
            self.workers.remove(&worker);
            self.feed(DispatchInput::Leave { worker });
        }
        assert!(self.held.is_empty(), "{:?} never end", self.held);
        for &server in &self.servers {
            assert!(self.dispatcher.is_idle(server));
            let stats = self.dispatcher.stats(server);
            assert_eq!(stats.arrived, stats.done + stats.shed());
            self.dispatcher.remove(server);
        }
        assert_eq!(self.dispatcher.poll_timeout(), None);
    }
}
