//! What every policy must do, run over every policy.

#[path = "support/ops.rs"]
mod ops;

use cluster_sched::{
    BoxedPolicy, Config, Input, Mono, Output, Policy, PolicyName, Random, RoundRobin, Scheduler,
};
use ops::{Conn, Worker};
use std::collections::BTreeSet;

/// Defines one module of tests per policy; a new policy is one more line.
macro_rules! conformance {
    ($($name:ident => $policy:expr;)*) => {$(
        mod $name {
            use super::*;

            conformance!(@tests $policy;
                a_ready_worker_is_chosen_if_it_is_eligible
                a_worker_that_is_busy_or_gone_is_not_chosen
                a_worker_that_comes_back_is_chosen_again
                every_worker_gets_its_share
                the_scheduler_keeps_its_promises
                the_same_inputs_give_the_same_outputs
            );
        }
    )*};
    (@tests $policy:expr; $($test:ident)*) => {$(
        #[test]
        fn $test() {
            super::$test(|| $policy);
        }
    )*};
}

conformance! {
    round_robin => RoundRobin::<Worker>::new();
    random => Random::<Worker>::new(3);
    named_rr => named("rr");
    named_random => named("random");
}

fn named(name: &str) -> BoxedPolicy<Worker, Conn> {
    name.parse::<PolicyName>().unwrap().build(3)
}

fn told<P: Policy<Worker, Conn>>(mut policy: P, workers: std::ops::Range<Worker>) -> P {
    for worker in workers {
        policy.join(worker);
        policy.ready(worker);
    }
    policy
}

fn a_ready_worker_is_chosen_if_it_is_eligible<P: Policy<Worker, Conn>>(new: impl Fn() -> P) {
    let mut policy = told(new(), 0..6);
    for conn in 0..200 {
        let only = conn as Worker % 6;
        assert_eq!(policy.pick(&conn, &mut |worker| worker == only), Some(only));
        let pair = [only, (only + 1) % 6];
        let picked = policy.pick(&conn, &mut |worker| pair.contains(&worker));
        assert!(picked.is_some_and(|worker| pair.contains(&worker)));
        assert_eq!(policy.pick(&conn, &mut |_| false), None);
    }
    assert_eq!(new().pick(&0, &mut |_| true), None);
}

fn a_worker_that_is_busy_or_gone_is_not_chosen<P: Policy<Worker, Conn>>(new: impl Fn() -> P) {
    let mut policy = told(new(), 0..6);
    policy.join(6); // not ready yet
    policy.busy(1);
    policy.leave(2);
    policy.busy(3);
    policy.leave(3);
    let picked: BTreeSet<_> = (0..200).map(|conn| policy.pick(&conn, &mut |_| true)).collect();
    assert_eq!(picked, BTreeSet::from([Some(0), Some(4), Some(5)]));
}

fn a_worker_that_comes_back_is_chosen_again<P: Policy<Worker, Conn>>(new: impl Fn() -> P) {
    let mut policy = told(new(), 0..2);
    policy.busy(0);
    policy.leave(1);
    assert_eq!(policy.pick(&0, &mut |_| true), None);
    policy.ready(0);
    policy.join(1);
    policy.ready(1);
    let picked: BTreeSet<_> = (0..200).map(|conn| policy.pick(&conn, &mut |_| true)).collect();
    assert_eq!(picked, BTreeSet::from([Some(0), Some(1)]));
}

fn every_worker_gets_its_share<P: Policy<Worker, Conn>>(new: impl Fn() -> P) {
    let mut scheduler = Scheduler::new(new(), Config::default());
    let mut served = [0; 10];
    for worker in 0..10 {
        scheduler.handle_input(Mono::ZERO, Input::Join { worker }).unwrap();
    }
    for conn in 0..10_000 {
        scheduler.handle_input(Mono::ZERO, Input::Arrive { conn }).unwrap();
        while let Some(output) = scheduler.poll_output() {
            if let Output::Assign { conn, worker } = output {
                served[usize::from(worker)] += 1;
                scheduler.handle_input(Mono::ZERO, Input::Accepted { worker, conn }).unwrap();
            }
        }
    }
    assert!(served.iter().all(|count| (800..1200).contains(count)), "{served:?}");
}

fn noise(mut state: u32, length: usize) -> Vec<u8> {
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

fn the_scheduler_keeps_its_promises<P: Policy<Worker, Conn>>(new: impl Fn() -> P) {
    for seed in 0..150 {
        ops::run_with(new(), &noise(seed, 500));
    }
}

fn the_same_inputs_give_the_same_outputs<P: Policy<Worker, Conn>>(new: impl Fn() -> P) {
    let bytes = noise(99, 4000);
    let outputs = ops::run_with(new(), &bytes).outputs;
    assert!(outputs.len() > 100);
    assert_eq!(outputs, ops::run_with(new(), &bytes).outputs);
}
