//! No descriptor is lost or kept when a state is taken up, nor when it cannot be; and whatever the
//! state is, that it cannot be is an error. (The only test here: it counts what the process has.)
#![cfg(target_os = "linux")]

#[path = "../../cluster-ipc/tests/support/damage.rs"]
mod damage;
#[path = "support/process.rs"]
mod support;

use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use cluster_primary::{Frozen, Outgoing, Placement, Primary, Signal, StateError};
use damage::damage;
use support::{Cluster, Folder, placements, puppet};

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("Linux has it").count()
}

/// Numbers that are the same in every run.
fn lots(seed: &mut u64) -> usize {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) as usize
}

/// One in the middle of everything: a stopped worker to whom connections, messages and descriptors
/// are on their way.
fn busy(placement: Placement, folder: &Folder) -> (Cluster, Vec<UnixStream>) {
    let path = folder.0.join(placement.as_str());
    let mut settings = puppet().placement(placement).silent(true);
    settings.limits.unresponsive_after = Some(support::LIMIT);
    let mut cluster = Cluster::with(settings);
    let workers = [cluster.fork(), cluster.fork()];
    for worker in workers {
        let address = cluster.listen(worker, 0);
        cluster.run(move || TcpStream::connect(address).map(drop)).expect("it listens");
        let order = format!("unix {}", path.display());
        assert_eq!(cluster.ask(worker, &order), "listening 0");
    }
    for worker in workers {
        cluster.primary.kill(worker, "SIGSTOP".parse().expect("a signal")).expect("it lives");
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let handle = Some(Outgoing::from(listener));
        cluster.primary.send_reported(worker, "a server", handle).expect("there is room");
        cluster.primary.send(worker, "x".repeat(500)).expect("there is room");
    }
    let clients = (0..5).map(|_| UnixStream::connect(&path).expect("it listens")).collect();
    if placement == Placement::Handoff {
        while cluster.primary.stats().accepted < 7 {
            cluster.primary.wait(Some(support::LIMIT)).expect("a poll");
        }
    }
    (cluster, clients)
}

fn copies(fds: &[OwnedFd]) -> Vec<OwnedFd> {
    fds.iter().map(|fd| fd.try_clone().expect("there is room")).collect()
}

#[test]
fn descriptors_are_neither_lost_nor_kept() {
    const WOUNDS: usize = 1000;
    let folder = Folder::new("upgraded-descriptors");
    let at_first = descriptors();
    let mut seed = 1;
    for placement in placements() {
        let (mut cluster, clients) = busy(placement, &folder);
        let before = descriptors();
        for _ in 0..100 {
            cluster.upgrade();
        }
        assert_eq!(descriptors(), before, "{placement}");

        let Frozen { text, fds } = cluster.primary.state().expect("nothing is in the way");
        let before = descriptors();
        for missing in 1..=fds.len() {
            let some = copies(&fds[..fds.len() - missing]);
            let refused = Primary::from_state(&text, some);
            assert!(matches!(refused, Err(StateError::Descriptor { .. })), "{refused:?}");
            assert_eq!(descriptors(), before, "{placement}, without {missing}");
        }
        for length in (0..text.len()).step_by(text.len() / 50) {
            let refused = Primary::from_state(&text[..length], copies(&fds));
            assert!(matches!(refused, Err(StateError::Text { .. })), "{refused:?}");
        }
        let whole: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
        let mut refused = 0;
        for _ in 0..WOUNDS {
            let mut damaged = whole.clone();
            damage(&mut damaged, lots(&mut seed), lots(&mut seed));
            match Primary::from_state(&damaged.to_string(), copies(&fds)) {
                Ok(primary) => primary.abandon(),
                Err(_) => refused += 1,
            }
            assert_eq!(descriptors(), before, "{placement}: {damaged}");
        }
        assert!(refused > WOUNDS / 3, "{refused}");
        // The whole one is as good as usual.
        Primary::from_state(&text, fds).expect("it can be made").abandon();

        for worker in cluster.primary.all_workers() {
            cluster.primary.kill(worker, Signal::KILL).expect("it lives");
        }
        drop((cluster, clients));
    }
    assert_eq!(descriptors(), at_first);
}
