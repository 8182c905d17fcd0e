//! How many server sockets workers may have the primary open, one worker after the other.

#[path = "support/machine.rs"]
mod support;

use cluster_primary::machine::{self, Config, Input, Machine, Output};
use cluster_primary::proto::ClusterBody;
use cluster_primary::{Event, ListenLimit, ListenScope, Placement, ServerId, Settings, WorkerId};
use support::{Cluster, key, tcp};

fn cluster(change: impl FnOnce(&mut Settings)) -> Cluster {
    let mut settings = Settings::new("app");
    change(&mut settings);
    Cluster::with(settings)
}

/// A worker asks for these ports; those that it gets.
fn gets(cluster: &mut Cluster, worker: WorkerId, ports: impl IntoIterator<Item = i32>) -> Vec<i32> {
    let mut got = Vec::new();
    for port in ports {
        let mut lines = cluster.asks(worker, tcp(port));
        if lines.iter().any(|line| line.starts_with("bind")) {
            lines = cluster.bound(ServerId(cluster.last_server));
        }
        let to = format!("to {worker}: ack ");
        let answer = lines.iter().find(|line| line.starts_with(&to)).expect("it is answered");
        if !answer.contains("errno -24") {
            got.push(port);
        }
    }
    got
}

/// The limit that the machine names as it refuses a listen.
fn refusal(cluster: &mut Cluster, worker: WorkerId, port: i32) -> ListenLimit {
    let query = Box::new(tcp(port));
    // Numbers of messages only have to be given.
    let message =
        cluster_primary::proto::Message::cluster(900, None, ClusterBody::QueryServer(query));
    cluster.machine.handle_input(
        cluster.now,
        Input::Received { worker, message, handle: None, arrived: true },
    );
    while let Some(output) = cluster.machine.poll_output() {
        if let Output::Event(machine::Event::Plain(Event::ListenFailed { limit, error, .. })) =
            output
        {
            assert_eq!(error.raw_os_error(), Some(24), "EMFILE");
            return limit.expect("a limit is the reason");
        }
    }
    panic!("it is not refused");
}

fn dies(cluster: &mut Cluster, worker: WorkerId) {
    cluster.closes_channel(worker);
    cluster.exits(worker);
}

#[test]
fn what_is_kept_for_a_slot_makes_room_for_its_next_worker() {
    let mut cluster = cluster(|settings| {
        settings.keep_listeners = true;
        settings.limits.max_sockets_per_slot = 4;
    });
    let other = cluster.fork();
    gets(&mut cluster, other, [70]);
    for life in 0..5 {
        let worker = cluster.fork();
        let ports = (80 + 10 * life)..(84 + 10 * life);
        assert_eq!(gets(&mut cluster, worker, ports.clone()).len(), 4, "life {life}");
        assert_eq!(cluster.machine.open_sockets(), 5, "life {life}");
        let limit = refusal(&mut cluster, worker, 99);
        assert_eq!((limit.scope, limit.limit), (ListenScope::Slot(1), 4));
        dies(&mut cluster, worker);
        // They stay for the next worker, and for what clients have begun.
        assert_eq!(cluster.machine.open_sockets(), 5);
    }
    // A worker that wants the same as the one before gets the same sockets.
    let worker = cluster.fork();
    let before = cluster.last_server;
    assert_eq!(gets(&mut cluster, worker, 120..124).len(), 4);
    assert_eq!(cluster.last_server, before, "no socket was made");
    assert_eq!(cluster.machine.listening(other).len(), 1, "another slot's are not touched");
}

#[test]
fn what_others_serve_counts_for_the_slot_that_had_it_opened() {
    let mut cluster = cluster(|settings| settings.limits.max_sockets_per_slot = 4);
    let (first, other) = (cluster.fork(), cluster.fork());
    assert_eq!(gets(&mut cluster, first, 80..84).len(), 4);
    assert_eq!(gets(&mut cluster, other, 80..84).len(), 4, "they are there already");
    assert_eq!(gets(&mut cluster, other, 90..94).len(), 4, "these are its own");
    dies(&mut cluster, first);
    let next = cluster.fork();
    assert_eq!(refusal(&mut cluster, next, 100).scope, ListenScope::Slot(0));
    assert_eq!(gets(&mut cluster, next, 80..84).len(), 4, "what is there costs nothing");
    for port in 80..84 {
        cluster.says(next, ClusterBody::Close { key: key(port).as_str().into() });
        cluster.says(other, ClusterBody::Close { key: key(port).as_str().into() });
    }
    assert_eq!(cluster.machine.open_sockets(), 4);
    assert_eq!(gets(&mut cluster, next, 110..114).len(), 4, "what is closed makes room");
}

#[test]
fn a_slot_leaves_half_of_what_descriptors_allow_to_the_others() {
    let mut cluster = cluster(|_| {});
    cluster.machine.limit_sockets(8);
    let (greedy, other) = (cluster.fork(), cluster.fork());
    assert_eq!(gets(&mut cluster, greedy, 1000..2000).len(), 4);
    let limit = refusal(&mut cluster, greedy, 99);
    assert_eq!((limit.scope, limit.limit, limit.by_descriptors), (ListenScope::Slot(0), 4, true));
    assert!(limit.to_string().contains("slot 0") && limit.to_string().contains("LimitNOFILE"));
    assert_eq!(gets(&mut cluster, other, 80..90).len(), 4);
    let third = cluster.fork();
    let limit = refusal(&mut cluster, third, 99);
    assert_eq!((limit.scope, limit.limit), (ListenScope::Cluster, 8));
}

#[test]
fn all_slots_together_have_a_limit() {
    let mut cluster = cluster(|settings| {
        settings.limits.max_sockets = 6;
        settings.limits.max_sockets_per_slot = 4;
    });
    let (one, two) = (cluster.fork(), cluster.fork());
    assert_eq!(gets(&mut cluster, one, 80..90).len(), 4);
    assert_eq!(gets(&mut cluster, two, 90..100).len(), 2);
    let limit = refusal(&mut cluster, two, 99);
    assert_eq!((limit.scope, limit.limit, limit.by_descriptors), (ListenScope::Cluster, 6, false));
    // All are closed with the workers that have them.
    dies(&mut cluster, one);
    dies(&mut cluster, two);
    assert_eq!(cluster.machine.open_sockets(), 0);
}

#[test]
fn what_could_not_be_bound_does_not_count() {
    let mut cluster = cluster(|settings| settings.limits.max_sockets_per_slot = 2);
    let worker = cluster.fork();
    for _ in 0..10 {
        cluster.asks(worker, tcp(80));
        cluster.not_bound(ServerId(cluster.last_server), -98);
    }
    assert_eq!(cluster.machine.open_sockets(), 0);
    assert_eq!(gets(&mut cluster, worker, 81..90).len(), 2);
}

#[test]
fn each_workers_own_socket_counts() {
    let mut cluster = cluster(|settings| {
        settings.placement = Placement::Kernel;
        settings.limits.max_sockets = 5;
    });
    let (one, two) = (cluster.fork(), cluster.fork());
    // The waiting room and one's own; then one more for the other.
    assert_eq!(gets(&mut cluster, one, [80]), [80]);
    assert_eq!(cluster.machine.open_sockets(), 2);
    assert_eq!(gets(&mut cluster, two, [80]), [80]);
    assert_eq!(cluster.machine.open_sockets(), 3);
    assert_eq!(gets(&mut cluster, one, [81]), [81]);
    assert_eq!(gets(&mut cluster, two, [81]), [0; 0], "there is no socket left for it");
    assert_eq!(cluster.machine.open_sockets(), 5);
    assert_eq!(cluster.machine.listening(two).len(), 1);
    dies(&mut cluster, one);
    assert_eq!(cluster.machine.open_sockets(), 3, "two has the server still");
    dies(&mut cluster, two);
    assert_eq!(cluster.machine.open_sockets(), 0);
}

#[test]
fn an_upgrade_keeps_the_count() {
    let mut settings = Settings::new("app");
    settings.keep_listeners = true;
    settings.limits.max_sockets_per_slot = 4;
    let mut cluster = Cluster::with(settings.clone());
    let (one, two) = (cluster.fork(), cluster.fork());
    gets(&mut cluster, one, 80..83);
    gets(&mut cluster, two, 80..85);
    // From here on no worker serves what slot 1 had opened, and slot 1 serves what slot 0 had.
    dies(&mut cluster, one);
    cluster.says(two, ClusterBody::Close { key: key(84).as_str().into() });
    let open = cluster.machine.open_sockets();
    let state = cluster.machine.state(cluster.now).expect("nothing waits");
    let text = serde_json::to_string(&state).expect("it can be written");
    let state = serde_json::from_str(&text).expect("it can be read");
    cluster.machine =
        Machine::from_state(cluster.now, Config::from(&settings), state).expect("it is a state");
    assert_eq!(cluster.machine.open_sockets(), open);
    let three = cluster.fork();
    assert_eq!(gets(&mut cluster, three, [90]), [90], "slot 0 has three still");
    assert_eq!(refusal(&mut cluster, three, 91).scope, ListenScope::Slot(0));
}
