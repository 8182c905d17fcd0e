//! Supervision: what Node leaves to the application.
//!
//! The [`Supervisor`] keeps so many workers: it forks them, replaces those that die, after pauses
//! that grow where that is of no use, and gives up where it is hopeless; it replaces all of them by
//! new ones without loss (a *reload*), or one that has grown too large or too old; it has more or
//! fewer of them when it is told to; and in the end it sees all of them off. It does no I/O and reads
//! no clock: it is a machine like [`machine::Machine`](crate::machine::Machine), with the same four
//! verbs. [`Supervised`] is a primary and a supervisor in one loop.
//!
//! ```text
//!  supervisor                     primary                            workers
//!    │ Fork { slot: 0 } ──────────► fork_in(0) ────────────────────► 5 starts
//!    │ ◄── Forked, Online, Listening ────────────────────────────────┤ listens: ready
//!    │        Reload
//!    │ Fork { slot: 0 } ──────────► fork_in(0) ────────────────────► 6 starts
//!    │ ◄── Listening ────────────────────────────────────────────────┤ ready
//!    │ Disconnect { 5 } ──────────► out of rotation, hand-offs       │
//!    │                              answered, then `disconnect` ───► 5 finishes, exits
//!    │ ◄── Exited { 5 }                                  (grace over: SIGTERM, then SIGKILL)
//!    │ Fork { slot: 1 } … and so on
//! ```
//!
//! # Slots
//! Workers come and go; *slots* stay: numbers from 0, one for each worker that is wanted. A worker
//! has the slot of the one that it replaces, and finds its number in its environment
//! (`CLUSTER_SLOT`).
//!
//! # What counts as a failure
//! A worker that dies before it was ready has failed to start. One that dies within
//! [`Config::stable_after`] of that has failed as well, but is replaced at once the first time. One
//! that dies later is replaced at once, and all is forgiven. A slot that fails more than
//! [`Config::max_failures`] times within [`Config::failure_period`] ends everything, unless another
//! worker is ready: as long as anybody serves, there is something to keep. A worker that disconnects
//! of its own will is not replaced, and its slot is given up.

mod config;
mod io;
mod leaving;
mod lots;
mod slot;
mod supervised;
mod turnover;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use cluster_sched::Mono;

pub use config::{Config, LeaveBy, Ready, Recycle};
pub use io::{Cause, Death, Failure, Input, Notice, Outcome, Output};
pub use supervised::{Happening, Supervised};

use crate::{ExitStatus, WorkerId};
use lots::Lots;
use serde::{Deserialize, Serialize};
use slot::{Change, Limits, Member, Slot, Stage, Why};

/// Deaths that are remembered, to be told when all is given up.
const DEATHS: usize = 8;

/// Keeps workers, without I/O.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Supervisor {
    config: Config,
    lots: Lots,
    slots: BTreeMap<u32, Slot>,
    members: BTreeMap<WorkerId, Member>,
    generation: u64,
    /// The reload that is under way.
    reload: Option<Reload>,
    /// Slots that are to change hands, and those that do.
    todo: VecDeque<(u32, Why)>,
    changing: BTreeMap<u32, Change>,
    /// Servers that nobody serves may be left over.
    unsettled: bool,
    measure_at: Option<Mono>,
    phase: Phase,
    deaths: VecDeque<Death>,
    counts: Counts,
    output: VecDeque<Output>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Reload {
    generation: u64,
    replaced: u32,
    /// Slots that had no worker when it began: their next ones are to get ready, too.
    #[serde(default)]
    empty: BTreeSet<u32>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Phase {
    /// Before [`Input::Start`].
    New,
    Running,
    /// It will end then.
    Draining(Mono),
    Ending {
        /// How it ends, if all goes as it should.
        outcome: Outcome,
        /// Nobody is given time any more.
        at_once: bool,
    },
    Over(Outcome),
}

/// What was counted so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(default)]
pub struct Counts {
    /// Workers that came to a slot which another had before.
    pub restarts: u64,
    /// Workers that died by accident after they had been ready.
    pub deaths: u64,
    /// Workers that died before they were ready, or could not be forked.
    pub boot_failures: u64,
    /// Reloads that went through.
    pub reloads: u64,
    /// Reloads that were aborted.
    pub reloads_aborted: u64,
    /// Workers that were replaced though nobody asked for it.
    pub recycled: u64,
}

/// How far the whole is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// Not every worker that is wanted is ready.
    Starting,
    /// All are.
    Running,
    /// All are being replaced.
    Reloading,
    /// It is about to end.
    Draining,
    /// It ends.
    Stopping,
    /// It ends, because too many workers failed.
    GaveUp,
}

impl State {
    /// Its name: `starting`, `running`, `reloading`, `draining`, `stopping` or `gave-up`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Reloading => "reloading",
            Self::Draining => "draining",
            Self::Stopping => "stopping",
            Self::GaveUp => "gave-up",
        }
    }
}

/// What the supervisor knows of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberState {
    /// Its slot.
    pub slot: u32,
    /// The number of the reload that brought it; 0 for none.
    pub generation: u64,
    /// When it was forked.
    pub born: Mono,
    /// It has become ready.
    pub ready: bool,
    /// It has been asked to leave.
    pub leaving: bool,
    /// It does not answer.
    pub silent: bool,
    /// How many workers came to its slot before it that had been replaced.
    pub restarts: u64,
}

/// A slot that no worker has at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Vacancy {
    /// The slot.
    pub slot: u32,
    /// How many workers came to it that replaced another.
    pub restarts: u64,
    /// How often it failed in a row.
    pub failures: u32,
    /// When the next worker is forked.
    pub due: Option<Mono>,
    /// What went wrong last.
    pub last_failure: Option<Failure>,
}

impl Supervisor {
    /// A supervisor without workers.
    pub fn new(config: Config) -> Self {
        let lots = Lots::new(config.seed);
        Self {
            config,
            lots,
            slots: BTreeMap::new(),
            members: BTreeMap::new(),
            generation: 0,
            reload: None,
            todo: VecDeque::new(),
            changing: BTreeMap::new(),
            unsettled: true,
            measure_at: None,
            phase: Phase::New,
            deaths: VecDeque::new(),
            counts: Counts::default(),
            output: VecDeque::new(),
        }
    }

    /// Takes one input.
    pub fn handle_input(&mut self, now: Mono, input: Input) {
        match input {
            Input::Start => self.start(now),
            Input::Forked { slot, worker } => self.forked(now, slot, worker),
            Input::ForkFailed { slot, reason } => self.fork_failed(now, slot, reason),
            Input::Adopted { slot, worker } => self.adopted(now, slot, worker),
            Input::Online { worker } => self.sign(now, worker, Ready::Online),
            Input::Listening { worker } => {
                if let Some(member) = self.members.get_mut(&worker) {
                    member.listens = true;
                }
                self.sign(now, worker, Ready::Listening);
            }
            Input::SaidReady { worker } => self.sign(now, worker, Ready::Message),
            Input::Notified { worker } => self.sign(now, worker, Ready::Notify),
            Input::Unresponsive { worker } => self.unresponsive(worker),
            Input::Responsive { worker } => self.responsive(worker),
            Input::Exited { worker, status, meant } => self.exited(now, worker, status, meant),
            Input::Usage { worker, memory, connections } => {
                self.usage(now, worker, memory, connections);
            }
            Input::Reload => self.begin_reload(now),
            Input::Scale { workers } => self.scale(now, workers),
            Input::Drain { delay } => self.drain(now, delay),
            Input::End => self.end(now, Outcome::AsAsked),
            Input::EndNow => self.end_now(now),
        }
        self.go_on(now);
    }

    /// Takes notice of the time.
    pub fn handle_timeout(&mut self, now: Mono) {
        if matches!(self.phase, Phase::Draining(at) if at <= now) {
            self.end(now, Outcome::AsAsked);
        }
        self.notice_readiness(now);
        self.recycle_the_old(now);
        self.late_ones(now);
        if self.measure_at.is_some_and(|at| at <= now) {
            self.measure_at = Some(now + self.config.recycle.every);
            self.output.push_back(Output::Measure);
        }
        self.go_on(now);
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is wanted.
    pub fn poll_timeout(&self) -> Option<Mono> {
        let drained = match self.phase {
            Phase::Draining(at) => Some(at),
            _ => None,
        };
        let forks = self.slots.values().filter_map(|slot| slot.due);
        let members = self.members.values().filter_map(|member| self.member_due(member));
        forks.chain(members).chain(drained).chain(self.measure_at).min()
    }

    /// How workers are kept.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Changes how workers are kept from now on, but for how many
    /// ([`Input::Scale`] does that) and whether.
    pub fn configure(&mut self, config: Config) {
        let (workers, keep) = (self.config.workers, self.config.keep);
        self.config = Config { workers, keep, ..config };
    }

    /// How many workers are wanted.
    pub fn wanted(&self) -> u32 {
        self.config.workers
    }

    /// The number of the last reload; 0 before the first.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// How far the whole is.
    pub fn state(&self) -> State {
        match &self.phase {
            Phase::Draining(_) => State::Draining,
            Phase::Ending { outcome: Outcome::GaveUp | Outcome::NotStarted, .. }
            | Phase::Over(Outcome::GaveUp | Outcome::NotStarted) => State::GaveUp,
            Phase::Ending { .. } | Phase::Over(_) => State::Stopping,
            Phase::New => State::Starting,
            Phase::Running if self.reload.is_some() => State::Reloading,
            Phase::Running if self.all_ready() => State::Running,
            Phase::Running => State::Starting,
        }
    }

    /// Whether anybody should send requests here: a worker is ready, and it is not about to end.
    pub fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Running) && self.somebody_is_ready()
    }

    /// How it ended, if it has.
    pub fn outcome(&self) -> Option<Outcome> {
        match self.phase {
            Phase::Over(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// What is known of a worker.
    pub fn member(&self, worker: WorkerId) -> Option<MemberState> {
        let member = self.members.get(&worker)?;
        Some(MemberState {
            slot: member.slot,
            generation: member.generation,
            born: member.born,
            ready: member.ready_at.is_some(),
            leaving: matches!(member.stage, Stage::Leaving { .. }),
            silent: member.silent,
            restarts: self.slots.get(&member.slot).map_or(0, |slot| slot.restarts),
        })
    }

    /// The slots that no worker has at the moment.
    pub fn vacancies(&self) -> impl Iterator<Item = Vacancy> {
        let vacant = |slot: &Slot| slot.worker.is_none() && slot.successor.is_none();
        self.slots.iter().filter(move |(_, slot)| vacant(slot)).map(|(&number, slot)| Vacancy {
            slot: number,
            restarts: slot.restarts,
            failures: slot.failures(),
            due: slot.due,
            last_failure: slot.last_failure.clone(),
        })
    }

    fn tell(&mut self, notice: Notice) {
        self.output.push_back(Output::Tell(notice));
    }

    fn runs(&self) -> bool {
        matches!(self.phase, Phase::Running | Phase::Draining(_))
    }

    fn somebody_is_ready(&self) -> bool {
        self.members.values().any(|member| member.stage == Stage::Ready)
    }

    fn all_ready(&self) -> bool {
        let ready = |worker: WorkerId| {
            self.members.get(&worker).is_some_and(|member| member.stage == Stage::Ready)
        };
        self.slots.values().all(|slot| slot.worker.is_some_and(ready))
    }

    /// Whether every worker has said where it listens: until then nobody knows which servers are still
    /// wanted. (Of those that never do, all are kept.)
    fn all_listen(&self) -> bool {
        let listens =
            |worker: WorkerId| self.members.get(&worker).is_some_and(|member| member.listens);
        self.slots.values().all(|slot| slot.worker.is_some_and(listens))
    }

    fn start(&mut self, now: Mono) {
        if !matches!(self.phase, Phase::New) {
            return;
        }
        self.phase = Phase::Running;
        if self.config.keep {
            for slot in 0..self.config.workers {
                self.slots.entry(slot).or_default().due = Some(now);
            }
        }
    }

    fn forked(&mut self, now: Mono, slot: u32, worker: WorkerId) {
        let limits = self.draw_limits();
        self.members.insert(worker, Member::new(now, slot, self.generation, limits));
        let running = self.runs();
        match self.slots.get_mut(&slot).filter(|_| running) {
            Some(place) if place.forking => {
                place.forking = false;
                if place.worker.is_some() {
                    place.successor = Some(worker);
                } else {
                    place.worker = Some(worker);
                    // Whoever was to be succeeded is gone.
                    self.changing.remove(&slot);
                }
            }
            // Nobody wants it any more.
            _ => self.ask_to_leave(now, worker),
        }
        let recycle = self.config.recycle;
        let looks = recycle.memory.is_some() || recycle.connections.is_some();
        if looks && running && self.measure_at.is_none() {
            self.measure_at = Some(now + recycle.every);
        }
    }

    /// A worker's own limits, each a little lower by lot.
    fn draw_limits(&mut self) -> Limits {
        let Recycle { memory, age, connections, jitter, .. } = self.config.recycle;
        let mut less = |limit: u64| {
            let less = u128::from(limit) * u128::from(self.lots.share(jitter)) / 1000;
            u64::try_from(less).unwrap_or(u64::MAX)
        };
        Limits {
            memory: memory.map(&mut less),
            connections: connections.map(&mut less),
            age: age.map(|age| Duration::from_millis(less(millis(age)))),
        }
    }

    fn adopted(&mut self, now: Mono, slot: u32, worker: WorkerId) {
        if self.members.contains_key(&worker) {
            return;
        }
        if self.config.keep && self.runs() {
            let place = self.slots.entry(slot).or_default();
            if place.worker.is_some() || place.forking {
                // It goes beyond what is kept: it is only seen off in the end.
                self.forked_stranger(now, slot, worker);
                return;
            }
            place.due = None;
            place.forking = true;
            let slots = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
            self.config.workers = self.config.workers.max(slots);
            self.forked(now, slot, worker);
        } else {
            self.forked_stranger(now, slot, worker);
        }
    }

    /// A worker that has no slot of ours.
    fn forked_stranger(&mut self, now: Mono, slot: u32, worker: WorkerId) {
        let leaves = !self.runs() && !matches!(self.phase, Phase::New);
        self.members.insert(worker, Member::new(now, slot, self.generation, Limits::default()));
        if leaves {
            self.ask_to_leave(now, worker);
        }
    }

    fn fork_failed(&mut self, now: Mono, slot: u32, reason: String) {
        let Some(place) = self.slots.get_mut(&slot) else { return };
        if !std::mem::take(&mut place.forking) || !self.runs() {
            return;
        }
        let failure = Failure::NotForked(reason);
        let death = Death { slot, worker: None, failure, lived: Duration::ZERO, was_ready: false };
        if self.changing.contains_key(&slot) {
            self.succession_failed(now, slot, death);
        } else if self.members.is_empty() && self.counts == Counts::default() {
            // It has never worked: it is the program or the settings.
            self.remember(death.clone());
            self.tell(Notice::GaveUp { deaths: vec![death] });
            self.end(now, Outcome::NotStarted);
        } else {
            self.failed(now, death);
        }
    }

    fn exited(&mut self, now: Mono, worker: WorkerId, status: ExitStatus, meant: bool) {
        let Some(member) = self.members.remove(&worker) else { return };
        let (slot, runs) = (member.slot, self.runs());
        if let Some(change) = self.changing.get(&slot)
            && change.leaving == Some(worker)
        {
            self.changing.remove(&slot);
        }
        let Some(place) = self.slots.get_mut(&slot) else { return };
        let death = Death {
            slot,
            worker: Some(worker),
            failure: Failure::Died(status),
            lived: now.saturating_sub(member.born),
            was_ready: member.ready_at.is_some(),
        };
        if place.successor == Some(worker) {
            place.successor = None;
            self.succession_failed(now, slot, death);
            return;
        }
        if place.worker != Some(worker) {
            return;
        }
        place.worker = None;
        if !runs || !self.config.keep {
            return;
        }
        if meant {
            if place.successor.is_none() && !place.forking {
                self.slots.remove(&slot);
                self.changing.remove(&slot);
                self.config.workers = self.config.workers.saturating_sub(1);
                self.tell(Notice::Left { slot, worker });
            }
            return;
        }
        if member.ready_at.is_some() {
            self.counts.deaths += 1;
        }
        let since = |at: Mono| now.saturating_sub(at);
        let stable = match member.ready_at {
            Some(at) => since(at) >= self.config.stable_after,
            // It never said that it was ready, and did well without.
            None => since(member.born) >= self.config.ready_timeout,
        };
        if stable {
            place.forgive();
            place.last_failure = Some(death.failure.clone());
            self.remember(death.clone());
            self.fork_again(now, death, Duration::ZERO);
        } else {
            self.failed(now, death);
        }
    }

    fn remember(&mut self, death: Death) {
        if self.deaths.len() == DEATHS {
            self.deaths.pop_front();
        }
        self.deaths.push_back(death);
    }

    /// A slot's worker failed.
    fn failed(&mut self, now: Mono, death: Death) {
        self.remember(death.clone());
        if !death.was_ready {
            self.counts.boot_failures += 1;
        }
        let somebody = self.somebody_is_ready();
        let Some(place) = self.slots.get_mut(&death.slot) else { return };
        place.last_failure = Some(death.failure.clone());
        if place.failed(now, &self.config, !somebody) {
            let deaths = self.deaths.iter().cloned().collect();
            self.tell(Notice::GaveUp { deaths });
            self.end(now, Outcome::GaveUp);
            return;
        }
        let pause = place.pause(death.was_ready, &self.config);
        let pause = if pause.is_zero() { pause } else { self.lots.about(pause) };
        let (slot, reason) = (death.slot, death.failure.clone());
        self.fork_again(now, death, pause);
        if self.reload.as_ref().is_some_and(|reload| reload.empty.contains(&slot)) {
            self.abort_reload(now, slot, reason);
        }
    }

    fn fork_again(&mut self, now: Mono, death: Death, pause: Duration) {
        let Some(place) = self.slots.get_mut(&death.slot) else { return };
        // Whoever is to succeed it comes at once, and needs no successor of its own.
        if place.successor.is_none() && !place.forking {
            place.due = Some(now + pause);
        }
        self.tell(Notice::Replacing { death, pause });
    }

    /// A worker gave a sign, which may be the one that is waited for.
    fn sign(&mut self, now: Mono, worker: WorkerId, sign: Ready) {
        if self.config.ready == sign {
            self.is_now_ready(now, worker);
        }
    }

    fn is_now_ready(&mut self, now: Mono, worker: WorkerId) {
        let Some(member) = self.members.get_mut(&worker) else { return };
        if member.stage != Stage::Starting {
            return;
        }
        member.stage = Stage::Ready;
        member.ready_at = Some(now);
        let slot = member.slot;
        self.tell(Notice::Ready { slot, worker });
        // As long as somebody is ready, nobody's patience is at its end.
        self.slots.values_mut().for_each(Slot::be_patient);
        if let Some(reload) = &mut self.reload {
            reload.empty.remove(&slot);
        }
        let Some(place) = self.slots.get_mut(&slot) else { return };
        if place.successor == Some(worker) {
            place.successor = None;
            let predecessor = place.worker.replace(worker);
            self.has_succeeded(now, slot, predecessor);
        }
    }

    /// Looks at those whose readiness depends on the time.
    fn notice_readiness(&mut self, now: Mono) {
        let mut alive = Vec::new();
        let mut slow = Vec::new();
        for (&worker, member) in &self.members {
            if member.stage != Stage::Starting {
                continue;
            }
            let age = now.saturating_sub(member.born);
            match self.config.ready {
                Ready::Alive(least) if age >= least => alive.push(worker),
                _ if age >= self.config.ready_timeout && !member.called_slow => {
                    slow.push((worker, member.slot));
                }
                _ => {}
            }
        }
        for worker in alive {
            self.is_now_ready(now, worker);
        }
        let after = self.config.ready_timeout;
        for (worker, slot) in slow {
            if self.slots.get(&slot).is_some_and(|place| place.successor == Some(worker)) {
                self.successor_is_late(now, slot, worker);
            } else if self.config.keep {
                if let Some(member) = self.members.get_mut(&worker) {
                    member.called_slow = true;
                }
                self.tell(Notice::Slow { slot, worker, after });
            }
        }
    }

    /// When a worker's life wants the time.
    fn member_due(&self, member: &Member) -> Option<Mono> {
        match member.stage {
            Stage::Leaving { due, .. } => Some(due),
            Stage::Starting => {
                let alive = match self.config.ready {
                    Ready::Alive(least) => Some(member.born + least),
                    _ => None,
                };
                let kept = self.config.keep && !member.called_slow && self.runs();
                let late = kept.then(|| member.born + self.config.ready_timeout);
                alive.into_iter().chain(late).min()
            }
            Stage::Ready if !self.may_recycle(member) => None,
            Stage::Ready if member.silent && self.config.replace_unresponsive => {
                Some(member.not_before)
            }
            Stage::Ready => {
                let age = member.recycle.age?;
                Some((member.born + age).max(member.not_before))
            }
        }
    }

    /// Does whatever can be done now.
    fn go_on(&mut self, now: Mono) {
        if self.runs() {
            self.change_hands();
            for (&slot, place) in &mut self.slots {
                if place.due.take_if(|due| *due <= now).is_some() {
                    place.forking = true;
                    self.output.push_back(Output::Fork { slot });
                    let another = place.last_failure.is_some();
                    place.restarts += u64::from(another);
                    self.counts.restarts += u64::from(another);
                }
            }
            self.finish_reload();
            if self.unsettled
                && self.todo.is_empty()
                && self.changing.is_empty()
                && self.all_ready()
                && self.all_listen()
            {
                self.unsettled = false;
                self.output.push_back(Output::ReleaseUnused);
            }
            if self.config.keep && self.slots.is_empty() && self.members.is_empty() {
                self.tell(Notice::NobodyLeft);
                // Servers that were kept open close by that.
                self.output.push_back(Output::DisconnectAll);
                self.over(Outcome::NobodyLeft);
            }
        } else if let Phase::Ending { outcome, .. } = self.phase
            && self.members.is_empty()
        {
            self.over(outcome);
        }
    }

    fn over(&mut self, outcome: Outcome) {
        self.phase = Phase::Over(outcome);
        self.measure_at = None;
        self.output.push_back(Output::Over(outcome));
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
