//! What a dispatcher costs per connection when 512 connections arrive at once and no worker has been given any before.
//!
//! *reserve*: connections are dealt evenly at once and kept back for their workers (the default).
//! *one*: each worker has one connection at a time, and the others wait in the common queue. The bar: *reserve* costs at most
//! 1.3 times as much as *one*. The ratio is printed at the end, of bursts that alternate between the two.
//! (`cluster-primary/benches/burst.rs` measures the same with the messages to and from the workers.)

#[path = "support/cpu_time.rs"]
mod cpu_time;

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::Duration;

use cluster_sched::{
    BoxedPolicy, Config, DispatchInput, DispatchLimits, DispatchOutput, Dispatcher, Mono,
    PolicyName,
};
use cpu_time::{CpuTime, cpu_time};
use criterion::{BenchmarkId, Criterion, Throughput};

const WORKERS: [u32; 4] = [4, 16, 64, 1_000];
const BURST: u64 = 512;
const BAR: f64 = 1.3;
const PAIRS: usize = 101;
const SERVER: u32 = 1;

type Machine = Dispatcher<u32, u32, u64, BoxedPolicy<u32, u64>>;

fn new(workers: u32, window: u32) -> Machine {
    let limits = DispatchLimits::default().window(window).waiting(BURST as usize);
    let mut dispatcher = Dispatcher::new(limits);
    dispatcher.open(SERVER, PolicyName::RoundRobin.build(7), Config::default());
    for worker in 0..workers {
        feed(&mut dispatcher, DispatchInput::Enter { worker });
        feed(&mut dispatcher, DispatchInput::Join { server: SERVER, worker, slot: worker });
    }
    dispatcher
}

fn feed(dispatcher: &mut Machine, input: DispatchInput<u32, u32, u64>) {
    dispatcher.handle_input(Mono::ZERO, black_box(input)).expect("it fits");
}

/// Takes what is decided, and hands connections over.
fn drain(dispatcher: &mut Machine, numbers: &mut u64, sent: &mut VecDeque<(u32, u64)>) {
    while let Some(output) = dispatcher.poll_output() {
        if let DispatchOutput::HandOff { server, worker, conn } = black_box(output) {
            dispatcher.set_number(server, conn, *numbers);
            sent.push_back((worker, *numbers));
            *numbers += 1;
        }
    }
}

/// A first burst, until all is answered, as a driver goes about it; the processor time that it took.
fn burst(workers: u32, window: u32) -> Duration {
    let mut dispatcher = new(workers, window);
    let (mut sent, mut numbers) = (VecDeque::with_capacity(2 * BURST as usize), 0);
    let before = cpu_time();
    for conn in 0..BURST {
        assert!(dispatcher.room(SERVER) > 0);
        let arrive = DispatchInput::Arrive { server: SERVER, conn, client: None, beyond: 0 };
        feed(&mut dispatcher, arrive);
        drain(&mut dispatcher, &mut numbers, &mut sent);
        black_box(dispatcher.poll_timeout());
    }
    while let Some((worker, number)) = sent.pop_front() {
        feed(&mut dispatcher, DispatchInput::Answered { worker, number, accepted: true });
        drain(&mut dispatcher, &mut numbers, &mut sent);
        black_box(dispatcher.poll_timeout());
    }
    let took = cpu_time() - before;
    assert_eq!(dispatcher.held(), 0);
    took
}

fn bursts(c: &mut Criterion<CpuTime>) {
    let mut group = c.benchmark_group("dispatch");
    group.throughput(Throughput::Elements(BURST));
    group.sample_size(20).measurement_time(Duration::from_secs(2));
    group.warm_up_time(Duration::from_millis(500));
    for workers in WORKERS {
        for (name, window) in [("one", 1), ("reserve", 64)] {
            group.bench_function(BenchmarkId::new(name, workers), |b| {
                b.iter_custom(|times| (0..times).map(|_| burst(workers, window)).sum());
            });
        }
    }
    group.finish();
}

/// The two in turns, so that whatever else the machine does meets both alike.
fn compare() {
    println!("ns per connection in a first burst of {BURST} (bar: reserve ≤ {BAR} × one)");
    println!("{:>8} {:>8} {:>8} {:>6}", "workers", "one", "reserve", "ratio");
    for workers in WORKERS {
        let pair = |_| [1, 64].map(|window| burst(workers, window).as_nanos() as f64);
        let mut pairs: Vec<_> = (0..PAIRS).map(pair).collect();
        pairs.sort_by(|a, b| (a[1] / a[0]).total_cmp(&(b[1] / b[0])));
        let median = pairs[PAIRS / 2][1] / pairs[PAIRS / 2][0];
        let least = |of: usize| pairs.iter().map(|pair| pair[of]).fold(f64::MAX, f64::min);
        let [one, reserve] = [least(0), least(1)].map(|time| time / BURST as f64);
        let met = if median <= BAR { "met" } else { "NOT MET" };
        println!("{workers:>8} {one:>8.0} {reserve:>8.0} {median:>6.2} {met}");
    }
}

fn main() {
    let mut c = Criterion::default().with_measurement(CpuTime).configure_from_args();
    bursts(&mut c);
    c.final_summary();
    // Not when tests only see whether benches run, nor when benches are listed.
    if !std::env::args().any(|arg| arg == "--test" || arg == "--list") {
        compare();
    }
}
