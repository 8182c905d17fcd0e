//! What a primary is told of its workers' lives, in Node's order.

#[path = "support/machine.rs"]
mod support;

use cluster_primary::machine::{Config, Handle, Input};
use cluster_primary::proto::{ClusterBody, Field, HandleKind, ListenQuery, Message};
use cluster_primary::{HandleId, Settings, WorkerError, WorkerId};
use support::{Cluster, tcp};

#[test]
fn setup_is_told_before_every_fork() {
    let mut cluster = Cluster::new();
    for n in 1..=2 {
        let worker = cluster.machine.next_worker();
        let lines = cluster.input(Input::Forked { worker, pid: 1, slot: None });
        assert_eq!(lines, ["event: setup".into(), format!("event: fork {n}")]);
    }
    let mut config = Config::default();
    config.keep_listeners = true;
    assert_eq!(cluster.input(Input::Setup { config: config.clone() }), ["event: setup"]);
    assert_eq!(cluster.machine.config(), config);
}

#[test]
fn placement_and_policy_are_frozen_by_the_first_setup_or_fork() {
    use cluster_primary::{Placement, PolicyName};
    let mut changed = Config::default();
    changed.placement = Placement::Shared;
    changed.policy = PolicyName::Random;
    changed.keep_listeners = true;
    let schedule = Input::Schedule { placement: Placement::Kernel, policy: PolicyName::Sticky };
    let handoff = || Cluster::with(Settings::new("app").placement(Placement::Handoff));

    let mut cluster = handoff();
    cluster.fork();
    cluster.input(Input::Setup { config: changed.clone() });
    assert_eq!(cluster.input(schedule.clone()), [""; 0]);
    let config = cluster.machine.config();
    assert!(config.keep_listeners);
    assert_eq!((config.placement, config.policy), (Placement::Handoff, PolicyName::RoundRobin));

    let mut cluster = handoff();
    cluster.input(Input::Setup { config: changed.clone() });
    assert_eq!(cluster.machine.config(), changed, "the first may");

    let mut cluster = handoff();
    assert_eq!(cluster.input(schedule), [""; 0]);
    let config = cluster.machine.config();
    assert_eq!((config.placement, config.policy), (Placement::Kernel, PolicyName::Sticky));
}

#[test]
fn a_workers_life_is_told_in_its_order() {
    let mut cluster = Cluster::new();
    let worker = cluster.machine.next_worker();
    cluster.input(Input::Forked { worker, pid: 4711, slot: None });
    let state = |cluster: &Cluster| cluster.machine.worker(worker).map(|w| w.state);
    assert_eq!(state(&cluster), Some("none"));

    assert_eq!(cluster.says(worker, ClusterBody::Online), ["event: online 1"]);
    assert_eq!(state(&cluster), Some("online"));

    let listening = ClusterBody::Listening(Box::new(tcp(8000)));
    assert_eq!(cluster.says(worker, listening), ["event: listening 1 127.0.0.1:8000"]);
    assert_eq!(state(&cluster), Some("listening"));

    let hello = Message::User("hello".into());
    let handle = Some(Handle { id: HandleId(9), kind: HandleKind::NetSocket, key: None });
    let lines = cluster.input(Input::Received { worker, message: hello, handle, arrived: true });
    assert_eq!(lines, ["event: message 1 hello with net.Socket"]);

    assert_eq!(cluster.closes_channel(worker), ["event: disconnect 1 meant: false"]);
    assert_eq!(state(&cluster), Some("disconnected"));
    assert_eq!(cluster.exits(worker), ["event: exit 1 code 0 meant: false"]);
    assert_eq!(state(&cluster), None);
    assert!(cluster.machine.is_empty());
}

#[test]
fn what_a_worker_listens_on_is_told_as_one_would_write_it() {
    let mut cluster = Cluster::new();
    let worker = cluster.fork();
    let with = |address: Option<&str>, port| ListenQuery {
        address: address.map_or(Field::Null, |a| Field::Is(a.into())),
        ..tcp(port)
    };
    let fd = ListenQuery {
        address: Field::Null,
        port: Field::Null,
        address_type: Field::Null,
        fd: Field::Is(5),
        ..ListenQuery::default()
    };
    for (query, shown) in [
        (with(Some("127.0.0.1"), 80), "127.0.0.1:80"),
        (with(Some("::1"), 80), "[::1]:80"),
        (with(None, 80), "*:80"),
        (with(Some("/run/s.sock"), -1), "/run/s.sock"),
        (fd, "fd 5"),
    ] {
        let lines = cluster.says(worker, ClusterBody::Listening(Box::new(query)));
        assert_eq!(lines, [format!("event: listening 1 {shown}")]);
    }
}

#[test]
fn disconnect_and_exit_come_in_either_order_and_the_list_shrinks_at_the_later() {
    for exit_first in [false, true] {
        let mut cluster = Cluster::new();
        let (one, _two) = (cluster.fork(), cluster.fork());
        let mut halves: [fn(&mut Cluster, WorkerId) -> Vec<String>; 2] =
            [Cluster::closes_channel, Cluster::exits];
        let mut expected =
            ["event: disconnect 1 meant: false", "event: exit 1 code 0 meant: false"];
        if exit_first {
            halves.reverse();
            expected.reverse();
        }
        assert_eq!(halves[0](&mut cluster, one), [expected[0]]);
        assert_eq!(cluster.workers(), [1, 2], "exit first: {exit_first}");
        assert_eq!(halves[1](&mut cluster, one), [expected[1]]);
        assert_eq!(cluster.workers(), [2], "exit first: {exit_first}");
        // What is said again changes nothing.
        assert_eq!(halves[0](&mut cluster, one), [""; 0]);
        assert_eq!(halves[1](&mut cluster, one), [""; 0]);
    }
}

#[test]
fn whether_it_was_meant_is_open_until_the_first_of_the_two() {
    let mut cluster = Cluster::new();
    let worker = cluster.fork();
    let meant = |cluster: &Cluster| cluster.machine.worker(worker).unwrap().exited_after_disconnect;
    assert_eq!(meant(&cluster), None);
    cluster.exits(worker);
    assert_eq!(meant(&cluster), Some(false));
    assert_eq!(cluster.closes_channel(worker), ["event: disconnect 1 meant: false"]);
}

#[test]
fn a_worker_that_goes_of_its_own_will_says_so_and_is_answered() {
    let mut cluster = Cluster::new();
    let worker = cluster.fork();
    // Its second message, so the answer names 1.
    assert_eq!(cluster.says(worker, ClusterBody::ExitedAfterDisconnect), ["to 1: ack 1"]);
    assert_eq!(cluster.machine.worker(worker).unwrap().exited_after_disconnect, Some(true));
    assert_eq!(cluster.workers(), [1], "it is still listed");
    assert_eq!(cluster.closes_channel(worker), ["event: disconnect 1 meant: true"]);
    assert_eq!(cluster.exits(worker), ["event: exit 1 code 0 meant: true"]);
}

#[test]
fn a_worker_told_to_disconnect_leaves_the_list_at_once() {
    let mut cluster = Cluster::new();
    let worker = cluster.fork();
    assert_eq!(cluster.input(Input::Disconnect { worker }), ["to 1: disconnect"]);
    assert_eq!(cluster.workers(), [0; 0]);
    assert_eq!(cluster.machine.all_workers().collect::<Vec<_>>(), [worker]);
    assert_eq!(cluster.machine.worker(worker).unwrap().exited_after_disconnect, Some(true));
    assert_eq!(cluster.input(Input::Disconnect { worker }), [""; 0], "once is enough");
    assert_eq!(cluster.closes_channel(worker), ["event: disconnect 1 meant: true"]);
    assert_eq!(cluster.exits(worker), ["event: exit 1 code 0 meant: true"]);
}

#[test]
fn nothing_is_told_of_a_worker_after_its_channel_closed() {
    let mut cluster = Cluster::new();
    let worker = cluster.fork();
    cluster.closes_channel(worker);
    assert_eq!(cluster.says(worker, ClusterBody::Online), [""; 0]);
    assert_eq!(cluster.asks(worker, tcp(80)), [""; 0]);
    let late = Message::User("late".into());
    let handle = Some(Handle { id: HandleId(3), kind: HandleKind::NetSocket, key: None });
    let lines = cluster.input(Input::Received { worker, message: late, handle, arrived: true });
    assert_eq!(lines, ["close handle 3"]);
}

#[test]
fn a_broken_channel_is_an_error_and_the_close_follows() {
    let mut cluster = Cluster::new();
    let (worker, other) = (cluster.fork(), cluster.fork());
    let error = WorkerError::Channel { what: "garbage".into() };
    let lines = cluster.input(Input::ChannelFailed { worker, error });
    assert_eq!(lines, ["event: error 1 ERR_IPC_BAD_FRAME", "abort channel 1"]);
    // What it said meanwhile is not heard, and it fails once.
    assert_eq!(cluster.says(worker, ClusterBody::Online), [""; 0]);
    let error = WorkerError::Channel { what: "more garbage".into() };
    assert_eq!(cluster.input(Input::ChannelFailed { worker, error }), [""; 0]);
    assert_eq!(cluster.closes_channel(worker), ["event: disconnect 1 meant: false"]);
    assert!(cluster.machine.worker(other).unwrap().connected);
}

#[test]
fn a_descriptor_that_has_no_requests_for_is_closed() {
    let mut cluster = Cluster::new();
    let worker = cluster.fork();
    let message = Message::cluster(1, None, ClusterBody::Online);
    let handle = Some(Handle { id: HandleId(5), kind: HandleKind::NetNative, key: None });
    let lines = cluster.input(Input::Received { worker, message, handle, arrived: true });
    assert_eq!(lines, ["close handle 5", "event: online 1"]);
}

#[test]
fn an_id_is_never_used_again() {
    let mut cluster = Cluster::new();
    let one = cluster.fork();
    cluster.closes_channel(one);
    cluster.exits(one);
    assert_eq!(cluster.fork(), WorkerId(2));
    // A fork that failed uses one up.
    cluster.machine.next_worker();
    assert_eq!(cluster.fork(), WorkerId(4));
}

#[test]
fn who_is_forked_next_takes_the_lowest_place_that_is_free() {
    let mut cluster = Cluster::new();
    let workers = [cluster.fork(), cluster.fork(), cluster.fork()];
    let slot = |cluster: &Cluster, worker| cluster.machine.worker(worker).map(|w| w.slot);
    assert_eq!(workers.map(|worker| slot(&cluster, worker)), [Some(0), Some(1), Some(2)]);
    cluster.input(Input::ChannelClosed { worker: workers[1] });
    let fourth = cluster.fork();
    assert_eq!(slot(&cluster, fourth), Some(3), "the second one's process is still there");
    let status = cluster_primary::ExitStatus::Code(0);
    cluster.input(Input::Exited { worker: workers[1], status });
    let fifth = cluster.fork();
    assert_eq!(slot(&cluster, fifth), Some(1));
}
