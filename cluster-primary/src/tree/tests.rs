//! What becomes of processes that a worker has started, on a system that is a table.

use super::*;

const WORKER: WorkerId = WorkerId(1);
const SESSION: u32 = 10;
const KILL_AFTER: Duration = Duration::from_secs(3);

/// A process of that pid and start time, child of `parent`, in `group` and `session`.
fn process(pid: u32, start: u64, parent: u32, group: u32, session: u32) -> ProcessStat {
    let id = ProcessId { pid, start };
    ProcessStat { id, parent, group, session, state: RunState::Running }
}

fn ended(process: ProcessStat) -> ProcessStat {
    ProcessStat { state: RunState::Ended, ..process }
}

/// A system, and the trees on it.
struct World {
    trees: ProcessTrees,
    now: Mono,
    processes: Vec<ProcessStat>,
    signals: Vec<(u32, Signal)>,
    reports: Vec<LeftoverProgress>,
    over: bool,
    lists: usize,
    /// The members of the worker's group, where another may get its number.
    group: Option<BTreeSet<ProcessId>>,
}

impl World {
    /// Where worker 1 runs as process 100.
    fn new(rules: EndDescendants) -> Self {
        let mut world = Self {
            trees: ProcessTrees::default(),
            now: Mono::ZERO,
            processes: Vec::new(),
            signals: Vec::new(),
            reports: Vec::new(),
            over: false,
            lists: 0,
            group: None,
        };
        world.runs(process(100, 5, 1, 100, SESSION));
        world.input(Input::Started {
            worker: WORKER,
            leader: ProcessId { pid: 100, start: 5 },
            session: SESSION,
            rules,
        });
        world
    }

    fn runs(&mut self, process: ProcessStat) {
        self.processes.push(process);
    }

    fn gone(&mut self, pid: u32) {
        self.processes.retain(|p| p.id.pid != pid);
        // Orphans are adopted.
        for process in self.processes.iter_mut().filter(|p| p.parent == pid) {
            process.parent = 1;
        }
    }

    fn input(&mut self, input: Input) {
        self.trees.handle_input(self.now, input);
        self.obey();
    }

    fn obey(&mut self) {
        while let Some(output) = self.trees.poll_output() {
            let answer = match output {
                Output::Trace { worker, from } => {
                    Input::Traced { worker, descendants: self.trace(&from) }
                }
                Output::List { worker } => {
                    self.lists += 1;
                    let is_member = |p: &ProcessStat| match &self.group {
                        Some(members) => members.contains(&p.id),
                        None => p.group == 100,
                    };
                    let group_exists = self.processes.iter().any(is_member);
                    Input::Listed { worker, group_exists, processes: Some(self.processes.clone()) }
                }
                Output::Signal { process, signal } => {
                    assert!(self.processes.iter().any(|p| p.id == process), "{process:?} is gone");
                    self.signals.push((process.pid, signal));
                    continue;
                }
                Output::Report { progress, .. } => {
                    self.reports.push(progress);
                    continue;
                }
                Output::Over { .. } => {
                    self.over = true;
                    continue;
                }
            };
            self.trees.handle_input(self.now, answer);
        }
    }

    fn trace(&self, from: &[ProcessId]) -> BTreeSet<ProcessId> {
        let mut found: BTreeSet<_> =
            self.processes.iter().map(|p| p.id).filter(|id| from.contains(id)).collect();
        loop {
            let below = |p: &&ProcessStat| found.iter().any(|id| id.pid == p.parent);
            let more: Vec<_> = self.processes.iter().filter(below).map(|p| p.id).collect();
            let before = found.len();
            found.extend(more);
            if found.len() == before {
                return found;
            }
        }
    }

    /// Time passes, up to that long, or until nothing is due.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.trees.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.trees.handle_timeout(self.now);
            self.obey();
        }
        self.now = end;
    }

    fn worker_ends(&mut self) {
        self.gone(100);
        self.input(Input::Ended { worker: WORKER });
    }

    fn taken_signals(&mut self) -> Vec<(u32, Signal)> {
        std::mem::take(&mut self.signals)
    }
}

fn rules() -> EndDescendants {
    EndDescendants { kill_after: KILL_AFTER, keep_detached: false }
}

#[test]
fn a_worker_that_leaves_nothing_is_forgotten_at_once() {
    let mut world = World::new(rules());
    world.runs(process(1, 1, 0, 1, 1));
    world.runs(process(300, 1, 1, 300, 300));
    world.worker_ends();
    assert!(world.over && world.trees.is_idle() && world.trees.poll_timeout().is_some());
    assert_eq!((world.signals, world.reports), (Vec::new(), Vec::new()));
}

#[test]
fn the_group_gets_sigterm_and_later_sigkill() {
    let mut world = World::new(rules());
    world.runs(process(101, 6, 100, 100, SESSION));
    world.runs(process(102, 7, 101, 100, SESSION));
    world.worker_ends();
    assert!(!world.trees.is_idle());
    assert_eq!(world.taken_signals(), [(101, Signal::TERM), (102, Signal::TERM)]);
    world.gone(102);
    world.pass(KILL_AFTER.saturating_sub(Duration::from_millis(1)));
    assert_eq!(world.taken_signals(), [], "each gets it once");
    world.pass(Duration::from_millis(2));
    assert_eq!(world.taken_signals(), [(101, Signal::KILL)]);
    world.gone(101);
    world.pass(Duration::from_secs(1));
    assert!(world.over && world.trees.is_idle());
    let terminated = LeftoverProgress::Terminated { pids: vec![101, 102], kill_after: KILL_AFTER };
    let killed = LeftoverProgress::Killed { pids: vec![101] };
    assert_eq!(world.reports, [terminated, killed, LeftoverProgress::Ended]);
}

#[test]
fn what_joins_the_group_meanwhile_is_ended_too() {
    let mut world = World::new(rules());
    world.runs(process(101, 6, 100, 100, SESSION));
    world.worker_ends();
    world.taken_signals();
    world.runs(process(103, 9, 1, 100, SESSION));
    world.pass(Duration::from_millis(100));
    assert_eq!(world.taken_signals(), [(103, Signal::TERM)]);
}

#[test]
fn descendants_elsewhere_end_if_they_were_seen_before() {
    let mut world = World::new(rules());
    // One in a session of its own, with a child, and one in a group of its own.
    world.runs(process(200, 6, 100, 200, 200));
    world.runs(process(201, 7, 200, 200, 200));
    world.runs(process(210, 8, 100, 210, SESSION));
    world.pass(TRACE_EVERY);
    assert_eq!(world.trees.descendants(WORKER), Some(3));
    // It was started since the last look: nothing proves whose it is once its parent has gone.
    world.runs(process(220, 90, 100, 220, 220));
    // That is proven by its parent, which is.
    world.runs(process(202, 91, 201, 202, 202));
    world.worker_ends();
    let mut signals = world.taken_signals();
    signals.sort_unstable();
    let term = |pid| (pid, Signal::TERM);
    assert_eq!(signals, [term(200), term(201), term(202), term(210)]);
}

#[test]
fn what_it_started_is_looked_up_before_it_is_told_to_leave() {
    let mut world = World::new(rules());
    world.runs(process(200, 6, 100, 200, 200));
    world.input(Input::Leaving { worker: WORKER });
    world.worker_ends();
    assert_eq!(world.taken_signals(), [(200, Signal::TERM)]);
}

#[test]
fn a_descendant_stays_known_when_its_parent_ends() {
    let mut world = World::new(rules());
    world.runs(process(200, 6, 100, 200, 200));
    world.runs(process(201, 7, 200, 201, 201));
    world.pass(TRACE_EVERY);
    world.gone(200);
    world.pass(TRACE_EVERY * 3);
    world.worker_ends();
    assert_eq!(world.taken_signals(), [(201, Signal::TERM)]);
}

#[test]
fn strangers_are_never_signalled() {
    let mut world = World::new(rules());
    world.runs(process(200, 6, 100, 200, 200));
    world.pass(TRACE_EVERY);
    // The descendant ends, and another process gets its pid; so does one that gets the group's number.
    world.gone(200);
    world.runs(process(200, 99, 1, 200, 200));
    world.runs(process(201, 99, 200, 200, 200));
    world.runs(process(400, 3, 1, 400, SESSION));
    world.worker_ends();
    assert!(world.over);
    assert_eq!(world.taken_signals(), []);
}

#[test]
fn a_group_of_the_same_number_is_another_group_once_the_first_is_gone() {
    let mut world = World::new(rules());
    world.gone(100);
    world.trees.handle_input(world.now, Input::Ended { worker: WORKER });
    assert_eq!(world.trees.poll_output(), Some(Output::List { worker: WORKER }));
    let stranger = process(100, 99, 1, 100, 100);
    let processes = Some(vec![stranger]);
    let listed = Input::Listed { worker: WORKER, group_exists: false, processes };
    world.trees.handle_input(world.now, listed);
    assert_eq!(world.trees.poll_output(), Some(Output::Over { worker: WORKER }));
}

#[test]
fn what_has_ended_and_was_not_waited_for_is_nothing() {
    let mut world = World::new(rules());
    world.runs(ended(process(101, 6, 100, 100, SESSION)));
    world.worker_ends();
    assert!(world.over);
}

#[test]
fn a_stopped_process_is_made_to_go_on() {
    let mut world = World::new(rules());
    let stopped = RunState::Stopped;
    world.runs(ProcessStat { state: stopped, ..process(101, 6, 100, 100, SESSION) });
    world.worker_ends();
    assert_eq!(world.taken_signals(), [(101, Signal::TERM), (101, Signal::CONT)]);
}

#[test]
fn sessions_of_their_own_can_be_kept() {
    let mut world = World::new(EndDescendants { keep_detached: true, ..rules() });
    world.runs(process(200, 6, 100, 200, 200));
    world.runs(process(201, 7, 200, 200, 200));
    world.runs(process(210, 8, 100, 210, SESSION));
    world.pass(TRACE_EVERY);
    world.worker_ends();
    assert_eq!(world.taken_signals(), [(210, Signal::TERM)]);
    world.gone(210);
    world.pass(Duration::from_secs(1));
    assert!(world.over);
}

#[test]
fn who_asked_for_it_is_spared_until_all_ends() {
    let mut world = World::new(rules());
    let script = process(200, 6, 100, 100, SESSION);
    world.runs(script);
    world.runs(process(201, 7, 100, 100, SESSION));
    // The script may need what it has started.
    world.runs(process(202, 8, 200, 100, SESSION));
    world.pass(TRACE_EVERY);
    world.input(Input::Spare { processes: vec![script.id] });
    world.worker_ends();
    assert_eq!(world.taken_signals(), [(201, Signal::TERM)]);
    world.gone(201);
    world.pass(KILL_AFTER * 5);
    assert_eq!(world.taken_signals(), []);
    assert!(world.trees.is_idle() && !world.over, "it is remembered");
    world.input(Input::EndAll);
    assert!(!world.trees.is_idle());
    world.pass(Duration::from_millis(1));
    assert_eq!(world.taken_signals(), [(200, Signal::TERM), (202, Signal::TERM)]);
}

#[test]
fn a_script_that_asks_from_one_worker_after_the_other_does_not_accumulate() {
    let mut world = World::new(rules());
    let script = process(200, 6, 100, 100, SESSION);
    world.runs(script);
    world.input(Input::Spare { processes: vec![script.id, ProcessId { pid: 100, start: 5 }] });
    world.worker_ends();
    assert_eq!(world.taken_signals(), []);
    // One that is no worker's changes nothing.
    world.input(Input::Spare { processes: vec![ProcessId { pid: 9, start: 1 }] });
    world.pass(Duration::from_secs(20));
    assert_eq!(world.taken_signals(), []);
    // The script of the next worker asks.
    let leader = ProcessId { pid: 300, start: 50 };
    world.runs(process(300, 50, 1, 300, SESSION));
    let worker = WorkerId(2);
    world.input(Input::Started { worker, leader, session: SESSION, rules: rules() });
    world.input(Input::Spare { processes: vec![ProcessId { pid: 301, start: 51 }, leader] });
    world.pass(Duration::from_millis(1));
    assert_eq!(world.taken_signals(), [(200, Signal::TERM)]);
}

#[test]
fn recording_takes_a_small_part_of_the_time() {
    let mut world = World::new(rules());
    world.pass(TRACE_EVERY);
    let took = Duration::from_millis(200);
    world.input(Input::TraceTook { took });
    let next = world.trees.poll_timeout().expect("it goes on");
    assert_eq!(next.saturating_sub(world.now), took * TRACE_SHARE);
}

#[test]
fn who_was_spared_and_has_ended_is_forgotten() {
    let mut world = World::new(rules());
    let script = process(200, 6, 100, 100, SESSION);
    world.runs(script);
    world.input(Input::Spare { processes: vec![script.id, ProcessId { pid: 100, start: 5 }] });
    world.worker_ends();
    assert!(!world.over);
    world.gone(200);
    world.pass(Duration::from_secs(11));
    assert!(world.over && world.trees.spared.is_empty());
}

#[test]
fn what_cannot_be_killed_is_given_up() {
    let mut world = World::new(rules());
    world.runs(process(101, 6, 100, 100, SESSION));
    world.worker_ends();
    world.pass(Duration::from_secs(60));
    assert!(world.over && world.trees.is_idle());
    assert_eq!(world.reports.last(), Some(&LeftoverProgress::Survived { pids: vec![101] }));
    let kills = world.signals.iter().filter(|(_, signal)| *signal == Signal::KILL).count();
    assert!(kills > 1, "it is tried again");
    assert!(world.lists < 40, "{} looks", world.lists);
}

#[test]
fn what_could_not_be_listed_is_listed_later() {
    let mut world = World::new(rules());
    world.runs(process(101, 6, 100, 100, SESSION));
    world.gone(100);
    world.trees.handle_input(world.now, Input::Ended { worker: WORKER });
    assert_eq!(world.trees.poll_output(), Some(Output::List { worker: WORKER }));
    world.input(Input::NotListed { worker: WORKER });
    assert!(!world.trees.is_idle() && world.signals.is_empty());
    world.pass(Duration::from_secs(1));
    assert_eq!(world.taken_signals(), [(101, Signal::TERM)]);
}

#[test]
fn nothing_waits_once_all_is_to_be_killed() {
    let mut world = World::new(rules());
    world.runs(process(101, 6, 100, 100, SESSION));
    world.worker_ends();
    world.taken_signals();
    world.input(Input::KillAll);
    world.pass(Duration::from_millis(1));
    assert_eq!(world.taken_signals(), [(101, Signal::KILL)]);
}

#[test]
fn workers_that_end_after_that_leave_nothing_either() {
    let mut world = World::new(rules());
    world.runs(process(101, 6, 100, 100, SESSION));
    world.input(Input::KillAll);
    world.worker_ends();
    assert_eq!(world.taken_signals(), [(101, Signal::KILL)]);
}

#[test]
fn it_goes_on_as_it_was_written_down() {
    let mut world = World::new(rules());
    world.runs(process(101, 6, 100, 100, SESSION));
    world.runs(process(200, 6, 100, 200, 200));
    world.pass(TRACE_EVERY);
    let text = serde_json::to_string(&world.trees).unwrap();
    world.trees = serde_json::from_str(&text).unwrap();
    world.worker_ends();
    assert_eq!(world.taken_signals(), [(101, Signal::TERM), (200, Signal::TERM)]);
    let text = serde_json::to_string(&world.trees).unwrap();
    world.trees = serde_json::from_str(&text).unwrap();
    world.pass(KILL_AFTER);
    world.pass(Duration::from_millis(1));
    assert!(world.signals.starts_with(&[(101, Signal::KILL), (200, Signal::KILL)]));
}

/// Something that happens on a system.
#[derive(Clone, Debug)]
enum Step {
    /// A process, one of those that run, starts another: in its group, in one of its own, or in a session
    /// of its own. Pids are few, so that they are used again.
    Fork { by: usize, apart: u8 },
    /// A process ends, and its children are adopted.
    Exit { who: usize },
    /// Time passes.
    Pass { millis: u16 },
    /// The worker is about to be told to leave.
    Leaving,
    /// The worker ends.
    WorkerEnds,
}

fn steps() -> impl proptest::strategy::Strategy<Value = Vec<Step>> {
    use proptest::prelude::*;
    let step = prop_oneof![
        6 => (any::<usize>(), 0..4u8).prop_map(|(by, apart)| Step::Fork { by, apart }),
        4 => any::<usize>().prop_map(|who| Step::Exit { who }),
        3 => (0..1500u16).prop_map(|millis| Step::Pass { millis }),
        1 => Just(Step::Leaving),
        1 => Just(Step::WorkerEnds),
    ];
    proptest::collection::vec(step, 0..80)
}

proptest::proptest! {
    /// Whatever processes come and go, with few pids: only descendants of the worker are signalled, and in
    /// the end nothing is left of its group.
    #[test]
    fn only_descendants_are_signalled_and_the_whole_group_ends(steps in steps()) {
        let mut world = World::new(rules());
        world.runs(process(1, 1, 0, 1, 1));
        let mut ours = BTreeSet::from([ProcessId { pid: 100, start: 5 }]);
        world.group = Some(ours.clone());
        let mut clock = 10;
        let mut has_ended = false;
        for step in steps {
            let at = |n: usize| n % world.processes.len();
            match step {
                Step::Fork { by, apart } => {
                    let parent = world.processes[at(by)];
                    let in_use = |pid: u32| world.processes.iter()
                        .any(|p| [p.id.pid, p.group, p.session].contains(&pid));
                    let Some(pid) = (100..120).find(|pid| !in_use(*pid)) else { continue };
                    clock += 1;
                    let (group, session) = match apart {
                        0 | 1 => (parent.group, parent.session),
                        2 => (pid, parent.session),
                        _ => (pid, pid),
                    };
                    let child = process(pid, clock, parent.id.pid, group, session);
                    if ours.contains(&parent.id) {
                        ours.insert(child.id);
                    }
                    let members = world.group.get_or_insert_default();
                    if members.contains(&parent.id) && group == parent.group {
                        members.insert(child.id);
                    }
                    world.runs(child);
                }
                Step::Exit { who } => {
                    let pid = world.processes[at(who)].id.pid;
                    if pid != 1 && (has_ended || pid != 100) {
                        world.gone(pid);
                    }
                }
                Step::Pass { millis } => world.pass(Duration::from_millis(millis.into())),
                Step::Leaving => world.input(Input::Leaving { worker: WORKER }),
                Step::WorkerEnds if has_ended => {}
                Step::WorkerEnds => {
                    has_ended = true;
                    world.worker_ends();
                }
            }
            for (pid, signal) in world.taken_signals() {
                // (It may have ended since.)
                if let Some(process) = world.processes.iter().find(|p| p.id.pid == pid) {
                    proptest::prop_assert!(ours.contains(&process.id), "{process:?} is a stranger");
                }
                if signal == Signal::KILL {
                    world.gone(pid);
                }
            }
        }
        if !has_ended {
            world.worker_ends();
        }
        while let Some(at) = world.trees.poll_timeout().filter(|_| !world.over) {
            for (pid, signal) in world.taken_signals() {
                if signal == Signal::KILL {
                    world.gone(pid);
                }
            }
            let wait = at.saturating_sub(world.now);
            world.pass(wait);
        }
        let members = world.group.unwrap_or_default();
        let left = world.processes.iter().find(|p| members.contains(&p.id));
        proptest::prop_assert!(left.is_none(), "{left:?} is left");
    }
}
