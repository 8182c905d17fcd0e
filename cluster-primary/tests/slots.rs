//! Slots without I/O: which are on, when queues are inspected, which connections are rescued.

#[path = "support/machine.rs"]
mod support;

use std::time::Duration;

use cluster_primary::machine::{Input, Queue};
use cluster_primary::proto::{AddressType, ClusterBody, Field, ListenQuery, flags};
use cluster_primary::{ConnId, Fallback, Placement, ServerId, Settings, WorkerId};
use support::{BOUND_PORT, Cluster, key, tcp};

const MS: Duration = Duration::from_millis(1);

/// One whose looks are 100 ms apart, and where a worker is stuck after a second.
fn cluster() -> Cluster {
    Cluster::with(Settings::new("app").placement(Placement::Kernel))
}

/// The worker says that it listens.
fn listens(cluster: &mut Cluster, worker: WorkerId) -> Vec<String> {
    cluster.says(worker, ClusterBody::Listening(Box::new(tcp(BOUND_PORT.into()))))
}

/// So many workers that listen.
fn serving(workers: usize) -> (Cluster, Vec<WorkerId>, ServerId) {
    let mut cluster = cluster();
    let mut server = ServerId(0);
    let workers: Vec<_> = (0..workers)
        .map(|_| {
            let worker = cluster.fork();
            server = cluster.serves(worker, BOUND_PORT.into());
            listens(&mut cluster, worker);
            worker
        })
        .collect();
    (cluster, workers, server)
}

/// A look finds so much in the waiting room and in the slots.
fn found(cluster: &mut Cluster, server: ServerId, room: u32, slots: &[u32]) -> Vec<String> {
    let slots = slots.iter().zip(0..).map(|(&length, slot)| Queue { slot: Some(slot), length });
    let queues = std::iter::once(Queue { slot: None, length: room }).chain(slots).collect();
    cluster.input(Input::Queues { server, queues })
}

/// Time goes by until the next look, which finds so much.
fn next_look(cluster: &mut Cluster, server: ServerId, slots: &[u32]) -> Vec<String> {
    let due = cluster.machine.poll_timeout().expect("it looks again");
    let mut looks = cluster.wait(due - cluster.now);
    looks.retain(|line| line != "look at the probe of 1");
    if looks.is_empty() {
        return next_look(cluster, server, slots);
    }
    assert_eq!(looks, ["look at server 1"]);
    found(cluster, server, 0, slots)
}

#[test]
fn a_slot_is_on_from_listening_on() {
    let mut cluster = cluster();
    let (one, two) = (cluster.fork(), cluster.fork());
    assert_eq!(cluster.asks(one, tcp(BOUND_PORT.into())), ["bind server 1 by rr"]);
    let port = i32::from(BOUND_PORT);
    let answer = |worker: u32, ack: u32, slot: u32| {
        let key = key(port);
        [
            format!("open slot {slot} of server 1"),
            format!(
                "to {worker}: ack {ack} errno 0 key {key} with slot {slot} of server 1 as net.Native"
            ),
        ]
    };
    assert_eq!(cluster.bound(ServerId(1)), answer(1, 1, 0));
    assert_eq!(cluster.asks(two, tcp(port)), answer(2, 1, 1));
    let event = format!("event: listening 2 127.0.0.1:{BOUND_PORT}");
    let lines = ["slot 1 of server 1 on", "look at server 1", &event];
    assert_eq!(listens(&mut cluster, two), lines);
    // Who says it again, says nothing new.
    assert_eq!(listens(&mut cluster, two), [event.as_str()]);
}

#[test]
fn what_slots_cannot_serve_is_handed_over_or_shared() {
    let path = ListenQuery {
        address: Field::Is("/tmp/s".into()),
        port: Field::Is(-1),
        address_type: Field::Is(AddressType::Pipe),
        ..ListenQuery::default()
    };
    let inherited = ListenQuery { fd: Field::Is(3), ..ListenQuery::default() };
    let reuse = ListenQuery { flags: Field::Is(flags::TCP_REUSE_PORT), ..tcp(1) };
    let udp = ListenQuery { address_type: Field::Is(AddressType::Udp4), ..tcp(1) };
    for (query, bind) in [
        (path, "bind server 1"),
        (inherited, "bind server 1"),
        (reuse, "bind server 1"),
        (udp, "bind shared server 1"),
    ] {
        let mut cluster = cluster();
        let worker = cluster.fork();
        assert_eq!(cluster.asks(worker, query), [bind]);
    }
}

#[test]
fn without_any_program_connections_are_handed_over() {
    let mut cluster = cluster();
    let worker = cluster.fork();
    cluster.asks(worker, tcp(80));
    let server = ServerId(1);
    let reason = "no".to_owned();
    let lines = cluster.input(Input::FellBack { server, instead: Fallback::Handoff, reason });
    assert_eq!(lines, ["event: fallback 127.0.0.1:80 handoff"]);
    let answer = format!("to 1: ack 1 key {} port {BOUND_PORT}", key(80));
    assert_eq!(cluster.bound(server), [answer]);
    let (_, lines) = cluster.connects(server);
    assert_eq!(lines, [format!("to 1: newconn {} conn 1", key(80))]);
}

#[test]
fn a_socket_that_cannot_be_made_is_said_to_who_asked() {
    let mut cluster = cluster();
    let worker = cluster.machine.next_worker();
    cluster.input(Input::Forked { worker, pid: 1, slot: None });
    cluster.says(worker, ClusterBody::Online);
    let server = cluster.serves(worker, 80);
    // The played driver could make it; one that says so twice changes nothing.
    assert!(cluster.input(Input::SlotOpened { server, slot: 0, result: Err(-24) }).is_empty());

    let mut cluster = Cluster::with(Settings::new("app").placement(Placement::Kernel));
    let worker = cluster.fork();
    cluster.asks(worker, tcp(80));
    cluster.refuse_slots = true;
    let lines = cluster.bound(ServerId(1));
    assert_eq!(
        lines,
        [
            "open slot 0 of server 1".to_owned(),
            format!("to 1: ack 1 errno -24 key {}", key(80)),
            "event: listen failed 1 127.0.0.1:80 errno 24".to_owned(),
            // It was the only one that wanted it.
            "close server 1".to_owned(),
        ]
    );
}

#[test]
fn what_waits_at_a_dead_workers_slot_or_in_the_room_is_rescued() {
    let (mut cluster, workers, server) = serving(2);
    let lines = cluster.closes_channel(workers[0]);
    assert_eq!(lines[..2], ["slot 0 of server 1 off", "look at server 1"]);
    let lines = found(&mut cluster, server, 2, &[5, 9]);
    let room = "rescue 2 from the room of server 1";
    assert_eq!(lines, [room, "rescue 5 from slot 0 of server 1"]);
    let (conn, lines) = cluster.connects(server);
    let port = i32::from(BOUND_PORT);
    assert_eq!(lines, [format!("to 2: newconn {} conn {}", key(port), conn.0)]);
    assert_eq!(cluster.machine.stats().rescued, 1);
    cluster.takes(conn);
    // Late handshakes: it is looked for them, often at first.
    for _ in 0..10 {
        assert_eq!(next_look(&mut cluster, server, &[0, 0]), Vec::<String>::new());
    }
    let lines = next_look(&mut cluster, server, &[1, 0]);
    assert_eq!(lines, ["rescue 1 from slot 0 of server 1"]);
}

#[test]
fn no_connection_is_rescued_while_no_worker_can_take_it() {
    let mut cluster = cluster();
    let worker = cluster.fork();
    let server = cluster.serves(worker, BOUND_PORT.into());
    assert!(found(&mut cluster, server, 7, &[3]).is_empty());
    listens(&mut cluster, worker);
    assert_eq!(found(&mut cluster, server, 7, &[3]), ["rescue 7 from the room of server 1"]);
}

#[test]
fn no_more_is_rescued_than_may_wait() {
    let mut settings = Settings::new("app").placement(Placement::Kernel);
    settings.limits.max_waiting = 10;
    let mut cluster = Cluster::with(settings);
    let workers: Vec<_> = (0..2).map(|_| cluster.fork()).collect();
    for &worker in &workers {
        cluster.serves(worker, BOUND_PORT.into());
        listens(&mut cluster, worker);
    }
    let server = ServerId(1);
    cluster.closes_channel(workers[0]);
    let lines = found(&mut cluster, server, 4, &[100, 0]);
    assert_eq!(lines, ["rescue 4 from the room of server 1", "rescue 6 from slot 0 of server 1"]);
}

#[test]
fn a_worker_that_neither_accepts_nor_answers_is_relieved_until_it_does() {
    let (mut cluster, workers, server) = serving(2);
    cluster.mute_probes = true;
    found(&mut cluster, server, 0, &[0, 0]);
    // Nothing waits: looks are rare.
    assert_eq!(cluster.machine.poll_timeout(), Some(cluster.now + 1000 * MS));
    let began = cluster.now + 1000 * MS;
    assert!(next_look(&mut cluster, server, &[1, 0]).is_empty());
    assert_eq!(next_look(&mut cluster, server, &[1, 0]), ["probe 1"]);
    let relieved = loop {
        let lines = next_look(&mut cluster, server, &[3, 0]);
        if !lines.is_empty() {
            break lines;
        }
    };
    assert_eq!(
        relieved,
        ["slot 0 of server 1 off", "look at server 1", "rescue 3 from slot 0 of server 1"]
    );
    assert_eq!(cluster.now - began, 1100 * MS, "a second after it was asked");
    assert_eq!(cluster.machine.stats().stuck, 1);
    let lines = cluster.input(Input::Probed { worker: workers[0] });
    assert_eq!(lines, ["slot 0 of server 1 on", "look at server 1"]);
}

#[test]
fn a_worker_that_is_only_busy_keeps_its_slot() {
    let (mut cluster, _, server) = serving(2);
    found(&mut cluster, server, 0, &[0, 0]);
    // It has always much to do; it accepts now and then, and answers.
    for round in 0..100 {
        let lines = next_look(&mut cluster, server, &[100 + round % 7, 0]);
        assert!(lines.iter().all(|line| line == "probe 1"), "{lines:?}");
    }
    assert_eq!(cluster.machine.stats().stuck, 0);
}

#[test]
fn one_that_answers_but_accepts_nothing_rests_for_longer_and_longer() {
    let (mut cluster, _, server) = serving(2);
    found(&mut cluster, server, 0, &[0, 0]);
    let mut rests = Vec::new();
    let mut off_at = None;
    while rests.len() < 3 {
        let waiting = u32::from(off_at.is_none());
        let lines = next_look(&mut cluster, server, &[waiting, 0]);
        if lines.contains(&"slot 0 of server 1 off".to_owned()) {
            off_at = Some(cluster.now);
        } else if lines.contains(&"slot 0 of server 1 on".to_owned()) {
            rests.push((cluster.now - off_at.take().expect("it was off")).as_millis() / 100);
        }
    }
    assert_eq!(rests, [10, 20, 40], "in tenths of a second");
}

#[test]
fn the_last_one_that_is_on_is_never_stuck() {
    let (mut cluster, _, server) = serving(1);
    cluster.mute_probes = true;
    found(&mut cluster, server, 0, &[0]);
    for _ in 0..100 {
        assert!(next_look(&mut cluster, server, &[50]).is_empty());
    }
}

#[test]
fn a_worker_disconnects_when_its_slot_is_empty_and_has_settled() {
    let (mut cluster, workers, server) = serving(2);
    found(&mut cluster, server, 0, &[0, 0]);
    let lines = cluster.input(Input::Disconnect { worker: workers[0] });
    assert_eq!(lines, ["slot 0 of server 1 off", "look at server 1"]);
    // Empty, but handshakes may be under way.
    assert!(found(&mut cluster, server, 0, &[0, 0]).is_empty());
    assert_eq!(cluster.machine.poll_timeout(), Some(cluster.now + 10 * MS));
    let lines = next_look(&mut cluster, server, &[2, 0]);
    assert_eq!(lines, ["rescue 2 from slot 0 of server 1"]);
    let lines = next_look(&mut cluster, server, &[0, 0]);
    assert_eq!(lines, ["probe 1", "to 1: disconnect"]);
}

#[test]
fn the_last_ones_serve_what_is_there_and_then_go() {
    let (mut cluster, _, server) = serving(2);
    found(&mut cluster, server, 0, &[0, 0]);
    let lines = cluster.input(Input::DisconnectAll);
    assert_eq!(lines, ["accept the rest, close server 1"]);
    let due = cluster.machine.poll_timeout().expect("they settle");
    assert_eq!(due, cluster.now + 10 * MS);
    let lines = cluster.wait(10 * MS);
    assert_eq!(lines, ["probe 1", "probe 2", "to 1: disconnect", "to 2: disconnect"]);
}

#[test]
fn a_successor_has_the_same_slot() {
    let (mut cluster, workers, server) = serving(3);
    cluster.closes_channel(workers[1]);
    cluster.exits(workers[1]);
    let heir = cluster.fork();
    let lines = cluster.asks(heir, tcp(BOUND_PORT.into()));
    assert_eq!(lines[0], "open slot 1 of server 1");
    // What waits there now it may accept itself; until it can, others do.
    assert_eq!(found(&mut cluster, server, 0, &[0, 3, 0]), ["rescue 3 from slot 1 of server 1"]);
    assert_eq!(listens(&mut cluster, heir)[0], "slot 1 of server 1 on");
    assert!(found(&mut cluster, server, 0, &[0, 3, 0]).is_empty());
}

#[test]
fn a_server_that_a_worker_closes_is_off_for_it_alone() {
    let (mut cluster, workers, server) = serving(2);
    let port = i32::from(BOUND_PORT);
    let close = ClusterBody::Close { key: key(port).as_str().into() };
    let lines = cluster.says(workers[1], close.clone());
    assert_eq!(lines, ["slot 1 of server 1 off", "look at server 1"]);
    assert_eq!(found(&mut cluster, server, 0, &[0, 1]), ["rescue 1 from slot 1 of server 1"]);
    // It listens again.
    let lines = cluster.asks(workers[1], tcp(port));
    assert_eq!(lines[0], "open slot 1 of server 1");
    assert_eq!(listens(&mut cluster, workers[1])[0], "slot 1 of server 1 on");
    // The last one closes it for all.
    cluster.says(workers[1], close.clone());
    let lines = cluster.says(workers[0], close);
    assert_eq!(lines.last().map(String::as_str), Some("close server 1"));
    assert_eq!(cluster.machine.poll_timeout(), None);
}

/// Its client waits in the waiting room; no worker has reported that it listens.
#[test]
fn a_server_that_is_drained_while_no_slot_is_on_asks_those_that_have_a_socket() {
    let mut cluster = cluster();
    let worker = cluster.fork();
    let server = cluster.serves(worker, BOUND_PORT.into());
    // The driver accepts what waits when it closes the socket.
    let conn = ConnId(1);
    cluster.machine.handle_input(cluster.now, Input::DisconnectAll);
    cluster.machine.handle_input(cluster.now, Input::Accepted { server, conn, client: None });
    let lines = cluster.drain();
    let sent = format!("to 1: newconn {} conn 1", key(BOUND_PORT.into()));
    assert!(lines.contains(&sent), "{lines:?}");
    let lines = [cluster.takes(conn), cluster.wait(20 * MS)].concat();
    assert!(lines.contains(&"to 1: disconnect".to_owned()), "{lines:?}");
}

#[test]
fn one_that_rests_is_on_again_when_no_other_is() {
    let (mut cluster, workers, server) = serving(2);
    found(&mut cluster, server, 0, &[0, 0]);
    while !next_look(&mut cluster, server, &[1, 0]).contains(&"slot 0 of server 1 off".to_owned()) {
    }
    cluster.closes_channel(workers[1]);
    cluster.exits(workers[1]);
    let lines = next_look(&mut cluster, server, &[0, 0]);
    assert!(lines.contains(&"slot 0 of server 1 on".to_owned()), "{lines:?}");
}

/// The only worker has a socket lent, and disconnects.
fn port_reuse() -> (Cluster, WorkerId) {
    let (mut cluster, workers, server) = serving(1);
    found(&mut cluster, server, 0, &[0]);
    cluster.input(Input::Disconnect { worker: workers[0] });
    cluster.wait(10 * MS);
    (cluster, workers[0])
}

/// The driver could not bind what it last was to.
fn in_use(cluster: &mut Cluster) -> Vec<String> {
    let server = ServerId(cluster.last_server);
    cluster.input(Input::Bound { server, result: Err(-98) })
}

#[test]
fn an_address_that_is_just_being_left_is_waited_for() {
    let (mut cluster, left) = port_reuse();
    let (next, port) = (cluster.fork(), i32::from(BOUND_PORT));
    assert_eq!(cluster.asks(next, tcp(port)), ["bind server 2 by rr"]);
    for _ in 0..3 {
        assert!(in_use(&mut cluster).is_empty());
        assert!(cluster.wait(9 * MS).is_empty());
        assert_eq!(cluster.wait(MS), ["bind server 2 by rr"]);
    }
    // It is gone: the address now belongs to another socket.
    cluster.closes_channel(left);
    cluster.exits(left);
    let key = key(port);
    let lines = in_use(&mut cluster);
    assert_eq!(
        lines,
        [
            format!("to 2: ack 1 errno -98 key {key}"),
            format!("event: listen failed 2 127.0.0.1:{port} errno 98"),
        ]
    );
    assert_eq!(cluster.asks(next, tcp(port)), ["bind server 3 by rr"]);
    assert_eq!(cluster.bound(ServerId(3)).len(), 2, "a slot is opened, and given");
}

#[test]
fn an_address_that_is_never_left_is_in_use() {
    let (mut cluster, _) = port_reuse();
    let next = cluster.fork();
    cluster.asks(next, tcp(BOUND_PORT.into()));
    let began = cluster.now;
    let lines = loop {
        let lines = in_use(&mut cluster);
        if !lines.is_empty() {
            break lines;
        }
        cluster.wait(10 * MS);
    };
    assert!(lines[0].contains("errno -98"), "{lines:?}");
    assert_eq!(cluster.now - began, 5000 * MS);
    // Other addresses never were theirs, and other errors do not pass.
    cluster.asks(next, tcp(1));
    assert!(in_use(&mut cluster)[0].contains("errno -98"));
    cluster.asks(next, tcp(BOUND_PORT.into()));
    let server = ServerId(cluster.last_server);
    let lines = cluster.input(Input::Bound { server, result: Err(-13) });
    assert!(lines[0].contains("errno -13"), "{lines:?}");
}

#[test]
fn there_is_no_retry_for_one_that_has_gone() {
    let (mut cluster, _) = port_reuse();
    let next = cluster.fork();
    cluster.asks(next, tcp(BOUND_PORT.into()));
    in_use(&mut cluster);
    cluster.closes_channel(next);
    assert_eq!(cluster.wait(10 * MS), ["bind server 2 by rr"], "that was under way");
    assert!(in_use(&mut cluster).is_empty());
    assert!(cluster.wait(1000 * MS).is_empty());
}

/// With listeners kept open, and so many sockets.
fn keeping(max_sockets: usize) -> Cluster {
    let mut settings = Settings::new("app").placement(Placement::Kernel);
    settings.keep_listeners = true;
    settings.limits.max_sockets = max_sockets;
    Cluster::with(settings)
}

/// Connections would wait there for a worker that was told that it does not listen.
#[test]
fn a_new_server_whose_workers_were_all_refused_is_closed_though_listeners_are_kept() {
    // There is a socket for the waiting room, and none for any worker.
    let mut cluster = keeping(1);
    let (one, two) = (cluster.fork(), cluster.fork());
    cluster.asks(one, tcp(80));
    cluster.asks(two, tcp(80));
    let lines = cluster.bound(ServerId(1));
    let answered = |worker: u32| {
        let answer = format!("to {worker}: ack 1 errno -24 key {}", key(80));
        lines.contains(&answer)
    };
    assert!(answered(1) && answered(2), "{lines:?}");
    assert_eq!(lines.last().map(String::as_str), Some("close server 1"), "{lines:?}");
    assert_eq!(cluster.machine.open_sockets(), 0);

    // Or the driver cannot open theirs.
    let mut cluster = keeping(10);
    cluster.refuse_slots = true;
    let (one, two) = (cluster.fork(), cluster.fork());
    cluster.asks(one, tcp(80));
    cluster.asks(two, tcp(80));
    let lines = cluster.bound(ServerId(1));
    assert_eq!(lines.iter().filter(|line| line.contains("errno -24")).count(), 2, "{lines:?}");
    assert_eq!(lines.iter().filter(|line| *line == "close server 1").count(), 1, "{lines:?}");
    assert_eq!(cluster.machine.open_sockets(), 0);
}

#[test]
fn a_server_that_was_served_or_is_being_served_stays_open_when_a_worker_is_refused() {
    let mut cluster = keeping(2);
    let (one, two) = (cluster.fork(), cluster.fork());
    cluster.asks(one, tcp(80));
    cluster.asks(two, tcp(80));
    let lines = cluster.bound(ServerId(1));
    assert!(lines.contains(&format!("to 2: ack 1 errno -24 key {}", key(80))), "{lines:?}");
    assert_eq!(cluster.machine.open_sockets(), 2, "one has it");
    cluster.closes_channel(one);
    cluster.exits(one);
    let three = cluster.fork();
    let lines = cluster.asks(three, tcp(80));
    assert!(!lines.contains(&"close server 1".to_owned()), "{lines:?}");
    assert_eq!(cluster.machine.open_sockets(), 2, "it is kept for the next worker");
}
