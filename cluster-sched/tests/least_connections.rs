//! Least connections: the worker that holds the fewest gets the next; equals take turns.

use cluster_sched::{Config, Input, LeastConnections, Mono, Output, Scheduler};
use proptest::prelude::*;
use std::collections::BTreeMap;

type Least = Scheduler<u32, u32, LeastConnections<u32>>;

fn with_workers(workers: u32, window: u32) -> Least {
    let config = Config::default().window(window);
    let mut scheduler = Least::new(LeastConnections::new(), config);
    for worker in 0..workers {
        feed(&mut scheduler, Input::Join { worker, slot: worker });
    }
    scheduler
}

fn feed(scheduler: &mut Least, input: Input<u32, u32>) {
    scheduler.handle_input(Mono::ZERO, input).expect("a fitting input");
}

/// A connection comes, and is accepted at once. Who has it?
fn serve(scheduler: &mut Least, conn: u32) -> u32 {
    feed(scheduler, Input::Arrive { conn, client: None });
    loop {
        match scheduler.poll_output() {
            Some(Output::Assign { conn, worker }) => {
                feed(scheduler, Input::Accepted { worker, conn });
            }
            Some(Output::Done { worker, .. }) => return worker,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn who_holds_more_gets_fewer_until_all_hold_the_same() {
    let mut scheduler = with_workers(3, 1);
    for (worker, held) in [(0, 10), (1, 4), (2, 0)] {
        feed(&mut scheduler, Input::Held { worker, held });
    }
    let mut got = [0; 3];
    for conn in 0..16 {
        got[serve(&mut scheduler, conn) as usize] += 1;
    }
    assert_eq!(got, [0, 6, 10]);
    // From here on by turns.
    let turns: Vec<u32> = (16..22).map(|conn| serve(&mut scheduler, conn)).collect();
    assert_eq!(turns[..3], turns[3..]);
    // Those of the first end.
    feed(&mut scheduler, Input::Held { worker: 0, held: 8 });
    assert_eq!((22..26).map(|conn| serve(&mut scheduler, conn)).collect::<Vec<_>>(), [0; 4]);
}

#[test]
fn workers_that_report_nothing_get_connections_by_turns() {
    let mut scheduler = with_workers(4, 1);
    let order: Vec<u32> = (0..8).map(|conn| serve(&mut scheduler, conn)).collect();
    assert_eq!(order, [0, 1, 2, 3, 0, 1, 2, 3]);
}

#[test]
fn hand_offs_under_way_count() {
    let mut scheduler = with_workers(2, 10);
    for conn in 0..6 {
        feed(&mut scheduler, Input::Arrive { conn, client: None });
    }
    // The second answers, the first does not.
    for conn in [1, 3, 5] {
        feed(&mut scheduler, Input::Accepted { worker: 1, conn });
    }
    while scheduler.poll_output().is_some() {}
    for conn in 6..9 {
        feed(&mut scheduler, Input::Arrive { conn, client: None });
        assert_eq!(scheduler.poll_output(), Some(Output::Assign { conn, worker: 1 }));
    }
    feed(&mut scheduler, Input::Arrive { conn: 9, client: None });
    assert_eq!(scheduler.poll_output(), Some(Output::Assign { conn: 9, worker: 0 }));
}

#[test]
fn who_comes_back_is_known_to_have_what_it_had() {
    let mut scheduler = with_workers(2, 2);
    feed(&mut scheduler, Input::Held { worker: 0, held: 3 });
    feed(&mut scheduler, Input::Retire { worker: 0 });
    feed(&mut scheduler, Input::Held { worker: 0, held: 2 });
    feed(&mut scheduler, Input::Held { worker: 1, held: 0 });
    feed(&mut scheduler, Input::Join { worker: 0, slot: 0 });
    let order: Vec<u32> = (0..4).map(|conn| serve(&mut scheduler, conn)).collect();
    assert_eq!(order, [1, 1, 0, 1]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// Whatever happens, no worker with room held fewer than the one that was chosen.
    #[test]
    fn no_worker_with_room_holds_fewer(
        workers in 1..9u32,
        window in 1..5u32,
        steps in prop::collection::vec(any::<(u8, u8)>(), 0..300),
    ) {
        let mut scheduler = with_workers(workers, window);
        let mut in_flight: Vec<(u32, u32)> = Vec::new();
        let mut held: BTreeMap<u32, u32> = BTreeMap::new();
        let mut conns = 0;
        for (op, arg) in steps {
            let input = match op % 4 {
                0 | 1 => {
                    conns += 1;
                    Input::Arrive { conn: conns, client: None }
                }
                2 if !in_flight.is_empty() => {
                    let (worker, conn) = in_flight.swap_remove(usize::from(arg) % in_flight.len());
                    held.entry(worker).and_modify(|held| *held += 1);
                    Input::Accepted { worker, conn }
                }
                3 => {
                    let worker = u32::from(arg) % workers;
                    held.insert(worker, u32::from(op) / 16);
                    Input::Held { worker, held: u32::from(op) / 16 }
                }
                _ => continue,
            };
            feed(&mut scheduler, input);
            while let Some(output) = scheduler.poll_output() {
                let Output::Assign { conn, worker } = output else { continue };
                let under_way =
                    |worker| in_flight.iter().filter(|(other, _)| *other == worker).count() as u32;
                let load = |worker| under_way(worker) + held.get(&worker).copied().unwrap_or(0);
                for other in (0..workers).filter(|&other| under_way(other) < window) {
                    prop_assert!(load(worker) <= load(other), "{worker} has more than {other}");
                }
                in_flight.push((worker, conn));
            }
        }
    }
}
