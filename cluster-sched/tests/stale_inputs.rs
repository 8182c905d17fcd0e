//! Inputs that do not fit are visible, and change nothing.

#[path = "support/ops.rs"]
mod ops;

use cluster_sched::{Config, Input, InputError, Mono, PolicyName, RoundRobin, Scheduler};
use ops::{Conn, Step, Worker};
use proptest::prelude::*;

type Rr = Scheduler<Worker, Conn>;

/// Feeds `input` to a copy. If it is an error, the copy must not have changed in the least.
fn probe(scheduler: &Rr, now: Mono, input: Input<Worker, Conn>) -> bool {
    let mut copy = scheduler.clone();
    let stale = copy.handle_input(now, input).is_err();
    if stale {
        assert_eq!(format!("{copy:?}"), format!("{scheduler:?}"), "{input:?}");
    }
    stale
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn an_error_changes_nothing(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let report = ops::run_with(PolicyName::RoundRobin, RoundRobin::new(), &bytes);
        let mut scheduler = Rr::new(RoundRobin::new(), report.config);
        let mut stale = 0;
        for step in report.steps {
            let now = match step {
                Step::Input(now, input) => {
                    let _ = scheduler.handle_input(now, input);
                    now
                }
                Step::Timeout(now) => {
                    scheduler.handle_timeout(now);
                    now
                }
            };
            stale += usize::from(probe(&scheduler, now, Input::Close));
            for worker in 0..8 {
                for input in [
                    Input::Join { worker, slot: 0 },
                    Input::Retire { worker },
                    Input::Leave { worker },
                    Input::Window { worker, window: 3 },
                    Input::Held { worker, held: 3 },
                ] {
                    stale += usize::from(probe(&scheduler, now, input));
                }
                for conn in 0..6 {
                    stale += usize::from(probe(&scheduler, now, Input::Accepted { worker, conn }));
                    stale += usize::from(probe(&scheduler, now, Input::Refused { worker, conn }));
                }
            }
            for conn in 0..6 {
                stale += usize::from(probe(&scheduler, now, Input::Arrive { conn, client: None }));
            }
        }
        prop_assert!(stale > 0);
    }
}

#[test]
fn each_error_names_what_is_wrong() {
    let mut scheduler = Rr::new(RoundRobin::new(), Config::default());
    let mut feed = |input| scheduler.handle_input(Mono::ZERO, input);
    let unknown = Err(InputError::UnknownWorker { worker: 1 });
    assert_eq!(feed(Input::Leave { worker: 1 }), unknown);
    assert_eq!(feed(Input::Retire { worker: 1 }), unknown);
    assert_eq!(feed(Input::Window { worker: 1, window: 2 }), unknown);
    assert_eq!(feed(Input::Held { worker: 1, held: 2 }), unknown);
    assert_eq!(feed(Input::Join { worker: 1, slot: 0 }), Ok(()));
    assert_eq!(
        feed(Input::Join { worker: 1, slot: 0 }),
        Err(InputError::AlreadyJoined { worker: 1 })
    );
    assert_eq!(feed(Input::Arrive { conn: 5, client: None }), Ok(()));
    assert_eq!(
        feed(Input::Arrive { conn: 5, client: None }),
        Err(InputError::AlreadyArrived { conn: 5 })
    );
    let stale = |worker, conn| Err(InputError::NotInFlight { worker, conn });
    assert_eq!(feed(Input::Accepted { worker: 2, conn: 5 }), stale(2, 5));
    assert_eq!(feed(Input::Refused { worker: 1, conn: 6 }), stale(1, 6));
    assert_eq!(feed(Input::Accepted { worker: 1, conn: 5 }), Ok(()));
    assert_eq!(feed(Input::Accepted { worker: 1, conn: 5 }), stale(1, 5));
    assert_eq!(feed(Input::Retire { worker: 1 }), Ok(()));
    assert_eq!(feed(Input::Retire { worker: 1 }), Err(InputError::AlreadyRetired { worker: 1 }));
    assert_eq!(feed(Input::Close), Ok(()));
    assert_eq!(feed(Input::Close), Err(InputError::Closed));
    assert_eq!(feed(Input::Join { worker: 1, slot: 0 }), Err(InputError::Closed));
    let error = InputError::<u8, u32>::NotInFlight { worker: 1, conn: 5 };
    assert_eq!(error.to_string(), "connection 5 is not in flight to worker 1");
}

/// A dead worker's connection is in other hands: its late answer must not end it.
#[test]
fn a_late_answer_of_a_dead_worker_is_stale() {
    let mut scheduler = Rr::new(RoundRobin::new(), Config::default());
    let mut feed = |input| scheduler.handle_input(Mono::ZERO, input);
    feed(Input::Join { worker: 1, slot: 0 }).unwrap();
    feed(Input::Join { worker: 2, slot: 1 }).unwrap();
    feed(Input::Arrive { conn: 5, client: None }).unwrap();
    feed(Input::Leave { worker: 1 }).unwrap();
    let late = feed(Input::Accepted { worker: 1, conn: 5 });
    assert_eq!(late, Err(InputError::NotInFlight { worker: 1, conn: 5 }));
    assert_eq!(feed(Input::Accepted { worker: 2, conn: 5 }), Ok(()));
}
