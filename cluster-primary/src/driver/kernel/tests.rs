//! Groups of real sockets: what the kernel chooses is what the policy says.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use cluster_proto::{AddressType, Field, ListenQuery};
use cluster_sched::kernel::{Choice, rendezvous};
use cluster_sched::sticky::{Buckets, client_of};
use rustix::net::{AddressFamily, SocketType};

use super::super::listen;
use super::Group;
use super::chooser::Chooser;
use super::group::Opened;

#[path = "../../../tests/support/privilege.rs"]
mod privilege;

fn query(address: IpAddr) -> ListenQuery {
    let kind = if address.is_ipv4() { AddressType::Tcp4 } else { AddressType::Tcp6 };
    ListenQuery {
        address: Field::Is(address.to_string()),
        port: Field::Is(0),
        address_type: Field::Is(kind),
        ..ListenQuery::default()
    }
}

/// A group with these slots on, and where it listens; by a program with maps if that can be, or a
/// classic one.
fn group(address: IpAddr, choice: Choice, slots: &[u32], classic: bool) -> (Group, SocketAddr) {
    let Ok(Opened { mut group, bound, .. }) = Group::open(&query(address), choice) else {
        panic!("a free port can be had");
    };
    if classic {
        group.make_classic();
    }
    for &slot in slots {
        group.slot(slot).expect("a socket");
        group.switch(slot, slot, true).expect("the program is told");
    }
    (group, SocketAddr::new(address, bound.sockname.expect("a port").port))
}

/// Connects from that address.
fn connect(from: IpAddr, to: SocketAddr) -> TcpStream {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket: OwnedFd = rustix::net::socket(family, SocketType::STREAM, None).expect("a socket");
    rustix::net::bind(&socket, &SocketAddr::new(from, 0)).expect("all of 127/8 is ours");
    rustix::net::connect(&socket, &to).expect("it listens");
    socket.into()
}

/// The slot that has the only connection there is; `None` is the waiting room.
fn taker(group: &Group) -> Option<u32> {
    let queues = group.queues();
    let mut takers = queues.iter().filter(|queue| queue.length > 0);
    let taker = takers.next().expect("a slot has it").slot;
    assert!(takers.next().is_none());
    drop(listen::accept(group.socket(taker).expect("it is there")).expect("it waits"));
    taker
}

/// Whether the kernel chooses by the program; where it may be loaded it must.
fn programmed(group: &Group) -> bool {
    assert!(group.has_program() || !privilege::held(), "the program does not load");
    group.has_program()
}

fn clients() -> impl Iterator<Item = IpAddr> {
    (1..60).map(|n| Ipv4Addr::new(127, 0, n, 250 - n).into())
}

#[test]
fn by_client_the_kernel_agrees_with_the_policy() {
    let v4 = IpAddr::from(Ipv4Addr::LOCALHOST);
    let v6 = IpAddr::from(Ipv6Addr::LOCALHOST);
    for slots in [vec![0, 1, 2], vec![1, 5], vec![4]] {
        for classic in [false, true] {
            let policy = |client| match classic {
                false => Buckets::new(slots.iter().copied()).slot_of(client_of(client)),
                true => rendezvous(client_of(client), slots.iter().copied()),
            };
            let (four, at) = group(v4, Choice::Sticky, &slots, classic);
            if !classic && !programmed(&four) {
                continue;
            }
            for client in clients() {
                drop(connect(client, at));
                assert_eq!(taker(&four), policy(client), "{client}, {slots:?}, {classic}");
            }
            let (six, at) = group(v6, Choice::Sticky, &slots, classic);
            drop(connect(v6, at));
            assert_eq!(taker(&six), policy(v6), "{slots:?}, {classic}");
            // Dual stack: an IPv4 client is the same.
            let any = IpAddr::from(Ipv6Addr::UNSPECIFIED);
            let (both, at) = group(any, Choice::Sticky, &slots, classic);
            for client in clients().take(10) {
                drop(connect(client, SocketAddr::new(v4, at.port())));
                assert_eq!(taker(&both), policy(client), "{client}, {slots:?}, {classic}");
            }
        }
    }
}

#[test]
fn in_turns_among_those_that_are_on() {
    let localhost = IpAddr::from(Ipv4Addr::LOCALHOST);
    let (mut group, at) = group(localhost, Choice::RoundRobin, &[0, 1, 2, 3], false);
    if !programmed(&group) {
        return;
    }
    for (off, expected) in
        [(None, vec![0, 1, 2, 3]), (Some(1), vec![0, 2, 3]), (Some(3), vec![0, 2])]
    {
        if let Some(off) = off {
            group.switch(off, off, false).unwrap();
        }
        let takers: Vec<_> = (0..3 * expected.len())
            .map(|_| {
                drop(connect(localhost, at));
                taker(&group).expect("a slot")
            })
            .collect();
        let start = expected.iter().position(|slot| *slot == takers[0]).expect("it is on");
        let positions: Vec<_> = expected.iter().cycle().skip(start).take(takers.len()).collect();
        assert_eq!(takers.iter().collect::<Vec<_>>(), positions);
    }
}

#[test]
fn by_lot_all_have_some() {
    let localhost = IpAddr::from(Ipv4Addr::LOCALHOST);
    for classic in [false, true] {
        let (group, at) = group(localhost, Choice::Random, &[0, 1, 2], classic);
        let mut counts = BTreeMap::new();
        for _ in 0..300 {
            drop(connect(localhost, at));
            *counts.entry(taker(&group)).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 3);
        assert!(counts.values().all(|count| (50..150).contains(count)), "{counts:?}");
    }
}

#[test]
fn while_no_slot_is_on_connections_wait_in_the_room_and_after_the_end_they_are_refused() {
    let localhost = IpAddr::from(Ipv4Addr::LOCALHOST);
    for &choice in Choice::ALL {
        for classic in [false, true] {
            let (mut group, at) = group(localhost, choice, &[], classic);
            let waiting: Vec<_> = (0..5).map(|_| connect(localhost, at)).collect();
            assert_eq!(group.queues()[0].length, 5);
            assert_eq!(group.slot(0), Ok(None));
            let socket = Arc::clone(group.socket(Some(0)).expect("it is made"));
            assert_eq!(group.slot(0), Ok(None));
            let again = group.socket(Some(0)).expect("it is made");
            assert!(Arc::ptr_eq(&socket, again), "a slot has one socket");
            group.switch(0, 0, true).unwrap();
            let one_more = connect(localhost, at);
            assert_eq!((group.queues()[0].length, group.queues()[1].length), (5, 1));
            if group.has_program() {
                group.refuse();
                assert!(TcpStream::connect(at).is_err());
            }
            drop((waiting, one_more));
        }
    }
}

/// Clients that connect later are served all the same, by the workers that were there before.
#[test]
fn a_map_that_takes_no_socket_more_is_no_reason_not_to_listen() {
    let localhost = IpAddr::from(Ipv4Addr::LOCALHOST);
    let (mut group, at) = group(localhost, Choice::RoundRobin, &[0, 1], false);
    if !programmed(&group) {
        return;
    }
    group.make_deaf();
    let untold = group.slot(2).expect("a socket").expect("the program is not told");
    assert!(untold.starts_with("cannot write a map: "), "{untold}");
    assert!(!group.has_program());
    assert_eq!(group.slot(3), Ok(None), "that is said once");
    let mut counts = BTreeMap::new();
    let mut connect_often = |group: &Group| {
        counts.clear();
        for _ in 0..200 {
            drop(connect(localhost, at));
            *counts.entry(taker(group)).or_insert(0) += 1;
        }
        counts.keys().copied().collect::<Vec<_>>()
    };
    assert_eq!(connect_often(&group), [Some(0), Some(1)], "the new ones are not on");
    group.switch(2, 2, true).expect("a classic program is told");
    group.switch(3, 3, true).expect("a classic program is told");
    assert_eq!(connect_often(&group), [0, 1, 2, 3].map(Some));
}

/// A program that cannot be told any more is replaced.
#[test]
fn a_classic_program_takes_over() {
    let localhost = IpAddr::from(Ipv4Addr::LOCALHOST);
    let (mut group, at) = group(localhost, Choice::RoundRobin, &[0, 1], false);
    group.make_classic();
    assert!(matches!(group.chooser(), Chooser::Classic { .. }));
    group.switch(0, 0, false).unwrap();
    for _ in 0..10 {
        drop(connect(localhost, at));
        assert_eq!(taker(&group), Some(1));
    }
}
