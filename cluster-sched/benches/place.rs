//! What one connection costs: arrive, assign, accept, with all workers free and with all of them busy.

use cluster_sched::{Config, Input, Mono, Output, Policy, Random, RoundRobin, Scheduler};
use criterion::{BenchmarkId, Criterion, Throughput};
use std::hint::black_box;

const WORKERS: [u32; 4] = [2, 16, 256, 10_000];

struct Bench<P> {
    scheduler: Scheduler<u32, u64, P>,
    next_conn: u64,
}

impl<P: Policy<u32, u64>> Bench<P> {
    fn new(policy: P, workers: u32) -> Self {
        let config = Config::default().with_max_waiting(1024);
        let mut bench = Self { scheduler: Scheduler::new(policy, config), next_conn: 0 };
        for worker in 0..workers {
            bench.feed(Input::Join { worker });
        }
        bench
    }

    fn feed(&mut self, input: Input<u32, u64>) {
        self.scheduler.handle_input(Mono::ZERO, input).expect("a fitting input");
    }

    fn arrive(&mut self) {
        self.feed(Input::Arrive { conn: self.next_conn });
        self.next_conn += 1;
    }

    fn assigned(&mut self) -> (u64, u32) {
        loop {
            match self.scheduler.poll_output() {
                Some(Output::Assign { conn, worker }) => return (conn, worker),
                Some(_) => {}
                None => panic!("nothing was assigned"),
            }
        }
    }

    /// A free worker takes the connection and accepts it.
    fn cycle(&mut self) {
        self.arrive();
        let (conn, worker) = black_box(self.assigned());
        self.feed(Input::Accepted { worker, conn });
    }
}

fn cycles<P: Policy<u32, u64>>(c: &mut Criterion, name: &str, policy: impl Fn() -> P) {
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Elements(1));
    for workers in WORKERS {
        group.bench_function(BenchmarkId::new("free", workers), |b| {
            let mut bench = Bench::new(policy(), workers);
            b.iter(|| bench.cycle());
        });
        group.bench_function(BenchmarkId::new("busy", workers), |b| {
            // All are busy and 512 wait: each answer brings the next in line, as each arrival joins it.
            let mut bench = Bench::new(policy(), workers);
            for _ in 0..workers + 512 {
                bench.arrive();
            }
            b.iter(|| {
                let (conn, worker) = black_box(bench.assigned());
                bench.feed(Input::Accepted { worker, conn });
                bench.arrive();
            });
        });
    }
    group.finish();
}

fn main() {
    let mut c = Criterion::default().configure_from_args();
    cycles(&mut c, "rr", RoundRobin::new);
    cycles(&mut c, "random", || Random::new(1));
    c.final_summary();
}
