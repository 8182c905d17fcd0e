//! What a worker is answered when it wants to listen.

#[path = "support/machine.rs"]
mod support;

use cluster_primary::machine::Input;
use cluster_primary::proto::{AddressType, ClusterBody, Field, ListenQuery, Value};
use cluster_primary::{Placement, ServerId, Settings};
use support::{Cluster, key, tcp, tcp_again};

const ADDRESS_IN_USE: i32 = -98;

fn shared() -> Settings {
    Settings::new("app").placement(Placement::Shared)
}

#[test]
fn the_first_to_ask_has_it_bound_and_the_others_join_it() {
    let mut cluster = Cluster::new();
    let (one, two, three) = (cluster.fork(), cluster.fork(), cluster.fork());
    assert_eq!(cluster.asks(one, tcp(80)), ["bind server 1"]);
    assert_eq!(cluster.asks(two, tcp(80)), [""; 0], "it waits for the socket");
    let key = key(80);
    assert_eq!(
        cluster.bound(ServerId(1)),
        [format!("to 1: ack 1 key {key} port 4321"), format!("to 2: ack 1 key {key} port 4321")]
    );
    assert_eq!(cluster.asks(three, tcp(80)), [format!("to 3: ack 1 key {key} port 4321")]);
}

#[test]
fn a_shared_socket_goes_to_each_worker_itself() {
    let mut cluster = Cluster::with(shared());
    let (one, two) = (cluster.fork(), cluster.fork());
    assert_eq!(cluster.asks(one, tcp(80)), ["bind shared server 1"]);
    let sent = |to| format!("to {to}: ack 1 errno 0 key {} with server 1 as net.Native", key(80));
    assert_eq!(cluster.bound(ServerId(1)), [sent(1)]);
    assert_eq!(cluster.asks(two, tcp(80)), [sent(2)]);
    assert!(cluster.machine.room(ServerId(1)) > 0, "room is the driver's question");
}

#[test]
fn datagrams_are_always_shared() {
    let mut cluster = Cluster::with(Settings::new("app").placement(Placement::Handoff));
    let worker = cluster.fork();
    let udp = ListenQuery { address_type: Field::Is(AddressType::Udp4), ..tcp(53) };
    assert_eq!(cluster.asks(worker, udp), ["bind shared server 1"]);
}

#[test]
fn the_index_counts_only_where_any_port_will_do() {
    let mut cluster = Cluster::new();
    let (one, two) = (cluster.fork(), cluster.fork());
    // Two listen(0) of one worker are two servers, each with all workers.
    assert_eq!(cluster.asks(one, tcp_again(0, 0)), ["bind server 1"]);
    assert_eq!(cluster.asks(one, tcp_again(0, 1)), ["bind server 2"]);
    assert_eq!(cluster.bound(ServerId(1)), [format!("to 1: ack 1 key {}:0 port 4321", key(0))]);
    assert_eq!(cluster.bound(ServerId(2)), [format!("to 1: ack 2 key {}:1 port 4321", key(0))]);
    let answer = |seq, index| [format!("to 2: ack {seq} key {}:{index} port 4321", key(0))];
    assert_eq!(cluster.asks(two, tcp_again(0, 0)), answer(1, 0));
    assert_eq!(cluster.asks(two, tcp_again(0, 1)), answer(2, 1));
    // With a port of its own it does not: a try after a failure finds the others' server.
    let server = cluster.serves(one, 80);
    assert_eq!(server, ServerId(3));
    let answer = cluster.asks(two, tcp_again(80, 5));
    assert_eq!(answer, [format!("to 2: ack 3 key {} port 4321", key(80))]);
}

#[test]
fn different_addresses_are_different_servers() {
    let mut cluster = Cluster::new();
    let worker = cluster.fork();
    let path = ListenQuery {
        address: Field::Is("/run/s".into()),
        port: Field::Is(-1),
        address_type: Field::Is(AddressType::Pipe),
        ..ListenQuery::default()
    };
    let everywhere = ListenQuery { address: Field::Null, ..tcp(80) };
    for (n, query) in [(1, tcp(80)), (2, tcp(81)), (3, path), (4, everywhere)] {
        assert_eq!(cluster.asks(worker, query), [format!("bind server {n}")]);
    }
}

#[test]
fn the_data_of_the_first_worker_that_has_any_goes_to_all() {
    let mut cluster = Cluster::new();
    let workers: Vec<_> = (0..4).map(|_| cluster.fork()).collect();
    let with = |data: Value| ListenQuery { data, ..tcp(443) };
    cluster.asks(workers[0], with(Value::Null));
    let key = key(443);
    let answer = |to| format!("to {to}: ack 1 key {key} port 4321");
    assert_eq!(cluster.bound(ServerId(1)), [answer(1)]);
    let asks =
        |cluster: &mut Cluster, n: usize, data: &str| cluster.asks(workers[n], with(data.into()));
    assert_eq!(asks(&mut cluster, 1, "first"), [answer(2) + " data first"]);
    assert_eq!(asks(&mut cluster, 2, "second"), [answer(3) + " data first"]);
    assert_eq!(asks(&mut cluster, 3, ""), [answer(4) + " data first"]);
}

#[test]
fn a_failure_is_told_to_all_who_wait_and_another_may_try_again() {
    let mut cluster = Cluster::new();
    let (one, two) = (cluster.fork(), cluster.fork());
    cluster.asks(one, tcp(80));
    cluster.asks(two, tcp(80));
    let key = key(80);
    let failed = |to| {
        [
            format!("to {to}: ack 1 errno -98 key {key}"),
            format!("event: listen failed {to} 127.0.0.1:80 errno 98"),
        ]
    };
    assert_eq!(cluster.not_bound(ServerId(1), ADDRESS_IN_USE), [failed(1), failed(2)].concat());
    assert_eq!(cluster.asks(two, tcp_again(80, 1)), ["bind server 2"]);
    assert_eq!(cluster.bound(ServerId(2)), [format!("to 2: ack 2 key {key} port 4321")]);
    assert_eq!(
        cluster.asks(one, tcp_again(80, 1)),
        [format!("to 1: ack 2 key {key} port 4321")],
        "and the first finds it"
    );
}

#[test]
fn a_second_listen_of_one_worker_on_one_address_tries_a_second_socket() {
    let mut cluster = Cluster::new();
    let (one, two) = (cluster.fork(), cluster.fork());
    cluster.serves(one, 80);
    assert_eq!(cluster.asks(one, tcp_again(80, 1)), ["bind server 2"]);
    let lines = cluster.not_bound(ServerId(2), ADDRESS_IN_USE);
    assert!(lines[0].starts_with("to 1: ack 2 errno -98"), "{lines:?}");
    // The first one is as it was.
    assert_eq!(cluster.asks(two, tcp(80)), [format!("to 2: ack 1 key {} port 4321", key(80))]);
    let (conn, lines) = cluster.connects(ServerId(1));
    assert_eq!(lines, [format!("to 1: newconn {} conn {}", key(80), conn.0)]);
}

#[test]
fn a_worker_on_its_way_out_gets_no_answer() {
    let mut cluster = Cluster::new();
    let (one, two) = (cluster.fork(), cluster.fork());
    cluster.input(Input::Disconnect { worker: one });
    assert_eq!(cluster.asks(one, tcp(80)), [""; 0]);
    cluster.says(two, ClusterBody::ExitedAfterDisconnect);
    assert_eq!(cluster.asks(two, tcp(80)), [""; 0]);
}

#[test]
fn one_that_goes_while_the_socket_is_made_gets_none_and_leaves_none() {
    let goings: [fn(&mut Cluster, cluster_primary::WorkerId); 3] = [
        |cluster, worker| drop(cluster.input(Input::Disconnect { worker })),
        |cluster, worker| drop(cluster.says(worker, ClusterBody::ExitedAfterDisconnect)),
        |cluster, worker| drop(cluster.closes_channel(worker)),
    ];
    for going in goings {
        let mut cluster = Cluster::new();
        let worker = cluster.fork();
        cluster.asks(worker, tcp(80));
        going(&mut cluster, worker);
        assert_eq!(cluster.bound(ServerId(1)), ["close server 1"]);
        let other = cluster.fork();
        assert_eq!(cluster.asks(other, tcp(80)), ["bind server 2"], "nothing is left of it");
    }
}

#[test]
fn a_failure_is_not_told_to_one_that_has_gone() {
    let mut cluster = Cluster::new();
    let worker = cluster.fork();
    cluster.asks(worker, tcp(80));
    cluster.input(Input::Disconnect { worker });
    assert_eq!(cluster.not_bound(ServerId(1), ADDRESS_IN_USE), [""; 0]);
}

#[test]
fn one_worker_has_so_many_servers_and_no_more() {
    let mut settings = Settings::new("app");
    settings.limits.max_servers = 2;
    let mut cluster = Cluster::with(settings);
    let (one, two) = (cluster.fork(), cluster.fork());
    cluster.serves(one, 80);
    cluster.serves(one, 81);
    let key = key(82);
    assert_eq!(
        cluster.asks(one, tcp(82)),
        [
            format!("to 1: ack 3 errno -24 key {key}"),
            "event: listen failed 1 127.0.0.1:82 errno 24".into()
        ]
    );
    assert_eq!(cluster.serves(two, 82), ServerId(3), "each worker has its own allowance");
    cluster.says(one, ClusterBody::Close { key: support::key(80).as_str().into() });
    assert_eq!(
        cluster.asks(one, tcp(82)),
        [format!("to 1: ack 5 key {key} port 4321")],
        "what it closes it may have again"
    );
}

#[test]
fn what_is_asked_in_one_breath_counts_too() {
    let mut settings = Settings::new("app");
    settings.limits.max_servers = 2;
    let mut cluster = Cluster::with(settings);
    let worker = cluster.fork();
    // Before a single one of them could be bound.
    let lines: Vec<_> = (80..90).flat_map(|port| cluster.asks(worker, tcp(port))).collect();
    let binds = lines.iter().filter(|line| line.starts_with("bind")).count();
    assert_eq!(binds, 2, "{lines:?}");
}

#[test]
fn the_same_socket_again_and_again_counts_each_time() {
    let mut settings = Settings::new("app");
    settings.limits.max_servers = 4;
    let mut cluster = Cluster::with(settings);
    let worker = cluster.fork();
    let mut servers = 0;
    for _ in 0..10 {
        // A descriptor can be listened on any number of times, also under one index.
        let fd = ListenQuery { fd: Field::Is(5), ..ListenQuery::default() };
        if cluster.asks(worker, fd).iter().any(|line| line.starts_with("bind")) {
            servers += 1;
            cluster.bound(ServerId(servers));
        }
    }
    assert_eq!(servers, 4);
    // And all of them go with it.
    let lines = cluster.input(Input::Disconnect { worker });
    assert_eq!(lines.iter().filter(|line| line.contains("close server")).count(), 4);
}

#[test]
fn data_that_cannot_be_sent_to_any_worker_is_refused() {
    let deep = |levels| (0..levels).fold(Value::Null, |inner, _| Value::from(vec![inner]));
    let long = |length| Value::from("x".repeat(length));
    let mut cluster = Cluster::new();
    let worker = cluster.fork();
    for (data, fits) in [
        (deep(64), true),
        (deep(65), false),
        (long(60_000), true),
        (long(70_000), false),
        (Value::from(vec![Value::from(1); 10_000]), false),
    ] {
        let lines = cluster.asks(worker, ListenQuery { data, ..tcp(80) });
        if fits {
            assert!(lines[0].starts_with("bind"), "{lines:?}");
            cluster.not_bound(ServerId(cluster.last_server), -98);
        } else {
            assert!(lines[0].contains("-90"), "{lines:?}");
        }
    }
    let endless = Field::Is("x".repeat(5000));
    let lines = cluster.asks(worker, ListenQuery { address: endless, ..tcp(80) });
    assert!(lines[0].contains("-36"), "{lines:?}");
}

#[test]
fn the_last_to_close_closes_the_socket() {
    let mut cluster = Cluster::new();
    let (one, two) = (cluster.fork(), cluster.fork());
    cluster.serves(one, 80);
    cluster.serves(two, 80);
    let close = || ClusterBody::Close { key: key(80).as_str().into() };
    assert_eq!(cluster.says(one, close()), [""; 0]);
    assert_eq!(cluster.says(one, close()), [""; 0], "again, and it was not its own any more");
    assert_eq!(cluster.says(two, close()), ["close server 1"]);
    assert_eq!(cluster.asks(one, tcp(80)), ["bind server 2"], "and it can be had anew");
}

#[test]
fn a_key_that_is_none_of_its_own_closes_nothing() {
    let mut cluster = Cluster::new();
    let (one, two) = (cluster.fork(), cluster.fork());
    cluster.serves(one, 80);
    for foreign in [key(80), "nonsense".into()] {
        let close = ClusterBody::Close { key: foreign.as_str().into() };
        assert_eq!(cluster.says(two, close), [""; 0]);
    }
    assert_eq!(cluster.connects(ServerId(1)).1.len(), 1);
}
