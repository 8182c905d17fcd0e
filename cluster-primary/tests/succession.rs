//! A slot changes hands without I/O: the successor is there before its predecessor goes, and servers
//! stay open for workers to come.

#[path = "support/machine.rs"]
mod support;

use std::time::Duration;

use cluster_primary::machine::{Input, Queue};
use cluster_primary::proto::ClusterBody;
use cluster_primary::{Placement, ServerId, Settings, WorkerId};
use support::{BOUND_PORT, Cluster, key, tcp};

const MS: Duration = Duration::from_millis(1);

fn keeping(placement: Placement) -> Cluster {
    let mut settings = Settings::new("app").placement(placement);
    settings.keep_listeners = true;
    settings.limits.max_window = 1;
    Cluster::with(settings)
}

/// Forks a worker for a slot that another may have, and lets it listen.
fn succeeds(cluster: &mut Cluster, slot: u32) -> (WorkerId, ServerId, Vec<String>) {
    let worker = cluster.machine.next_worker();
    cluster.input(Input::Forked { worker, pid: 1, slot: Some(slot) });
    cluster.says(worker, ClusterBody::Online);
    let server = cluster.serves(worker, BOUND_PORT.into());
    let lines = cluster.says(worker, ClusterBody::Listening(Box::new(tcp(BOUND_PORT.into()))));
    (worker, server, lines)
}

fn goes(cluster: &mut Cluster, worker: WorkerId) -> Vec<String> {
    let mut lines = cluster.closes_channel(worker);
    lines.extend(cluster.exits(worker));
    lines
}

fn found(cluster: &mut Cluster, server: ServerId, slots: &[u32]) -> Vec<String> {
    let slots = slots.iter().zip(0..).map(|(&length, slot)| Queue { slot: Some(slot), length });
    let queues = std::iter::once(Queue { slot: None, length: 0 }).chain(slots).collect();
    cluster.input(Input::Queues { server, queues })
}

#[test]
fn two_workers_have_one_slot_for_a_while() {
    let mut cluster = keeping(Placement::Handoff);
    let (old, ..) = succeeds(&mut cluster, 0);
    let (new, ..) = succeeds(&mut cluster, 0);
    let slot = |cluster: &Cluster, id| cluster.machine.worker(id).map(|state| state.slot);
    assert_eq!((slot(&cluster, old), slot(&cluster, new)), (Some(0), Some(0)));
    // A worker that is forked for no slot in particular gets the lowest that is free.
    assert_eq!(cluster.machine.next_slot(), 1);
    goes(&mut cluster, old);
    assert_eq!((slot(&cluster, old), slot(&cluster, new)), (None, Some(0)));
}

#[test]
fn a_server_stays_open_without_workers_and_accepts_nothing() {
    let mut cluster = keeping(Placement::Handoff);
    let (worker, server, _) = succeeds(&mut cluster, 0);
    assert!(cluster.machine.room(server) > 0);
    let lines = goes(&mut cluster, worker);
    assert!(!lines.iter().any(|line| line.starts_with("close")), "{lines:?}");
    assert_eq!(cluster.machine.room(server), 0);
    let (_, again, _) = succeeds(&mut cluster, 0);
    assert_eq!(again, server, "nothing was bound anew");
    assert!(cluster.machine.room(server) > 0);
}

#[test]
fn what_waits_when_the_last_worker_dies_is_the_next_ones() {
    let mut cluster = keeping(Placement::Handoff);
    let (worker, server, _) = succeeds(&mut cluster, 0);
    let (conn, _) = cluster.connects(server);
    let (other, _) = cluster.connects(server);
    goes(&mut cluster, worker);
    let next = cluster.machine.next_worker();
    cluster.input(Input::Forked { worker: next, pid: 1, slot: Some(0) });
    let lines = cluster.asks(next, tcp(BOUND_PORT.into()));
    assert_eq!(lines[1], format!("to 2: newconn {} conn {}", key(BOUND_PORT.into()), conn.0));
    let lines = cluster.takes(conn);
    assert!(lines.iter().any(|line| line.ends_with(&format!("conn {}", other.0))), "{lines:?}");
}

#[test]
fn the_last_one_that_is_told_to_disconnect_closes_no_server_that_is_kept() {
    let mut cluster = keeping(Placement::Handoff);
    let (worker, server, _) = succeeds(&mut cluster, 0);
    let lines = cluster.input(Input::Disconnect { worker });
    assert_eq!(lines, ["to 1: disconnect"]);
    assert_eq!(
        goes(&mut cluster, worker),
        ["event: disconnect 1 meant: true", "event: exit 1 code 0 meant: true"]
    );
    let closes = format!("close server {}", server.0);
    let lines = cluster.input(Input::ReleaseUnused);
    assert!(lines.iter().any(|line| line.starts_with(&closes)), "{lines:?}");
    assert!(cluster.input(Input::ReleaseUnused).is_empty());
}

#[test]
fn who_is_served_is_not_released() {
    let mut cluster = keeping(Placement::Handoff);
    succeeds(&mut cluster, 0);
    assert!(cluster.input(Input::ReleaseUnused).is_empty());
}

#[test]
fn when_all_disconnect_kept_servers_close_too() {
    let mut cluster = keeping(Placement::Handoff);
    let (worker, ..) = succeeds(&mut cluster, 0);
    goes(&mut cluster, worker);
    let lines = cluster.input(Input::DisconnectAll);
    assert!(lines.iter().any(|line| line.starts_with("close server 1")), "{lines:?}");
    assert_eq!(lines.last().map(String::as_str), Some("event: disconnected"));
}

#[test]
fn under_kernel_a_successor_has_a_socket_of_its_own_and_takes_the_turn() {
    let mut cluster = keeping(Placement::Kernel);
    let (old, server, lines) = succeeds(&mut cluster, 0);
    assert!(lines.contains(&"slot 0 of server 1 on".to_owned()), "{lines:?}");
    let (new, _, lines) = succeeds(&mut cluster, 0);
    // The kernel has the new one take the old one's turn by one write.
    let switched: Vec<_> = lines.iter().filter(|line| line.starts_with("slot")).collect();
    assert_eq!(switched, ["slot 1 of server 1 on", "slot 0 of server 1 off"]);
    // What still waits at the old one's socket is not left there.
    assert_eq!(found(&mut cluster, server, &[2, 0]), ["rescue 2 from slot 0 of server 1"]);
    cluster.input(Input::Disconnect { worker: old });
    assert_eq!(cluster.machine.worker(new).map(|state| state.slot), Some(0));
    // The old one is told when it has settled.
    cluster.wait(20 * MS);
    let lines = found(&mut cluster, server, &[0, 0]);
    assert!(lines.contains(&"to 1: disconnect".to_owned()), "{lines:?}");
}

#[test]
fn under_kernel_a_predecessor_takes_its_turn_back() {
    let mut cluster = keeping(Placement::Kernel);
    succeeds(&mut cluster, 0);
    let (new, ..) = succeeds(&mut cluster, 0);
    let lines = goes(&mut cluster, new);
    let switched: Vec<_> = lines.iter().filter(|line| line.starts_with("slot")).collect();
    assert_eq!(switched, ["slot 1 of server 1 off", "slot 0 of server 1 on"]);
}

#[test]
fn under_kernel_the_latest_predecessor_takes_the_turn_back() {
    let mut cluster = keeping(Placement::Kernel);
    succeeds(&mut cluster, 0);
    succeeds(&mut cluster, 0);
    let (new, ..) = succeeds(&mut cluster, 0);
    let mut lines = goes(&mut cluster, new);
    lines.retain(|line| line.starts_with("slot"));
    assert_eq!(lines, ["slot 2 of server 1 off", "slot 1 of server 1 on"]);
}

#[test]
fn under_kernel_without_workers_clients_wait_in_the_waiting_room() {
    let mut cluster = keeping(Placement::Kernel);
    let (worker, server, _) = succeeds(&mut cluster, 0);
    let lines = goes(&mut cluster, worker);
    assert!(!lines.iter().any(|line| line.starts_with("close")), "{lines:?}");
    assert!(cluster.machine.poll_timeout().is_some(), "it looks for what was left");
    let (_, again, lines) = succeeds(&mut cluster, 0);
    assert_eq!(again, server);
    assert!(lines.contains(&"slot 0 of server 1 on".to_owned()), "{lines:?}");
}
