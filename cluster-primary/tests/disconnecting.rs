//! How a primary lets workers go: out of rotation first, told when nothing is on its way to them.

#[path = "support/machine.rs"]
mod support;

use cluster_primary::machine::Input;
use cluster_primary::proto::ClusterBody;
use cluster_primary::{ConnId, Mono, ServerId, Settings, WorkerId};
use support::{Cluster, key, tcp};

fn newconn(to: WorkerId, conn: ConnId) -> String {
    format!("to {to}: newconn {} conn {}", key(80), conn.0)
}

#[test]
fn a_worker_is_told_after_it_answered_for_the_last_connection() {
    let mut cluster = Cluster::new();
    let (one, two) = (cluster.fork(), cluster.fork());
    let server = cluster.serves(one, 80);
    cluster.serves(two, 80);
    let (a, _) = cluster.connects(server);
    assert_eq!(cluster.input(Input::Disconnect { worker: one }), [""; 0], "one is on its way");
    for _ in 0..3 {
        let (conn, lines) = cluster.connects(server);
        assert_eq!(lines, [newconn(two, conn)], "it is out of rotation already");
        cluster.takes(conn);
    }
    assert_eq!(cluster.takes(a), ["conn 1 handed over", "probe 1", "to 1: disconnect"]);
}

/// The channel closes once the worker serves nothing any more; listening again must not keep it open.
#[test]
fn a_worker_whose_channel_is_to_close_cannot_listen_anew() {
    let mut cluster = Cluster::new();
    let (one, two) = (cluster.fork(), cluster.fork());
    let server = cluster.serves(one, 80);
    cluster.serves(two, 80);
    cluster.input(Input::CloseChannel { worker: one });
    for port in [80, 81] {
        assert_eq!(cluster.asks(one, tcp(port)), [""; 0]);
        assert!(!cluster.machine.is_serving(one), "its channel would stay open");
    }
    let (conn, lines) = cluster.connects(server);
    assert_eq!(lines, [newconn(two, conn)]);
}

#[test]
fn a_refusal_or_a_loss_is_an_answer_too() {
    for lost in [false, true] {
        let mut cluster = Cluster::new();
        let (one, two) = (cluster.fork(), cluster.fork());
        let server = cluster.serves(one, 80);
        cluster.serves(two, 80);
        let (a, _) = cluster.connects(server);
        let (worker, seq) = cluster.sent[&a];
        cluster.input(Input::Disconnect { worker: one });
        let lines = if lost {
            cluster.input(Input::Undelivered { worker, seq })
        } else {
            cluster.refuses(a)
        };
        assert_eq!(lines, [newconn(two, a), "to 1: disconnect".into()], "lost: {lost}");
    }
}

#[test]
fn it_waits_for_the_connections_of_all_its_servers() {
    let mut cluster = Cluster::new();
    let worker = cluster.fork();
    let (http, admin) = (cluster.serves(worker, 80), cluster.serves(worker, 81));
    let (a, _) = cluster.connects(http);
    let (b, _) = cluster.connects(admin);
    cluster.input(Input::Disconnect { worker });
    assert_eq!(cluster.takes(a), ["conn 1 handed over"]);
    assert_eq!(cluster.takes(b), ["conn 2 handed over", "probe 1", "to 1: disconnect"]);
}

#[test]
fn one_that_dies_instead_leaves_its_connections_to_others() {
    let mut cluster = Cluster::new();
    let (one, two) = (cluster.fork(), cluster.fork());
    let server = cluster.serves(one, 80);
    cluster.serves(two, 80);
    let (a, _) = cluster.connects(server);
    cluster.input(Input::Disconnect { worker: one });
    assert_eq!(
        cluster.closes_channel(one),
        [newconn(two, a), "event: disconnect 1 meant: true".into()]
    );
}

#[test]
fn all_of_them_and_it_is_told_once_when_all_is_closed() {
    let mut cluster = Cluster::new();
    let (one, two) = (cluster.fork(), cluster.fork());
    cluster.serves(one, 80);
    cluster.serves(two, 80);
    cluster.serves(two, 81);
    let lines = cluster.input(Input::DisconnectAll);
    let close = |server| format!("accept the rest, close server {server}");
    assert_eq!(lines[..2], [close(1), close(2)]);
    assert_eq!(lines[2..], ["to 1: disconnect", "to 2: disconnect"]);
    assert_eq!(cluster.workers(), [0; 0]);
    assert_eq!(cluster.closes_channel(one), ["event: disconnect 1 meant: true"]);
    assert_eq!(cluster.exits(one), ["event: exit 1 code 0 meant: true"]);
    assert_eq!(
        cluster.closes_channel(two),
        ["event: disconnect 2 meant: true", "event: disconnected"]
    );
    assert_eq!(cluster.exits(two), ["event: exit 2 code 0 meant: true"], "and not again");
}

#[test]
fn the_last_ones_serve_what_waits_before_they_are_told() {
    let mut cluster = Cluster::new();
    let (one, two) = (cluster.fork(), cluster.fork());
    let server = cluster.serves(one, 80);
    cluster.serves(two, 80);
    let conns: Vec<_> = (0..5).map(|_| cluster.connects(server).0).collect();
    cluster.input(Input::DisconnectAll);
    for conn in &conns[..3] {
        let lines = cluster.takes(*conn);
        assert_eq!(lines.len(), 2, "it is handed over, and the next one given out: {lines:?}");
    }
    assert_eq!(cluster.takes(conns[3]), ["conn 4 handed over", "probe 2", "to 2: disconnect"]);
    assert_eq!(cluster.takes(conns[4]), ["conn 5 handed over", "probe 1", "to 1: disconnect"]);
}

/// What was kept back for the one waits for the other, as long as that is there.
#[test]
fn what_was_kept_back_for_one_of_the_last_is_served_by_the_other() {
    for dies in [false, true] {
        let mut cluster = Cluster::with(Settings::new("app"));
        let (one, two) = (cluster.fork(), cluster.fork());
        let server = cluster.serves(one, 80);
        cluster.serves(two, 80);
        let conns: Vec<_> = (0..20).map(|_| cluster.connects(server).0).collect();
        cluster.input(Input::DisconnectAll);
        cluster.input(Input::Closed { server });
        if dies {
            cluster.closes_channel(one);
        } else {
            cluster.wait(Mono::from_millis(10));
        }
        let mut taken = 0;
        while let Some(conn) = conns
            .iter()
            .copied()
            .find(|conn| cluster.sent.get(conn).is_some_and(|(worker, _)| *worker == two))
        {
            let lines = cluster.takes(conn);
            assert!(lines.iter().any(|line| line.ends_with(" handed over")), "{lines:?}");
            cluster.sent.remove(&conn);
            taken += 1;
        }
        assert_eq!(taken, if dies { 20 } else { 19 });
    }
}

/// It is told when it has answered for all, and not while something is kept back for it.
#[test]
fn what_is_kept_back_for_the_last_one_comes_before_it_is_told() {
    let mut settings = Settings::new("app");
    settings.limits.max_window = 2;
    let mut cluster = Cluster::with(settings);
    let worker = cluster.fork();
    let server = cluster.serves(worker, 80);
    let conns: Vec<_> = (0..3).map(|_| cluster.connects(server).0).collect();
    cluster.input(Input::Disconnect { worker });
    cluster.input(Input::Closed { server });
    for conn in &conns[..2] {
        let lines = cluster.takes(*conn);
        assert!(lines.iter().all(|line| !line.starts_with("probe")), "{lines:?}");
    }
    let lines = cluster.takes(conns[2]);
    assert_eq!(lines, ["conn 3 handed over", "probe 1", "to 1: disconnect"]);
}

#[test]
fn a_socket_that_is_being_made_is_waited_for() {
    let mut cluster = Cluster::new();
    let worker = cluster.fork();
    cluster.asks(worker, tcp(80));
    cluster.input(Input::DisconnectAll);
    assert_eq!(cluster.closes_channel(worker), ["event: disconnect 1 meant: true"]);
    assert_eq!(cluster.bound(ServerId(1)), ["close server 1", "event: disconnected"]);
}

#[test]
fn without_workers_it_is_reported_at_once() {
    let mut cluster = Cluster::new();
    assert_eq!(cluster.input(Input::DisconnectAll), ["event: disconnected"]);
    let worker = cluster.fork();
    assert_eq!(cluster.closes_channel(worker).len(), 1, "no worker disconnects any more");
    // A process that is still there, but has no channel, is none to wait for.
    assert_eq!(cluster.input(Input::DisconnectAll), ["event: disconnected"]);
}

#[test]
fn one_that_disconnects_itself_meanwhile_is_not_told_again() {
    let mut cluster = Cluster::new();
    let worker = cluster.fork();
    let server = cluster.serves(worker, 80);
    let (conn, _) = cluster.connects(server);
    cluster.input(Input::Disconnect { worker });
    cluster.input(Input::DisconnectAll);
    // A crossing of the two: it is acknowledged, so that the worker goes.
    let lines = cluster.says(worker, ClusterBody::ExitedAfterDisconnect);
    assert_eq!(lines.len(), 1, "{lines:?}");
    let lines = cluster.takes(conn);
    assert_eq!(lines.iter().filter(|line| *line == "to 1: disconnect").count(), 1, "{lines:?}");
    assert_eq!(cluster.closes_channel(worker).len(), 2);
}

#[test]
fn one_that_closes_what_it_is_still_to_serve_is_told_all_the_same() {
    let mut cluster = Cluster::new();
    let worker = cluster.fork();
    let server = cluster.serves(worker, 80);
    let (conn, _) = cluster.connects(server);
    assert_eq!(cluster.refuses(conn), [""; 0], "it rests, and is to be offered again");
    assert_eq!(cluster.input(Input::Disconnect { worker }), ["accept the rest, close server 1"]);
    let lines = cluster.says(worker, ClusterBody::Close { key: key(80).as_str().into() });
    assert_eq!(lines, ["conn 1 shed: closed", "to 1: disconnect"]);
}
