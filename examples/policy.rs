//! A policy of your own: the first worker is given twice as many connections as each of the others. (It
//! may run on a faster processor.)
//!
//! ```sh
//! cargo run --release --package cluster-examples --example policy -- 127.0.0.1:8000
//! ```

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use cluster_primary::sched::{Choice, Policy, Standing};
use cluster_primary::{ConnId, CustomPolicy, Event, Primary, Settings, WorkerId};
use cluster_supervisor::driver::{ClusterEvent, Config, Outcome, Supervised};
use cluster_worker::Worker;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

const WORKERS: u32 = 3;

/// The share of the worker in that slot. A replacement has the slot of its predecessor.
fn weight(slot: u32) -> u64 {
    if slot == 0 { 2 } else { 1 }
}

/// Each connection goes to the worker that has been given the fewest for its weight.
#[derive(Default)]
struct Weighted {
    workers: BTreeMap<WorkerId, Share>,
}

struct Share {
    weight: u64,
    given: u64,
    ready: bool,
}

impl Policy<WorkerId, ConnId> for Weighted {
    fn join(&mut self, worker: WorkerId, slot: u32) {
        // A new worker begins where the others are: otherwise it would get all connections until it
        // has had as many.
        let weight = weight(slot);
        let shares = self.workers.values();
        let level = shares.map(|share| share.given / share.weight).min().unwrap_or(0);
        self.workers.insert(worker, Share { weight, given: level * weight, ready: false });
    }

    fn leave(&mut self, worker: WorkerId) {
        self.workers.remove(&worker);
    }

    fn ready(&mut self, worker: WorkerId) {
        self.set_ready(worker, true);
    }

    fn busy(&mut self, worker: WorkerId) {
        self.set_ready(worker, false);
    }

    fn pick(
        &mut self,
        _conn: &ConnId,
        _client: Option<u32>,
        standing: &mut dyn FnMut(WorkerId) -> Standing,
    ) -> Choice<WorkerId> {
        // A worker that is ready has not necessarily room for this connection: it may have refused it.
        let free = self
            .workers
            .iter_mut()
            .filter(|(worker, share)| share.ready && standing(**worker) == Standing::Free);
        // given / weight, compared without fractions.
        let least = free.min_by(|(_, one), (_, other)| {
            (one.given * other.weight).cmp(&(other.given * one.weight))
        });
        match least {
            Some((worker, share)) => {
                share.given += 1;
                Choice::Give(*worker)
            }
            None => Choice::Wait,
        }
    }
}

impl Weighted {
    fn set_ready(&mut self, worker: WorkerId, ready: bool) {
        if let Some(share) = self.workers.get_mut(&worker) {
            share.ready = ready;
        }
    }
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    match Worker::from_env()? {
        Some(worker) => serve(&worker).map(|()| ExitCode::SUCCESS),
        None => keep(),
    }
}

fn serve(worker: &Worker) -> Result<(), Box<dyn Error>> {
    let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8000".into());
    let listener = worker.listen(address.as_str())?;
    let body = format!("worker {}\n", worker.id());
    while let Some(mut connection) = listener.accept_tracked()? {
        let mut request = [0; 4096];
        if connection.read(&mut request).is_ok_and(|length| length > 0) {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}", body.len());
            let answer = format!("{head}\r\nConnection: close\r\n\r\n{body}");
            // The client may have gone.
            let _ = connection.write_all(answer.as_bytes());
        }
    }
    Ok(())
}

fn keep() -> Result<ExitCode, Box<dyn Error>> {
    let policy = CustomPolicy::new("weighted", |_seed| Weighted::default());
    let mut primary = Primary::new(Settings::default().custom_policy(policy))?;
    // Becomes readable when the program is to end.
    let (ends, notify) = UnixStream::pair()?;
    pipe::register(SIGTERM, notify.try_clone()?)?;
    pipe::register(SIGINT, notify)?;
    let ends_watch = primary.watch(ends.as_raw_fd())?;
    let mut cluster = Supervised::new(primary, Config::new(WORKERS));
    loop {
        while let Some(happening) = cluster.ready() {
            match happening {
                ClusterEvent::Event(Event::Fork { worker, pid, .. }) => {
                    eprintln!("worker {worker} (pid {pid}) started");
                }
                ClusterEvent::Event(Event::Listening { worker, address, .. }) => {
                    eprintln!("worker {worker} listens on {address}");
                }
                _ => {}
            }
        }
        if cluster.primary_mut().take_ready(ends_watch) {
            cluster.end();
        }
        match cluster.outcome() {
            None => cluster.wait(None)?,
            Some(Outcome::AsAsked) => return Ok(ExitCode::SUCCESS),
            Some(outcome) => return Err(format!("the cluster ended: {outcome:?}").into()),
        }
    }
}
