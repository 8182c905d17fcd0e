//! One connection's way through the primary: to exactly one worker, or shed with a reason.

#[path = "support/machine.rs"]
mod support;

use cluster_primary::machine::Input;
use cluster_primary::proto::ClusterBody;
use cluster_primary::{ConnId, Mono, ServerId, Settings, WorkerId};
use support::{Cluster, key};

/// Two workers that serve port 80.
fn two() -> (Cluster, WorkerId, WorkerId, ServerId) {
    let mut cluster = Cluster::new();
    let (one, two) = (cluster.fork(), cluster.fork());
    let server = cluster.serves(one, 80);
    cluster.serves(two, 80);
    (cluster, one, two, server)
}

fn newconn(to: WorkerId, conn: ConnId) -> String {
    format!("to {to}: newconn {} conn {}", key(80), conn.0)
}

#[test]
fn connections_go_round_and_one_waits_for_each_answer() {
    let (mut cluster, one, two, server) = two();
    let (a, lines) = cluster.connects(server);
    assert_eq!(lines, [newconn(one, a)]);
    let (b, lines) = cluster.connects(server);
    assert_eq!(lines, [newconn(two, b)]);
    let (c, lines) = cluster.connects(server);
    assert_eq!(lines, [""; 0], "both are busy");
    assert_eq!(cluster.takes(b), ["conn 2 handed over".into(), newconn(two, c)]);
    assert_eq!(cluster.takes(a), ["conn 1 handed over"]);
    assert_eq!(cluster.takes(c), ["conn 3 handed over"]);
    let (d, lines) = cluster.connects(server);
    assert_eq!(lines, [newconn(one, d)], "it has waited longer");
    assert_eq!(cluster.machine.worker(two).unwrap().connections, 2);
    let stats = cluster.machine.stats();
    assert_eq!((stats.accepted, stats.handed_over, stats.waiting), (4, 3, 0));
}

#[test]
fn what_one_refuses_another_gets() {
    let (mut cluster, one, two, server) = two();
    let (conn, _) = cluster.connects(server);
    assert_eq!(cluster.sent[&conn].0, one);
    assert_eq!(cluster.refuses(conn), [newconn(two, conn)]);
    assert_eq!(cluster.takes(conn), ["conn 1 handed over"]);
    assert_eq!(cluster.machine.stats().refused, 1);
}

#[test]
fn an_answer_that_does_not_say_that_it_took_it_refused_it() {
    let (mut cluster, one, two, server) = two();
    let (conn, _) = cluster.connects(server);
    let (_, seq) = cluster.sent[&conn];
    assert_eq!(cluster.answers(one, seq, ClusterBody::Ack), [newconn(two, conn)]);
}

#[test]
fn what_all_refuse_rests_and_is_given_up_in_the_end() {
    let (mut cluster, _, _, server) = two();
    let (conn, _) = cluster.connects(server);
    let mut rests = 0;
    let shed = loop {
        cluster.refuses(conn);
        let lines = cluster.refuses(conn);
        if !lines.is_empty() {
            break lines;
        }
        assert_eq!(cluster.machine.stats().waiting, 1);
        let due = cluster.machine.poll_timeout().expect("it rests for a time only");
        assert!(due > cluster.now, "it does not spin");
        let lines = cluster.wait(due - cluster.now);
        assert_eq!(lines.len(), 1, "it is offered again: {lines:?}");
        rests += 1;
    };
    assert_eq!(shed, ["conn 1 shed: refused"]);
    assert_eq!(rests, 7);
    let stats = cluster.machine.stats();
    assert_eq!((stats.shed_refused, stats.refused, stats.waiting), (1, 16, 0));
    assert_eq!(cluster.machine.poll_timeout(), None);
}

#[test]
fn what_a_dead_worker_did_not_acknowledge_goes_to_others_first() {
    let (mut cluster, one, two, server) = two();
    let (a, _) = cluster.connects(server);
    let (b, _) = cluster.connects(server);
    let (c, _) = cluster.connects(server);
    assert_eq!(cluster.closes_channel(one), ["event: disconnect 1 meant: false"]);
    assert_eq!(cluster.takes(b), ["conn 2 handed over".into(), newconn(two, a)]);
    assert_eq!(cluster.takes(a), ["conn 1 handed over".into(), newconn(two, c)]);
}

#[test]
fn what_it_acknowledged_is_its_own() {
    let (mut cluster, one, _, server) = two();
    let (a, _) = cluster.connects(server);
    cluster.takes(a);
    assert_eq!(cluster.closes_channel(one), ["event: disconnect 1 meant: false"]);
    assert_eq!(cluster.machine.stats().handed_over, 1);
}

#[test]
fn an_answer_for_another_workers_connection_does_not_count() {
    let (mut cluster, one, two, server) = two();
    let (a, _) = cluster.connects(server);
    let (_, seq) = cluster.sent[&a];
    let error = ["event: error 2 ERR_IPC_STRAY_ACK"];
    assert_eq!(cluster.answers(two, seq, ClusterBody::Accepted(true)), error);
    assert_eq!(cluster.answers(two, seq, ClusterBody::Accepted(false)), error);
    assert!(cluster.machine.worker(two).unwrap().connected, "it costs nothing but the event");
    // It is still with the first one, which answers, once.
    assert_eq!(cluster.takes(a), ["conn 1 handed over"]);
    assert_eq!(cluster.takes(a), ["event: error 1 ERR_IPC_STRAY_ACK"]);
    assert_eq!(cluster.machine.worker(one).unwrap().connections, 1);
    assert_eq!(cluster.machine.worker(two).unwrap().connections, 0);
}

#[test]
fn an_answer_that_comes_too_late_does_not_count() {
    let (mut cluster, one, two, server) = two();
    let (a, _) = cluster.connects(server);
    let (_, seq) = cluster.sent[&a];
    // The descriptor got lost, so it was given to the other.
    let lines = cluster.input(Input::Undelivered { worker: one, seq });
    assert_eq!(lines, [newconn(two, a)]);
    let lines = cluster.answers(one, seq, ClusterBody::Accepted(true));
    assert_eq!(lines, ["event: error 1 ERR_IPC_STRAY_ACK"]);
    assert_eq!(cluster.takes(a), ["conn 1 handed over"]);
    // Nor does what is said of a message that carried none.
    assert_eq!(cluster.input(Input::Undelivered { worker: one, seq: 0 }), [""; 0]);
}

#[test]
fn the_last_to_go_closes_the_server_and_what_waits_is_given_up() {
    let (mut cluster, one, two, server) = two();
    let (a, _) = cluster.connects(server);
    let (b, _) = cluster.connects(server);
    let (c, _) = cluster.connects(server);
    let close = || ClusterBody::Close { key: key(80).as_str().into() };
    assert_eq!(cluster.says(one, close()), [""; 0]);
    assert_eq!(cluster.says(two, close()), ["close server 1", "conn 3 shed: closed"]);
    assert_eq!(c, ConnId(3));
    // What is on its way is still answered for.
    assert_eq!(cluster.takes(a), ["conn 1 handed over"]);
    assert_eq!(cluster.refuses(b), ["conn 2 shed: closed"]);
    let stats = cluster.machine.stats();
    assert_eq!((stats.accepted, stats.handed_over, stats.shed_closed), (3, 1, 2));
    // One that was accepted before the socket was closed.
    assert_eq!(cluster.connects(server).1, ["conn 4 shed: closed"]);
    assert_eq!(cluster.machine.room(server), 0);
}

#[test]
fn one_that_stops_serving_gets_nothing_more() {
    let (mut cluster, one, two, server) = two();
    cluster.says(one, ClusterBody::Close { key: key(80).as_str().into() });
    for _ in 0..3 {
        let (conn, lines) = cluster.connects(server);
        assert_eq!(lines, [newconn(two, conn)]);
        cluster.takes(conn);
    }
    // And does again when it listens again.
    cluster.serves(one, 80);
    let (a, _) = cluster.connects(server);
    let (b, _) = cluster.connects(server);
    let mut to = [cluster.sent[&a].0, cluster.sent[&b].0];
    to.sort();
    assert_eq!(to, [one, two]);
}

#[test]
fn one_that_comes_late_is_given_what_waits() {
    let (mut cluster, _, _, server) = two();
    for _ in 0..3 {
        cluster.connects(server);
    }
    let three = cluster.fork();
    let lines = cluster.asks(three, support::tcp(80));
    assert_eq!(lines[1..], [newconn(three, ConnId(3))], "after its answer: {lines:?}");
}

#[test]
fn no_more_may_wait_than_is_set() {
    let mut settings = Settings::new("app");
    settings.limits.max_waiting = 2;
    let mut cluster = Cluster::with(settings);
    let worker = cluster.fork();
    let server = cluster.serves(worker, 80);
    for room in [2, 2, 1, 0] {
        assert_eq!(cluster.machine.room(server), room);
        if room > 0 {
            cluster.connects(server);
        }
    }
    assert_eq!(cluster.connects(server).1, ["conn 4 shed: full"]);
    assert_eq!(cluster.machine.stats().shed_full, 1);
}

/// Each has a descriptor, of which the primary needs some for other things.
#[test]
fn all_servers_together_hold_no_more_than_is_set_and_leave_each_other_some() {
    let mut cluster = Cluster::new();
    cluster.machine.limit_held(12);
    let worker = cluster.fork();
    let (http, admin) = (cluster.serves(worker, 80), cluster.serves(worker, 81));
    let fill = |cluster: &mut Cluster, server| {
        let mut conns = Vec::new();
        while cluster.machine.room(server) > 0 {
            for _ in 0..cluster.machine.room(server) {
                let (conn, lines) = cluster.connects(server);
                assert!(!lines.iter().any(|line| line.contains("shed")), "{lines:?}");
                conns.push(conn);
            }
        }
        conns
    };
    // One is under way to the worker, and as many are left as wait.
    let crowd = fill(&mut cluster, http);
    assert_eq!(crowd.len(), 7);
    let others = fill(&mut cluster, admin);
    assert_eq!(others.len(), 3);
    // Whatever ends makes room.
    crowd.iter().for_each(|conn| drop(cluster.takes(*conn)));
    others.iter().for_each(|conn| drop(cluster.takes(*conn)));
    assert_eq!(fill(&mut cluster, admin).len(), 7);
    assert_eq!(cluster.machine.stats().shed_full, 0);
}

#[test]
fn two_servers_do_not_wait_for_each_other() {
    let mut cluster = Cluster::new();
    let worker = cluster.fork();
    let (http, admin) = (cluster.serves(worker, 80), cluster.serves(worker, 81));
    cluster.connects(http);
    let (conn, lines) = cluster.connects(admin);
    assert_eq!(lines, [format!("to 1: newconn {} conn {}", key(81), conn.0)]);
    assert_eq!(cluster.wait(Mono::from_secs(60)), [""; 0]);
}
