//! What a primary does that has no descriptor left. (The limit is the process's: alone in its
//! binary, and one test at a time.)
#![cfg(target_os = "linux")]

#[path = "support/process.rs"]
mod support;

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cluster_primary::Event;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, clock_gettime};
use support::{Cluster, LIMIT, serve_from_any_worker};

/// Descriptors that this process may have while it has too few.
const FEW: u64 = 256;

/// How long the primary waits before it is looked at again.
const TURN: Duration = Duration::from_millis(20);

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// All descriptors that this process may have, as long as they are held.
struct Shortage {
    taken: Vec<File>,
    before: Rlimit,
}

impl Shortage {
    fn new() -> Self {
        let before = getrlimit(Resource::Nofile);
        let few = Rlimit { current: Some(FEW), maximum: before.maximum };
        setrlimit(Resource::Nofile, few).expect("lower is allowed");
        let mut taken = Vec::new();
        while let Ok(file) = File::open("/dev/null") {
            taken.push(file);
        }
        assert!(!taken.is_empty(), "the limit was reached before");
        Self { taken, before }
    }

    fn leave(&mut self, free: usize) {
        let left = self.taken.len() - free;
        self.taken.truncate(left);
    }
}

impl Drop for Shortage {
    fn drop(&mut self) {
        setrlimit(Resource::Nofile, self.before).expect("it was so before");
    }
}

/// A worker that listens, and clients that wait in the kernel's queue.
fn crowd(clients: usize) -> (MutexGuard<'static, ()>, Cluster, Vec<TcpStream>) {
    let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut cluster = Cluster::new();
    let worker = cluster.fork();
    let address: SocketAddr = cluster.listen(worker, 0);
    let connect = |_| {
        let client = TcpStream::connect(address).expect("the kernel takes it");
        client.set_read_timeout(Some(LIMIT)).expect("it is not zero");
        client
    };
    (alone, cluster, (0..clients).map(connect).collect())
}

fn serve(cluster: &mut Cluster, clients: Vec<TcpStream>) {
    cluster.run(|| {
        for client in clients {
            serve_from_any_worker(client);
        }
    });
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("it does not run backwards")
}

#[test]
fn accepting_pauses_and_loses_no_client() {
    let (_alone, mut cluster, clients) = crowd(20);
    let shortage = Shortage::new();
    let rests = |cluster: &mut Cluster, count: u64| {
        while cluster.primary.stats().accept_pauses < count {
            cluster.primary.next_event_within(TURN).expect("a poll");
        }
    };
    rests(&mut cluster, 1);
    let before = cpu_time();
    // Half a second.
    rests(&mut cluster, 6);
    let used = cpu_time() - before;
    assert!(used < Duration::from_millis(50), "it spins: {used:?}");
    assert_eq!(cluster.primary.stats().accepted, 0);
    drop(shortage);
    serve(&mut cluster, clients);
    assert_eq!(cluster.primary.stats().accepted, 20);
}

#[test]
fn who_waits_when_all_are_told_to_go_is_served_as_descriptors_come_free() {
    let (_alone, mut cluster, clients) = crowd(40);
    let mut shortage = Shortage::new();
    shortage.leave(3);
    cluster.primary.disconnect();
    serve(&mut cluster, clients);
    cluster.until("end", |event| matches!(event, Event::Disconnected));
    let stats = cluster.primary.stats();
    assert_eq!((stats.accepted, stats.handed_over), (40, 40));
    assert!(stats.accept_pauses > 0, "three at a time");
    drop(shortage);
}
