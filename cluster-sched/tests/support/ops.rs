//! Bytes as inputs: drives a scheduler through its public API alone, keeps books of its own, and
//! panics as soon as the two disagree.
//!
//! Standalone, so that a fuzz target can `#[path]`-include it. The first byte chooses the settings,
//! and each further pair of bytes is one step; see [`Run::step`].
#![allow(dead_code, unreachable_pub, reason = "each includer uses a part of this file")]

use cluster_sched::{
    Config, Input, InputError, Mono, Output, Policy, PolicyName, Scheduler, ShedReason, Stats,
    sticky::{Buckets, SIZE, bucket_of},
};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// A worker's name.
pub type Worker = u8;
/// A connection's name.
pub type Conn = u32;

/// One call of the scheduler, for replay.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// `handle_input`.
    Input(Mono, Input<Worker, Conn>),
    /// `handle_timeout`.
    Timeout(Mono),
}

/// What a run did.
#[derive(Debug)]
pub struct Report {
    /// The settings that the first byte chose.
    pub config: Config,
    /// All calls, in order.
    pub steps: Vec<Step>,
    /// All outputs, in order.
    pub outputs: Vec<Output<Worker, Conn>>,
    /// The scheduler's own counters at the end.
    pub stats: Stats,
}

/// Runs `bytes` with the policy that the first byte names.
pub fn run(bytes: &[u8]) -> Report {
    let first = bytes.first().copied().unwrap_or(0);
    let name = match first & 0x81 {
        0x00 => PolicyName::RoundRobin,
        0x01 => PolicyName::Random,
        0x80 => PolicyName::LeastConnections,
        _ => PolicyName::Sticky,
    };
    run_with(name, name.build(u64::from(first)), bytes)
}

/// Runs `bytes` with that policy.
pub fn run_with<P: Policy<Worker, Conn>>(name: PolicyName, policy: P, bytes: &[u8]) -> Report {
    let (&first, rest) = bytes.split_first().unwrap_or((&0, &[]));
    let mut run = Run::new(name, policy, config(first));
    for pair in rest.chunks_exact(2) {
        run.step(pair[0], pair[1]);
    }
    run.finish()
}

/// Bits 0 and 7 are the policy; in between are two bits each for the window, the queue's limit and the
/// rounds.
fn config(first: u8) -> Config {
    let bits = |shift: u8| usize::from(first >> shift & 3);
    Config::default()
        .window([1, 1, 2, 4][bits(1)])
        .max_waiting([1, 4, 16, 512][bits(3)])
        .max_refusal_rounds([1, 2, 3, 8][bits(5)])
}

#[derive(Default)]
struct Member {
    window: usize,
    retired: bool,
    in_flight: Vec<Conn>,
}

#[derive(Default)]
struct Held {
    client: Option<u32>,
    worker: Option<Worker>,
    /// Workers that are present and refused it since it was last open to all.
    refused_by: BTreeSet<Worker>,
    /// How often all had refused it.
    rounds: u32,
    /// When it is open to all again.
    until: Option<Mono>,
}

struct Run<P> {
    name: PolicyName,
    scheduler: Scheduler<Worker, Conn, P>,
    config: Config,
    now: Mono,
    members: BTreeMap<Worker, Member>,
    held: BTreeMap<Conn, Held>,
    next_conn: Conn,
    closed: bool,
    done: u64,
    shed: u64,
    steps: Vec<Step>,
    outputs: Vec<Output<Worker, Conn>>,
}

thread_local! {
    /// The tables of all sets of slots that there were in any run: making one takes longer than all
    /// that it is compared with.
    static BUCKETS: RefCell<BTreeMap<Vec<u32>, Rc<Buckets>>> = RefCell::default();
}

fn buckets(slots: Vec<u32>) -> Rc<Buckets> {
    BUCKETS.with_borrow_mut(|known| {
        let made = known
            .entry(slots)
            .or_insert_with_key(|slots| Rc::new(Buckets::new(slots.iter().copied())));
        Rc::clone(made)
    })
}

/// Workers that come again under the same name are at the same place.
fn slot(worker: Worker) -> u32 {
    100 - u32::from(worker)
}

/// A fourth has no address; the others are some of a few clients.
fn client(arg: u8) -> Option<u32> {
    (arg >= 64).then(|| u32::from(arg).wrapping_mul(0x9E37_79B9))
}

impl<P: Policy<Worker, Conn>> Run<P> {
    fn new(name: PolicyName, policy: P, config: Config) -> Self {
        Self {
            name,
            scheduler: Scheduler::new(policy, config),
            config,
            now: Mono::ZERO,
            members: BTreeMap::new(),
            held: BTreeMap::new(),
            next_conn: 0,
            closed: false,
            done: 0,
            shed: 0,
            steps: Vec::new(),
            outputs: Vec::new(),
        }
    }

    fn step(&mut self, op: u8, arg: u8) {
        let worker = arg % 8;
        match op % 16 {
            0..=3 => self.feed(Input::Arrive { conn: self.next_conn, client: client(arg) }),
            4..=6 => self.answer(arg, true),
            7 | 8 => self.answer(arg, false),
            9 => self.feed(Input::Join { worker, slot: slot(worker) }),
            10 => self.feed(Input::Retire { worker }),
            11 => self.feed(Input::Leave { worker }),
            12 if arg >= 200 => self.take_back(arg),
            12 => self.feed(Input::Window { worker, window: u32::from(arg >> 3) % 5 }),
            13 => self.wait(Mono::from_millis(u64::from(arg) * 4)),
            // Mostly stale: an answer out of the blue, or a name that is in use.
            14 => match arg >> 6 {
                0 => self.feed(Input::Accepted { worker, conn: u32::from(arg >> 3) }),
                1 => self.feed(Input::Refused { worker, conn: u32::from(arg >> 3 & 7) }),
                2 => self.feed(Input::Held { worker, held: u32::from(arg >> 3 & 7) }),
                _ => {
                    let conn = u32::from(arg) % self.next_conn.max(1);
                    self.feed(Input::Arrive { conn, client: None });
                }
            },
            _ if arg > 250 => self.feed(Input::Close),
            _ => {
                if let Some(at) = self.scheduler.poll_timeout() {
                    self.wait(at.saturating_sub(self.now));
                }
            }
        }
    }

    /// Closes, answers everything, and checks that nothing is left.
    fn finish(mut self) -> Report {
        self.feed(Input::Close);
        for turn in 0.. {
            let held = self.held.iter().next().map(|(&conn, held)| (conn, held.worker));
            match (held, turn % 3) {
                (None, _) => break,
                (Some((conn, None)), _) => panic!("{conn} waits although the server is closed"),
                (Some((conn, Some(worker))), 0) => self.feed(Input::Accepted { worker, conn }),
                (Some((conn, Some(worker))), 1) => self.feed(Input::Refused { worker, conn }),
                (Some((_, Some(worker))), _) => self.feed(Input::Leave { worker }),
            }
        }
        let stats = self.scheduler.stats();
        assert!(self.scheduler.is_idle());
        assert_eq!(self.scheduler.poll_timeout(), None);
        assert_eq!(stats.arrived, stats.done + stats.shed());
        Report { config: self.config, steps: self.steps, outputs: self.outputs, stats }
    }

    fn answer(&mut self, nth: u8, accept: bool) {
        if let Some((conn, worker)) = self.in_flight(nth) {
            self.feed(match accept {
                true => Input::Accepted { worker, conn },
                false => Input::Refused { worker, conn },
            });
        }
    }

    fn take_back(&mut self, nth: u8) {
        if let Some((conn, worker)) = self.in_flight(nth) {
            self.feed(Input::TakeBack { worker, conn });
        }
    }

    /// One of those that are in flight, and at whom.
    fn in_flight(&self, nth: u8) -> Option<(Conn, Worker)> {
        let in_flight = self.held.iter().filter_map(|(&conn, held)| Some((conn, held.worker?)));
        let in_flight: Vec<(Conn, Worker)> = in_flight.collect();
        let nth = usize::from(nth).checked_rem(in_flight.len())?;
        Some(in_flight[nth])
    }

    fn wait(&mut self, time: Mono) {
        self.now += time;
        self.steps.push(Step::Timeout(self.now));
        for held in self.held.values_mut() {
            if held.until.is_some_and(|until| until <= self.now) {
                held.until = None;
                held.refused_by.clear();
            }
        }
        self.scheduler.handle_timeout(self.now);
        self.drain(None);
        self.check();
    }

    fn feed(&mut self, input: Input<Worker, Conn>) {
        self.steps.push(Step::Input(self.now, input));
        let before = self.scheduler.stats();
        let expected = self.expect(input);
        let result = self.scheduler.handle_input(self.now, input);
        assert_eq!(result, expected.map(|_| ()), "{input:?}");
        match expected {
            Err(_) => {
                assert_eq!(self.scheduler.poll_output(), None, "{input:?} is an error");
                assert_eq!(self.scheduler.stats(), before, "{input:?} is an error");
            }
            Ok(end) => self.drain(end),
        }
        self.check();
    }

    /// Enters `input` into the books. Returns the end that it must bring about, if any.
    fn expect(
        &mut self,
        input: Input<Worker, Conn>,
    ) -> Result<Option<Output<Worker, Conn>>, InputError<Worker, Conn>> {
        match input {
            Input::Join { worker, .. } => {
                if self.closed {
                    return Err(InputError::Closed);
                }
                match self.members.get_mut(&worker) {
                    Some(member) if member.retired => member.retired = false,
                    Some(_) => return Err(InputError::AlreadyJoined { worker }),
                    None => {
                        let window = self.config.window as usize;
                        self.members.insert(worker, Member { window, ..Member::default() });
                    }
                }
            }
            Input::Retire { worker } => {
                let member = self.members.get_mut(&worker);
                let member = member.ok_or(InputError::UnknownWorker { worker })?;
                if member.retired {
                    return Err(InputError::AlreadyRetired { worker });
                }
                member.retired = true;
                self.forget_refusals_of(worker);
            }
            Input::Leave { worker } => {
                let member = self.members.remove(&worker);
                for conn in member.ok_or(InputError::UnknownWorker { worker })?.in_flight {
                    self.held.get_mut(&conn).expect("held").worker = None;
                }
                self.forget_refusals_of(worker);
            }
            Input::Arrive { conn, client } => {
                if self.held.contains_key(&conn) {
                    return Err(InputError::AlreadyArrived { conn });
                }
                let full = self.waiting() >= self.config.max_waiting;
                self.held.insert(conn, Held { client, ..Held::default() });
                self.next_conn = self.next_conn.max(conn + 1);
                let end = |reason| Ok(Some(Output::Shed { conn, reason }));
                match (self.closed, full) {
                    (true, _) => return end(ShedReason::Closed),
                    (false, true) => return end(ShedReason::Full),
                    (false, false) => {}
                }
            }
            Input::Accepted { worker, conn } => {
                self.answered(worker, conn)?;
                return Ok(Some(Output::Done { conn, worker }));
            }
            Input::Refused { worker, conn } => {
                self.answered(worker, conn)?;
                if self.closed {
                    return Ok(Some(Output::Shed { conn, reason: ShedReason::Closed }));
                }
                if !self.members[&worker].retired {
                    self.held.get_mut(&conn).expect("held").refused_by.insert(worker);
                }
                self.end_rounds();
            }
            Input::TakeBack { worker, conn } => {
                self.answered(worker, conn)?;
                if self.closed {
                    return Ok(Some(Output::Shed { conn, reason: ShedReason::Closed }));
                }
                self.end_rounds();
            }
            Input::Window { worker, window } => {
                let member = self.members.get_mut(&worker);
                member.ok_or(InputError::UnknownWorker { worker })?.window = window as usize;
            }
            Input::Held { worker, .. } => {
                if !self.members.contains_key(&worker) {
                    return Err(InputError::UnknownWorker { worker });
                }
            }
            Input::Close => {
                if self.closed {
                    return Err(InputError::Closed);
                }
                self.closed = true;
                self.held.values_mut().for_each(|held| held.until = None);
            }
            _ => unreachable!("an input that this file does not know"),
        }
        Ok(None)
    }

    fn answered(&mut self, worker: Worker, conn: Conn) -> Result<(), InputError<Worker, Conn>> {
        match self.held.get_mut(&conn) {
            Some(held) if held.worker == Some(worker) => held.worker = None,
            _ => return Err(InputError::NotInFlight { worker, conn }),
        }
        let member = self.members.get_mut(&worker).expect("has it in flight");
        member.in_flight.retain(|&other| other != conn);
        Ok(())
    }

    fn forget_refusals_of(&mut self, worker: Worker) {
        for held in self.held.values_mut() {
            held.refused_by.remove(&worker);
        }
        self.end_rounds();
    }

    /// A connection that was refused by all present workers has lost a round, and pauses.
    fn end_rounds(&mut self) {
        let Self { members, held, config, now, closed, .. } = self;
        let present = members.iter().filter(|(_, member)| !member.retired);
        let present: BTreeSet<Worker> = present.map(|(&worker, _)| worker).collect();
        if present.is_empty() || *closed {
            return;
        }
        for held in held.values_mut() {
            if held.worker.is_none() && held.until.is_none() && held.refused_by == present {
                held.rounds += 1;
                let pause = config.park * 2u32.pow(held.rounds - 1);
                held.until = Some(*now + pause.min(config.park_cap));
            }
        }
    }

    /// Enters the outputs into the books. `end` must be among them, and no other end but sheds of
    /// what was given up.
    fn drain(&mut self, mut end: Option<Output<Worker, Conn>>) {
        while let Some(output) = self.scheduler.poll_output() {
            self.outputs.push(output);
            let expected = end == Some(output);
            if expected {
                end = None;
            }
            match output {
                Output::Assign { conn, worker } => self.assigned(conn, worker),
                Output::Done { conn, .. } => {
                    assert!(expected, "{output:?} without an answer");
                    self.held.remove(&conn).expect("done once");
                    self.done += 1;
                }
                Output::Shed { conn, reason } => {
                    let held = self.held.remove(&conn).expect("shed once");
                    assert_eq!(held.worker, None, "{output:?} while in flight");
                    let allowed = match reason {
                        ShedReason::Closed => self.closed,
                        ShedReason::Refused => held.rounds == self.config.max_refusal_rounds,
                        _ => false,
                    };
                    assert!(expected || allowed, "{output:?}");
                    self.shed += 1;
                }
            }
        }
        assert_eq!(end, None, "did not happen");
    }

    fn assigned(&mut self, conn: Conn, worker: Worker) {
        assert!(!self.closed, "{conn} is assigned although the server is closed");
        let held = self.held.get_mut(&conn).expect("held");
        assert_eq!(held.worker, None, "{conn} is in two hands");
        assert!(
            !held.refused_by.contains(&worker),
            "{conn} is back at {worker} before all refused"
        );
        held.worker = Some(worker);
        let member = self.members.get_mut(&worker).expect("assigned to a member");
        assert!(!member.retired, "{conn} is assigned to {worker}, which is retired");
        assert!(member.in_flight.len() < member.window, "{worker} is beyond its window");
        member.in_flight.push(conn);
    }

    fn waiting(&self) -> usize {
        self.held.values().filter(|held| held.worker.is_none()).count()
    }

    /// Compares the scheduler's answers with the books.
    fn check(&self) {
        let Self { scheduler, members, .. } = self;
        let waiting = self.held.values().filter(|held| held.worker.is_none()).count();
        assert_eq!(scheduler.waiting(), waiting);
        assert_eq!(scheduler.is_idle(), self.held.is_empty());
        let timers = self.held.values().filter_map(|held| held.until);
        assert_eq!(scheduler.poll_timeout(), timers.min());
        let rounds = self.held.values().map(|held| held.rounds).max();
        assert!(rounds.unwrap_or(0) < self.config.max_refusal_rounds, "should have been shed");
        for worker in 0..9 {
            let in_flight = members.get(&worker).map_or(0, |member| member.in_flight.len());
            assert_eq!(scheduler.in_flight(worker), in_flight);
        }
        let present = members.iter().filter(|(_, member)| !member.retired);
        assert_eq!(scheduler.workers(), present.clone().count());
        let room = if self.closed { 0 } else { self.config.max_waiting.saturating_sub(waiting) };
        assert_eq!(scheduler.room(), room);
        let stats = scheduler.stats();
        assert_eq!((stats.done, stats.shed()), (self.done, self.shed));
        assert_eq!(stats.arrived, self.done + self.shed + self.held.len() as u64);

        // No worker idles while a connection waits that it has not refused; except for sticky clients,
        // who have one worker to wait for.
        let present: BTreeMap<u32, Worker> =
            present.clone().map(|(&worker, _)| (slot(worker), worker)).collect();
        let idle = members.iter().filter(|(_, m)| !m.retired && m.in_flight.len() < m.window);
        let idle: BTreeSet<Worker> = idle.map(|(&worker, _)| worker).collect();
        for (conn, held) in self.held.iter().filter(|(_, held)| held.worker.is_none()) {
            match held.client.filter(|_| self.name == PolicyName::Sticky) {
                Some(client) => {
                    let table = buckets(present.keys().copied().collect());
                    let home = bucket_of(client);
                    let around = (home..SIZE).chain(0..home).filter_map(|b| table.place_of(b));
                    let mut hosts = around.map(|place| present[&table.slots()[place]]);
                    let host = hosts.find(|host| !held.refused_by.contains(host));
                    let idles = host.is_some_and(|host| idle.contains(&host));
                    assert!(!idles, "{conn} waits for {host:?}, which idles");
                }
                None => {
                    assert!(idle.is_subset(&held.refused_by), "{conn} waits, and {idle:?} idle");
                }
            }
        }
    }
}
