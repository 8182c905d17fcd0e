//! What the primary's machine costs per connection when 512 connections arrive at once and no worker has been given any before.
//!
//! *reserve*: connections are dealt evenly at once and kept back for their workers (the default).
//! *one*: each worker has one connection at a time, and the others wait in the common queue. The bar: *reserve* costs at most
//! 1.3 times as much as *one*. The ratio is printed at the end, of bursts that alternate between the two.

#[path = "../../cluster-sched/benches/support/cpu_time.rs"]
mod cpu_time;

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::Duration;

use cluster_primary::machine::{Bound, Config, Input, Machine, MachineState, Output, SendHandle};
use cluster_primary::proto::{
    AddressType, ClusterBody, ClusterMessage, Field, HandleKind, ListenQuery, Message,
};
use cluster_primary::{ConnId, Mono, ServerId, WorkerId};
use cpu_time::{CpuTime, cpu_time};
use criterion::{BenchmarkId, Criterion, Throughput};

const WORKERS: [u32; 4] = [4, 16, 64, 1_000];
const BURST: u64 = 512;
const BAR: f64 = 1.3;
const PAIRS: usize = 41;

const SERVER: ServerId = ServerId(1);

/// Workers that listen on one port.
struct Idle {
    config: Config,
    state: MachineState,
}

impl Idle {
    fn new(workers: u32, window: Option<u32>) -> Self {
        let mut config = Config::default();
        if let Some(window) = window {
            config.limits.max_window = window;
        }
        // All that arrive wait here.
        config.limits.max_waiting = 2 * BURST as usize;
        let mut machine = Machine::new(config.clone(), 7);
        for _ in 0..workers {
            let worker = machine.next_worker();
            machine.handle_input(Mono::ZERO, Input::Forked { worker, pid: worker.0, slot: None });
            for (seq, body) in [ClusterBody::Online, ask()].into_iter().enumerate() {
                let message = Message::cluster(seq as u64, None, body);
                let input = Input::Received { worker, message, handle: None, arrived: true };
                machine.handle_input(Mono::ZERO, input);
            }
            if worker == WorkerId(1) {
                let bound = Bound { sockname: None, kind: HandleKind::NetNative };
                let input = Input::Bound { server: SERVER, result: Ok(bound) };
                machine.handle_input(Mono::ZERO, input);
            }
            while machine.poll_output().is_some() {}
        }
        let state = machine.state(Mono::ZERO).expect("outputs were taken");
        Self { config, state }
    }

    /// A burst, until all workers have answered; the processor time that it took.
    fn burst(&self) -> Duration {
        let config = self.config.clone();
        let machine = Machine::from_state(Mono::ZERO, config, self.state.clone());
        let mut burst =
            Burst { machine: machine.expect("it is one"), sent: VecDeque::new(), done: 0 };
        let before = cpu_time();
        for conn in 1..=BURST {
            assert!(burst.machine.room(SERVER) > 0);
            burst.feed(Input::Accepted { server: SERVER, conn: ConnId(conn), client: None });
            black_box(burst.machine.poll_timeout());
        }
        while let Some((worker, seq)) = burst.sent.pop_front() {
            let message = Message::cluster(0, Some(seq), ClusterBody::Accepted(true));
            burst.feed(Input::Received { worker, message, handle: None, arrived: true });
            black_box(burst.machine.poll_timeout());
        }
        let took = cpu_time() - before;
        assert_eq!(burst.done, BURST);
        took
    }
}

struct Burst {
    machine: Machine,
    sent: VecDeque<(WorkerId, u64)>,
    done: u64,
}

impl Burst {
    fn feed(&mut self, input: Input) {
        self.machine.handle_input(Mono::ZERO, input);
        while let Some(output) = self.machine.poll_output() {
            match black_box(output) {
                Output::Send {
                    worker,
                    message: Message::Cluster(ClusterMessage { seq, .. }),
                    handle: Some(SendHandle::Conn { .. }),
                } => self.sent.push_back((worker, seq)),
                Output::DropConn { .. } => self.done += 1,
                _ => {}
            }
        }
    }
}

fn ask() -> ClusterBody {
    ClusterBody::QueryServer(Box::new(ListenQuery {
        address: Field::Is("127.0.0.1".into()),
        port: Field::Is(80),
        address_type: Field::Is(AddressType::Tcp4),
        flags: Field::Is(0),
        ..ListenQuery::default()
    }))
}

fn bursts(c: &mut Criterion<CpuTime>) {
    let mut group = c.benchmark_group("burst");
    group.throughput(Throughput::Elements(BURST));
    group.sample_size(20).measurement_time(Duration::from_secs(2));
    group.warm_up_time(Duration::from_millis(500));
    for workers in WORKERS {
        for (name, window) in [("one", Some(1)), ("reserve", None)] {
            group.bench_function(BenchmarkId::new(name, workers), |b| {
                let idle = Idle::new(workers, window);
                b.iter_custom(|times| (0..times).map(|_| idle.burst()).sum());
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
        let [one, reserve] = [Some(1), None].map(|window| Idle::new(workers, window));
        let mut pairs: Vec<_> = (0..PAIRS).map(|_| (one.burst(), reserve.burst())).collect();
        let per_conn = |time: Duration| time.as_nanos() as f64 / BURST as f64;
        let ratio = |pair: &(Duration, Duration)| per_conn(pair.1) / per_conn(pair.0);
        pairs.sort_by(|a, b| ratio(a).total_cmp(&ratio(b)));
        let median = ratio(&pairs[PAIRS / 2]);
        let least = |of: fn(&(Duration, Duration)) -> Duration| pairs.iter().map(of).min();
        let [one, reserve] =
            [least(|pair| pair.0), least(|pair| pair.1)].map(|time| per_conn(time.expect("some")));
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
