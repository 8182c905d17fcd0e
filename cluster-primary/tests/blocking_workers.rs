//! Workers whose event loops block: they are left with what was on their way to them, and the others
//! take the rest; if they die, others take that too.

#[path = "support/node.rs"]
mod node;
#[path = "support/process.rs"]
mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use cluster_primary::{Event, Settings, Signal, WorkerId};
use node::{nodes, under};
use support::{Cluster, Folder, LIMIT, example, serve_from_any_worker};

/// How long the primary waits before it is looked at again.
const TURN: Duration = Duration::from_millis(20);
/// At most under way to a worker.
const WINDOW: u32 = 16;
/// Clients that come while one blocks.
const CLIENTS: usize = 300;

struct Scene {
    cluster: Cluster,
    address: SocketAddr,
    release: PathBuf,
    _folder: Folder,
}

/// Two workers that have shown that they keep up.
fn two(name: &str, mut settings: Settings) -> Scene {
    let folder = Folder::new(name);
    let release = folder.0.join("release");
    settings.env = vec![("RELEASE".into(), Some(release.clone().into()))];
    settings.limits.max_window = WINDOW;
    let mut cluster = Cluster::with(settings);
    let mut port = 0;
    for _ in 0..2 {
        cluster.fork();
        let listening = cluster.until("listening", |e| matches!(e, Event::Listening { .. }));
        let Event::Listening { address, .. } = listening else { unreachable!() };
        port = address.port.and_then(|port| port.try_into().ok()).expect("a port");
    }
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    cluster.run(move || {
        for _ in 0..10 {
            let clients: Vec<_> = (0..64).map(|_| says(address, "g")).collect();
            for client in clients {
                answer(client).expect("no worker blocks yet");
            }
        }
    });
    Scene { cluster, address, release, _folder: folder }
}

fn says(address: SocketAddr, order: &str) -> TcpStream {
    let mut client = TcpStream::connect(address).expect("it listens");
    client.set_read_timeout(Some(LIMIT)).expect("it is not zero");
    client.write_all(order.as_bytes()).expect("a worker has it");
    client
}

fn answer(client: TcpStream) -> Result<WorkerId, String> {
    let mut answer = String::new();
    let mut client = client;
    client.read_to_string(&mut answer).map_err(|error| error.to_string())?;
    let id = answer.lines().last().and_then(|id| id.parse().ok());
    id.map(WorkerId).ok_or_else(|| format!("no answer: {answer:?}"))
}

impl Scene {
    /// One worker blocks, and many clients come: the other one serves all but what is on its way to
    /// the first. The client that blocks it, that worker, and those that are on their way.
    fn block(&mut self) -> (TcpStream, WorkerId, Vec<TcpStream>) {
        let address = self.address;
        let blocker = says(address, "b");
        let mut hears = blocker.try_clone().expect("a descriptor");
        let blocked = self.cluster.run(move || serve_from_any_worker(&mut hears));
        let before = self.cluster.primary.stats().handed_over;
        let clients =
            thread::spawn(move || (0..CLIENTS).map(|_| says(address, "g")).collect::<Vec<_>>());
        let mut most = 0;
        let under_way = |scene: &Self| {
            let state = scene.cluster.primary.worker_state(blocked).expect("it is there");
            state.in_flight
        };
        // Until nothing is left but what is on its way to it.
        loop {
            self.cluster.primary.next_event_within(TURN).expect("a poll");
            most = most.max(under_way(self));
            let taken = self.cluster.primary.stats().handed_over - before;
            if clients.is_finished() && taken + u64::from(under_way(self)) == CLIENTS as u64 {
                break;
            }
        }
        assert!((1..=WINDOW).contains(&most), "{most} were on their way to who blocks");
        let clients = clients.join().expect("they could connect");
        (blocker, blocked, clients)
    }
}

fn workers(kind: &str) -> Vec<(String, Settings)> {
    let node = |(n, path): (usize, PathBuf)| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/js/blocks.cjs");
        (format!("{kind}-node-{n}"), under(&path, script))
    };
    let mut workers: Vec<_> = nodes().into_iter().enumerate().map(node).collect();
    workers.push((format!("{kind}-rust"), Settings::new(example("blocks"))));
    workers
}

#[test]
fn the_others_take_what_comes_meanwhile() {
    for (name, settings) in workers("blocks") {
        let mut scene = two(&name, settings);
        let (blocker, blocked, clients) = scene.block();
        File::create(&scene.release).expect("the folder is there");
        let served: Vec<_> = scene.cluster.run(move || {
            assert_eq!(answer(blocker), Ok(blocked));
            clients.into_iter().map(answer).collect()
        });
        let by_blocked = served.iter().filter(|by| **by == Ok(blocked)).count();
        assert!(served.iter().all(Result::is_ok), "{name}: {served:?}");
        assert!((1..=WINDOW as usize).contains(&by_blocked), "{name}: {by_blocked}");
    }
}

#[test]
fn what_is_on_its_way_to_one_that_dies_goes_to_others() {
    for (name, settings) in workers("dies") {
        let mut scene = two(&name, settings);
        let (blocker, blocked, clients) = scene.block();
        scene.cluster.primary.kill(blocked, Signal::KILL).expect("it is there");
        let served: Vec<_> = scene.cluster.run(move || {
            let mut rest = String::new();
            let mut blocker = blocker;
            // Reset or at its end: it was taken, and died with the worker that took it.
            let _ = blocker.read_to_string(&mut rest);
            assert_eq!(rest, "");
            clients.into_iter().map(answer).collect()
        });
        for by in served {
            assert!(by.as_ref().is_ok_and(|by| *by != blocked), "{name}: {by:?}");
        }
    }
}
