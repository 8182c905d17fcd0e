//! Workers that do not answer are out of rotation until they do, and busy ones are not taken for them.

#[path = "support/machine.rs"]
mod support;

use std::time::Duration;

use cluster_primary::machine::Input;
use cluster_primary::proto::ClusterBody;
use cluster_primary::{Placement, ServerId, Settings, WorkerId};
use support::{BOUND_PORT, Cluster, tcp};

const MS: Duration = Duration::from_millis(1);

/// Two workers that serve, of which neither answers to anything by itself.
fn mute(placement: Placement) -> (Cluster, [WorkerId; 2], ServerId) {
    let mut settings = Settings::new("app").placement(placement);
    settings.limits.unresponsive_after = Some(400 * MS);
    settings.limits.max_window = 1;
    let mut cluster = Cluster::with(settings);
    let workers = [cluster.fork(), cluster.fork()];
    let mut server = ServerId(0);
    for worker in workers {
        server = cluster.serves(worker, BOUND_PORT.into());
        cluster.says(worker, ClusterBody::Listening(Box::new(tcp(BOUND_PORT.into()))));
    }
    cluster.mute_probes = true;
    (cluster, workers, server)
}

/// Lets the time pass, with every timer on the way.
fn pass(cluster: &mut Cluster, time: Duration) -> Vec<String> {
    let until = cluster.now + time;
    let mut lines = Vec::new();
    while let Some(due) = cluster.machine.poll_timeout().filter(|due| *due <= until) {
        lines.extend(cluster.wait(due.saturating_sub(cluster.now)));
    }
    lines.extend(cluster.wait(until - cluster.now));
    lines.retain(|line| !line.starts_with("look"));
    lines
}

#[test]
fn who_says_nothing_is_asked_and_then_left_out() {
    let (mut cluster, [one, two], server) = mute(Placement::Handoff);
    let lines = pass(&mut cluster, 150 * MS);
    assert_eq!(lines, ["probe 1", "probe 2"]);
    // One answers, the other does not.
    cluster.input(Input::Probed { worker: two });
    let lines = pass(&mut cluster, 299 * MS);
    assert!(!lines.iter().any(|line| line.contains("unresponsive")), "{lines:?}");
    cluster.input(Input::Probed { worker: two });
    let lines = pass(&mut cluster, 150 * MS);
    assert!(lines.contains(&"event: unresponsive 1".to_owned()), "{lines:?}");
    assert!(!cluster.machine.worker(one).unwrap().responsive);
    // What comes goes to the other.
    for _ in 0..3 {
        let (conn, lines) = cluster.connects(server);
        assert!(lines.iter().any(|line| line.starts_with("to 2: newconn")), "{lines:?}");
        cluster.takes(conn);
    }
    // It is said once, and taken back when it speaks.
    let lines = pass(&mut cluster, 50 * MS);
    assert!(!lines.contains(&"event: unresponsive 1".to_owned()), "{lines:?}");
    let lines = cluster.input(Input::Probed { worker: one });
    assert_eq!(lines, ["event: responsive 1"]);
    assert!(cluster.machine.worker(one).unwrap().responsive);
    let (first, lines) = cluster.connects(server);
    let (_, other) = cluster.connects(server);
    let both = [lines, other].concat().join(" ");
    assert!(both.contains("to 1: newconn") && both.contains("to 2: newconn"), "{both}");
    cluster.takes(first);
}

#[test]
fn a_connection_that_is_left_unanswered_is_evidence_too() {
    let (mut cluster, [one, two], server) = mute(Placement::Handoff);
    let (conn, _) = cluster.connects(server);
    let (other, _) = cluster.connects(server);
    cluster.takes(other);
    assert_eq!(cluster.sent[&conn].0, one);
    for _ in 0..4 {
        pass(&mut cluster, 100 * MS);
        cluster.input(Input::Probed { worker: two });
    }
    assert!(!cluster.machine.worker(one).unwrap().responsive);
    assert!(cluster.machine.worker(two).unwrap().responsive);
    // It comes to itself, and takes what it was given.
    let lines = cluster.takes(conn);
    assert!(lines.contains(&"event: responsive 1".to_owned()), "{lines:?}");
}

#[test]
fn a_busy_worker_that_gives_any_sign_is_well() {
    let (mut cluster, [one, two], server) = mute(Placement::Handoff);
    // Unanswered all the time, as of a program that takes connections when it likes.
    let (_, lines) = cluster.connects(server);
    assert!(lines[0].starts_with("to 1"));
    for _ in 0..30 {
        let lines = pass(&mut cluster, 390 * MS);
        assert!(!lines.iter().any(|line| line.contains("unresponsive")), "{lines:?}");
        for worker in [one, two] {
            cluster.says(worker, ClusterBody::Online);
        }
    }
}

#[test]
fn the_last_of_a_server_is_never_left_out() {
    let (mut cluster, [one, _], server) = mute(Placement::Handoff);
    let lines = pass(&mut cluster, 1000 * MS);
    for worker in [1, 2] {
        assert!(lines.contains(&format!("event: unresponsive {worker}")), "{lines:?}");
    }
    let (_, lines) = cluster.connects(server);
    assert!(lines.iter().any(|line| line.starts_with("to 2: newconn")), "{lines:?}");
    // At the end all are asked to serve what is left.
    let (waiting, _) = cluster.connects(server);
    cluster.input(Input::DisconnectAll);
    assert_eq!(cluster.sent[&waiting].0, one);
}

#[test]
fn under_kernel_its_slot_is_off_meanwhile() {
    let (mut cluster, [one, _], _) = mute(Placement::Kernel);
    let lines = pass(&mut cluster, 1000 * MS);
    assert!(lines.contains(&"slot 0 of server 1 off".to_owned()), "{lines:?}");
    assert!(!lines.contains(&"slot 1 of server 1 off".to_owned()), "{lines:?}");
    let lines = cluster.input(Input::Probed { worker: one });
    assert!(lines.contains(&"slot 0 of server 1 on".to_owned()), "{lines:?}");
}

#[test]
fn who_is_to_leave_is_not_asked_how_it_is() {
    let (mut cluster, [one, two], _) = mute(Placement::Handoff);
    for worker in [one, two] {
        cluster.input(Input::Disconnect { worker });
    }
    let lines = pass(&mut cluster, 5000 * MS);
    assert_eq!(lines, [""; 0]);
}

#[test]
fn without_a_limit_no_worker_is_asked() {
    let mut cluster = Cluster::with(Settings::new("app"));
    let worker = cluster.fork();
    cluster.serves(worker, BOUND_PORT.into());
    assert_eq!(cluster.machine.poll_timeout(), None);
}
