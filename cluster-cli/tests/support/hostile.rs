//! A cluster with a hostile worker, and a well-behaved one beside it that is probed all the time.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part of it")]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::support::{Cluster, cluster, eventually, example};

/// How often the well-behaved worker is probed.
const PAUSE: Duration = Duration::from_millis(20);

/// A probe that takes longer is not answered at all. (How long they take is measured by `cargo xtask bench`.)
const LIMIT: Duration = Duration::from_secs(30);

/// More memory than this no attack may cost the primary.
pub const MAX_RSS_KIB: u64 = 200 << 10;

/// The program whose worker of slot 1 is hostile (`cluster-cli/tests/fixtures/hostile`).
pub fn program() -> PathBuf {
    example("cluster-cli", "hostile")
}

/// `cluster run` of two workers: one carries out that attack, with these arguments, the other serves.
pub fn run(options: &[&str], attack: &str, arguments: &[&str]) -> Command {
    let mut command = cluster();
    command.args(["run", "-n", "2", "--ready", "online"]).args(options);
    command.arg(program()).args([attack, "127.0.0.1:0"]).args(arguments);
    command
}

/// A cluster under attack.
pub struct UnderAttack {
    pub cluster: Cluster,
    pub address: SocketAddr,
    prober: Prober,
}

impl UnderAttack {
    /// Starts [`run`], and probes the well-behaved worker from when it listens.
    #[track_caller]
    pub fn start(options: &[&str], attack: &str, arguments: &[&str]) -> Self {
        Self::of(Cluster::start(&mut run(options, attack, arguments)))
    }

    /// Probes the well-behaved worker of that cluster.
    #[track_caller]
    pub fn of(cluster: Cluster) -> Self {
        let address = cluster.listening(1);
        Self::at(cluster, address)
    }

    /// Probes the worker of that cluster that listens there.
    pub fn at(cluster: Cluster, address: SocketAddr) -> Self {
        Self { cluster, address, prober: Prober::start(address) }
    }

    /// Waits until so many more probes have been answered.
    #[track_caller]
    pub fn answered(&self, more: u64) {
        self.prober.answered(more);
    }

    /// No probe has failed, and the primary has not grown; the cluster, to be looked at or ended.
    #[track_caller]
    pub fn survived(self) -> Cluster {
        self.prober.assert_none_failed();
        let peak = peak_rss_kib(self.cluster.pid());
        assert!(peak < MAX_RSS_KIB, "the primary took {peak} KiB of memory");
        self.cluster
    }
}

/// Asks a server for a response every 20 ms, each time on a new connection.
pub struct Prober {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    thread: JoinHandle<Vec<String>>,
}

impl Prober {
    pub fn start(address: SocketAddr) -> Self {
        let (stop, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (end, count) = (Arc::clone(&stop), Arc::clone(&answered));
        let thread = std::thread::spawn(move || {
            let mut failures = Vec::new();
            while !end.load(Ordering::Acquire) {
                match probe(address) {
                    Ok(()) => {
                        count.fetch_add(1, Ordering::AcqRel);
                    }
                    Err(error) => failures.push(error.to_string()),
                }
                std::thread::sleep(PAUSE);
            }
            failures
        });
        Self { stop, answered, thread }
    }

    /// Waits until so many more have been answered.
    #[track_caller]
    pub fn answered(&self, more: u64) {
        let wanted = self.answered.load(Ordering::Acquire) + more;
        eventually("the well-behaved worker answers", || {
            (self.answered.load(Ordering::Acquire) >= wanted).then_some(())
        });
    }

    /// Ends it: some were answered, and none failed.
    #[track_caller]
    pub fn assert_none_failed(self) {
        self.answered(1);
        self.stop.store(true, Ordering::Release);
        let failures = self.thread.join().expect("the prober does not panic");
        assert!(failures.is_empty(), "probes of the well-behaved worker failed: {failures:?}");
    }
}

fn probe(address: SocketAddr) -> io::Result<()> {
    let mut connection = TcpStream::connect_timeout(&address, LIMIT)?;
    connection.set_read_timeout(Some(LIMIT))?;
    connection.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    match answer.starts_with("HTTP/1.1 200 ") && answer.contains("\r\n\r\nworker ") {
        true => Ok(()),
        false => Err(io::Error::other(format!("not the worker's answer: {answer:?}"))),
    }
}

/// The most memory that a process has had so far, in KiB.
pub fn peak_rss_kib(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("Linux tells it");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("it is a number")
}

/// The processor time that a process has used so far, in the system's ticks (usually 10 ms).
pub fn cpu_ticks(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let (_, after_name) = stat.rsplit_once(')').expect("the name stands in brackets");
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    // utime and stime are fields 14 and 15 of proc_pid_stat(5); field 3 comes first here.
    [fields[11], fields[12]].iter().map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
}
