//! A connection's way takes no memory, whatever the policy, once as much has been held as there is now.
//! One test, since it counts every allocation of the process.
#![allow(unsafe_code, reason = "an allocator that counts is an allocator")]

use cluster_sched::sticky::client_of;
use cluster_sched::{BoxedPolicy, Config, Input, Mono, Output, PolicyName, Scheduler};
use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The system's allocator, and how often it was asked.
struct Counting(AtomicUsize);

#[global_allocator]
static ALLOCATOR: Counting = Counting(AtomicUsize::new(0));

// SAFETY: every call is passed on as it is, and counting takes no memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.0.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract, and `place` is `System`'s.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        self.0.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract, and `place` is `System`'s.
        unsafe { System.realloc(place, layout, size) }
    }
}

struct Load {
    scheduler: Scheduler<u32, u64, BoxedPolicy<u32, u64>>,
    in_flight: VecDeque<(u32, u64)>,
    next_conn: u64,
    done: u64,
    noise: u32,
}

impl Load {
    fn new(name: PolicyName, workers: u32, window: u32) -> Self {
        let config = Config::default().window(window).max_waiting(100);
        let mut load = Self {
            scheduler: Scheduler::new(name.build(1), config),
            in_flight: VecDeque::with_capacity(10_000),
            next_conn: 0,
            done: 0,
            noise: 1,
        };
        for worker in 0..workers {
            load.feed(Input::Join { worker, slot: worker });
        }
        load
    }

    fn below(&mut self, limit: u32) -> u32 {
        self.noise = self.noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.noise >> 8) % limit
    }

    fn feed(&mut self, input: Input<u32, u64>) {
        self.scheduler.handle_input(Mono::ZERO, input).expect("a fitting input");
        while let Some(output) = self.scheduler.poll_output() {
            match output {
                Output::Assign { conn, worker } => self.in_flight.push_back((worker, conn)),
                Output::Done { .. } => self.done += 1,
                Output::Shed { .. } => panic!("nothing is refused, and there is room"),
            }
        }
    }

    /// Connections come while there is room, and are accepted in any order; workers report.
    fn step(&mut self) {
        match self.below(20) {
            0 => {
                let (worker, held) = (self.below(self.scheduler.workers() as u32), self.below(9));
                self.feed(Input::Held { worker, held });
            }
            1..=10 if self.scheduler.room() > 0 => {
                let conn = self.next_conn;
                self.next_conn += 1;
                let address = Ipv4Addr::from_bits(0x0A00_0000 + self.below(1000));
                let client = (!conn.is_multiple_of(5)).then(|| client_of(address.into()));
                self.feed(Input::Arrive { conn, client });
            }
            _ if !self.in_flight.is_empty() => {
                let nth = self.below(self.in_flight.len() as u32) as usize;
                let (worker, conn) = self.in_flight.swap_remove_back(nth).expect("it is there");
                self.feed(Input::Accepted { worker, conn });
            }
            _ => {}
        }
    }

    /// Fills everything that can be filled, then empties it.
    fn warm_up(&mut self) {
        while self.scheduler.room() > 0 {
            let conn = self.next_conn;
            self.next_conn += 1;
            self.feed(Input::Arrive {
                conn,
                client: Some(client_of([10, 0, 0, conn as u8].into())),
            });
        }
        while let Some((worker, conn)) = self.in_flight.pop_front() {
            self.feed(Input::Accepted { worker, conn });
        }
    }
}

#[test]
fn a_connections_way_takes_no_memory() {
    for &name in PolicyName::ALL {
        for (workers, window) in [(1, 1), (3, 1), (100, 1), (20, 16)] {
            let mut load = Load::new(name, workers, window);
            load.warm_up();
            // What can be held at most depends on chance, where clients stick.
            (0..20_000).for_each(|_| load.step());
            let (before, done) = (ALLOCATOR.0.load(Ordering::Relaxed), load.done);
            (0..50_000).for_each(|_| load.step());
            let taken = ALLOCATOR.0.load(Ordering::Relaxed) - before;
            assert!(load.done - done > 10_000, "{name}, {workers}: {}", load.done - done);
            assert_eq!(taken, 0, "{name}, {workers} workers, windows of {window}");
        }
    }
}
