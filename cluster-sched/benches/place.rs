//! What one connection costs: arrive, assign, accept, with workers free and with many waiting; and what
//! it costs to rebuild sticky's table. In processor time, so that it means something on a machine
//! that has other work.

#[path = "support/cpu_time.rs"]
mod cpu_time;

use cluster_sched::sticky::{Buckets, client_of};
use cluster_sched::{BoxedPolicy, Config, Input, Mono, Output, PolicyName, Scheduler};
use cpu_time::CpuTime;
use criterion::{BenchmarkId, Criterion, Throughput};
use std::collections::VecDeque;
use std::hint::black_box;
use std::net::Ipv4Addr;

const WORKERS: [u32; 5] = [2, 10, 100, 1_000, 10_000];
/// Connections in one measurement.
const BATCH: u64 = 1_000;
/// Connections that wait, in the crowded case.
const WAITING: usize = 512;

struct Bench {
    scheduler: Scheduler<u32, u64, BoxedPolicy<u32, u64>>,
    in_flight: VecDeque<(u32, u64)>,
    next_conn: u64,
}

impl Bench {
    fn new(name: PolicyName, workers: u32) -> Self {
        let config = Config::default().max_waiting(2 * WAITING);
        let scheduler = Scheduler::new(name.build(1), config);
        let mut bench = Self { scheduler, in_flight: VecDeque::new(), next_conn: 0 };
        for worker in 0..workers {
            bench.feed(Input::Join { worker, slot: worker });
        }
        bench
    }

    fn feed(&mut self, input: Input<u32, u64>) {
        self.scheduler.handle_input(Mono::ZERO, input).expect("a fitting input");
        while let Some(output) = self.scheduler.poll_output() {
            if let Output::Assign { conn, worker } = black_box(output) {
                self.in_flight.push_back((worker, conn));
            }
        }
    }

    /// One of a hundred thousand clients connects.
    fn arrive(&mut self) {
        let conn = self.next_conn;
        self.next_conn += 1;
        let address = Ipv4Addr::from_bits(0x0A00_0000 + conn as u32 % 100_000);
        self.feed(Input::Arrive { conn, client: Some(client_of(address.into())) });
    }

    fn accept(&mut self) {
        let (worker, conn) = self.in_flight.pop_front().expect("a worker has one");
        self.feed(Input::Accepted { worker, conn });
    }

    fn crowd(&mut self) {
        while self.scheduler.waiting() < WAITING {
            self.arrive();
        }
    }
}

fn connections(c: &mut Criterion<CpuTime>, name: PolicyName) {
    let mut group = c.benchmark_group(name.as_str());
    group.throughput(Throughput::Elements(BATCH));
    for workers in WORKERS {
        group.bench_function(BenchmarkId::new("free", workers), |b| {
            let mut bench = Bench::new(name, workers);
            b.iter(|| {
                for _ in 0..BATCH {
                    bench.arrive();
                    bench.accept();
                }
            });
        });
        group.bench_function(BenchmarkId::new("crowded", workers), |b| {
            // An answer brings the next that waits for that worker, and others come.
            let mut bench = Bench::new(name, workers);
            b.iter(|| {
                for _ in 0..BATCH {
                    bench.crowd();
                    bench.accept();
                }
            });
        });
    }
    group.finish();
}

fn tables(c: &mut Criterion<CpuTime>) {
    let mut group = c.benchmark_group("table");
    for slots in WORKERS {
        group.bench_function(BenchmarkId::from_parameter(slots), |b| {
            let mut buckets = Buckets::empty();
            b.iter(|| {
                buckets.rebuild(0..slots);
                black_box(&buckets);
            });
        });
    }
    group.finish();
}

fn main() {
    let mut c = Criterion::default().with_measurement(CpuTime).configure_from_args();
    for &name in PolicyName::ALL {
        connections(&mut c, name);
    }
    tables(&mut c);
    c.final_summary();
}
