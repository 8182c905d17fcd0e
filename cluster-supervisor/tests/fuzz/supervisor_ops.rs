//! The body of the fuzz target `supervisor_ops`: a supervisor among workers that may do anything at any
//! time, checked against what it promises:
//! - no output names a worker that does not exist (any more), and nothing follows `Over`;
//! - there are never more workers than configured and those that replace them;
//! - a failing slot is not tried before its pause has passed, and a timer is set for it;
//! - it gives up once, not while a worker is ready, and forks nothing after that;
//! - a ready worker leaves only for a ready successor (or by `scale` and the end);
//! - a reload ends once, in success or failure; after a success every worker is of its generation;
//! - a worker leaves step by step, in order, and in the end by SIGKILL;
//! - it goes on after it was written down and read, and outputs do not depend on when they are taken.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cluster_supervisor::{Counts, LeaveProgress, Mono, Outcome, Ready, State, StopBy, Work};

use super::bytes::Bytes;
use super::support::{Config, ExitStatus, Input, Notice, Output, Signal, Supervisor, WorkerId};

/// What happened in a run.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) forked: u32,
    pub(crate) ready: u32,
    pub(crate) killed: u32,
    pub(crate) reloaded: u32,
    pub(crate) aborted: u32,
    pub(crate) gave_up: bool,
}

/// Runs the bytes as operations. Panics if the supervisor breaks a promise.
pub(crate) fn run(data: &[u8]) -> Report {
    let mut bytes = Bytes(data);
    let mut world = World::new(&mut bytes);
    while !bytes.is_empty() {
        world.step(&mut bytes);
    }
    world.finish()
}

const SECOND: Duration = Duration::from_secs(1);

/// How the steps by which a worker leaves follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    OutOfRotation,
    FinishWork,
    AskStop,
    Stop,
    Disconnect,
    Term,
    Kill,
}

#[derive(Debug)]
struct Worker {
    slot: u32,
    /// It goes beyond what is kept.
    stranger: bool,
    ready: bool,
    called_slow: bool,
    /// The last step by which it leaves.
    step: Option<Step>,
    /// Its channel has closed, and it says no more there.
    is_closed: bool,
    /// It disconnected voluntarily or lost its channel, and has been replaced for that.
    disconnected: bool,
    exited: bool,
}

impl Worker {
    fn is_kept(&self) -> bool {
        !self.stranger && !self.exited && !self.disconnected && self.step.is_none()
    }
}

/// Why an output may come.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Occasion {
    Scale,
    Forked(WorkerId),
    Other,
}

#[derive(Clone, Debug)]
enum Call {
    Input(Mono, Input),
    Timeout(Mono),
    Configure(Box<Config>),
}

struct World {
    supervisor: Supervisor,
    first_config: Config,
    history: Vec<Call>,
    outputs: Vec<Output>,
    now: Mono,
    /// `Fork` is answered before anything else happens, as `Supervised` does it.
    answers_at_once: bool,
    last: u32,
    workers: BTreeMap<WorkerId, Worker>,
    /// Slots for which a fork is to be answered.
    pending: Vec<u32>,
    /// When a slot that failed may be tried again.
    earliest: BTreeMap<u32, Mono>,
    /// The most slots that may change hands at a time, since the start.
    batch: u32,
    longest_pause: Duration,
    generation: u64,
    reloading: bool,
    counts: Counts,
    over: Option<Outcome>,
    /// A worker came when all was over.
    late_fork: bool,
    report: Report,
}

impl World {
    fn new(bytes: &mut Bytes<'_>) -> Self {
        let flags = bytes.next();
        let config = config(bytes);
        let mut world = Self {
            supervisor: Supervisor::new(config.clone()),
            batch: config.batch.max(1),
            longest_pause: config.backoff_max,
            first_config: config,
            history: Vec::new(),
            outputs: Vec::new(),
            now: Mono::ZERO,
            answers_at_once: flags & 1 == 0,
            last: 0,
            workers: BTreeMap::new(),
            pending: Vec::new(),
            earliest: BTreeMap::new(),
            generation: 0,
            reloading: false,
            counts: Counts::default(),
            over: None,
            late_fork: false,
            report: Report::default(),
        };
        world.input(Input::Start, Occasion::Other);
        world.answer_forks(bytes);
        world
    }

    fn step(&mut self, bytes: &mut Bytes<'_>) {
        let other = Occasion::Other;
        match bytes.next() % 24 {
            0 | 1 => {
                let fails = bytes.next().is_multiple_of(4);
                if let Some(slot) = bytes.pick(&self.pending) {
                    self.answer_fork(slot, fails);
                }
            }
            2..=4 => {
                let sign = bytes.next();
                if let Some(worker) = self.alive(bytes) {
                    let is_closed = self.workers[&worker].is_closed;
                    let input = match sign % 8 {
                        _ if is_closed => Input::Notified { worker },
                        0 => Input::Online { worker },
                        1 => Input::SaidReady { worker },
                        2 => Input::Notified { worker },
                        _ => Input::Listening { worker },
                    };
                    self.input(input, other);
                }
            }
            5 | 6 => {
                let how = bytes.next();
                if let Some(worker) = self.alive(bytes) {
                    self.exit(worker, how);
                }
            }
            7 => {
                let how = bytes.next();
                let (meant, is_closed_by_primary) = (how.is_multiple_of(2), how & 4 != 0);
                if let Some(worker) = self.alive(bytes) {
                    let config = self.supervisor.config();
                    let replaced = meant && config.keep && config.replace_disconnected;
                    let replaced = replaced && self.is_running();
                    let known = self.workers.get_mut(&worker).expect("it was picked");
                    known.is_closed = true;
                    known.disconnected |= replaced;
                    if is_closed_by_primary && !meant {
                        self.input(Input::ChannelFailed { worker }, other);
                    }
                    self.input(Input::Disconnected { worker, meant }, other);
                }
            }
            8..=10 => {
                let what = bytes.next();
                if let Some(worker) = self.alive(bytes) {
                    self.progress(worker, what);
                }
            }
            11 => {
                let (memory, connections) = (bytes.next(), u64::from(bytes.next()));
                if let Some(worker) = self.alive(bytes) {
                    let memory = (memory > 50).then_some(u64::from(memory));
                    self.input(Input::Usage { worker, memory, connections }, other);
                }
            }
            12 => {
                let silent = bytes.next().is_multiple_of(2);
                if let Some(worker) = self.alive(bytes) {
                    self.input(
                        match silent {
                            true => Input::Unresponsive { worker },
                            false => Input::Responsive { worker },
                        },
                        other,
                    );
                }
            }
            13 | 14 => self.input(Input::Reload, other),
            15 => {
                let workers = u32::from(bytes.next() % 6);
                self.earliest.retain(|slot, _| *slot < workers.max(1));
                self.input(Input::Scale { workers }, Occasion::Scale);
            }
            16 => match bytes.next() {
                0..=7 => self.input(Input::Drain { delay: SECOND * 3 }, other),
                8..=15 => self.input(Input::End, other),
                16..=23 => self.input(Input::EndNow, other),
                24..=127 => self.configure(bytes),
                _ => self.read_again(),
            },
            17 | 18 => {
                self.now += Mono::from_millis(u64::from(bytes.next()) * 20);
                self.timeout();
            }
            19..=21 => {
                if let Some(due) = self.supervisor.poll_timeout() {
                    self.now = self.now.max(due);
                    self.timeout();
                }
            }
            22 => self.adopt(u32::from(bytes.next() % 8)),
            _ => self.unknown_worker(bytes),
        }
        self.answer_forks(bytes);
        self.check();
    }

    fn alive(&self, bytes: &mut Bytes<'_>) -> Option<WorkerId> {
        let alive = self.workers.iter().filter(|(_, worker)| !worker.exited);
        bytes.pick(&alive.map(|(id, _)| *id).collect::<Vec<_>>())
    }

    fn answer_forks(&mut self, bytes: &mut Bytes<'_>) {
        while self.answers_at_once
            && let Some(slot) = self.pending.first().copied()
        {
            let fails = bytes.next() % 8 == 7;
            self.answer_fork(slot, fails);
        }
    }

    fn answer_fork(&mut self, slot: u32, fails: bool) {
        let nth = self.pending.iter().position(|pending| *pending == slot).expect("it is pending");
        self.pending.remove(nth);
        if fails {
            let reason = "it is not there".into();
            return self.input(Input::ForkFailed { slot, reason }, Occasion::Other);
        }
        let worker = self.add(slot, false);
        self.report.forked += 1;
        self.input(Input::Forked { slot, worker }, Occasion::Forked(worker));
    }

    fn add(&mut self, slot: u32, stranger: bool) -> WorkerId {
        self.last += 1;
        let worker = Worker {
            slot,
            stranger,
            ready: false,
            called_slow: false,
            step: None,
            is_closed: false,
            disconnected: false,
            exited: false,
        };
        self.workers.insert(WorkerId(self.last), worker);
        WorkerId(self.last)
    }

    /// A worker was forked by something else.
    fn adopt(&mut self, slot: u32) {
        let occupied = self.workers.values().any(|worker| worker.slot == slot && !worker.exited);
        let kept = self.supervisor.config().keep && self.is_running();
        let stranger = occupied || self.pending.contains(&slot) || !kept;
        let worker = self.add(slot, stranger);
        // One that comes when all is over is told to leave.
        self.late_fork |= self.over.is_some();
        // The slot is filled before its pause is over.
        self.earliest.remove(&slot);
        self.input(Input::Adopted { slot, worker }, Occasion::Forked(worker));
    }

    fn exit(&mut self, worker: WorkerId, how: u8) {
        let known = self.workers.get_mut(&worker).expect("it is alive");
        let meant = known.step.is_some() || known.disconnected || how.is_multiple_of(8);
        known.exited = true;
        let status = match how % 3 {
            0 => ExitStatus::Code(0),
            1 => ExitStatus::Code(1),
            _ => ExitStatus::Signal(Signal::KILL),
        };
        self.input(Input::Exited { worker, status, meant }, Occasion::Other);
    }

    fn progress(&mut self, worker: WorkerId, what: u8) {
        let work = |requests: u8, started: u8| {
            let mut work = Work::default();
            (work.requests, work.started) = (requests.into(), started.into());
            work.connections = work.requests;
            work
        };
        // What it says by itself, or what it was asked for.
        let progress = match (what % 8, self.workers[&worker].step) {
            (0 | 1, _) => LeaveProgress::ServersClosed,
            (2, _) | (_, None | Some(Step::OutOfRotation)) => LeaveProgress::OutOfRotation,
            (3 | 4, _) => LeaveProgress::Work(work(what >> 6, what >> 7)),
            (_, Some(Step::FinishWork)) => LeaveProgress::Work(work(0, 0)),
            _ => LeaveProgress::Stop(match what >> 6 {
                0 => StopBy::Signal,
                1 => StopBy::Message,
                _ => StopBy::Disconnect,
            }),
        };
        self.input(Input::Leaving { worker, progress }, Occasion::Other);
    }

    /// Names of workers and slots that the supervisor does not know change nothing.
    fn unknown_worker(&mut self, bytes: &mut Bytes<'_>) {
        let gone = self.workers.iter().filter(|(_, worker)| worker.exited).map(|(id, _)| *id);
        let gone: Vec<_> = gone.chain([WorkerId(0), WorkerId(u32::MAX)]).collect();
        let what = bytes.next();
        let worker = bytes.pick(&gone).expect("two at least");
        let input = match what % 10 {
            0 => Input::Online { worker },
            1 => Input::Listening { worker },
            2 => Input::SaidReady { worker },
            3 => Input::Unresponsive { worker },
            4 => Input::Responsive { worker },
            5 => Input::Leaving { worker, progress: LeaveProgress::OutOfRotation },
            6 => Input::Disconnected { worker, meant: true },
            7 => Input::Exited { worker, status: ExitStatus::Unknown, meant: false },
            8 => Input::Usage { worker, memory: Some(u64::MAX), connections: u64::MAX },
            _ => Input::ForkFailed { slot: u32::MAX, reason: String::new() },
        };
        // What is due comes with any input.
        let due = self.supervisor.poll_timeout().is_some_and(|at| at <= self.now);
        let before = self.outputs.len();
        self.input(input.clone(), Occasion::Other);
        assert!(
            due || self.outputs.len() == before,
            "{input:?} concerns no known worker, and changes something"
        );
    }

    fn configure(&mut self, bytes: &mut Bytes<'_>) {
        let config = config(bytes);
        self.batch = self.batch.max(config.batch);
        self.longest_pause = self.longest_pause.max(config.backoff_max);
        self.history.push(Call::Configure(Box::new(config.clone())));
        self.supervisor.configure(config);
        // What there is to do because of it is done with whatever comes next.
        self.timeout();
    }

    /// It is written down, and read.
    fn read_again(&mut self) {
        let text = serde_json::to_string(&self.supervisor).expect("it can be written");
        let read: Supervisor = serde_json::from_str(&text).expect("it can be read");
        assert_eq!(serde_json::to_string(&read).expect("it can be written"), text);
        self.supervisor = read;
    }

    fn input(&mut self, input: Input, occasion: Occasion) {
        self.history.push(Call::Input(self.now, input.clone()));
        self.supervisor.handle_input(self.now, input);
        self.drain(occasion);
    }

    fn timeout(&mut self) {
        self.history.push(Call::Timeout(self.now));
        self.supervisor.handle_timeout(self.now);
        self.drain(Occasion::Other);
        let due = self.supervisor.poll_timeout();
        assert!(due.is_none_or(|due| due > self.now), "a timer that does not go away: {due:?}");
    }

    fn drain(&mut self, occasion: Occasion) {
        // One that has lost its channel is replaced, but not told to leave: it could not hear it.
        for (id, worker) in self.workers.iter_mut().filter(|(_, worker)| worker.is_closed) {
            let leaves = self.supervisor.member(*id).is_some_and(|member| member.leaving);
            worker.disconnected |= leaves && worker.step.is_none();
        }
        while let Some(output) = self.supervisor.poll_output() {
            assert!(self.over.is_none() || self.late_fork, "{output:?} after the end");
            self.outputs.push(output.clone());
            self.obey(output, occasion);
        }
    }

    fn obey(&mut self, output: Output, occasion: Occasion) {
        match output {
            Output::Fork { slot } => self.forks(slot),
            Output::TakeOutOfRotation { worker } => {
                self.may_leave(worker, occasion);
                self.leaves(worker, Step::OutOfRotation);
            }
            Output::TakeAllOutOfRotation => {
                assert!(!self.is_running());
                for id in self.workers.keys().copied().collect::<Vec<_>>() {
                    if self.workers[&id].step.is_none() && !self.workers[&id].exited {
                        self.leaves(id, Step::OutOfRotation);
                    }
                }
            }
            Output::FinishWork { worker } => self.leaves(worker, Step::FinishWork),
            Output::AskStop { worker, .. } => self.leaves(worker, Step::AskStop),
            Output::SendStop { worker, .. } => self.leaves(worker, Step::Stop),
            Output::Disconnect { worker } => self.leaves(worker, Step::Disconnect),
            Output::Kill { worker, signal } => {
                let step = self.workers.get(&worker).and_then(|worker| worker.step);
                let step = match signal {
                    _ if step == Some(Step::AskStop) && Some(signal) == self.stop_signal() => {
                        Step::Stop
                    }
                    Signal::KILL => Step::Kill,
                    _ => Step::Term,
                };
                self.report.killed += u32::from(step == Step::Kill);
                self.leaves(worker, step);
            }
            Output::DisconnectAll => assert!(self.workers.values().all(|worker| worker.exited)),
            Output::Measure | Output::ReleaseUnused => {}
            Output::Tell(notice) => self.told(notice),
            Output::Over(outcome) => {
                self.over = Some(outcome);
                self.late_fork = !self.pending.is_empty();
                assert!(self.workers.values().all(|worker| worker.exited), "workers are left");
            }
            other => panic!("an output that this file does not know: {other:?}"),
        }
    }

    fn stop_signal(&self) -> Option<Signal> {
        self.supervisor.config().stop_signal
    }

    fn is_running(&self) -> bool {
        use State::{Draining, Reloading, Running, Starting};
        matches!(self.supervisor.state(), Starting | Running | Reloading | Draining)
    }

    fn kept(&self, slot: u32) -> usize {
        self.workers.values().filter(|worker| worker.slot == slot && worker.is_kept()).count()
    }

    fn forks(&mut self, slot: u32) {
        assert!(self.supervisor.config().keep && !self.report.gave_up && self.is_running());
        assert!(slot < 64, "slots are numbered from 0");
        if let Some(at) = self.earliest.remove(&slot) {
            assert!(self.now >= at, "slot {slot} is tried before its pause is over");
        }
        if self.answers_at_once {
            assert!(!self.pending.contains(&slot), "slot {slot} is being forked for");
            assert!(self.kept(slot) <= 1, "slot {slot} has a successor");
        }
        self.pending.push(slot);
    }

    /// Whether a worker may be told to leave on that occasion.
    fn may_leave(&self, id: WorkerId, occasion: Occasion) {
        let worker = &self.workers[&id];
        let successor = |(other, it): (&WorkerId, &Worker)| {
            // One that was adopted may have the slot after all, where the others in it are leaving.
            let stays = Worker { stranger: false, ..*it }.is_kept();
            *other != id && it.slot == worker.slot && it.ready && stays
        };
        let unwanted = occasion == Occasion::Forked(id);
        assert!(
            unwanted || occasion == Occasion::Scale || self.workers.iter().any(successor),
            "{id} is told to leave, and slot {} has no other worker that is ready: {:#?}",
            worker.slot,
            &self.history[self.history.len().saturating_sub(20)..]
        );
    }

    fn leaves(&mut self, id: WorkerId, step: Step) {
        let worker = self.workers.get_mut(&id).unwrap_or_else(|| panic!("there is no worker {id}"));
        assert!(!worker.exited, "{step:?} of {id}, which has ended");
        let again = step == Step::Kill;
        let before = worker.step.replace(step);
        assert!(
            before.is_none_or(|before| before < step || (before == step && again)),
            "{id}: {step:?} after {before:?}"
        );
    }

    fn told(&mut self, notice: Notice) {
        match notice {
            Notice::Ready { slot, worker } => {
                self.report.ready += 1;
                let known = self.workers.get_mut(&worker).expect("it was forked");
                assert!(!known.exited && known.slot == slot);
                assert!(!std::mem::replace(&mut known.ready, true), "{worker} is ready twice");
            }
            Notice::Slow { worker, .. } => {
                let known = self.workers.get_mut(&worker).expect("it was forked");
                assert!(!known.ready && !known.exited);
                assert!(!std::mem::replace(&mut known.called_slow, true));
            }
            Notice::Replacing { death, pause } => {
                assert!(pause <= self.longest_pause * 5 / 4, "{pause:?}");
                let comes = self.kept(death.slot) > 0 || self.pending.contains(&death.slot);
                if !comes {
                    self.earliest.insert(death.slot, self.now + pause);
                }
            }
            Notice::GaveUp { deaths } => {
                assert!(!deaths.is_empty() && !std::mem::replace(&mut self.report.gave_up, true));
                let ready = |worker: &Worker| worker.is_kept() && worker.ready;
                assert!(!self.workers.values().any(ready), "a worker is ready");
            }
            Notice::ReloadBegan { generation } => {
                assert_eq!(generation, self.generation + 1);
                (self.generation, self.reloading) = (generation, true);
                // Empty slots are tried at once.
                self.earliest.clear();
            }
            Notice::Reloaded { generation, .. } => {
                self.reload_ends(generation);
                self.report.reloaded += 1;
                for (id, worker) in self.workers.iter().filter(|(_, worker)| worker.is_kept()) {
                    let member = self.supervisor.member(*id).expect("it is kept");
                    assert!(
                        member.leaving || member.generation == generation,
                        "{id} in slot {} is of generation {}, not {generation}: {:?}",
                        worker.slot,
                        member.generation,
                        &self.history[self.history.len().saturating_sub(20)..]
                    );
                }
            }
            Notice::ReloadAborted { generation, .. } => {
                self.reload_ends(generation);
                self.report.aborted += 1;
            }
            Notice::Left { slot, .. } => drop(self.earliest.remove(&slot)),
            Notice::Late { worker, .. } => assert!(!self.workers[&worker].exited),
            _ => {}
        }
    }

    fn reload_ends(&mut self, generation: u64) {
        assert_eq!(generation, self.generation);
        assert!(std::mem::take(&mut self.reloading), "reload {generation} ends twice");
    }

    fn check(&mut self) {
        let counts = self.supervisor.counts();
        let all = |counts: Counts| {
            let Counts { restarts, deaths, boot_failures, reloads, reloads_aborted, .. } = counts;
            [restarts, deaths, boot_failures, reloads, reloads_aborted, counts.recycled]
        };
        assert!(all(self.counts).iter().zip(all(counts)).all(|(before, now)| *before <= now));
        self.counts = counts;
        assert_eq!(self.supervisor.outcome(), self.over);
        for (id, worker) in &self.workers {
            assert_eq!(self.supervisor.member(*id).is_some(), !worker.exited, "{id}");
        }
        if !self.is_running() || !self.supervisor.config().keep {
            return;
        }
        let kept = self.workers.values().filter(|worker| worker.is_kept()).count();
        let most = self.supervisor.wanted() + self.batch;
        if self.answers_at_once {
            assert!(kept <= most as usize, "{kept} of {most} workers");
            let slots: BTreeSet<_> = self.workers.values().map(|worker| worker.slot).collect();
            let changing = slots.iter().filter(|slot| self.kept(**slot) > 1).count();
            assert!(changing <= self.batch as usize, "{changing} slots change hands");
        }
        let due = self.supervisor.poll_timeout();
        for (slot, at) in &self.earliest {
            assert!(due.is_some_and(|due| due <= *at), "slot {slot} is not tried again at {at:?}");
        }
    }

    /// All ends, though the workers do nothing for it.
    fn finish(mut self) -> Report {
        while let Some(slot) = self.pending.first().copied() {
            self.answer_fork(slot, false);
        }
        self.input(Input::End, Occasion::Other);
        for _ in 0..10_000 {
            while let Some(slot) = self.pending.first().copied() {
                self.answer_fork(slot, false);
            }
            let killed = |worker: &Worker| !worker.exited && worker.step == Some(Step::Kill);
            let killed = self.workers.iter().find(|(_, worker)| killed(worker)).map(|(id, _)| *id);
            if let Some(worker) = killed {
                self.exit(worker, 2);
            } else if let Some(due) = self.supervisor.poll_timeout() {
                self.now = self.now.max(due);
                self.timeout();
            } else {
                break;
            }
        }
        self.check();
        assert!(self.over.is_some(), "it does not end: {:?}", self.workers);
        self.compare_with_one_drain();
        self.report
    }

    /// The same calls, with all outputs taken at the end.
    fn compare_with_one_drain(&mut self) {
        let mut again = Supervisor::new(self.first_config.clone());
        for call in self.history.drain(..) {
            match call {
                Call::Input(now, input) => again.handle_input(now, input),
                Call::Timeout(now) => again.handle_timeout(now),
                Call::Configure(config) => again.configure(*config),
            }
        }
        let outputs: Vec<_> = std::iter::from_fn(|| again.poll_output()).collect();
        assert_eq!(outputs, self.outputs);
    }
}

fn config(bytes: &mut Bytes<'_>) -> Config {
    let (flags, numbers, more) = (bytes.next(), bytes.next(), bytes.next());
    let mut config = Config::new(u32::from(numbers % 4) + 1);
    config.keep = flags & 0x0f != 0x0f;
    config.ready = match numbers >> 5 {
        0 => Ready::Online,
        1 => Ready::Message,
        2 => Ready::Notify,
        3 => Ready::Alive(SECOND),
        _ => Ready::Listening,
    };
    config.batch = u32::from(numbers >> 3 & 3);
    config.max_failures = u32::from(more & 3);
    config.stop_signal = match more >> 2 & 3 {
        0 => None,
        1 => Some(Signal::INT),
        _ => Some(Signal::TERM),
    };
    config.stop_message = (more & 0x10 != 0).then(|| "shutdown".to_owned());
    config.replace_disconnected = more & 0x20 == 0;
    config.replace_unresponsive = more & 0x40 != 0;
    config.drain_timeout = (more & 0x80 != 0).then_some(SECOND * 2);
    config.ready_timeout = SECOND * 5;
    config.stable_after = SECOND * 2;
    config.failure_period = SECOND * if flags & 0x10 == 0 { 60 } else { 4 };
    if flags & 0x20 != 0 {
        config.recycle.memory = Some(200);
        config.recycle.connections = Some(200);
    }
    if flags & 0x40 != 0 {
        config.recycle.age = Some(SECOND * 30);
    }
    config.seed = u64::from(flags >> 7);
    config
}
