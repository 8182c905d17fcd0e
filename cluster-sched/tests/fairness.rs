//! Round-robin is fair: among workers that accept everything, none is ever more than one connection ahead
//! of another.

use cluster_sched::{Config, Input, Mono, Output, RoundRobin, Scheduler};
use proptest::prelude::*;
use std::collections::VecDeque;

struct Fair {
    scheduler: Scheduler<usize, u32>,
    served: Vec<u32>,
    in_flight: VecDeque<(usize, u32)>,
    next_conn: u32,
}

impl Fair {
    fn new(workers: usize, window: u32) -> Self {
        let config = Config::default().window(window);
        let mut scheduler = Scheduler::new(RoundRobin::new(), config);
        for worker in 0..workers {
            scheduler.handle_input(Mono::ZERO, Input::Join { worker, slot: 0 }).unwrap();
        }
        Self { scheduler, served: vec![0; workers], in_flight: VecDeque::new(), next_conn: 0 }
    }

    fn arrive(&mut self) {
        self.feed(Input::Arrive { conn: self.next_conn, client: None });
        self.next_conn += 1;
    }

    fn accept(&mut self, nth: usize) {
        if let Some((worker, conn)) = self.in_flight.remove(nth) {
            self.feed(Input::Accepted { worker, conn });
        }
    }

    fn feed(&mut self, input: Input<usize, u32>) {
        self.scheduler.handle_input(Mono::ZERO, input).unwrap();
        while let Some(output) = self.scheduler.poll_output() {
            if let Output::Assign { conn, worker } = output {
                self.in_flight.push_back((worker, conn));
                self.served[worker] += 1;
                let (most, least) = (self.served.iter().max(), self.served.iter().min());
                assert!(most.unwrap() - least.unwrap() <= 1, "{:?}", self.served);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    /// Workers that are equally quick, under any load, at any window.
    #[test]
    fn workers_of_one_pace_get_the_same(
        workers in 1..20usize,
        window in 1..6u32,
        steps in prop::collection::vec(any::<bool>(), 0..500),
    ) {
        let mut fair = Fair::new(workers, window);
        for arrive in steps {
            if arrive { fair.arrive() } else { fair.accept(0) }
        }
    }

    /// Workers of any pace, as long as no window is used up: strict rotation.
    #[test]
    fn while_there_is_room_the_pace_does_not_matter(
        workers in 1..20usize,
        window in 2..30u32,
        steps in prop::collection::vec(any::<(bool, usize)>(), 0..500),
    ) {
        let mut fair = Fair::new(workers, window);
        for (arrive, nth) in steps {
            let in_flight = fair.in_flight.len();
            if arrive && in_flight + 1 < window as usize {
                fair.arrive();
            } else if in_flight > 0 {
                fair.accept(nth % in_flight);
            }
        }
        for (nth, worker) in fair.served.iter().enumerate() {
            // Not merely fair: worker n has its turn n-th.
            let expected = (fair.next_conn as usize + workers - 1 - nth) / workers;
            prop_assert_eq!(*worker as usize, expected);
        }
    }
}
