//! The supervisor's decisions, in a simulated world of workers.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use cluster_supervisor::{LeaveProgress, Mono, Outcome, Ready, Recycle, State, StopBy, Work};
use support::{Config, ExitStatus, Input, Output, Random, Signal, Supervisor, WorkerId, changed};

const fn ms(millis: u64) -> Mono {
    Mono::from_millis(millis)
}

/// So many workers, whose successors take over as soon as they are ready.
fn plain(workers: u32) -> Config {
    changed!(Config::new(workers), min_ready_time: Duration::ZERO)
}

fn work_of(requests: u32, started: u32, connections: u32) -> Work {
    let mut work = Work::default();
    (work.requests, work.started, work.connections) = (requests, started, connections);
    work
}

/// Workers that do as they are told, at once or not at all.
struct World {
    supervisor: Supervisor,
    now: Mono,
    last: u32,
    /// Who runs, in which slot.
    alive: BTreeMap<WorkerId, u32>,
    /// Whether a new worker gets ready by itself.
    well: bool,
    /// Whether workers leave when they are asked, and answer what they are asked.
    obedient: bool,
    /// How their programs are asked to stop.
    stop_by: StopBy,
    /// Their HTTP work when they are told to finish it.
    work: Work,
    said: Vec<String>,
    over: Option<Outcome>,
}

impl World {
    fn new(config: Config) -> Self {
        Self::with(config, true)
    }

    fn with(config: Config, well: bool) -> Self {
        let mut world = Self {
            supervisor: Supervisor::new(config),
            now: Mono::ZERO,
            last: 0,
            alive: BTreeMap::new(),
            well,
            obedient: true,
            stop_by: StopBy::Disconnect,
            work: Work::default(),
            said: Vec::new(),
            over: None,
        };
        world.input(Input::Start);
        world
    }

    fn input(&mut self, input: Input) {
        self.supervisor.handle_input(self.now, input);
        self.obey();
    }

    fn obey(&mut self) {
        while let Some(output) = self.supervisor.poll_output() {
            match output {
                Output::Fork { slot } => {
                    self.last += 1;
                    let worker = WorkerId(self.last);
                    self.alive.insert(worker, slot);
                    self.said.push(format!("fork {worker} for {slot}"));
                    self.supervisor.handle_input(self.now, Input::Forked { slot, worker });
                    if self.well {
                        self.supervisor.handle_input(self.now, Input::Listening { worker });
                    }
                }
                Output::Disconnect { worker } => {
                    self.said.push(format!("disconnect {worker}"));
                    if self.obedient {
                        self.exit(worker, ExitStatus::Code(0), true);
                    }
                }
                Output::Kill { worker, signal } => {
                    self.said.push(format!("{signal} {worker}"));
                    if signal == Signal::KILL || self.obedient {
                        self.exit(worker, ExitStatus::Signal(signal), true);
                    }
                }
                Output::TakeOutOfRotation { worker } => self.retires(worker),
                Output::TakeAllOutOfRotation => {
                    self.said.push("all out of rotation".into());
                    for worker in self.alive.keys().copied().collect::<Vec<_>>() {
                        self.retires(worker);
                    }
                }
                Output::FinishWork { worker } => {
                    self.progress(worker, LeaveProgress::Work(self.work));
                }
                Output::AskStop { worker, signal, message } => {
                    let by = match self.stop_by {
                        StopBy::Signal if signal.is_none() => StopBy::Disconnect,
                        StopBy::Message if !message => StopBy::Disconnect,
                        by => by,
                    };
                    self.progress(worker, LeaveProgress::Stop(by));
                }
                Output::SendStop { worker, message } => {
                    self.said.push(format!("send {message:?} to {worker}"));
                }
                Output::DisconnectAll => self.said.push("disconnect all".into()),
                Output::ReleaseUnused => self.said.push("release".into()),
                Output::Measure => self.said.push("measure".into()),
                Output::Tell(notice) => self.said.push(format!("{notice:?}")),
                Output::Over(outcome) => {
                    assert_eq!(self.over.replace(outcome), None, "it ends once");
                }
                output => panic!("unexpected: {output:?}"),
            }
        }
    }

    fn retires(&mut self, worker: WorkerId) {
        if self.obedient {
            self.progress(worker, LeaveProgress::OutOfRotation);
        }
    }

    fn progress(&mut self, worker: WorkerId, progress: LeaveProgress) {
        self.supervisor.handle_input(self.now, Input::Leaving { worker, progress });
    }

    /// A worker is further with leaving, and what follows from it happens.
    fn progresses(&mut self, worker: u32, progress: LeaveProgress) {
        self.progress(WorkerId(worker), progress);
        self.obey();
    }

    /// What its HTTP work is now.
    fn works(&mut self, worker: u32, requests: u32, started: u32) {
        let work = work_of(requests, started, requests);
        self.progresses(worker, LeaveProgress::Work(work));
    }

    fn exit(&mut self, worker: WorkerId, status: ExitStatus, meant: bool) {
        if self.alive.remove(&worker).is_some() {
            self.supervisor.handle_input(self.now, Input::Exited { worker, status, meant });
        }
    }

    fn dies(&mut self, worker: u32) {
        self.exit(WorkerId(worker), ExitStatus::Code(1), false);
        self.obey();
    }

    /// Lets the time pass, with every timer on the way.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(due) = self.supervisor.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.supervisor.handle_timeout(self.now);
            self.obey();
        }
        self.now = until;
    }

    /// What was said since the last call, but for what is marked as noise.
    fn said(&mut self) -> Vec<String> {
        let noise = |line: &String| line.starts_with("Ready");
        std::mem::take(&mut self.said).into_iter().filter(|line| !noise(line)).collect()
    }

    fn forks(&mut self) -> Vec<String> {
        self.said().into_iter().filter(|line| line.starts_with("fork")).collect()
    }

    fn slots(&self) -> Vec<u32> {
        let mut slots: Vec<_> = self.alive.values().copied().collect();
        slots.sort_unstable();
        slots
    }
}

#[test]
fn so_many_are_kept_and_each_has_its_slot() {
    let mut world = World::new(plain(3));
    assert_eq!(world.forks(), ["fork 1 for 0", "fork 2 for 1", "fork 3 for 2"]);
    assert_eq!(world.supervisor.state(), State::Running);
    world.pass(ms(6000));
    world.dies(2);
    // It was stable, so its successor comes at once.
    world.pass(Duration::ZERO);
    assert_eq!(world.forks(), ["fork 4 for 1"]);
    assert_eq!(world.slots(), [0, 1, 2]);
    let counts = world.supervisor.counts();
    assert_eq!((counts.deaths, counts.restarts, counts.boot_failures), (1, 1, 0));
    assert_eq!(world.supervisor.member(WorkerId(4)).unwrap().restarts, 1);
}

#[test]
fn a_program_that_dies_at_once_is_tried_with_growing_pauses_and_given_up() {
    let mut world = World::with(plain(1), false);
    world.dies(1);
    let mut forked_at = Vec::new();
    while world.over.is_none() {
        let before = world.last;
        let due = world.supervisor.poll_timeout().expect("it is tried again");
        world.pass(due - world.now);
        assert_eq!(world.last, before + 1);
        forked_at.push(world.now.as_millis());
        world.dies(world.last);
    }
    assert_eq!(world.over, Some(Outcome::GaveUp));
    assert_eq!(world.supervisor.state(), State::GaveUp);
    // The first and five more.
    assert_eq!(forked_at.len(), 5);
    let mut before = 0;
    for (at, pause) in forked_at.iter().zip([100, 200, 400, 800, 1600]) {
        let waited = at - before;
        assert!((pause * 3 / 4..=pause * 5 / 4).contains(&waited), "{forked_at:?}");
        before = *at;
    }
    assert!(world.said().iter().any(|line| line.starts_with("GaveUp") && line.contains("Code(1)")));
}

#[test]
fn as_long_as_any_worker_serves_nothing_is_given_up() {
    let mut world = World::new(plain(2));
    world.well = false;
    world.dies(2);
    for _ in 0..50 {
        world.pass(ms(20_000));
        assert_eq!(world.slots(), [0, 1]);
        world.dies(world.last);
    }
    assert_eq!(world.over, None);
    let vacancy = world.supervisor.vacancies().next().unwrap();
    assert!(vacancy.slot == 1 && vacancy.due.is_some() && vacancy.failures > 1);
}

#[test]
fn the_first_that_cannot_be_forked_ends_it() {
    let mut supervisor = Supervisor::new(plain(2));
    supervisor.handle_input(Mono::ZERO, Input::Start);
    let reason = "no such program".to_owned();
    supervisor.handle_input(Mono::ZERO, Input::ForkFailed { slot: 0, reason: reason.clone() });
    supervisor.handle_input(Mono::ZERO, Input::ForkFailed { slot: 1, reason });
    assert_eq!(supervisor.outcome(), Some(Outcome::NotStarted));
}

#[test]
fn one_that_cannot_be_forked_later_is_tried_again() {
    let mut supervisor = Supervisor::new(plain(1));
    supervisor.handle_input(Mono::ZERO, Input::Start);
    let worker = WorkerId(1);
    supervisor.handle_input(Mono::ZERO, Input::Forked { slot: 0, worker });
    supervisor.handle_input(Mono::ZERO, Input::Listening { worker });
    let status = ExitStatus::Code(1);
    supervisor.handle_input(ms(9000), Input::Exited { worker, status, meant: false });
    supervisor.handle_timeout(ms(9000));
    let reason = "busy".to_owned();
    supervisor.handle_input(ms(9000), Input::ForkFailed { slot: 0, reason });
    assert_eq!(supervisor.outcome(), None);
    let due = supervisor.poll_timeout().unwrap();
    assert!((ms(9075)..=ms(9125)).contains(&due), "{due:?}");
}

#[test]
fn a_reload_replaces_one_after_the_other_successors_first() {
    let mut world = World::new(plain(2));
    world.said();
    world.input(Input::Reload);
    let said = world.said();
    let steps: Vec<_> = said.iter().map(String::as_str).collect();
    assert_eq!(
        steps,
        [
            "ReloadBegan { generation: 1 }",
            "fork 3 for 0",
            "disconnect 1",
            "fork 4 for 1",
            "disconnect 2",
            "Reloaded { generation: 1, replaced: 2 }",
            "release",
        ]
    );
    assert_eq!(world.slots(), [0, 1]);
    assert_eq!(world.supervisor.generation(), 1);
}

#[test]
fn the_next_slot_waits_until_the_predecessor_has_gone() {
    let mut world = World::new(plain(2));
    world.obedient = false;
    world.input(Input::Reload);
    assert_eq!(world.slots(), [0, 0, 1]);
    world.pass(ms(9999));
    assert_eq!(world.slots(), [0, 0, 1]);
    world.said();
    world.pass(ms(1));
    assert!(world.said().contains(&"SIGTERM 1".to_owned()));
    world.pass(ms(5000));
    let said = world.said();
    assert!(said.contains(&"SIGKILL 1".to_owned()), "{said:?}");
    assert!(said.contains(&"fork 4 for 1".to_owned()), "{said:?}");
}

#[test]
fn several_slots_change_hands_at_a_time_if_so_wanted() {
    let mut world = World::new(changed!(plain(3), batch: 2));
    world.obedient = false;
    world.input(Input::Reload);
    assert_eq!(world.slots(), [0, 0, 1, 1, 2]);
}

#[test]
fn a_successor_that_is_not_ready_in_time_leaves_the_old_one_where_it_is() {
    let mut world = World::new(plain(2));
    world.well = false;
    world.input(Input::Reload);
    world.pass(ms(29_999));
    assert_eq!(world.supervisor.state(), State::Reloading);
    world.said();
    world.pass(ms(1));
    let said = world.said();
    assert!(
        said.iter().any(|l| l.starts_with("ReloadAborted") && l.contains("NotReady")),
        "{said:?}"
    );
    assert_eq!(world.slots(), [0, 1]);
    assert!(world.alive.contains_key(&WorkerId(1)) && world.alive.contains_key(&WorkerId(2)));
    assert_eq!(world.supervisor.counts().reloads_aborted, 1);
    // What is mended can be loaded.
    world.well = true;
    world.input(Input::Reload);
    assert_eq!(world.supervisor.counts().reloads, 1);
}

#[test]
fn a_successor_that_dies_aborts_and_the_old_one_may_die_meanwhile() {
    let mut world = World::new(plain(1));
    world.pass(ms(6000));
    world.well = false;
    world.input(Input::Reload);
    world.dies(1);
    world.pass(ms(500));
    // The successor is to come: no third is forked.
    assert_eq!(world.alive.len(), 1);
    world.dies(2);
    assert_eq!(world.supervisor.counts().reloads_aborted, 1);
    world.pass(ms(500));
    assert_eq!(world.slots(), [0]);
}

#[test]
fn the_old_one_dies_and_the_successor_takes_over() {
    let mut world = World::new(plain(1));
    world.well = false;
    world.input(Input::Reload);
    world.dies(1);
    world.input(Input::Listening { worker: WorkerId(2) });
    assert_eq!(world.supervisor.counts().reloads, 1);
    assert_eq!((world.slots(), world.supervisor.state()), (vec![0], State::Running));
}

/// Successors must have been ready for a second.
fn with_trial(workers: u32) -> World {
    let mut world = World::new(changed!(plain(workers), min_ready_time: ms(1000)));
    world.pass(ms(60_000));
    world.said();
    world
}

fn aborted(world: &mut World) -> Vec<String> {
    world.said().into_iter().filter(|line| line.starts_with("ReloadAborted")).collect()
}

#[test]
fn an_old_worker_leaves_when_the_new_one_has_been_ready_for_long_enough() {
    let mut world = with_trial(1);
    world.input(Input::Reload);
    world.pass(ms(999));
    assert_eq!((world.slots(), world.supervisor.state()), (vec![0, 0], State::Reloading));
    assert!(!world.supervisor.member(WorkerId(1)).unwrap().leaving);
    world.pass(ms(1));
    assert_eq!((world.slots(), world.supervisor.state()), (vec![0], State::Running));
    assert_eq!(world.supervisor.counts().reloads, 1);
    assert_eq!(world.supervisor.poll_timeout(), None);
}

#[test]
fn a_version_that_dies_shortly_after_it_was_ready_replaces_nothing() {
    for workers in [1, 3] {
        let mut world = with_trial(workers);
        world.input(Input::Reload);
        world.pass(ms(300));
        world.dies(workers + 1);
        let reason = "reason: Died(Code(1)), was_ready: true, replaced: 0";
        let said = aborted(&mut world);
        assert!(said[0].contains(&format!("{reason}, kept: {workers}")), "{said:?}");
        world.pass(ms(60_000));
        assert!(world.alive.keys().eq(&(1..=workers).map(WorkerId).collect::<Vec<_>>()));
        let counts = world.supervisor.counts();
        assert_eq!((counts.reloads, counts.reloads_aborted), (0, 1));
        assert_eq!((counts.deaths, counts.boot_failures), (1, 0));
    }
}

#[test]
fn a_new_worker_that_dies_after_it_replaced_the_old_one_aborts_the_reload() {
    let mut world = with_trial(3);
    world.input(Input::Reload);
    world.pass(ms(1500));
    // Slot 0 has been replaced, and the successor of slot 1 is on trial: it has served, and is not killed.
    assert_eq!(world.slots(), [0, 1, 1, 2]);
    world.said();
    world.dies(4);
    let said = world.said();
    assert!(
        said.iter().any(|line| line.contains("slot: 0") && line.contains("kept: 2")),
        "{said:?}"
    );
    assert!(said.contains(&"disconnect 5".to_owned()), "{said:?}");
    world.pass(ms(60_000));
    // The slot has its next worker, though there is no old one to go back to.
    assert_eq!(world.alive.keys().map(|w| w.0).collect::<Vec<_>>(), [2, 3, 6]);
    assert_eq!(world.supervisor.counts().reloads_aborted, 1);
}

#[test]
fn an_aborted_reload_keeps_a_replacement_that_is_the_only_one_of_its_slot() {
    let config = changed!(plain(2), min_ready_time: ms(1000), batch: 2);
    let mut world = World::new(config);
    world.input(Input::Reload);
    assert_eq!(world.slots(), [0, 0, 1, 1]);
    world.dies(2);
    world.said();
    world.dies(3);
    let said = world.said();
    assert!(said.iter().any(|line| line.starts_with("ReloadAborted")), "{said:?}");
    assert!(!said.contains(&"disconnect 4".to_owned()), "{said:?}");
    assert_eq!(world.alive.keys().map(|w| w.0).collect::<Vec<_>>(), [1, 4]);
}

/// The version that the second reload starts is not the one that fails.
#[test]
fn a_replacement_of_an_earlier_reload_that_dies_does_not_abort_the_next_one() {
    let mut world = with_trial(2);
    world.input(Input::Reload);
    assert_eq!(world.slots(), [0, 0, 1]);
    world.input(Input::Reload);
    world.dies(3);
    world.pass(ms(60_000));
    let counts = world.supervisor.counts();
    assert_eq!((counts.reloads, counts.reloads_aborted), (1, 0));
    assert_eq!((world.slots(), world.supervisor.state()), (vec![0, 1], State::Running));
    for worker in world.alive.keys() {
        assert_eq!(world.supervisor.member(*worker).unwrap().generation, 2);
    }
}

#[test]
fn the_last_old_worker_is_about_to_leave_and_a_new_one_dies() {
    let mut world = with_trial(2);
    world.input(Input::Reload);
    world.pass(ms(1500));
    world.obedient = false;
    world.pass(ms(500));
    assert!(world.supervisor.member(WorkerId(2)).unwrap().leaving);
    world.dies(3);
    let said = aborted(&mut world);
    assert!(said[0].contains("replaced: 2, kept: 0"), "{said:?}");
}

#[test]
fn what_was_asked_for_does_not_abort_a_reload() {
    let mut world = with_trial(4);
    world.input(Input::Reload);
    world.pass(ms(1500));
    // One that has replaced another disconnects voluntarily; one is scaled away; an old one dies.
    world.input(Input::Disconnected { worker: WorkerId(5), meant: true });
    world.exit(WorkerId(5), ExitStatus::Code(0), true);
    world.input(Input::Scale { workers: 3 });
    world.dies(3);
    world.pass(ms(60_000));
    assert_eq!(aborted(&mut world), [""; 0]);
    assert_eq!((world.slots(), world.supervisor.counts().reloads), (vec![0, 1, 2], 1));
    for worker in world.alive.keys() {
        assert_eq!(world.supervisor.member(*worker).unwrap().generation, 1);
    }
}

#[test]
fn a_vacant_slot_is_on_trial_too() {
    let mut world = with_trial(1);
    world.well = false;
    world.dies(1);
    world.pass(ms(1000));
    world.dies(2);
    // What is new is tried at once, and dies as well.
    world.well = true;
    world.input(Input::Reload);
    world.pass(ms(300));
    assert_eq!(world.supervisor.state(), State::Reloading);
    world.dies(world.last);
    assert_eq!(world.supervisor.counts().reloads_aborted, 1);
    world.input(Input::Reload);
    world.pass(ms(999));
    assert_eq!(world.supervisor.state(), State::Reloading);
    world.pass(ms(1));
    assert_eq!(world.supervisor.counts().reloads, 1);
}

#[test]
fn a_vacant_slot_whose_new_worker_is_not_ready_in_time_ends_the_reload() {
    let mut world = with_trial(1);
    world.well = false;
    world.dies(1);
    world.dies(2);
    assert_eq!(world.supervisor.vacancies().count(), 1);
    world.input(Input::Reload);
    world.pass(ms(60_000));
    let said = aborted(&mut world);
    assert!(said[0].contains("NotReady") && said[0].contains("kept: 0"), "{said:?}");
    assert_eq!(world.slots(), [0], "it is waited for all the same");
}

#[test]
fn the_old_one_dies_while_the_new_one_is_on_trial() {
    let mut world = with_trial(1);
    world.input(Input::Reload);
    world.pass(ms(300));
    world.dies(1);
    // The new one takes over, and none is forked beside it, but the reload is not done.
    assert_eq!((world.slots(), world.last), (vec![0], 2));
    assert_eq!(world.supervisor.state(), State::Reloading);
    world.pass(ms(700));
    assert_eq!((world.supervisor.state(), world.last), (State::Running, 2));
    assert_eq!(world.supervisor.counts().reloads, 1);
}

#[test]
fn a_replacement_that_stops_answering_within_its_trial_replaces_nothing() {
    for workers in [1, 3] {
        let mut world = with_trial(workers);
        world.input(Input::Reload);
        world.pass(ms(300));
        world.input(Input::Unresponsive { worker: WorkerId(workers + 1) });
        let reason = "reason: Unresponsive, was_ready: true, replaced: 0";
        let said = aborted(&mut world);
        assert!(said[0].contains(&format!("{reason}, kept: {workers}")), "{said:?}");
        world.pass(ms(60_000));
        assert!(world.alive.keys().eq(&(1..=workers).map(WorkerId).collect::<Vec<_>>()));
        let counts = world.supervisor.counts();
        assert_eq!((counts.reloads, counts.reloads_aborted), (0, 1));
    }
}

#[test]
fn a_replacement_that_does_not_answer_when_it_becomes_ready_replaces_nothing() {
    let config = changed!(plain(1), ready: Ready::Alive(ms(1000)));
    let mut world = World::new(config);
    world.pass(ms(60_000));
    world.input(Input::Reload);
    world.input(Input::Online { worker: WorkerId(2) });
    world.input(Input::Unresponsive { worker: WorkerId(2) });
    assert_eq!(aborted(&mut world), [""; 0], "it may have much to do at its start");
    world.pass(ms(1000));
    assert_eq!(aborted(&mut world).len(), 1);
    assert!(world.alive.keys().eq(&[WorkerId(1)]));
}

#[test]
fn a_new_worker_that_stops_answering_after_it_replaced_the_old_one_aborts_the_reload() {
    let mut world = with_trial(3);
    world.input(Input::Reload);
    world.pass(ms(1500));
    world.input(Input::Unresponsive { worker: WorkerId(2) });
    assert_eq!(aborted(&mut world), [""; 0], "it is an old one");
    world.input(Input::Unresponsive { worker: WorkerId(4) });
    let said = aborted(&mut world);
    assert!(said[0].contains("slot: 0, reason: Unresponsive"), "{said:?}");
    assert!(said[0].contains("replaced: 1, kept: 2"), "{said:?}");
    assert!(world.alive.contains_key(&WorkerId(4)), "no old one is left to take its place");
}

/// Its predecessor would be no better.
#[test]
fn a_silent_replacement_whose_predecessor_is_not_ready_takes_over_but_aborts_the_reload() {
    let config = changed!(plain(1), min_ready_time: ms(1000));
    let mut world = World::with(config, false);
    world.input(Input::Reload);
    world.input(Input::Listening { worker: WorkerId(2) });
    world.input(Input::Unresponsive { worker: WorkerId(2) });
    assert_eq!(aborted(&mut world).len(), 1);
    world.pass(ms(60_000));
    assert!(world.alive.keys().eq(&[WorkerId(2)]));
}

#[test]
fn a_recycled_worker_stays_if_its_successor_stops_answering_or_loses_its_channel() {
    let recycle = changed!(Recycle::default(), connections: Some(10), jitter: 0);
    for lost in [false, true] {
        let mut world = World::new(changed!(plain(1), recycle: recycle, min_ready_time: ms(1000)));
        world.input(Input::Usage { worker: WorkerId(1), memory: None, connections: 10 });
        world.pass(ms(300));
        let worker = WorkerId(2);
        world.input(match lost {
            true => Input::Disconnected { worker, meant: false },
            false => Input::Unresponsive { worker },
        });
        world.pass(ms(1000));
        assert!(world.said().iter().any(|line| line.starts_with("NotRecycled")));
        world.pass(ms(10_000));
        assert!(world.alive.keys().eq(&[WorkerId(1)]), "{lost}");
    }
}

#[test]
fn a_replacement_that_loses_its_channel_replaces_nothing_though_its_process_lives() {
    // At the end of its trial its channel has been lost for less than the time that it has to end.
    for lost_after in [0, 300, 999] {
        let mut world = with_trial(2);
        world.input(Input::Reload);
        world.pass(ms(lost_after));
        world.input(Input::ChannelFailed { worker: WorkerId(3) });
        world.input(Input::Disconnected { worker: WorkerId(3), meant: false });
        world.pass(ms(999));
        assert_eq!(aborted(&mut world), [""; 0]);
        world.pass(ms(1));
        let said = world.said();
        let reason = "reason: ChannelClosed, was_ready: true, replaced: 0, kept: 2";
        assert!(said.iter().any(|line| line.contains(reason)), "{said:?}");
        world.pass(ms(9999));
        assert!(world.alive.contains_key(&WorkerId(3)), "it has time to end by itself");
        world.pass(ms(1));
        assert!(world.alive.keys().eq(&[WorkerId(1), WorkerId(2)]));
    }
}

#[test]
fn a_worker_that_loses_its_channel_is_replaced_unless_it_never_used_it() {
    let mut world = World::new(plain(1));
    world.pass(ms(60_000));
    world.input(Input::Disconnected { worker: WorkerId(1), meant: false });
    world.pass(ms(999));
    assert_eq!(world.last, 1);
    world.pass(ms(1));
    assert_eq!((world.slots(), world.last), (vec![0, 0], 2));
    world.pass(ms(10_000));
    assert_eq!((world.slots(), world.supervisor.counts().deaths), (vec![0], 1));
    assert!(world.alive.contains_key(&WorkerId(2)));

    // The channel of one that dies closes before.
    world.input(Input::Disconnected { worker: WorkerId(2), meant: false });
    world.dies(2);
    world.pass(ms(60_000));
    assert_eq!((world.last, world.supervisor.counts().deaths), (3, 2));

    // A program without cluster support.
    let config = changed!(plain(1), ready: Ready::Alive(ms(1000)), min_ready_time: ms(1000));
    let mut world = World::with(config, false);
    world.pass(ms(1000));
    world.input(Input::Disconnected { worker: WorkerId(1), meant: false });
    world.input(Input::Reload);
    world.input(Input::Disconnected { worker: WorkerId(2), meant: false });
    world.pass(ms(60_000));
    assert_eq!((world.slots(), world.supervisor.counts().reloads), (vec![0], 1));
}

#[test]
fn a_recycled_slot_that_becomes_vacant_during_a_reload_is_watched() {
    let recycle = changed!(Recycle::default(), connections: Some(10), jitter: 0);
    for is_late in [false, true] {
        let config = changed!(plain(1), recycle: recycle, min_ready_time: ms(1000));
        let mut world = World::new(config);
        world.pass(ms(60_000));
        world.well = false;
        world.input(Input::Usage { worker: WorkerId(1), memory: None, connections: 10 });
        world.input(Input::Reload);
        // The old worker dies, and its replacement, which is not the reload's, fails.
        world.dies(1);
        match is_late {
            true => world.pass(ms(30_000)),
            false => world.dies(2),
        }
        assert_eq!(world.supervisor.state(), State::Reloading);
        assert_eq!(world.supervisor.counts().reloads_aborted, 0);
        world.well = true;
        world.pass(ms(500));
        assert_eq!((world.supervisor.state(), world.last), (State::Reloading, 3));
        world.dies(3);
        let counts = world.supervisor.counts();
        assert_eq!((counts.reloads, counts.reloads_aborted), (0, 1));
    }
}

#[test]
fn slots_that_are_added_during_a_reload_are_watched() {
    for is_good in [false, true] {
        let mut world = with_trial(1);
        world.input(Input::Reload);
        world.well = false;
        world.input(Input::Scale { workers: 2 });
        world.pass(ms(2000));
        // Slot 0 has its new worker, and that of slot 1 is not ready.
        assert_eq!((world.slots(), world.supervisor.state()), (vec![0, 1], State::Reloading));
        world.input(Input::Listening { worker: WorkerId(3) });
        world.pass(ms(999));
        assert_eq!(world.supervisor.state(), State::Reloading);
        match is_good {
            true => world.pass(ms(1)),
            false => world.dies(3),
        }
        let counts = world.supervisor.counts();
        assert_eq!(counts.reloads, u64::from(is_good));
        assert_eq!(counts.reloads_aborted, u64::from(!is_good));
    }
}

#[test]
fn a_recycled_worker_stays_if_its_successor_dies_on_trial() {
    let recycle = changed!(Recycle::default(), connections: Some(10), jitter: 0);
    let mut world = World::new(changed!(plain(1), recycle: recycle, min_ready_time: ms(1000)));
    world.input(Input::Usage { worker: WorkerId(1), memory: None, connections: 10 });
    world.pass(ms(300));
    world.dies(2);
    assert!(world.said().iter().any(|line| line.starts_with("NotRecycled")));
    assert!(world.alive.keys().eq(&[WorkerId(1)]));
}

#[test]
fn a_reload_during_a_reload_begins_anew() {
    let mut world = World::new(plain(3));
    world.obedient = false;
    world.input(Input::Reload);
    world.input(Input::Reload);
    world.obedient = true;
    world.pass(ms(60_000));
    assert_eq!(world.supervisor.generation(), 2);
    assert_eq!(world.supervisor.state(), State::Running);
    for worker in world.alive.keys() {
        assert_eq!(world.supervisor.member(*worker).unwrap().generation, 2);
    }
}

#[test]
fn scaling_adds_and_takes_away_and_a_reload_keeps_it() {
    let mut world = World::new(plain(1));
    world.input(Input::Scale { workers: 3 });
    world.pass(Duration::ZERO);
    assert_eq!(world.slots(), [0, 1, 2]);
    world.input(Input::Reload);
    assert_eq!(world.slots(), [0, 1, 2]);
    world.input(Input::Scale { workers: 0 });
    assert_eq!((world.slots(), world.supervisor.wanted()), (vec![0], 1));
}

#[test]
fn a_worker_that_disconnects_is_replaced_as_soon_as_its_channel_closes() {
    let mut world = World::new(plain(2));
    world.obedient = false;
    world.pass(ms(6000));
    world.said();
    let worker = WorkerId(1);
    world.input(Input::Disconnected { worker, meant: true });
    world.pass(Duration::ZERO);
    // Its process is still there.
    assert_eq!(world.forks(), ["fork 3 for 0"]);
    assert_eq!((world.slots(), world.supervisor.wanted()), (vec![0, 0, 1], 2));
    assert!(world.supervisor.member(worker).unwrap().leaving);
    world.pass(ms(10_000));
    assert!(world.said().contains(&"SIGTERM 1".to_owned()), "it does not stay for ever");
    world.exit(worker, ExitStatus::Signal(Signal::TERM), true);
    world.obey();
    assert_eq!((world.slots(), world.supervisor.state()), (vec![0, 1], State::Running));
    let counts = world.supervisor.counts();
    assert_eq!((counts.deaths, counts.restarts), (0, 1));
    // An accident is none of that: it is seen when the process ends.
    world.input(Input::Disconnected { worker: WorkerId(2), meant: false });
    world.pass(ms(60_000));
    assert_eq!(world.slots(), [0, 1]);
}

#[test]
fn workers_that_disconnect_at_once_are_replaced_with_growing_pauses() {
    let mut world = World::new(plain(1));
    let mut forked_at = Vec::new();
    for _ in 0..4 {
        let worker = WorkerId(world.last);
        world.input(Input::Disconnected { worker, meant: true });
        world.exit(worker, ExitStatus::Code(0), true);
        world.obey();
        if world.alive.is_empty() {
            let due = world.supervisor.poll_timeout().expect("another comes");
            world.pass(due - world.now);
        }
        forked_at.push(world.now.as_millis());
    }
    assert_eq!(forked_at[0], 0, "at once the first time");
    let pauses: Vec<_> = forked_at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (pause, about) in pauses.iter().zip([100, 200, 400]) {
        assert!((about * 3 / 4..=about * 5 / 4).contains(pause), "{pauses:?}");
    }
    assert_eq!((world.slots(), world.over), (vec![0], None));
}

#[test]
fn a_successor_that_disconnects_fails_the_reload() {
    let mut world = World::new(plain(1));
    world.well = false;
    world.input(Input::Reload);
    world.obedient = false;
    world.input(Input::Disconnected { worker: WorkerId(2), meant: true });
    world.input(Input::Listening { worker: WorkerId(2) });
    assert_eq!(world.supervisor.counts().reloads_aborted, 1);
    assert!(!world.supervisor.member(WorkerId(1)).unwrap().leaving);
    assert!(world.supervisor.member(WorkerId(2)).unwrap().leaving);
}

#[test]
fn if_so_wanted_a_worker_that_disconnects_is_not_replaced() {
    let mut world = World::new(changed!(plain(2), replace_disconnected: false));
    world.input(Input::Disconnected { worker: WorkerId(1), meant: true });
    world.exit(WorkerId(1), ExitStatus::Code(0), true);
    world.obey();
    world.pass(ms(60_000));
    assert_eq!((world.slots(), world.over), (vec![1], None));
    world.exit(WorkerId(2), ExitStatus::Code(0), true);
    world.obey();
    assert_eq!(world.over, Some(Outcome::NoWorkerLeft));
}

#[test]
fn a_cluster_that_has_served_rides_out_an_outage_of_the_failure_period() {
    let mut world = World::new(plain(2));
    world.pass(ms(60_000));
    world.well = false;
    let begun = world.now;
    let mut reported = Vec::new();
    while world.over.is_none() {
        for worker in world.alive.keys().copied().collect::<Vec<_>>() {
            world.dies(worker.0);
        }
        if world.alive.is_empty()
            && let Some(due) = world.supervisor.poll_timeout()
        {
            world.pass(due.saturating_sub(world.now));
        }
        let none_ready = |line: &String| line.starts_with("NoneReady");
        reported.extend(world.said().into_iter().filter(none_ready).map(|line| (world.now, line)));
        assert!(world.now < begun + ms(120_000), "it gives up in the end");
    }
    assert_eq!(world.over, Some(Outcome::GaveUp));
    assert!(world.now >= begun + ms(60_000), "{:?}", world.now - begun);
    let [(at, line)] = &reported[..] else { panic!("it is reported once: {reported:?}") };
    assert!(*at < begun + ms(10_000) && line.contains("gives_up_in: Some("), "{line}");
}

#[test]
fn an_outage_that_ends_is_forgotten() {
    let mut world = World::new(plain(1));
    world.pass(ms(60_000));
    for _ in 0..3 {
        world.well = false;
        // Its successor comes at once.
        world.dies(world.last);
        world.dies(world.last);
        for _ in 0..8 {
            let due = world.supervisor.poll_timeout().expect("it is tried again");
            world.pass(due.saturating_sub(world.now));
            world.dies(world.last);
        }
        assert!(world.supervisor.outage().is_some());
        world.well = true;
        let due = world.supervisor.poll_timeout().expect("it is tried again");
        world.pass(due.saturating_sub(world.now));
        assert_eq!(world.supervisor.outage(), None);
        world.pass(ms(60_000));
    }
    assert_eq!(world.over, None);
    let reported = world.said().iter().filter(|line| line.starts_with("NoneReady")).count();
    assert_eq!(reported, 3);
}

#[test]
fn zero_failures_means_never_to_give_up() {
    let mut world = World::with(changed!(plain(1), max_failures: 0), false);
    for _ in 0..1000 {
        world.dies(world.last);
        let due = world.supervisor.poll_timeout().expect("it is tried again");
        world.pass(due.saturating_sub(world.now));
        assert!(world.supervisor.is_progressing(world.now));
    }
    assert_eq!(world.over, None);
    let said = world.said();
    let reported: Vec<_> = said.iter().filter(|line| line.starts_with("NoneReady")).collect();
    assert_eq!(reported.len(), 1);
    assert!(reported[0].contains("gives_up_in: None"), "{reported:?}");
}

#[test]
fn a_memory_limit_below_what_workers_need_is_reported_and_replacements_get_rarer() {
    let recycle = changed!(Recycle::default(), memory: Some(1000), jitter: 0);
    let mut world = World::new(changed!(plain(1), recycle: recycle));
    let mut replaced_at = Vec::new();
    while world.now < Mono::from_secs(60 * 60) {
        world.pass(ms(5000));
        let before = world.last;
        world.input(Input::Usage { worker: WorkerId(before), memory: Some(2000), connections: 0 });
        if world.last > before {
            replaced_at.push(world.now.as_secs() / 60);
        }
    }
    // After pauses of 1, 2, 4, 8 and 16 minutes.
    assert_eq!(replaced_at, [1, 3, 7, 15, 31]);
    let said = world.said();
    let reported = said.iter().filter(|line| line.starts_with("OverMemoryLimit"));
    assert_eq!(reported.count(), 6);
    // One that stays below for long: what comes then is a leak, and is replaced at once.
    for memory in [900, 2000] {
        world.pass(ms(70_000));
        let worker = WorkerId(world.last);
        world.input(Input::Usage { worker, memory: Some(memory), connections: 0 });
    }
    assert_eq!(world.last, 7);
}

#[test]
fn a_service_manager_is_to_wait_while_the_start_is_in_time() {
    let mut world = World::with(plain(1), false);
    world.pass(ms(29_999));
    assert!(world.supervisor.is_progressing(world.now));
    world.pass(ms(1));
    assert!(!world.supervisor.is_progressing(world.now), "it has had its time");
    world.dies(1);
    assert!(world.supervisor.is_progressing(world.now), "another is tried");
    world.pass(ms(1000));
    world.input(Input::Listening { worker: WorkerId(2) });
    assert!(!world.supervisor.is_progressing(world.now), "it runs");
    world.obedient = false;
    world.input(Input::Reload);
    assert!(world.supervisor.is_progressing(world.now));
    world.input(Input::End);
    world.pass(ms(14_999));
    assert!(world.supervisor.is_progressing(world.now));
    world.pass(ms(1));
    assert!(!world.supervisor.is_progressing(world.now), "SIGKILL was sent: there is no bound");
}

#[test]
fn the_generation_is_that_of_the_workers() {
    let mut world = World::new(plain(2));
    world.input(Input::Reload);
    assert_eq!(world.supervisor.generation(), 1);
    world.well = false;
    world.input(Input::Reload);
    assert_eq!(world.supervisor.generation(), 1, "it is not done");
    world.dies(world.last);
    assert_eq!(world.supervisor.counts().reloads_aborted, 1);
    assert_eq!(world.supervisor.generation(), 1);
    // One that comes after that runs what the others run.
    world.well = true;
    world.pass(ms(6000));
    world.dies(3);
    world.pass(Duration::ZERO);
    assert_eq!(world.supervisor.member(WorkerId(world.last)).unwrap().generation, 1);
    world.input(Input::Reload);
    assert_eq!(world.supervisor.generation(), 3);
}

#[test]
fn a_worker_that_is_forked_by_others_is_kept_too() {
    let mut world = World::new(plain(1));
    let worker = WorkerId(50);
    world.last = 50;
    world.alive.insert(worker, 1);
    world.input(Input::Adopted { slot: 1, worker });
    world.input(Input::Listening { worker });
    assert_eq!(world.supervisor.wanted(), 2);
    world.pass(ms(6000));
    world.dies(50);
    world.pass(Duration::ZERO);
    assert_eq!(world.slots(), [0, 1]);
}

#[test]
fn a_slot_whose_successor_starts_is_not_given_to_another() {
    let mut world = World::new(plain(1));
    world.well = false;
    world.input(Input::Reload);
    world.dies(1);
    let stranger = WorkerId(50);
    world.alive.insert(stranger, 0);
    world.input(Input::Adopted { slot: 0, worker: stranger });
    assert_eq!(world.supervisor.state(), State::Reloading, "its successor is not ready");
    world.said();
    world.input(Input::Listening { worker: WorkerId(2) });
    assert_eq!(world.said(), ["Reloaded { generation: 1, replaced: 1 }", "release"]);
}

/// A timer for a replacement that is never made would be due forever, and the driver would spin.
#[test]
fn a_worker_beyond_those_that_are_kept_is_not_replaced_and_sets_no_timer() {
    let mut world = World::new(changed!(Config::new(1), replace_unresponsive: true));
    let worker = WorkerId(50);
    world.last = 50;
    world.alive.insert(worker, 0);
    world.input(Input::Adopted { slot: 0, worker });
    world.input(Input::Listening { worker });
    world.input(Input::Unresponsive { worker });
    assert_eq!(world.supervisor.poll_timeout(), None);
    world.pass(ms(60_000));
    assert_eq!(world.forks(), ["fork 1 for 0"]);
    // When it answers again, nothing is different.
    world.input(Input::Responsive { worker });
    assert_eq!(world.supervisor.poll_timeout(), None);
}

#[test]
fn the_end_is_asked_for_told_and_made() {
    let mut world = World::new(plain(1));
    world.obedient = false;
    world.said();
    world.input(Input::Drain { delay: ms(500) });
    assert!(!world.supervisor.is_ready());
    world.pass(ms(500));
    assert_eq!(world.supervisor.state(), State::Stopping);
    world.pass(ms(15_000));
    let said: Vec<_> = world.said().into_iter().filter(|l| !l.starts_with("Late")).collect();
    assert_eq!(
        said,
        [
            "Draining { delay: 500ms }",
            "Ending { grace: 10s }",
            "all out of rotation",
            "SIGTERM 1",
            "SIGKILL 1"
        ]
    );
    assert_eq!(world.over, Some(Outcome::Killed));
    assert_eq!(world.supervisor.poll_timeout(), None);
}

#[test]
fn who_asks_twice_means_it() {
    let mut world = World::new(plain(2));
    world.obedient = false;
    world.input(Input::End);
    world.input(Input::EndNow);
    assert_eq!((world.alive.len(), world.over), (0, Some(Outcome::Killed)));
}

#[test]
fn nothing_is_forked_any_more_once_it_ends() {
    let mut world = World::new(plain(2));
    world.well = false;
    world.obedient = false;
    world.dies(1);
    world.input(Input::Scale { workers: 4 });
    world.input(Input::End);
    let forked = world.last;
    world.dies(2);
    world.pass(ms(60_000));
    assert_eq!((world.last, world.over), (forked, Some(Outcome::Killed)));
}

#[test]
fn the_large_and_the_old_are_recycled_one_at_a_time() {
    let recycle = changed!(Recycle::default(), memory: Some(1000), jitter: 10);
    let mut world = World::new(changed!(plain(2), recycle: recycle));
    world.pass(ms(60_000));
    assert!(world.said().contains(&"measure".to_owned()));
    world.obedient = false;
    for worker in [1, 2].map(WorkerId) {
        world.input(Input::Usage { worker, memory: Some(899), connections: 9 });
    }
    assert_eq!(world.forks(), [""; 0]);
    for worker in [1, 2].map(WorkerId) {
        world.input(Input::Usage { worker, memory: Some(1000), connections: 9 });
    }
    assert_eq!(world.forks(), ["fork 3 for 0"]);
    world.exit(WorkerId(1), ExitStatus::Code(0), true);
    world.supervisor.handle_timeout(world.now);
    world.obey();
    assert_eq!(world.forks(), ["fork 4 for 1"]);
    assert_eq!(world.supervisor.counts().recycled, 2);

    let recycle = changed!(Recycle::default(), age: Some(ms(60_000)), jitter: 50);
    let mut world = World::new(changed!(plain(20), recycle: recycle, seed: 5));
    world.pass(ms(29_999));
    assert_eq!(world.supervisor.counts().recycled, 0);
    world.pass(ms(15_000));
    let half = world.supervisor.counts().recycled;
    assert!((5..=15).contains(&half), "{half}");
    world.pass(ms(15_001));
    assert!(world.supervisor.counts().recycled >= 20);
}

#[test]
fn one_that_cannot_be_recycled_is_left_alone_for_a_while() {
    let recycle = changed!(Recycle::default(), connections: Some(10), jitter: 0);
    let mut world = World::new(changed!(plain(1), recycle: recycle));
    world.well = false;
    let large = Input::Usage { worker: WorkerId(1), memory: None, connections: 10 };
    world.input(large.clone());
    assert_eq!(world.last, 2);
    world.dies(2);
    world.input(large.clone());
    assert_eq!((world.last, world.slots()), (2, vec![0]));
    world.pass(ms(10_000));
    world.input(large);
    assert_eq!(world.last, 3);
}

#[test]
fn the_silent_are_replaced_if_so_wanted_unless_they_speak_again() {
    let config = changed!(plain(2), replace_unresponsive: true);
    let mut world = World::new(config);
    world.obedient = false;
    world.input(Input::Unresponsive { worker: WorkerId(1) });
    assert_eq!(world.slots(), [0, 0, 1]);
    world.input(Input::Unresponsive { worker: WorkerId(2) });
    world.input(Input::Responsive { worker: WorkerId(2) });
    // It has no ten seconds of grace, as it does not answer, but time to run its handler.
    world.pass(ms(10_000));
    assert_eq!(world.slots(), [0, 1]);
    assert!(world.alive.contains_key(&WorkerId(2)));

    let mut world = World::new(plain(1));
    world.input(Input::Unresponsive { worker: WorkerId(1) });
    assert_eq!(world.last, 1);
}

#[test]
fn a_worker_is_ready_by_the_sign_that_was_agreed_upon() {
    for (ready, sign) in [
        (Ready::Online, Input::Online { worker: WorkerId(1) }),
        (Ready::Message, Input::SaidReady { worker: WorkerId(1) }),
        (Ready::Notify, Input::Notified { worker: WorkerId(1) }),
    ] {
        let mut world = World::new(changed!(plain(1), ready: ready));
        assert_eq!(world.supervisor.state(), State::Starting, "it only listens");
        world.input(sign);
        assert_eq!(world.supervisor.state(), State::Running);
    }
    let mut world = World::new(changed!(plain(1), ready: Ready::Alive(ms(1000))));
    world.pass(ms(999));
    assert!(!world.supervisor.is_ready());
    world.pass(ms(1));
    assert!(world.supervisor.is_ready());
}

#[test]
fn one_that_is_never_ready_is_waited_for_and_named_once() {
    let mut world = World::new(changed!(plain(1), ready: Ready::Message));
    world.pass(ms(600_000));
    let slow = world.said().iter().filter(|line| line.starts_with("Slow")).count();
    assert_eq!((slow, world.slots()), (1, vec![0]));
}

#[test]
fn where_no_worker_is_kept_all_are_shut_down() {
    let mut world = World::new(changed!(plain(4), keep: false));
    assert_eq!(world.last, 0);
    world.obedient = false;
    world.alive.insert(WorkerId(7), 0);
    world.input(Input::Adopted { slot: 0, worker: WorkerId(7) });
    world.input(Input::Adopted { slot: 1, worker: WorkerId(8) });
    world.input(Input::Exited { worker: WorkerId(8), status: ExitStatus::Code(1), meant: false });
    world.pass(ms(60_000));
    assert_eq!((world.last, world.over), (0, None));
    world.input(Input::Reload);
    world.input(Input::Scale { workers: 3 });
    world.input(Input::End);
    world.pass(ms(60_000));
    assert_eq!(world.over, Some(Outcome::Killed));
}

/// Steps of a worker that leaves, without what is said to people.
fn steps(world: &mut World) -> Vec<String> {
    let steps = ["SIG", "disconnect", "send", "all out"];
    let is_step = |line: &String| steps.iter().any(|step| line.starts_with(step));
    world.said().into_iter().filter(is_step).collect()
}

/// One worker, which is asked to leave by the end.
fn leaves(config: Config, stop_by: StopBy, work: Work) -> World {
    let mut world = World::new(config);
    world.stop_by = stop_by;
    world.work = work;
    // It does not end by being asked, but answers.
    world.obedient = false;
    world.input(Input::End);
    assert_eq!(steps(&mut world), ["all out of rotation"]);
    world.progresses(1, LeaveProgress::OutOfRotation);
    world
}

#[test]
fn the_stop_signal_comes_when_requests_are_done_and_disconnect_when_servers_have_closed() {
    let work = work_of(2, 0, 2);
    let mut world = leaves(plain(1), StopBy::Signal, work);
    world.pass(ms(3000));
    world.works(1, 1, 0);
    assert_eq!(steps(&mut world), [""; 0]);
    world.works(1, 0, 0);
    assert_eq!(steps(&mut world), ["SIGTERM 1"]);
    world.pass(ms(500));
    world.progresses(1, LeaveProgress::ServersClosed);
    assert_eq!(steps(&mut world), ["disconnect 1"]);
    // It has had SIGTERM: at the end of the grace period it is not sent another.
    world.pass(ms(11_499));
    assert_eq!(steps(&mut world), [""; 0]);
    world.pass(ms(1));
    assert_eq!(steps(&mut world), ["SIGKILL 1"]);
    assert_eq!(world.over, Some(Outcome::Killed));
}

#[test]
fn a_program_that_does_not_close_its_servers_is_told_to_disconnect_after_a_second() {
    let mut world = leaves(plain(1), StopBy::Signal, Work::default());
    assert_eq!(steps(&mut world), ["SIGTERM 1"]);
    world.pass(ms(999));
    assert_eq!(steps(&mut world), [""; 0]);
    world.pass(ms(1));
    assert_eq!(steps(&mut world), ["disconnect 1"]);
    world.exit(WorkerId(1), ExitStatus::Code(7), true);
    world.obey();
    assert_eq!(world.over, Some(Outcome::AsAsked), "its exit code is its own affair");
}

#[test]
fn without_a_handler_disconnect_comes_in_place_of_the_signal() {
    let mut world = leaves(plain(1), StopBy::Disconnect, Work::default());
    assert_eq!(steps(&mut world), ["disconnect 1"]);
    world.pass(ms(10_000));
    assert_eq!(steps(&mut world), ["SIGTERM 1"]);
    world.exit(WorkerId(1), ExitStatus::Signal(Signal::TERM), true);
    world.obey();
    assert_eq!(world.over, Some(Outcome::AsAsked), "it did not have to be killed");
}

#[test]
fn work_that_does_not_end_is_waited_for_until_the_drain_timeout() {
    let work = work_of(3, 1, 3);
    let mut world = leaves(plain(1), StopBy::Signal, work);
    world.pass(ms(4999));
    assert_eq!(steps(&mut world), [""; 0]);
    world.pass(ms(1));
    assert_eq!(steps(&mut world), ["SIGTERM 1"]);

    let config = changed!(plain(1), drain_timeout: Some(ms(60_000)));
    let mut world = leaves(config, StopBy::Signal, work);
    world.pass(ms(10_000));
    assert_eq!(steps(&mut world), ["SIGTERM 1"], "it is not longer than the grace period");
}

#[test]
fn responses_without_an_end_in_sight_have_a_second() {
    let work = work_of(2, 1, 2);
    let mut world = leaves(plain(1), StopBy::Signal, work);
    world.pass(ms(1000));
    world.works(1, 1, 1);
    world.pass(ms(900));
    // Another request comes in between on a connection that was kept alive: it is waited for.
    world.works(1, 2, 1);
    world.pass(ms(900));
    assert_eq!(steps(&mut world), [""; 0]);
    world.works(1, 1, 1);
    world.pass(ms(999));
    assert_eq!(steps(&mut world), [""; 0]);
    world.pass(ms(1));
    assert_eq!(steps(&mut world), ["SIGTERM 1"]);
}

#[test]
fn connections_that_are_kept_alive_are_to_be_quiet_for_a_while() {
    let work = work_of(1, 0, 1);
    let mut world = leaves(plain(1), StopBy::Signal, work);
    let idle = LeaveProgress::Work(Work { connections: 1, ..Work::default() });
    world.progresses(1, idle);
    world.pass(ms(150));
    // The client's next request comes.
    world.works(1, 1, 0);
    world.pass(ms(150));
    world.progresses(1, idle);
    world.pass(ms(199));
    assert_eq!(steps(&mut world), [""; 0]);
    world.pass(ms(1));
    assert_eq!(steps(&mut world), ["SIGTERM 1"]);
}

#[test]
fn a_stop_message_comes_in_place_of_the_signal() {
    let message = Some("shutdown".to_owned());
    let config = changed!(plain(1), stop_message: message);
    let mut world = leaves(config, StopBy::Message, Work::default());
    assert_eq!(steps(&mut world), ["send \"shutdown\" to 1"]);
    world.pass(ms(1000));
    assert_eq!(steps(&mut world), ["disconnect 1"]);
    world.pass(ms(9000));
    assert_eq!(steps(&mut world), ["SIGTERM 1"], "it has had none yet");
}

#[test]
fn another_stop_signal_does_not_save_it_from_sigterm() {
    let config = changed!(plain(1), stop_signal: Some(Signal::QUIT));
    let mut world = leaves(config, StopBy::Signal, Work::default());
    assert_eq!(steps(&mut world), ["SIGQUIT 1"]);
    world.pass(ms(10_000));
    assert_eq!(steps(&mut world), ["disconnect 1", "SIGTERM 1"]);

    let mut world = leaves(changed!(plain(1), stop_signal: None), StopBy::Signal, Work::default());
    assert_eq!(steps(&mut world), ["disconnect 1"]);
}

#[test]
fn without_any_patience_a_worker_is_killed_once_and_waited_for() {
    let config = changed!(plain(1), grace: ms(0), kill_after: ms(0));
    let mut supervisor = Supervisor::new(config);
    supervisor.handle_input(Mono::ZERO, Input::Start);
    supervisor.handle_input(Mono::ZERO, Input::Forked { slot: 0, worker: WorkerId(1) });
    supervisor.handle_input(Mono::ZERO, Input::End);
    let mut turns = 0;
    while let Some(due) = supervisor.poll_timeout().filter(|due| *due <= ms(999)) {
        supervisor.handle_timeout(due);
        turns += 1;
        assert!(turns < 10, "it never waits for the worker's end");
    }
    let outputs = std::iter::from_fn(|| supervisor.poll_output());
    let kills = outputs.filter(|o| matches!(o, Output::Kill { signal: Signal::KILL, .. })).count();
    assert_eq!(kills, 1);
}

#[test]
fn a_worker_that_does_not_answer_is_ended_by_signals_alone() {
    let mut world = World::new(plain(1));
    world.obedient = false;
    world.input(Input::End);
    world.pass(ms(15_000));
    assert_eq!(steps(&mut world), ["all out of rotation", "SIGTERM 1", "SIGKILL 1"]);
}

/// A world of three workers, and how many of them may change hands at a time.
fn at_random(seed: u64, random: &mut Random) -> (World, u32) {
    let recycle = changed!(Recycle::default(), age: Some(ms(40_000)));
    let batch = u32::try_from(1 + random.draw(3)).unwrap();
    let config = changed!(plain(3), batch: batch, min_ready_time: ms(700 * random.draw(3)), seed: seed, recycle: recycle, replace_unresponsive: true, max_failures: 1000, replace_disconnected: !seed.is_multiple_of(8));
    (World::new(config), batch)
}

/// Something happens.
fn happens(world: &mut World, random: &mut Random) {
    let mut draw = |below: u64| random.draw(below);
    let nth = draw(8) as usize;
    let some = world.alive.keys().nth(nth % world.alive.len().max(1)).copied();
    world.well = draw(4) > 0;
    world.obedient = draw(4) > 0;
    world.stop_by = [StopBy::Signal, StopBy::Message, StopBy::Disconnect][draw(3) as usize];
    let requests = u32::try_from(draw(3)).unwrap();
    let started = u32::try_from(draw(u64::from(requests) + 1)).unwrap();
    world.work = work_of(requests, started, requests);
    match (draw(13), some) {
        (12, Some(worker)) => {
            let meant = draw(3) > 0;
            if !meant && draw(2) == 0 {
                world.input(Input::ChannelFailed { worker });
            }
            world.input(Input::Disconnected { worker, meant });
        }
        (9, Some(worker)) => world.works(worker.0, requests, started),
        (10, Some(worker)) => world.progresses(worker.0, LeaveProgress::OutOfRotation),
        (11, Some(worker)) => world.progresses(worker.0, LeaveProgress::ServersClosed),
        (0 | 1, Some(worker)) => world.dies(worker.0),
        (2, Some(worker)) => world.input(Input::Listening { worker }),
        (3, _) => world.input(Input::Reload),
        (4, _) => world.input(Input::Scale { workers: u32::try_from(draw(6)).unwrap() }),
        (5, Some(worker)) => world.input(Input::Unresponsive { worker }),
        (6, Some(worker)) => world.input(Input::Responsive { worker }),
        _ => {
            let time = ms(draw(4000));
            world.pass(time);
        }
    }
}

/// What goes through its written form does from there on what it would have done.
#[test]
fn a_supervisor_that_was_taken_up_does_what_it_would_have_done() {
    for seed in 0..600 {
        let [mut random, mut same_random] = [Random::new(seed), Random::new(seed)];
        let (mut world, _) = at_random(seed, &mut random);
        let (mut changed, _) = at_random(seed, &mut same_random);
        let mut changes = Random::new(!seed);
        for step in 0..80 {
            if changes.draw(2) == 0 {
                let text = serde_json::to_string(&changed.supervisor).unwrap();
                changed.supervisor = serde_json::from_str(&text).unwrap();
                assert_eq!(serde_json::to_string(&changed.supervisor).unwrap(), text);
            }
            if step == 70 {
                world.input(Input::End);
                changed.input(Input::End);
            }
            happens(&mut world, &mut random);
            happens(&mut changed, &mut same_random);
            assert_eq!(world.said(), changed.said(), "seed {seed}");
            let due = [&world, &changed].map(|world| world.supervisor.poll_timeout());
            assert_eq!(due[0], due[1], "seed {seed}");
        }
        assert_eq!(world.over, changed.over);
    }
}

/// Whatever happens in whatever order: no worker is forked that is not wanted, no slot stays empty for
/// ever while all runs, and what has ended has ended.
#[test]
fn in_any_order_all_is_well_in_the_end() {
    for seed in 0..3000 {
        let mut random = Random::new(seed);
        let (mut world, batch) = at_random(seed, &mut random);
        for _ in 0..60 {
            happens(&mut world, &mut random);
            // One for each slot, one more for each that changes hands, and those that leave.
            let leaving = |worker: &WorkerId| world.supervisor.member(*worker).unwrap().leaving;
            let staying = world.alive.keys().filter(|worker| !leaving(worker)).count();
            let most = world.supervisor.wanted() + batch;
            assert!(staying <= most as usize, "seed {seed}: {staying} of {most}");
        }
        (world.well, world.obedient, world.work) = (true, true, Work::default());
        for worker in world.alive.keys().copied().collect::<Vec<_>>() {
            world.input(Input::Listening { worker });
        }
        // Long enough for every timeout and pause, and too short for a worker to reach its age limit.
        world.pass(ms(31_000));
        for worker in world.alive.keys().copied().collect::<Vec<_>>() {
            world.input(Input::Listening { worker });
        }
        world.pass(ms(31_000));
        let wanted: Vec<_> = (0..world.supervisor.wanted()).collect();
        // Some may have grown old all the same, one after the other, and have a successor on trial.
        for _ in 0..10 {
            if world.slots() != wanted {
                world.pass(ms(700));
            }
        }
        assert_eq!(world.slots(), wanted, "seed {seed}: {:?}", world.supervisor);
        assert_eq!(world.supervisor.state(), State::Running, "seed {seed}: {:?}", world.supervisor);
        world.input(Input::End);
        world.pass(ms(20_000));
        assert!(world.over.is_some() && world.alive.is_empty(), "seed {seed}");
    }
}
