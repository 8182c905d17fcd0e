//! What every policy must do, run over every policy.

#[path = "support/ops.rs"]
mod ops;

use cluster_sched::{
    BoxedPolicy, Choice, Config, Input, LeastConnections, Mono, Output, Policy, PolicyName, Random,
    RoundRobin, Scheduler, SchedulerState, Standing, Sticky, sticky::client_of,
};
use ops::{Conn, Step, Worker};
use std::collections::BTreeSet;

/// Defines one module of tests per policy; a new policy is one more line.
macro_rules! conformance {
    ($($module:ident: $name:ident => $policy:expr;)*) => {$(
        mod $module {
            use super::*;

            conformance!(@tests $name $policy;
                a_ready_worker_is_chosen_if_it_is_eligible
                a_worker_that_is_busy_or_gone_is_not_chosen
                a_worker_that_comes_back_is_chosen_again
                every_worker_gets_its_share
                the_scheduler_keeps_its_promises
                the_same_inputs_give_the_same_outputs
                a_scheduler_that_is_put_together_goes_on_as_before
            );
        }
    )*};
    (@tests $name:ident $policy:expr; $($test:ident)*) => {$(
        #[test]
        fn $test() {
            super::$test(PolicyName::$name, || $policy);
        }
    )*};
}

conformance! {
    round_robin: RoundRobin => RoundRobin::<Worker>::new();
    least_connections: LeastConnections => LeastConnections::<Worker>::new();
    sticky: Sticky => Sticky::<Worker>::new();
    random: Random => Random::<Worker>::new(3);
    named_rr: RoundRobin => named("rr");
    named_least_connections: LeastConnections => named("least-connections");
    named_sticky: Sticky => named("sticky");
    named_random: Random => named("random");
}

fn named(name: &str) -> BoxedPolicy<Worker, Conn> {
    name.parse::<PolicyName>().unwrap().build(3)
}

fn told<P: Policy<Worker, Conn>>(mut policy: P, workers: std::ops::Range<Worker>) -> P {
    for worker in workers {
        policy.join(worker, worker.into());
        policy.ready(worker);
    }
    policy
}

/// Each connection has a client of its own, but for every seventh.
fn client(conn: Conn) -> Option<u32> {
    (!conn.is_multiple_of(7))
        .then(|| client_of(std::net::Ipv4Addr::from_bits(0x0A00_0000 + conn).into()))
}

/// Chooses among workers of which some are eligible and the others have refused.
fn pick<P: Policy<Worker, Conn>>(
    policy: &mut P,
    conn: Conn,
    eligible: impl Fn(Worker) -> bool,
) -> Choice<Worker> {
    let standing = |worker| if eligible(worker) { Standing::Free } else { Standing::Barred };
    policy.pick(&conn, client(conn), &mut { standing })
}

fn a_ready_worker_is_chosen_if_it_is_eligible<P: Policy<Worker, Conn>>(
    _name: PolicyName,
    new: impl Fn() -> P,
) {
    let mut policy = told(new(), 0..6);
    for conn in 0..200 {
        let only = conn as Worker % 6;
        assert_eq!(pick(&mut policy, conn, |worker| worker == only), Choice::Give(only));
        let pair = [only, (only + 1) % 6];
        let picked = pick(&mut policy, conn, |worker| pair.contains(&worker));
        assert!(pair.map(Choice::Give).contains(&picked), "{picked:?}");
        assert_eq!(pick(&mut policy, conn, |_| false), Choice::Wait);
    }
    assert_eq!(pick(&mut new(), 0, |_| true), Choice::Wait);
}

fn a_worker_that_is_busy_or_gone_is_not_chosen<P: Policy<Worker, Conn>>(
    name: PolicyName,
    new: impl Fn() -> P,
) {
    let mut policy = told(new(), 0..6);
    policy.join(6, 6); // not ready yet
    policy.busy(1);
    policy.leave(2);
    policy.busy(3);
    policy.leave(3);
    let mut standing = |worker| match worker {
        0 | 4 | 5 => Standing::Free,
        1 | 6 => Standing::Busy,
        _ => Standing::Barred,
    };
    let (mut given, mut awaited) = (BTreeSet::new(), BTreeSet::new());
    for conn in 0..200 {
        match policy.pick(&conn, client(conn), &mut standing) {
            Choice::Give(worker) => given.insert(worker),
            Choice::Await(worker) => awaited.insert(worker),
            Choice::Wait => panic!("a worker is free"),
        };
    }
    assert_eq!(given, BTreeSet::from([0, 4, 5]));
    let sticks = name == PolicyName::Sticky;
    assert_eq!(awaited, if sticks { BTreeSet::from([1, 6]) } else { BTreeSet::new() });
}

fn a_worker_that_comes_back_is_chosen_again<P: Policy<Worker, Conn>>(
    _name: PolicyName,
    new: impl Fn() -> P,
) {
    let mut policy = told(new(), 0..2);
    policy.busy(0);
    policy.leave(1);
    let busy = |policy: &mut P, conn| policy.pick(&conn, client(conn), &mut |_| Standing::Busy);
    assert!(!matches!(busy(&mut policy, 0), Choice::Give(_)));
    policy.ready(0);
    policy.join(1, 1);
    policy.ready(1);
    let picked = (0..200).map(|conn| pick(&mut policy, conn, |_| true));
    let picked: Vec<_> = picked.collect();
    assert!([0, 1].map(Choice::Give).iter().all(|worker| picked.contains(worker)));
}

fn every_worker_gets_its_share<P: Policy<Worker, Conn>>(_name: PolicyName, new: impl Fn() -> P) {
    let mut scheduler = Scheduler::new(new(), Config::default());
    let mut served = [0; 10];
    for worker in 0..10 {
        scheduler.handle_input(Mono::ZERO, Input::Join { worker, slot: worker.into() }).unwrap();
    }
    for conn in 0..10_000 {
        let input = Input::Arrive { conn, client: client(conn) };
        scheduler.handle_input(Mono::ZERO, input).unwrap();
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

fn the_scheduler_keeps_its_promises<P: Policy<Worker, Conn>>(
    name: PolicyName,
    new: impl Fn() -> P,
) {
    for seed in 0..150 {
        ops::run_with(name, new(), &noise(seed, 500));
    }
}

fn the_same_inputs_give_the_same_outputs<P: Policy<Worker, Conn>>(
    name: PolicyName,
    new: impl Fn() -> P,
) {
    let bytes = noise(99, 4000);
    let outputs = ops::run_with(name, new(), &bytes).outputs;
    assert!(outputs.len() > 100);
    assert_eq!(outputs, ops::run_with(name, new(), &bytes).outputs);
}

/// Every now and then, by the noise, one of two schedulers is written down, and goes on as another
/// that is made of that, by another clock, while outputs may be left to be polled. It cannot be told
/// from the first.
fn a_scheduler_that_is_put_together_goes_on_as_before<P: Policy<Worker, Conn>>(
    name: PolicyName,
    new: impl Fn() -> P,
) {
    let mut handovers = 0;
    for seed in 0..25 {
        let report = ops::run_with(name, new(), &noise(seed, 500));
        let mut one = Scheduler::new(new(), report.config);
        let mut other = Scheduler::new(new(), report.config);
        // When the other's clock showed what.
        let (mut then, mut showed) = (Mono::ZERO, Mono::ZERO);
        let noise = noise(seed + 1000, report.steps.len());
        for (step, noise) in report.steps.into_iter().zip(noise) {
            let now = match step {
                Step::Input(now, input) => {
                    let result = one.handle_input(now, input);
                    assert_eq!(other.handle_input(showed + (now - then), input), result);
                    now
                }
                Step::Timeout(now) => {
                    one.handle_timeout(now);
                    other.handle_timeout(showed + (now - then));
                    now
                }
            };
            if noise.is_multiple_of(3) {
                handovers += 1;
                let state = other.state(showed + (now - then));
                let text = serde_json::to_string(&state).unwrap();
                let read: SchedulerState<Worker, Conn> = serde_json::from_str(&text).unwrap();
                assert_eq!(read, state);
                (then, showed) = (now, Mono::from_millis(u64::from(noise) * 7));
                other = Scheduler::from_state(showed, new(), report.config, read).unwrap();
                // Nothing is lost on the way, nor made up.
                assert_eq!(other.state(showed), state);
            }
            if noise.is_multiple_of(2) {
                while let Some(output) = one.poll_output() {
                    assert_eq!(other.poll_output(), Some(output), "{name}, seed {seed}");
                }
                assert_eq!(other.poll_output(), None);
            }
            assert_eq!(other.poll_timeout().map(|at| at - showed + then), one.poll_timeout());
            let seen = |s: &Scheduler<_, _, P>| (s.room(), s.waiting(), s.workers(), s.stats());
            assert_eq!(seen(&other), seen(&one));
            for worker in 0..8 {
                let seen = |s: &Scheduler<_, _, P>| (s.in_flight(worker), s.waiting_for(worker));
                assert_eq!(seen(&other), seen(&one));
            }
        }
    }
    assert!(handovers > 500, "{handovers}");
}
