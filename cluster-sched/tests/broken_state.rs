//! A state that is damaged, or forged, is an error or some scheduler's state, and
//! never a panic, neither at once nor later.

#[path = "../../cluster-ipc/tests/support/damage.rs"]
mod damage;
#[path = "support/ops.rs"]
mod ops;

use cluster_sched::{
    Config, Input, Mono, Policy, PolicyName, Scheduler, SchedulerState, StateError,
};
use damage::damage;
use ops::{Conn, Step, Worker};
use proptest::prelude::*;

type State = SchedulerState<Worker, Conn>;

fn step<P: Policy<Worker, Conn>>(scheduler: &mut Scheduler<Worker, Conn, P>, step: Step) -> Mono {
    match step {
        Step::Input(now, input) => {
            let _ = scheduler.handle_input(now, input);
            now
        }
        Step::Timeout(now) => {
            scheduler.handle_timeout(now);
            now
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_state_makes_a_scheduler_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        at: prop::sample::Index,
        wounds in prop::collection::vec((any::<usize>(), any::<usize>()), 1..3),
    ) {
        for &name in PolicyName::ALL {
            let report = ops::run_with(name, name.build(7), &bytes);
            let (before, after) = report.steps.split_at(at.index(report.steps.len()));
            let mut scheduler = Scheduler::new(name.build(7), report.config);
            let now = before.iter().fold(Mono::ZERO, |_, &next| step(&mut scheduler, next));
            let mut json = serde_json::to_value(scheduler.state(now)).unwrap();
            for &(place, how) in &wounds {
                damage(&mut json, place, how);
            }
            let Ok(state) = serde_json::from_value::<State>(json) else { continue };
            let scheduler = Scheduler::from_state(now, name.build(7), report.config, state);
            let Ok(mut scheduler) = scheduler else { continue };
            for &next in after {
                step(&mut scheduler, next);
                while scheduler.poll_output().is_some() {}
            }
        }
    }
}

/// A scheduler in which there is one of each: two workers have one connection each, one of them has
/// refused another, which waits; a third is retired.
fn some_state() -> State {
    let mut scheduler = Scheduler::new(PolicyName::RoundRobin.build(0), Config::default());
    let mut feed = |input| scheduler.handle_input(Mono::ZERO, input).unwrap();
    for worker in 1..4 {
        feed(Input::Join { worker, slot: worker.into() });
    }
    feed(Input::Retire { worker: 3 });
    for conn in 10..13 {
        feed(Input::Arrive { conn, client: None });
    }
    feed(Input::Refused { worker: 1, conn: 10 });
    scheduler.state(Mono::ZERO)
}

fn read(state: State) -> Result<(), StateError<Worker, Conn>> {
    let policy = PolicyName::RoundRobin.build(0);
    Scheduler::from_state(Mono::ZERO, policy, Config::default(), state).map(drop)
}

/// Another version reads what this one writes: a change of the form needs a default, or a name that
/// stays, and the old file beside a new one.
#[test]
fn the_form_is_kept() {
    let golden: State = serde_json::from_str(include_str!("golden/scheduler_state.json")).unwrap();
    let state = some_state();
    assert_eq!(state, golden, "{}", serde_json::to_string_pretty(&state).unwrap());
}

#[test]
fn each_error_names_what_is_wrong() {
    let state = some_state();
    assert_eq!(state.members.len(), 3);
    assert_eq!((state.waiting.len(), state.refusals.len()), (1, 1));
    assert_eq!(read(state.clone()), Ok(()));
    let wrong = |change: fn(&mut State)| {
        let mut state = some_state();
        change(&mut state);
        read(state).unwrap_err()
    };
    let twice = wrong(|state| state.members.push(state.members[0].clone()));
    assert_eq!(twice, StateError::WorkerTwice { worker: 1 });
    assert_eq!(twice.to_string(), "worker 1 is there twice");
    let retired = wrong(|state| state.waiting[0].worker = Some(3));
    assert_eq!(retired, StateError::UnknownWorker { worker: 3 });
    let strange = wrong(|state| state.refusals[0].workers.push(9));
    assert_eq!(strange, StateError::UnknownWorker { worker: 9 });
    let twice = wrong(|state| state.waiting.push(state.waiting[0].clone()));
    assert_eq!(twice, StateError::ConnTwice { conn: 10 });
    let strange = wrong(|state| state.refusals[0].conn = 77);
    assert_eq!(strange, StateError::UnknownConn { conn: 77 });
    for misplaced in [
        wrong(|state| state.refusals[0].workers = [1, 2].into()),
        wrong(|state| state.closed = true),
    ] {
        assert_eq!(misplaced, StateError::Misplaced { conn: 10 });
    }
    assert_eq!(wrong(|state| state.stats.arrived += 1), StateError::Miscounted);
    assert_eq!(wrong(|state| state.stats.refusals = u64::MAX), StateError::Miscounted);
}
