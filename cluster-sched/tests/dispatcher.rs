//! Several servers whose workers share their windows: conservation, drain invariance, states, and how
//! bursts are dealt.

#[path = "support/dispatch.rs"]
mod dispatch;

use cluster_sched::{
    Config, DispatchError, DispatchInput, DispatchLimits, DispatchOutput, Dispatcher, Mono,
    PolicyName,
};
use dispatch::{Machine, drain, replay, run};
use proptest::prelude::*;
use std::collections::BTreeMap;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn each_connection_ends_exactly_once(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        run(&bytes);
    }

    #[test]
    fn how_often_one_drains_changes_nothing(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        drains in prop::collection::vec(any::<bool>(), 1..50),
    ) {
        let report = run(&bytes);
        let same = |_, dispatcher| dispatcher;
        prop_assert_eq!(&replay(&report, || false, same), &report.outputs);
        let mut drains = drains.into_iter().cycle();
        let sometimes = replay(&report, || drains.next().unwrap_or(true), same);
        prop_assert_eq!(&sometimes, &report.outputs);
    }

    #[test]
    fn one_that_was_taken_up_does_what_it_would_have_done(
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        changes in prop::collection::vec(any::<bool>(), 1..50),
    ) {
        let report = run(&bytes);
        let mut changes = changes.into_iter().cycle();
        let outputs = replay(&report, || true, |now, dispatcher| {
            if !changes.next().unwrap_or(true) {
                return dispatcher;
            }
            let state = dispatcher.state(now);
            let policy = |server| report.setup.policy(server);
            let next = Machine::from_state(now, report.setup.limits, policy, state.clone());
            let next = next.expect("a dispatcher's own state");
            assert_eq!(next.state(now), state);
            // A pause that is over, and was not noticed yet, is over at once.
            let due = |dispatcher: &Machine| dispatcher.poll_timeout().map(|at| at.max(now));
            assert_eq!(due(&next), due(&dispatcher));
            next
        });
        prop_assert_eq!(&outputs, &report.outputs);
    }
}

/// Random bytes must not pass the interesting parts by.
#[test]
fn the_bytes_keep_connections_back() {
    let mut state = 1u32;
    let mut kept = 0;
    for _ in 0..200 {
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .take(600)
        .collect();
        kept += usize::from(run(&bytes).most_kept > 4);
    }
    assert!(kept > 50, "{kept}");
}

const SERVER: u8 = 1;

fn with_workers(policy: PolicyName, workers: u8) -> Machine {
    let mut dispatcher = Dispatcher::new(DispatchLimits::default());
    dispatcher.open(SERVER, policy.build(1), Config::default());
    for worker in 0..workers {
        feed(&mut dispatcher, DispatchInput::Enter { worker });
        feed(&mut dispatcher, DispatchInput::Join { server: SERVER, worker, slot: worker.into() });
    }
    dispatcher
}

fn feed(dispatcher: &mut Machine, input: dispatch::Input) {
    dispatcher.handle_input(Mono::ZERO, input).expect("it fits");
}

/// 100 connections come at once to four workers, of which one after the other answers for all that it
/// is given.
#[test]
fn a_burst_is_dealt_evenly_however_early_one_worker_answers() {
    for policy in [PolicyName::RoundRobin, PolicyName::LeastConnections] {
        let mut dispatcher = with_workers(policy, 4);
        for conn in 0..100 {
            let arrive = DispatchInput::Arrive { server: SERVER, conn, client: None, beyond: 0 };
            feed(&mut dispatcher, arrive);
        }
        let mut in_flight: BTreeMap<u8, Vec<u64>> = BTreeMap::new();
        let (mut numbers, mut served) = (0, [0; 4]);
        for worker in [2, 0, 3, 1] {
            loop {
                let mut number = numbers;
                for output in drain(&mut dispatcher, &mut numbers) {
                    if let DispatchOutput::HandOff { worker, .. } = output {
                        in_flight.entry(worker).or_default().push(number);
                        number += 1;
                    }
                }
                let Some(number) = in_flight.get_mut(&worker).and_then(Vec::pop) else { break };
                served[usize::from(worker)] += 1;
                feed(&mut dispatcher, DispatchInput::Answered { worker, number, accepted: true });
            }
        }
        assert_eq!(served, [25; 4], "{policy}");
        assert_eq!(dispatcher.held(), 0);
    }
}

#[test]
fn what_is_kept_back_waits_and_counts_against_the_one_limit() {
    let mut dispatcher = with_workers(PolicyName::RoundRobin, 2);
    dispatcher.set_limits(DispatchLimits::default().waiting(10));
    let mut conn = 0;
    while dispatcher.room(SERVER) > 0 {
        feed(
            &mut dispatcher,
            DispatchInput::Arrive { server: SERVER, conn, client: None, beyond: 0 },
        );
        conn += 1;
    }
    assert_eq!((conn, dispatcher.waiting(SERVER)), (12, 10));
    assert_eq!([0, 1].map(|worker| dispatcher.kept(worker)), [5, 5]);
    feed(&mut dispatcher, DispatchInput::Arrive { server: SERVER, conn, client: None, beyond: 0 });
    assert_eq!(dispatcher.stats(SERVER).shed_full, 1);
    // A listener that closes has some more in its queue.
    let late = DispatchInput::Arrive { server: SERVER, conn: conn + 1, client: None, beyond: 1 };
    feed(&mut dispatcher, late);
    assert_eq!((dispatcher.waiting(SERVER), dispatcher.stats(SERVER).shed_full), (11, 1));
}

#[test]
fn a_stray_answer_is_an_error_and_changes_nothing() {
    let mut dispatcher = with_workers(PolicyName::RoundRobin, 2);
    feed(
        &mut dispatcher,
        DispatchInput::Arrive { server: SERVER, conn: 7, client: None, beyond: 0 },
    );
    drain(&mut dispatcher, &mut 5);
    for (worker, number) in [(1, 5), (0, 4), (9, 5)] {
        let answer = DispatchInput::Answered { worker, number, accepted: true };
        let error = dispatcher.handle_input(Mono::ZERO, answer);
        assert_eq!(error, Err(DispatchError::StrayAnswer { worker, number }));
    }
    assert_eq!(dispatcher.poll_output(), None);
    assert_eq!(dispatcher.hand_off(0, 5), Some((SERVER, 7)));
}
