//! Workers that answer no probe, and those that cannot listen on a socket that they are sent: both is
//! learned, and never held against them.

#[path = "support/machine.rs"]
mod support;

use std::time::Duration;

use cluster_primary::machine::{Input, Machine, MachineState};
use cluster_primary::proto::{AddressType, ClusterBody, Field, ListenQuery};
use cluster_primary::{Placement, Settings, WorkerId};
use support::{BOUND_PORT, Cluster, tcp};

const MS: Duration = Duration::from_millis(1);

/// A worker that serves, and reads probes without answering them.
fn ignoring() -> (Cluster, WorkerId) {
    let mut settings = Settings::new("app");
    settings.limits.unresponsive_after = Some(400 * MS);
    settings.keep_listeners = true;
    let mut cluster = Cluster::with(settings);
    let worker = cluster.fork();
    cluster.serves(worker, BOUND_PORT.into());
    (cluster.mute_probes, cluster.reads_probes) = (true, true);
    (cluster, worker)
}

/// Lets the time pass, with every timer on the way.
fn pass(cluster: &mut Cluster, time: Duration) -> Vec<String> {
    let until = cluster.now + time;
    let mut lines = Vec::new();
    while let Some(due) = cluster.machine.poll_timeout().filter(|due| *due <= until) {
        lines.extend(cluster.wait(due.saturating_sub(cluster.now)));
    }
    lines.extend(cluster.wait(until - cluster.now));
    lines
}

/// Has the next image take the machine over.
fn upgrade(cluster: &mut Cluster) {
    let state = cluster.machine.state(cluster.now).expect("it can be written");
    let text = serde_json::to_string(&state).expect("it can be written");
    let state: MachineState = serde_json::from_str(&text).expect("it can be read");
    let config = cluster.machine.config();
    cluster.machine = Machine::from_state(cluster.now, config, state).expect("it was one");
}

fn learned(cluster: &mut Cluster) {
    let lines = pass(cluster, 1000 * MS);
    let expected =
        ["probe 1", "look at the probe of 1", "look at the probe of 1", "abandon the probe of 1"];
    assert_eq!(lines, expected);
}

#[test]
fn a_worker_that_answers_no_probe_is_probed_once_and_never_considered_stuck() {
    let (mut cluster, _) = ignoring();
    learned(&mut cluster);
    assert!(pass(&mut cluster, 60_000 * MS).is_empty());
}

#[test]
fn what_was_learned_is_kept_for_the_next_image() {
    let (mut cluster, worker) = ignoring();
    learned(&mut cluster);
    upgrade(&mut cluster);
    let lines = pass(&mut cluster, 60_000 * MS);
    assert!(lines.is_empty() && cluster.machine.worker(worker).is_some(), "{lines:?}");
}

#[test]
fn it_is_not_waited_for_before_it_is_told_to_disconnect() {
    let (mut cluster, worker) = ignoring();
    learned(&mut cluster);
    let server = cluster_primary::ServerId(cluster.last_server);
    let (conn, _) = cluster.connects(server);
    cluster.takes(conn);
    let lines = cluster.input(Input::Disconnect { worker });
    assert!(lines.iter().any(|line| line.contains("disconnect")), "{lines:?}");
}

#[test]
fn it_may_be_learned_when_it_leaves() {
    let (mut cluster, worker) = ignoring();
    let server = cluster_primary::ServerId(cluster.last_server);
    let (conn, _) = cluster.connects(server);
    cluster.takes(conn);
    let lines = cluster.input(Input::TakeOutOfRotation { worker });
    assert_eq!(lines, ["probe 1"]);
    let lines = pass(&mut cluster, 1000 * MS);
    assert_eq!(lines[2], "abandon the probe of 1", "{lines:?}");
    assert!(lines[3].starts_with("event: "), "it is out of rotation: {lines:?}");
}

#[test]
fn a_worker_that_has_not_read_its_first_probe_is_stuck_or_busy() {
    let (mut cluster, worker) = ignoring();
    cluster.reads_probes = false;
    let lines = pass(&mut cluster, 2000 * MS);
    assert!(lines.contains(&"event: unresponsive 1".to_owned()), "{lines:?}");
    // It comes to itself.
    let lines = cluster.input(Input::Probed { worker });
    assert_eq!(lines, ["event: responsive 1"]);
    let lines = pass(&mut cluster, 200 * MS);
    assert_eq!(lines, ["probe 1"], "it answers");
}

#[test]
fn one_that_answers_late_was_busy_and_is_probed_again() {
    for upgraded in [false, true] {
        let (mut cluster, worker) = ignoring();
        learned(&mut cluster);
        let server = cluster_primary::ServerId(cluster.last_server);
        let (conn, _) = cluster.connects(server);
        assert!(cluster.sent.contains_key(&conn), "nothing waits for the probe");
        if upgraded {
            upgrade(&mut cluster);
        }
        // It comes to itself: the answer to the probe comes first, then that to the connection.
        let lines = cluster.input(Input::Probed { worker });
        assert!(lines.is_empty(), "the connection is still on its way: {lines:?}");
        cluster.takes(conn);
        if upgraded {
            upgrade(&mut cluster);
        }
        cluster.mute_probes = false;
        let lines = pass(&mut cluster, 1000 * MS);
        assert!(!lines.is_empty() && lines.iter().all(|line| line == "probe 1"), "{lines:?}");
        // Hang detection is on again.
        cluster.mute_probes = true;
        let lines = pass(&mut cluster, 1000 * MS);
        assert_eq!(lines, ["probe 1", "event: unresponsive 1"]);
    }
}

#[test]
fn nothing_is_guessed_of_a_worker_that_is_known_to_answer() {
    // Before the first probe, while it is unanswered, and when it was taken not to answer.
    for time in [0, 150, 400, 1000] {
        let (mut cluster, worker) = ignoring();
        pass(&mut cluster, time * MS);
        assert!(cluster.input(Input::AnswersProbes { worker }).is_empty());
        let lines = pass(&mut cluster, 60_000 * MS);
        assert!(lines.contains(&"event: unresponsive 1".to_owned()), "{time}: {lines:?}");
        assert!(!lines.iter().any(|line| line.contains("abandon")), "{time}: {lines:?}");
    }
}

#[test]
fn a_worker_that_cannot_listen_is_handed_connections_whatever_the_placement_is() {
    for placement in [Placement::Shared, Placement::Kernel] {
        let mut cluster = Cluster::with(Settings::new("app").placement(placement));
        let worker = cluster.fork();
        cluster.input(Input::CannotListen { worker, runtime: "Deno".into() });
        let query = tcp(BOUND_PORT.into());
        let lines = cluster.says(worker, ClusterBody::QueryServer(Box::new(query)));
        assert_eq!(
            lines[0],
            format!("event: hands over 127.0.0.1:{BOUND_PORT}: Deno"),
            "{lines:?}"
        );
        let bind = lines.iter().find(|line| line.starts_with("bind"));
        assert!(bind.is_some_and(|bind| !bind.contains("shared")), "{placement}: {lines:?}");
    }
}

#[test]
fn where_others_have_opened_a_shared_server_it_is_told_that_it_cannot_serve_it() {
    let mut cluster = Cluster::with(Settings::new("app").placement(Placement::Shared));
    let node = cluster.fork();
    cluster.serves(node, BOUND_PORT.into());
    let deno = cluster.fork();
    cluster.input(Input::CannotListen { worker: deno, runtime: "Deno".into() });
    let query = tcp(BOUND_PORT.into());
    let lines = cluster.says(deno, ClusterBody::QueryServer(Box::new(query)));
    assert!(lines.iter().any(|line| line.contains("-95")), "{lines:?}");
    // UDP sockets are always lent.
    let udp = ListenQuery { address_type: Field::Is(AddressType::Udp4), ..tcp(9) };
    let lines = cluster.says(deno, ClusterBody::QueryServer(Box::new(udp)));
    assert!(lines.iter().any(|line| line.starts_with("bind")), "{lines:?}");
}
