//! A worker that refuses everything does not spin: in Node, it and its primary do.

use cluster_sched::{Config, Input, Mono, Output, Policy, PolicyName, Scheduler, ShedReason};

/// Assignments in each second of model time, when all workers refuse everything at once.
fn assigns_per_second<P>(policy: P, workers: u32, conns: u32) -> Vec<u32>
where
    P: Policy<u32, u32>,
{
    let mut scheduler = Scheduler::new(policy, Config::default());
    let mut now = Mono::ZERO;
    for worker in 0..workers {
        scheduler.handle_input(now, Input::Join { worker, slot: worker }).unwrap();
    }
    for conn in 0..conns {
        scheduler.handle_input(now, Input::Arrive { conn, client: Some(conn) }).unwrap();
    }
    let (mut per_second, mut shed) = (vec![0; 10], 0);
    loop {
        while let Some(output) = scheduler.poll_output() {
            match output {
                Output::Assign { conn, worker } => {
                    per_second[now.as_secs() as usize] += 1;
                    scheduler.handle_input(now, Input::Refused { worker, conn }).unwrap();
                }
                Output::Shed { reason, .. } => {
                    assert_eq!(reason, ShedReason::Refused);
                    shed += 1;
                }
                Output::Done { .. } => unreachable!("no worker accepts"),
            }
        }
        let Some(next) = scheduler.poll_timeout() else { break };
        assert!(next > now, "a timer that does not advance the time");
        now = next;
        scheduler.handle_timeout(now);
    }
    assert!(scheduler.is_idle());
    assert_eq!(shed, conns);
    per_second
}

#[test]
fn a_lone_refuser_is_asked_a_few_times_a_second_and_then_no_more() {
    for name in PolicyName::ALL {
        let per_second = assigns_per_second(name.build(1), 1, 1);
        // At 0, 50, 150, 350 and 750 ms; 1.55 s; 2.55 s; 3.55 s.
        assert_eq!(per_second, [5, 1, 1, 1, 0, 0, 0, 0, 0, 0], "{name}");
    }
}

#[test]
fn the_bound_is_per_connection_and_worker() {
    for name in PolicyName::ALL {
        let per_second = assigns_per_second(name.build(1), 3, 100);
        assert_eq!(per_second[..5], [1500, 300, 300, 300, 0], "{name}");
    }
}

/// Workers that are restarted over and over, each refusing once, do not use the rounds up.
#[test]
fn a_crash_loop_of_refusers_costs_one_question_each() {
    let mut scheduler = Scheduler::new(PolicyName::default().build(0), Config::default());
    let now = Mono::ZERO;
    scheduler.handle_input(now, Input::Join { worker: 0, slot: 0 }).unwrap();
    scheduler.handle_input(now, Input::Arrive { conn: 0, client: None }).unwrap();
    scheduler.handle_input(now, Input::Refused { worker: 0, conn: 0 }).unwrap();
    for worker in 1..100 {
        scheduler.handle_input(now, Input::Join { worker, slot: worker }).unwrap();
        scheduler.handle_input(now, Input::Refused { worker, conn: 0 }).unwrap();
        scheduler.handle_input(now, Input::Leave { worker }).unwrap();
    }
    assert_eq!(scheduler.stats().assigned, 100);
    assert_eq!((scheduler.waiting(), scheduler.stats().shed()), (1, 0));
    assert_eq!(scheduler.poll_timeout(), Some(Mono::from_millis(50)));
}
