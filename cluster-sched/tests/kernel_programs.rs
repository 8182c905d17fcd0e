//! The kernel's programs do what the policies do: run in an interpreter, against the policies.

#[path = "support/bpf.rs"]
mod bpf;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;

use bpf::{ACK, FIN, Kernel, MAPS, RST, SYN, Verdict, run_classic};
use cluster_sched::kernel::{
    Choice, MAX_PLACES, ROOM, Table, classic, max_classic, program, rendezvous,
};
use cluster_sched::sticky::client_of;
use cluster_sched::{Choice as Chosen, Policy, RoundRobin, Standing, Sticky};
use proptest::prelude::*;

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Slots that are on, by their places: each slot's place is its own for good.
fn places(on: &BTreeSet<u32>) -> Vec<(u32, u32)> {
    on.iter().map(|&slot| (slot, slot + 1)).collect()
}

/// A policy of workers that are named as their slots, and never busy.
fn all_ready<P: Policy<u32, ()>>(mut policy: P, on: &BTreeSet<u32>) -> P {
    for &slot in on {
        policy.join(slot, slot);
        policy.ready(slot);
    }
    policy
}

fn picked(policy: &mut impl Policy<u32, ()>, client: Option<u32>) -> u32 {
    match policy.pick(&(), client, &mut |_| Standing::Free) {
        Chosen::Give(slot) => slot,
        other => panic!("{other:?}"),
    }
}

fn some_slots() -> impl Strategy<Value = BTreeSet<u32>> {
    prop::collection::btree_set(0..40_u32, 1..12)
}

fn address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<u32>().prop_map(|bits| Ipv4Addr::from_bits(bits).into()),
        any::<u128>().prop_map(|bits| Ipv6Addr::from_bits(bits).into()),
        any::<u32>().prop_map(|bits| Ipv4Addr::from_bits(bits).to_ipv6_mapped().into()),
    ]
}

fn kernel(choice: Choice, table: &Table) -> Kernel {
    Kernel::new(&table.to_bytes(choice), || panic!("no lots are drawn"))
}

fn place_of(verdict: Verdict) -> u32 {
    match verdict {
        Verdict::Place(place) => place,
        other => panic!("{other:?}"),
    }
}

proptest! {
    /// The program goes round as the policy does when no worker is ever busy; from which slot on is
    /// chance, for the counter goes on when slots come and go.
    #[test]
    fn in_turns_as_the_policy(rounds in prop::collection::vec((some_slots(), 1..60_usize), 1..6), counted: u64) {
        let choice = Choice::RoundRobin;
        let program = program(choice, MAPS);
        let mut kernel = kernel(choice, &Table::refusing());
        // Once in 584 years at a thousand million connections a second the count starts over.
        kernel.write_counter(counted.min(u64::MAX - 1000));
        for (on, connections) in rounds {
            kernel.write_table(&Table::of(choice, places(&on)).to_bytes(choice));
            let mut policy = all_ready(RoundRobin::new(), &on);
            let first = place_of(kernel.connects(&program, CLIENT)) - 1;
            while picked(&mut policy, None) != first {}
            for _ in 1..connections {
                let slot = picked(&mut policy, None);
                prop_assert_eq!(kernel.connects(&program, CLIENT), Verdict::Place(slot + 1));
            }
        }
    }

    /// A client's slot is that of the policy's table, whatever its address looks like.
    #[test]
    fn by_client_as_the_policy(on in some_slots(), clients in prop::collection::vec(address(), 1..20)) {
        let choice = Choice::Sticky;
        let program = program(choice, MAPS);
        let mut kernel = kernel(choice, &Table::of(choice, places(&on)));
        let mut policy = all_ready(Sticky::new(), &on);
        for client in clients {
            let slot = picked(&mut policy, Some(client_of(client)));
            prop_assert_eq!(kernel.connects(&program, client), Verdict::Place(slot + 1));
        }
    }

    /// Every random number goes to one of those that are on, and each has the same share of the
    /// numbers.
    #[test]
    fn at_random_among_those_that_are_on(on in some_slots()) {
        let choice = Choice::Random;
        let program = program(choice, MAPS);
        let steps = on.len() as u32 * 64;
        let next = Rc::new(Cell::new(0_u32));
        let random = { let next = Rc::clone(&next); move || next.get() };
        let mut kernel = Kernel::new(&Table::of(choice, places(&on)).to_bytes(choice), random);
        let mut shares = BTreeMap::new();
        for step in 0..steps {
            next.set((u64::from(step) * (1 << 32) / u64::from(steps)) as u32);
            *shares.entry(place_of(kernel.connects(&program, CLIENT)) - 1).or_insert(0) += 1;
        }
        prop_assert_eq!(shares.keys().copied().collect::<BTreeSet<_>>(), on);
        // The borders between shares lie between two steps.
        prop_assert!(shares.values().all(|share| (63..=65).contains(share)), "{:?}", shares);
    }

    /// Classic: as many random numbers to each, too.
    #[test]
    fn a_classic_lot_is_even(on in some_slots(), random: u32) {
        for choice in [Choice::Random, Choice::RoundRobin] {
            let program = classic(choice, places(&on));
            let of = random % on.len() as u32;
            let expected = on.iter().nth(of as usize).unwrap() + 1;
            prop_assert_eq!(run_classic(&program, CLIENT, random), expected);
        }
    }

    /// Classic: a client's slot is where it draws the highest number.
    #[test]
    fn classic_by_client(on in some_slots(), clients in prop::collection::vec(address(), 1..20)) {
        let program = classic(Choice::Sticky, places(&on));
        for client in clients {
            let slot = rendezvous(client_of(client), on.iter().copied()).unwrap();
            prop_assert_eq!(run_classic(&program, client, 0), slot + 1);
        }
    }
}

#[test]
fn a_segment_that_is_not_the_first_takes_no_turn() {
    let choice = Choice::RoundRobin;
    let program = program(choice, MAPS);
    let on = (0..3).map(|slot| (slot, slot + 1));
    let mut kernel = Kernel::new(&Table::of(choice, on).to_bytes(choice), || u32::MAX);
    for turn in 0..30 {
        for late in [ACK, RST, ACK | FIN, ACK | RST] {
            // But it goes somewhere: it may carry a SYN cookie.
            assert_eq!(kernel.receives(&program, CLIENT, late), Verdict::Place(3));
        }
        // With and without the flags of explicit congestion notification.
        let first = if turn % 2 == 0 { SYN } else { SYN | 0xc0 };
        assert_eq!(kernel.receives(&program, CLIENT, first), Verdict::Place(turn % 3 + 1));
    }
}

#[test]
fn without_slots_the_waiting_room_gets_all_and_a_closed_server_refuses() {
    for &choice in Choice::ALL {
        let program = program(choice, MAPS);
        let mut kernel = Kernel::new(&Table::of(choice, []).to_bytes(choice), || u32::MAX);
        assert_eq!(kernel.connects(&program, CLIENT), Verdict::Place(ROOM));
        kernel.write_table(&Table::refusing().to_bytes(choice));
        assert_eq!(kernel.connects(&program, CLIENT), Verdict::Refused);
        assert_eq!(run_classic(&classic(choice, []), CLIENT, 5), ROOM);
    }
}

#[test]
fn a_place_without_a_socket_is_the_waiting_room() {
    for &choice in Choice::ALL {
        let program = program(choice, MAPS);
        let mut kernel = Kernel::new(&Table::of(choice, [(0, 1)]).to_bytes(choice), || 7);
        kernel.sockets = BTreeSet::from([ROOM]);
        assert_eq!(kernel.connects(&program, CLIENT), Verdict::Place(ROOM));
        kernel.sockets.clear();
        assert_eq!(kernel.connects(&program, CLIENT), Verdict::Undecided);
    }
}

/// A table may be read while it is being written: its count may belong to another one.
#[test]
fn a_torn_table_leads_to_no_place_that_never_was() {
    let choice = Choice::RoundRobin;
    let program = program(choice, MAPS);
    let mut torn = Table::of(choice, (0..3).map(|slot| (slot, slot + 1))).to_bytes(choice);
    torn[..4].copy_from_slice(&5_u32.to_ne_bytes());
    let mut kernel = Kernel::new(&torn, || 0);
    let seen: BTreeSet<u32> =
        (0..10).map(|_| place_of(kernel.connects(&program, CLIENT))).collect();
    assert_eq!(seen, BTreeSet::from([ROOM, 1, 2, 3]));
}

#[test]
fn programs_are_short() {
    for (choice, most) in [(Choice::RoundRobin, 40), (Choice::Random, 40), (Choice::Sticky, 100)] {
        let program = program(choice, MAPS);
        let mut kernel = Kernel::new(&Table::of(choice, [(0, 1), (1, 2)]).to_bytes(choice), || 0);
        kernel.connects(&program, Ipv6Addr::LOCALHOST.into());
        assert!(kernel.steps <= most, "{choice}: {}", kernel.steps);
    }
}

#[test]
fn a_classic_program_fits_however_many_slots_there_are() {
    for &choice in Choice::ALL {
        let program = classic(choice, (0..MAX_PLACES - 1).map(|slot| (slot, slot + 1)));
        assert!(program.len() <= 4096, "{choice}: {}", program.len());
        let most = max_classic(choice) as u32;
        assert!(most > 300);
        for client in 0..2000_u32 {
            let address = Ipv4Addr::from_bits(client * 1_000_003);
            assert!((1..=most).contains(&run_classic(&program, address.into(), client)));
        }
    }
}

#[test]
fn by_rendezvous_shares_are_even_and_only_those_move_who_must() {
    let clients: Vec<u32> =
        (0..40_000_u32).map(|n| client_of(Ipv4Addr::from_bits(0x0a00_0000 + n).into())).collect();
    for count in [2, 4, 16] {
        let before = |client: &u32| rendezvous(*client, 0..count).unwrap();
        let mut shares = vec![0; count as usize];
        for client in &clients {
            shares[before(client) as usize] += 1;
        }
        let mean = clients.len() / count as usize;
        assert!(shares.iter().all(|s| (mean * 9 / 10..mean * 11 / 10).contains(s)), "{shares:?}");
        let gone = count / 2;
        for client in &clients {
            let after = rendezvous(*client, (0..count).filter(|slot| *slot != gone)).unwrap();
            assert!(before(client) == gone || after == before(client));
        }
    }
    assert_eq!(rendezvous(7, []), None);
}
