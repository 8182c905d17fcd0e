//! The scheduler, by hand.

use super::*;
use crate::error::InputError;
use crate::event::{Input, ShedReason};
use crate::{Choice, Standing};
use Input::{Accepted, Arrive, Close, Join, Leave, Refused, Retire, TakeBack, Window};
use Output::{Assign, Done, Shed};
use alloc::vec::Vec;

type Rr = Scheduler<u8, char>;

const fn ms(millis: u64) -> Mono {
    Mono::from_millis(millis)
}

fn rr(config: Config, workers: core::ops::Range<u8>) -> Rr {
    let mut scheduler = Rr::new(RoundRobin::new(), config);
    feed(&mut scheduler, workers.map(|worker| Join { worker, slot: worker.into() }));
    scheduler
}

fn feed(scheduler: &mut Rr, inputs: impl IntoIterator<Item = Input<u8, char>>) {
    for input in inputs {
        scheduler.handle_input(Mono::ZERO, input).unwrap();
    }
}

fn arrive(scheduler: &mut Rr, conns: &str) {
    feed(scheduler, conns.chars().map(|conn| Arrive { conn, client: None }));
}

fn drain(scheduler: &mut Rr) -> Vec<Output<u8, char>> {
    core::iter::from_fn(|| scheduler.poll_output()).collect()
}

#[test]
fn an_answer_brings_the_next_in_line() {
    let mut s = rr(Config::default(), 0..2);
    arrive(&mut s, "abc");
    assert_eq!(s.waiting(), 1);
    feed(&mut s, [Accepted { worker: 1, conn: 'b' }]);
    assert_eq!(
        drain(&mut s),
        [
            Assign { conn: 'a', worker: 0 },
            Assign { conn: 'b', worker: 1 },
            Done { conn: 'b', worker: 1 },
            Assign { conn: 'c', worker: 1 },
        ]
    );
    assert_eq!((s.waiting(), s.in_flight(0), s.in_flight(1)), (0, 1, 1));
}

#[test]
fn what_a_dead_worker_had_goes_before_all_that_waits_oldest_first() {
    let mut s = rr(Config::default().window(2), 0..2);
    arrive(&mut s, "abcdef");
    drain(&mut s);
    feed(&mut s, [Leave { worker: 0 }, Join { worker: 9, slot: 9 }]);
    feed(&mut s, [Window { worker: 9, window: 9 }]);
    let order = [('a', 9), ('c', 9), ('e', 9), ('f', 9)];
    assert_eq!(drain(&mut s), order.map(|(conn, worker)| Assign { conn, worker }));
    assert_eq!(s.stats().orphaned, 2);
}

#[test]
fn what_is_taken_back_goes_to_who_has_room_or_before_all_that_waits() {
    let mut s = rr(Config::default().window(3), 0..2);
    arrive(&mut s, "abcdefg");
    drain(&mut s);
    // No worker has room for `e` and `c`, which come before `g` now.
    feed(&mut s, [Window { worker: 0, window: 1 }]);
    feed(&mut s, ['e', 'c'].map(|conn| TakeBack { worker: 0, conn }));
    assert_eq!(drain(&mut s), []);
    assert_eq!((s.waiting(), s.in_flight(0)), (3, 1));
    feed(&mut s, ['b', 'd'].map(|conn| Accepted { worker: 1, conn }));
    let order = [
        Done { conn: 'b', worker: 1 },
        Assign { conn: 'c', worker: 1 },
        Done { conn: 'd', worker: 1 },
        Assign { conn: 'e', worker: 1 },
    ];
    assert_eq!(drain(&mut s), order);
    // It was not a refusal: a worker that was not asked may be asked.
    feed(&mut s, [Window { worker: 0, window: 9 }, TakeBack { worker: 1, conn: 'e' }]);
    assert_eq!(drain(&mut s), ['g', 'e'].map(|conn| Assign { conn, worker: 0 }));
    assert_eq!((s.stats().taken_back, s.stats().refusals), (3, 0));
    feed(&mut s, [Close, TakeBack { worker: 0, conn: 'e' }]);
    assert_eq!(drain(&mut s), [Shed { conn: 'e', reason: ShedReason::Closed }]);
    let stale = s.handle_input(Mono::ZERO, TakeBack { worker: 0, conn: 'e' });
    assert_eq!(stale, Err(InputError::NotInFlight { worker: 0, conn: 'e' }));
}

#[test]
fn orphans_are_never_shed_for_want_of_room() {
    let mut s = rr(Config::default().max_waiting(1).window(3), 0..1);
    arrive(&mut s, "abcdx");
    assert_eq!(s.room(), 0);
    feed(&mut s, [Leave { worker: 0 }]);
    assert_eq!((s.waiting(), s.room(), s.stats().shed()), (4, 0, 1));
    drain(&mut s);
    feed(&mut s, [Join { worker: 1, slot: 1 }]);
    assert_eq!(drain(&mut s), ['a', 'b', 'c'].map(|conn| Assign { conn, worker: 1 }));
}

#[test]
fn a_refused_connection_is_not_offered_to_the_same_worker_before_all_refused() {
    let mut s = rr(Config::default(), 0..2);
    arrive(&mut s, "ab");
    feed(&mut s, [Refused { worker: 0, conn: 'a' }]);
    drain(&mut s);
    assert_eq!((s.waiting(), s.poll_timeout()), (1, None));
    // The refuser is free, and takes what it has not refused.
    arrive(&mut s, "c");
    assert_eq!(drain(&mut s), [Assign { conn: 'c', worker: 0 }]);
    feed(&mut s, [Accepted { worker: 1, conn: 'b' }, Refused { worker: 1, conn: 'a' }]);
    assert_eq!(s.poll_timeout(), Some(ms(50)));
    feed(&mut s, [Accepted { worker: 0, conn: 'c' }]);
    drain(&mut s);
    s.handle_timeout(ms(49));
    assert_eq!(drain(&mut s), []);
    s.handle_timeout(ms(50));
    assert_eq!(drain(&mut s), [Assign { conn: 'a', worker: 1 }]);
}

#[test]
fn a_refused_connection_goes_to_the_tail() {
    let mut s = rr(Config::default(), 0..2);
    arrive(&mut s, "abcd");
    feed(&mut s, [Refused { worker: 0, conn: 'a' }]);
    drain(&mut s);
    feed(&mut s, [Accepted { worker: 1, conn: 'b' }, Accepted { worker: 1, conn: 'd' }]);
    let order = [
        Done { conn: 'b', worker: 1 },
        Assign { conn: 'd', worker: 1 },
        Done { conn: 'd', worker: 1 },
        Assign { conn: 'a', worker: 1 },
    ];
    assert_eq!(drain(&mut s), order);
}

#[test]
fn a_joiner_takes_what_is_parked_and_the_pause_goes_on() {
    let mut s = rr(Config::default(), 0..1);
    arrive(&mut s, "a");
    feed(&mut s, [Refused { worker: 0, conn: 'a' }]);
    assert_eq!(s.poll_timeout(), Some(ms(50)));
    drain(&mut s);
    feed(&mut s, [Join { worker: 1, slot: 1 }]);
    assert_eq!(drain(&mut s), [Assign { conn: 'a', worker: 1 }]);
    s.handle_input(ms(10), Refused { worker: 1, conn: 'a' }).unwrap();
    assert_eq!((drain(&mut s), s.poll_timeout()), (Vec::new(), Some(ms(50))));
}

#[test]
fn when_the_pause_ends_a_connection_does_not_wait_for_the_joiner_alone() {
    let mut s = rr(Config::default(), 0..1);
    arrive(&mut s, "a");
    feed(&mut s, [Refused { worker: 0, conn: 'a' }, Join { worker: 1, slot: 1 }]);
    feed(
        &mut s,
        [Window { worker: 1, window: 0 }, Leave { worker: 1 }, Join { worker: 2, slot: 2 }],
    );
    feed(&mut s, [Refused { worker: 2, conn: 'a' }, Join { worker: 3, slot: 3 }]);
    // In flight to the last joiner when the pause ends: its refusal leaves one to ask.
    s.handle_timeout(ms(50));
    drain(&mut s);
    s.handle_input(ms(51), Refused { worker: 3, conn: 'a' }).unwrap();
    assert_eq!(drain(&mut s), [Assign { conn: 'a', worker: 0 }]);
}

#[test]
fn when_the_last_who_had_not_refused_goes_the_connection_is_parked() {
    for gone in [Retire { worker: 1 }, Leave { worker: 1 }] {
        let mut s = rr(Config::default(), 0..2);
        arrive(&mut s, "ab");
        feed(&mut s, [Refused { worker: 0, conn: 'a' }]);
        assert_eq!(s.poll_timeout(), None);
        feed(&mut s, [gone]);
        assert_eq!(s.poll_timeout(), Some(ms(50)), "{gone:?}");
    }
}

#[test]
fn without_workers_everything_waits_for_the_next() {
    let mut s = rr(Config::default(), 0..1);
    arrive(&mut s, "ab");
    feed(&mut s, [Refused { worker: 0, conn: 'a' }, Leave { worker: 0 }]);
    assert_eq!((s.waiting(), s.workers()), (2, 0));
    drain(&mut s);
    feed(&mut s, [Join { worker: 0, slot: 0 }, Accepted { worker: 0, conn: 'b' }]);
    let order = [
        Assign { conn: 'b', worker: 0 },
        Done { conn: 'b', worker: 0 },
        Assign { conn: 'a', worker: 0 },
    ];
    assert_eq!(drain(&mut s), order);
}

#[test]
fn a_retired_worker_is_awaited_and_may_come_back() {
    let mut s = rr(Config::default(), 0..1);
    arrive(&mut s, "ab");
    feed(&mut s, [Retire { worker: 0 }]);
    assert_eq!((s.workers(), s.in_flight(0)), (0, 1));
    feed(&mut s, [Join { worker: 0, slot: 0 }]);
    drain(&mut s);
    assert_eq!(s.in_flight(0), 1, "the window is still used up");
    feed(&mut s, [Accepted { worker: 0, conn: 'a' }]);
    assert_eq!(drain(&mut s), [Done { conn: 'a', worker: 0 }, Assign { conn: 'b', worker: 0 }]);
}

#[test]
fn a_retired_workers_refusal_does_not_count() {
    let mut s = rr(Config::default(), 0..2);
    arrive(&mut s, "ab");
    feed(&mut s, [Retire { worker: 0 }, Refused { worker: 0, conn: 'a' }]);
    assert_eq!((s.waiting(), s.poll_timeout()), (1, None));
    feed(&mut s, [Accepted { worker: 1, conn: 'b' }]);
    assert_eq!(drain(&mut s).last(), Some(&Assign { conn: 'a', worker: 1 }));
}

#[test]
fn close_sheds_what_waits_and_awaits_what_is_in_flight() {
    let mut s = rr(Config::default(), 0..3);
    arrive(&mut s, "abcd");
    drain(&mut s);
    feed(&mut s, [Close, Accepted { worker: 0, conn: 'a' }]);
    feed(&mut s, [Refused { worker: 1, conn: 'b' }, Leave { worker: 2 }]);
    arrive(&mut s, "e");
    let closed = |conn| Shed { conn, reason: ShedReason::Closed };
    let order = [closed('d'), Done { conn: 'a', worker: 0 }, closed('b'), closed('c'), closed('e')];
    assert_eq!(drain(&mut s), order);
    assert!(s.is_idle());
    assert_eq!((s.room(), s.stats().shed_closed), (0, 4));
}

#[test]
fn close_stops_all_timers() {
    let mut s = rr(Config::default(), 0..1);
    arrive(&mut s, "a");
    feed(&mut s, [Refused { worker: 0, conn: 'a' }, Join { worker: 1, slot: 1 }, Close]);
    assert_eq!(s.poll_timeout(), None);
    feed(&mut s, [Refused { worker: 1, conn: 'a' }]);
    assert!(s.is_idle());
}

#[test]
fn a_window_is_filled_when_it_grows_and_respected_when_it_shrinks() {
    let mut s = rr(Config::default(), 0..1);
    arrive(&mut s, "abcde");
    drain(&mut s);
    feed(&mut s, [Window { worker: 0, window: 3 }]);
    assert_eq!(drain(&mut s), ['b', 'c'].map(|conn| Assign { conn, worker: 0 }));
    feed(&mut s, [Window { worker: 0, window: 1 }]);
    feed(&mut s, ['a', 'b'].map(|conn| Accepted { worker: 0, conn }));
    assert_eq!((s.in_flight(0), s.waiting()), (1, 2));
    feed(&mut s, [Window { worker: 0, window: 0 }, Accepted { worker: 0, conn: 'c' }]);
    assert_eq!((s.in_flight(0), s.waiting(), s.workers()), (0, 2, 1));
}

#[test]
fn a_full_line_sheds_by_name() {
    let mut s = rr(Config::default().max_waiting(2), 0..1);
    arrive(&mut s, "abcd");
    assert_eq!(drain(&mut s).last(), Some(&Shed { conn: 'd', reason: ShedReason::Full }));
    assert_eq!((s.room(), s.stats().shed_full), (0, 1));
}

#[test]
#[should_panic(expected = "not free")]
fn a_policy_that_breaks_its_promise_is_found_out() {
    struct Wrong;
    impl Policy<u8, char> for Wrong {
        fn join(&mut self, _: u8, _: u32) {}
        fn leave(&mut self, _: u8) {}
        fn ready(&mut self, _: u8) {}
        fn busy(&mut self, _: u8) {}
        fn pick(
            &mut self,
            _: &char,
            _: Option<u32>,
            _: &mut dyn FnMut(u8) -> Standing,
        ) -> Choice<u8> {
            Choice::Give(7)
        }
    }
    let mut s = Scheduler::new(Wrong, Config::default());
    let _ = s.handle_input(Mono::ZERO, Arrive { conn: 'a', client: None });
}
