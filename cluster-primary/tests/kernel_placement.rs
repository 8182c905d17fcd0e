//! The kernel deals connections out to sockets of the workers' own.
//!
//! Where the privilege for it (`CAP_BPF`) is held everything has to be exact; without it the tests
//! hold what is done instead to its own bounds. They never skip.
#![cfg(target_os = "linux")]

#[path = "support/node.rs"]
mod node;
#[path = "support/privilege.rs"]
mod privilege;
#[path = "support/process.rs"]
mod support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use cluster_primary::{Event, Fallback, Placement, PolicyName, Settings, Signal, WorkerId};
use node::{nodes, own, under};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use support::{Cluster, Folder, puppet, serve_from_any_worker};

/// Never within a test.
const NEVER: Duration = Duration::from_secs(3600);

fn kernel(settings: Settings) -> Settings {
    let mut settings = settings.placement(Placement::Kernel);
    // Only the worker that should be found stuck is.
    settings.limits.stuck_after = NEVER;
    settings
}

/// A primary whose puppets listen on the same loopback port.
fn listening(settings: Settings, workers: usize) -> (Cluster, Vec<WorkerId>, SocketAddr) {
    let mut cluster = Cluster::with(settings);
    let mut port = 0;
    let workers: Vec<_> = (0..workers)
        .map(|_| {
            let worker = cluster.fork();
            port = cluster.listen(worker, 0).port();
            worker
        })
        .collect();
    (cluster, workers, SocketAddr::from(([127, 0, 0, 1], port)))
}

/// A Node server that says which worker it is.
const WHO: &str = "const id = require('node:cluster').worker.id + '\\n'; \
                   require('node:http').createServer((_, to) => to.end(id)).listen(0, '127.0.0.1');";

fn get(address: SocketAddr) -> WorkerId {
    answer(ask(address))
}

fn ask(address: SocketAddr) -> TcpStream {
    let mut client = TcpStream::connect(address).expect("it listens");
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("it reads");
    client
}

fn answer(mut client: TcpStream) -> WorkerId {
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap_or_else(|e| panic!("no answer: {e}; {answer:?}"));
    let body = answer.rsplit("\r\n\r\n").next().unwrap_or_default().trim();
    WorkerId(body.parse().unwrap_or_else(|_| panic!("no id: {answer:?}")))
}

fn connect(address: SocketAddr) -> WorkerId {
    serve_from_any_worker(TcpStream::connect(address).expect("it listens"))
}

/// Waits until so many workers listen; where.
fn until_listening(cluster: &mut Cluster, workers: usize) -> SocketAddr {
    let mut port = 0;
    for _ in 0..workers {
        let listening = cluster.until("listening", |e| matches!(e, Event::Listening { .. }));
        let Event::Listening { address, .. } = listening else { unreachable!() };
        port = address.port.expect("a port").try_into().expect("a port");
    }
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn fallbacks(cluster: &mut Cluster) -> Vec<Fallback> {
    let fallback = |event| match event {
        Event::Fallback { instead, reason, .. } => {
            assert!(!reason.is_empty());
            Some(instead)
        }
        _ => None,
    };
    cluster.rest().into_iter().filter_map(fallback).collect()
}

fn count(served: impl IntoIterator<Item = WorkerId>) -> BTreeMap<WorkerId, usize> {
    let mut counts = BTreeMap::new();
    for worker in served {
        *counts.entry(worker).or_insert(0) += 1;
    }
    counts
}

/// 10,000 connections, one after the other, by three workers.
fn assert_even(cluster: &mut Cluster, address: SocketAddr, client: fn(SocketAddr) -> WorkerId) {
    const CONNECTIONS: usize = 10_000;
    let served = cluster.run(move || count((0..CONNECTIONS).map(|_| client(address))));
    let (exact, workers) = (privilege::held(), 3);
    let most = *served.values().max().expect("a worker served");
    let ratio = most as f64 * workers as f64 / CONNECTIONS as f64;
    assert_eq!(served.len(), workers, "{served:?}");
    assert!(ratio <= if exact { 1.01 } else { 1.25 }, "{served:?}");
    let said = fallbacks(cluster);
    assert_eq!(said, if exact { vec![] } else { vec![Fallback::Random] });
}

#[test]
fn in_turns_with_rust_workers() {
    let (mut cluster, _, address) = listening(kernel(puppet()), 3);
    assert_even(&mut cluster, address, connect);
    assert_eq!(cluster.primary.stats().accepted, 0, "no connection passes through the primary");
}

#[test]
fn in_turns_with_node_workers() {
    for node in nodes() {
        let folder = Folder::new("kernel-turns");
        let mut cluster = Cluster::with(kernel(under(&node, own(&folder, WHO))));
        for _ in 0..3 {
            cluster.fork();
        }
        let address = until_listening(&mut cluster, 3);
        assert_even(&mut cluster, address, get);
    }
}

#[test]
fn without_the_privilege_by_lot_and_that_is_said() {
    let unprivileged = || {
        privilege::drop();
        let (mut cluster, workers, address) = listening(kernel(puppet()), 3);
        assert_even(&mut cluster, address, connect);
        // What switches slots is another thing there: it works as well.
        cluster.primary.kill(workers[1], Signal::KILL).expect("it is there");
        cluster.exit_of(workers[1]);
        let served = cluster.run(move || count((0..200).map(|_| connect(address))));
        assert!(!served.contains_key(&workers[1]) && served.len() == 2, "{served:?}");
    };
    thread::spawn(unprivileged).join().expect("no panic");
}

#[test]
fn what_a_killed_worker_had_queued_goes_to_others() {
    for drop_privilege in [false, true] {
        let test = move || {
            if drop_privilege {
                privilege::drop();
            }
            let (mut cluster, workers, address) = listening(kernel(puppet()), 3);
            stop(&mut cluster, workers[0]);
            let clients: Vec<_> =
                (0..300).map(|_| TcpStream::connect(address).expect("it listens")).collect();
            cluster.primary.kill(workers[0], Signal::KILL).expect("it is there");
            let served = cluster.run(move || count(clients.into_iter().map(serve_from_any_worker)));
            assert_eq!(served.values().sum::<usize>(), 300);
            assert!(!served.contains_key(&workers[0]));
            let stats = cluster.primary.stats();
            assert!((50..=150).contains(&stats.rescued), "{stats:?}");
            assert_eq!(stats.shed_closed + stats.shed_full + stats.shed_refused, 0);
        };
        thread::spawn(test).join().expect("no panic");
    }
}

fn signal(name: &str) -> Signal {
    name.parse().expect("a signal")
}

#[test]
fn what_a_killed_node_worker_had_queued_goes_to_others() {
    for node in nodes() {
        let folder = Folder::new("kernel-killed");
        let mut cluster = Cluster::with(kernel(under(&node, own(&folder, WHO))));
        let workers: Vec<_> = (0..3).map(|_| cluster.fork()).collect();
        let address = until_listening(&mut cluster, 3);
        stop(&mut cluster, workers[0]);
        let clients: Vec<_> = (0..90).map(|_| ask(address)).collect();
        cluster.primary.kill(workers[0], Signal::KILL).expect("it is there");
        let served = cluster.run(move || count(clients.into_iter().map(answer)));
        assert_eq!(served.values().sum::<usize>(), 90);
        assert!(!served.contains_key(&workers[0]));
        let stats = cluster.primary.stats();
        assert!((10..=60).contains(&stats.rescued), "{stats:?}");
    }
}

/// Stops a worker, and waits until it has stopped.
fn stop(cluster: &mut Cluster, worker: WorkerId) {
    let pid = cluster.primary.worker_state(worker).expect("it is there").pid;
    cluster.primary.kill(worker, signal("SIGSTOP")).expect("it is there");
    let stat = || std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it is there");
    while !stat().contains(") T ") {
        thread::yield_now();
    }
}

#[test]
fn a_stopped_worker_is_relieved_and_gets_its_slot_back() {
    let mut settings = kernel(puppet());
    settings.limits.stuck_after = Duration::from_millis(100);
    settings.limits.queue_watch = Duration::from_millis(20);
    let (mut cluster, workers, address) = listening(settings, 3);
    stop(&mut cluster, workers[1]);
    let served = cluster.run(move || {
        let clients: Vec<_> =
            (0..90).map(|_| TcpStream::connect(address).expect("it listens")).collect();
        count(clients.into_iter().map(serve_from_any_worker))
    });
    assert_eq!(served.values().sum::<usize>(), 90);
    assert!(!served.contains_key(&workers[1]), "{served:?}");
    assert_eq!(cluster.primary.stats().stuck, 1);
    // It gets no more connections, so that no client waits.
    let before = cluster.primary.stats().rescued;
    cluster.run(move || count((0..50).map(|_| connect(address))));
    assert_eq!(cluster.primary.stats().rescued, before);
    cluster.primary.kill(workers[1], signal("SIGCONT")).expect("it is there");
    while cluster.run(move || connect(address)) != workers[1] {}
}

/// Clients that connect and are served without end, until told to stop; how many were.
fn load(address: SocketAddr, client: fn(SocketAddr) -> WorkerId) -> impl FnOnce() -> usize {
    let over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let over = Arc::clone(&over);
            thread::spawn(move || {
                let mut served = 0;
                while !over.load(Ordering::Relaxed) {
                    client(address);
                    served += 1;
                }
                served
            })
        })
        .collect();
    move || {
        over.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().expect("it was served")).sum()
    }
}

#[test]
fn a_disconnect_under_load_loses_no_client() {
    let (mut cluster, mut workers, address) = listening(kernel(puppet()), 3);
    let stop = load(address, connect);
    for _ in 0..20 {
        let gone = workers.remove(0);
        cluster.primary.disconnect_worker(gone);
        cluster.exit_of(gone);
        let worker = cluster.fork();
        cluster.listen(worker, 0);
        workers.push(worker);
    }
    assert!(cluster.run(stop) > 100);
}

#[test]
fn a_disconnect_under_load_loses_no_client_of_node() {
    for node in nodes() {
        let folder = Folder::new("kernel-disconnect");
        let mut cluster = Cluster::with(kernel(under(&node, own(&folder, WHO))));
        let mut workers: Vec<_> = (0..3).map(|_| cluster.fork()).collect();
        let address = until_listening(&mut cluster, 3);
        let stop = load(address, get);
        for _ in 0..8 {
            let gone = workers.remove(0);
            cluster.primary.disconnect_worker(gone);
            cluster.exit_of(gone);
            workers.push(cluster.fork());
            until_listening(&mut cluster, 1);
        }
        assert!(cluster.run(stop) > 100);
    }
}

/// How many sockets listen on that port.
fn sockets(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("there is one");
    let wanted = format!("0100007F:{port:04X} 00000000:0000 0A");
    table.lines().filter(|line| line.contains(&wanted)).count()
}

#[test]
fn a_successor_inherits_the_slot() {
    let (mut cluster, mut workers, address) = listening(kernel(puppet()), 2);
    let before = sockets(address.port());
    assert_eq!(before, 3, "two slots, and the waiting room");
    for _ in 0..3 {
        let gone = workers.remove(0);
        let slot = cluster.primary.worker_state(gone).expect("it is there").slot;
        cluster.primary.kill(gone, Signal::KILL).expect("it is there");
        cluster.exit_of(gone);
        let heir = cluster.fork();
        assert_eq!(cluster.primary.worker_state(heir).expect("it is there").slot, slot);
        cluster.listen(heir, 0);
        workers.push(heir);
        let served = cluster.run(move || count((0..100).map(|_| connect(address))));
        assert_eq!(served.len(), 2);
        assert!(!privilege::held() || served.values().all(|n| *n == 50), "{served:?}");
    }
    assert_eq!(sockets(address.port()), before);
    let third = cluster.fork();
    cluster.listen(third, 0);
    assert_eq!(sockets(address.port()), before + 1);
}

#[test]
fn every_family_is_dealt_out() {
    let v4 = IpAddr::from(Ipv4Addr::LOCALHOST);
    let v6 = IpAddr::from(Ipv6Addr::LOCALHOST);
    for (listen, clients, never) in [
        ("[::1]", vec![v6], Some(v4)),
        ("[::]", vec![v4, v6], None),
        ("0.0.0.0", vec![v4], Some(v6)),
    ] {
        let mut cluster = Cluster::with(kernel(puppet()));
        let mut port = 0_u16;
        for _ in 0..2 {
            let worker = cluster.fork();
            let answer = cluster.ask(worker, &format!("tcp {listen}:0"));
            port = answer.strip_prefix("listening ").expect(&answer).parse().expect("a port");
        }
        for client in clients {
            let address = SocketAddr::from((client, port));
            let served = cluster.run(move || count((0..100).map(|_| connect(address))));
            assert_eq!(served.len(), 2, "{client} to {listen}");
            assert!(!privilege::held() || served.values().all(|n| *n == 50), "{served:?}");
        }
        if let Some(never) = never {
            assert!(TcpStream::connect((never, port)).is_err(), "{never} to {listen}");
        }
    }
}

#[test]
fn a_port_in_use_is_told_even_if_its_user_would_share_it() {
    let sharing = rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    sockopt::set_socket_reuseaddr(&sharing, true).unwrap();
    sockopt::set_socket_reuseport(&sharing, true).unwrap();
    rustix::net::bind(&sharing, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    rustix::net::listen(&sharing, 5).unwrap();
    let sharing = TcpListener::from(sharing);
    let port = sharing.local_addr().unwrap().port();
    let order = format!("tcp 127.0.0.1:{port}");
    let mut cluster = Cluster::with(kernel(puppet()));
    let (one, two) = (cluster.fork(), cluster.fork());
    assert_eq!(cluster.ask(one, &order), "failed 98");
    let theirs = sharing.local_addr().unwrap();
    drop(sharing);
    // A child that another test is just forking holds it too, until it executes its program.
    while TcpStream::connect(theirs).is_ok() {
        std::thread::yield_now();
    }
    assert_eq!(cluster.ask(two, &order), format!("listening {port}"));
    // Nor does a second primary share it.
    let mut second = Cluster::with(kernel(puppet()));
    let other = second.fork();
    assert_eq!(second.ask(other, &order), "failed 98");
}

/// The last worker's socket outlives the server until the worker has closed it too; its successor
/// asks for the address before.
#[test]
fn a_successor_of_the_only_worker_waits_until_the_address_is_free() {
    let (mut cluster, workers, address) = listening(kernel(puppet()), 1);
    let mut last = workers[0];
    for _ in 0..10 {
        cluster.primary.disconnect_worker(last);
        let next = cluster.fork();
        assert_eq!(cluster.listen(next, address.port()), address);
        assert_eq!(cluster.run(move || connect(address)), next);
        last = next;
    }
}

/// Who joins the group later, as any program of the same user can, gets nothing.
#[test]
fn a_stranger_in_the_group_gets_nothing() {
    if !privilege::held() {
        // A classic program counts sockets in the order in which they came: no such promise.
        return;
    }
    let (mut cluster, _, address) = listening(kernel(puppet()), 2);
    let stranger = rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    sockopt::set_socket_reuseaddr(&stranger, true).unwrap();
    sockopt::set_socket_reuseport(&stranger, true).unwrap();
    rustix::net::bind(&stranger, &address).unwrap();
    rustix::net::listen(&stranger, 5).unwrap();
    let third = cluster.fork();
    cluster.listen(third, 0);
    let served = cluster.run(move || count((0..99).map(|_| connect(address))));
    assert!(served.values().all(|n| *n == 33) && served.len() == 3, "{served:?}");
}

#[test]
fn the_last_workers_serve_what_waits_and_get_nothing_new() {
    let (mut cluster, workers, address) = listening(kernel(puppet()), 2);
    for &worker in &workers {
        stop(&mut cluster, worker);
    }
    let clients: Vec<_> =
        (0..100).map(|_| TcpStream::connect(address).expect("it listens")).collect();
    cluster.primary.disconnect();
    if privilege::held() {
        assert!(TcpStream::connect(address).is_err(), "as under hand-off");
    }
    for &worker in &workers {
        cluster.primary.kill(worker, signal("SIGCONT")).expect("it is there");
    }
    let served = cluster.run(move || count(clients.into_iter().map(serve_from_any_worker)));
    assert_eq!(served.values().sum::<usize>(), 100);
    cluster.until("disconnected", |e| matches!(e, Event::Disconnected));
    assert_eq!(sockets(address.port()), 0);
}

/// Connects from that address.
fn connect_from(client: Ipv4Addr, to: SocketAddr) -> WorkerId {
    let socket = rustix::net::socket_with(
        AddressFamily::INET,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    rustix::net::bind(&socket, &SocketAddr::from((client, 0))).expect("all of 127/8 is ours");
    rustix::net::connect(&socket, &to).expect("it listens");
    serve_from_any_worker(TcpStream::from(socket))
}

#[test]
fn a_client_keeps_its_worker_and_only_those_move_whose_worker_goes() {
    for drop_privilege in [false, true] {
        let test = move || {
            if drop_privilege {
                privilege::drop();
            }
            let settings = kernel(puppet()).policy(PolicyName::Sticky);
            let (mut cluster, workers, address) = listening(settings, 4);
            let clients: Vec<_> = (1..=120).map(|n| Ipv4Addr::new(127, 0, n, 1)).collect();
            let ask_all = |cluster: &mut Cluster| -> Vec<WorkerId> {
                let clients = clients.clone();
                cluster.run(move || clients.into_iter().map(|c| connect_from(c, address)).collect())
            };
            let before = ask_all(&mut cluster);
            assert_eq!(before, ask_all(&mut cluster));
            assert_eq!(count(before.iter().copied()).len(), 4, "all have some");

            let gone = workers[2];
            cluster.primary.kill(gone, Signal::KILL).expect("it is there");
            cluster.exit_of(gone);
            let without = ask_all(&mut cluster);
            let stayed = before.iter().zip(&without).filter(|(was, _)| **was != gone);
            let moved = stayed.filter(|(was, is)| was != is).count();
            assert!(moved <= clients.len() / 20, "{moved} moved");

            // The heir has the slot, and with it the clients.
            let heir = cluster.fork();
            cluster.listen(heir, 0);
            let after = ask_all(&mut cluster);
            let same = |was: WorkerId, is: WorkerId| was == is || (was == gone && is == heir);
            assert!(before.iter().zip(&after).all(|(was, is)| same(*was, *is)));
            let expected = if privilege::held() { vec![] } else { vec![Fallback::Sticky] };
            assert_eq!(fallbacks(&mut cluster), expected);
        };
        thread::spawn(test).join().expect("no panic");
    }
}

#[test]
fn at_random_each_has_its_share() {
    let settings = kernel(puppet()).policy(PolicyName::Random);
    let (mut cluster, _, address) = listening(settings, 4);
    let served = cluster.run(move || count((0..4000).map(|_| connect(address))));
    // Six standard deviations of a fair draw are 164.
    assert!(served.values().all(|n| (836..1164).contains(n)), "{served:?}");
    assert_eq!(fallbacks(&mut cluster).is_empty(), privilege::held());
}
