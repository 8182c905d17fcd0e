//! Sticky: a client's connections go to one worker, and to that one's successor.

use cluster_sched::sticky::client_of;
use cluster_sched::{Config, Input, Mono, Output, PolicyName, Scheduler, Sticky};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

const CLIENTS: u32 = 10_000;

/// Workers that accept everything at once, unless they are told not to.
struct Cluster {
    scheduler: Scheduler<u32, u32, Sticky<u32>>,
    next_conn: u32,
    refusers: BTreeSet<u32>,
    now: Mono,
}

impl Cluster {
    /// One worker for each slot, named as it.
    fn new(slots: u32) -> Self {
        let scheduler = Scheduler::new(Sticky::new(), Config::default());
        let mut cluster =
            Self { scheduler, next_conn: 0, refusers: BTreeSet::new(), now: Mono::ZERO };
        for slot in 0..slots {
            cluster.feed(Input::Join { worker: slot, slot });
        }
        cluster
    }

    fn feed(&mut self, input: Input<u32, u32>) {
        self.scheduler.handle_input(self.now, input).expect("a fitting input");
    }

    /// Lets a client connect, and says which connection that is.
    fn connect(&mut self, client: u32) -> u32 {
        let conn = self.next_conn;
        self.next_conn += 1;
        let address = Ipv4Addr::from_bits(0xC0A8_0000 + client);
        self.feed(Input::Arrive { conn, client: Some(client_of(address.into())) });
        conn
    }

    /// Who serves that client.
    fn serve(&mut self, client: u32) -> u32 {
        self.connect(client);
        let mut served = None;
        while let Some(output) = self.scheduler.poll_output() {
            match output {
                Output::Assign { conn, worker } if self.refusers.contains(&worker) => {
                    self.feed(Input::Refused { worker, conn });
                }
                Output::Assign { conn, worker } => self.feed(Input::Accepted { worker, conn }),
                Output::Done { worker, .. } => served = Some(worker),
                Output::Shed { .. } => panic!("a worker takes it"),
            }
        }
        served.expect("it is served")
    }

    fn serve_all(&mut self) -> BTreeMap<u32, u32> {
        (0..CLIENTS).map(|client| (client, self.serve(client))).collect()
    }

    fn assigned(&mut self) -> Vec<(u32, u32)> {
        let outputs = std::iter::from_fn(|| self.scheduler.poll_output());
        let assigned = outputs.filter_map(|output| match output {
            Output::Assign { conn, worker } => Some((conn, worker)),
            _ => None,
        });
        assigned.collect()
    }
}

#[test]
fn a_client_keeps_its_worker_and_workers_have_equally_many() {
    for slots in [1, 2, 3, 8, 50] {
        let mut cluster = Cluster::new(slots);
        let first = cluster.serve_all();
        assert_eq!(cluster.serve_all(), first);
        let mut shares = vec![0; slots as usize];
        first.values().for_each(|&worker| shares[worker as usize] += 1);
        // The table is even to a bucket; what is left is the chance of where addresses fall.
        let fair = f64::from(CLIENTS) / f64::from(slots);
        let spread = 4.0 * fair.sqrt();
        let even = |&share: &u32| (f64::from(share) - fair).abs() < spread;
        assert!(shares.iter().all(even), "{shares:?}");
    }
}

#[test]
fn a_successor_inherits_the_clients() {
    let mut cluster = Cluster::new(5);
    let before = cluster.serve_all();
    cluster.feed(Input::Leave { worker: 3 });
    cluster.feed(Input::Join { worker: 77, slot: 3 });
    let after = cluster.serve_all();
    for (client, &worker) in &before {
        assert_eq!(after[client], if worker == 3 { 77 } else { worker });
    }
    // It may come before its predecessor goes.
    cluster.feed(Input::Join { worker: 78, slot: 3 });
    cluster.feed(Input::Retire { worker: 77 });
    for (client, &worker) in &after {
        assert_eq!(cluster.serve(*client), if worker == 77 { 78 } else { worker });
    }
}

#[test]
fn few_clients_move_when_a_slot_goes_and_they_come_back_with_it() {
    let mut cluster = Cluster::new(8);
    let before = cluster.serve_all();
    cluster.feed(Input::Leave { worker: 2 });
    let between = cluster.serve_all();
    let moved = |to: &BTreeMap<u32, u32>| {
        let moved = before.iter().filter(|&(client, worker)| *worker != 2 && to[client] != *worker);
        moved.count()
    };
    assert!(between.values().all(|&worker| worker != 2));
    // Fewer than one in a hundred of those whose worker stayed.
    assert!(moved(&between) < CLIENTS as usize / 100, "{}", moved(&between));
    cluster.feed(Input::Join { worker: 2, slot: 2 });
    assert_eq!(cluster.serve_all(), before);
    // One more takes a ninth, and hardly any other client moves.
    cluster.feed(Input::Join { worker: 8, slot: 8 });
    let more = cluster.serve_all();
    let changed = before.iter().filter(|&(client, worker)| more[client] != *worker).count();
    let gained = more.values().filter(|&&worker| worker == 8).count();
    assert!((changed - gained) < CLIENTS as usize / 100, "{changed} changed, {gained} gained");
    assert!((900..1330).contains(&gained), "{gained}");
}

#[test]
fn a_client_waits_for_its_worker_while_others_are_free() {
    let mut cluster = Cluster::new(4);
    let home = cluster.serve(1);
    let neighbour = (2..).find(|&client| cluster.serve(client) != home).expect("three of four");
    let first = cluster.connect(1);
    let second = cluster.connect(1);
    let third = cluster.connect(neighbour);
    let assigned = cluster.assigned();
    assert_eq!(assigned.len(), 2);
    assert_eq!(assigned[0], (first, home));
    assert_eq!((assigned[1].0, cluster.scheduler.waiting()), (third, 1));
    assert_eq!(
        [0, 1, 2, 3].map(|worker| cluster.scheduler.waiting_for(worker)).iter().sum::<usize>(),
        1
    );
    assert_eq!(cluster.scheduler.waiting_for(home), 1);
    cluster.feed(Input::Accepted { worker: home, conn: first });
    assert_eq!(cluster.assigned(), [(second, home)]);
}

#[test]
fn who_waits_for_a_worker_that_leaves_goes_with_its_clients_in_order() {
    for gone in ["leaves", "retires"] {
        let mut cluster = Cluster::new(2);
        let home = cluster.serve(1);
        let other = 1 - home;
        let conns = [1, 1, 1].map(|client| cluster.connect(client));
        assert_eq!(cluster.assigned(), [(conns[0], home)]);
        let expected = if gone == "leaves" {
            cluster.feed(Input::Leave { worker: home });
            // What it had goes first.
            conns.to_vec()
        } else {
            cluster.feed(Input::Retire { worker: home });
            conns[1..].to_vec()
        };
        for &conn in &expected {
            assert_eq!(cluster.assigned(), [(conn, other)], "{gone}");
            cluster.feed(Input::Accepted { worker: other, conn });
        }
        assert_eq!(cluster.scheduler.waiting(), 0);
    }
}

#[test]
fn a_successor_serves_those_that_wait_elsewhere_meanwhile() {
    let mut cluster = Cluster::new(2);
    let home = cluster.serve(1);
    cluster.feed(Input::Leave { worker: home });
    let conns = [1, 1].map(|client| cluster.connect(client));
    assert_eq!(cluster.assigned(), [(conns[0], 1 - home)]);
    cluster.feed(Input::Join { worker: 9, slot: home });
    assert_eq!(cluster.assigned(), [(conns[1], 9)]);
}

#[test]
fn what_a_worker_refuses_goes_to_one_other_and_the_client_stays() {
    let mut cluster = Cluster::new(4);
    let home = cluster.serve(1);
    cluster.refusers.insert(home);
    let second = cluster.serve(1);
    assert_ne!(second, home);
    assert_eq!([cluster.serve(1), cluster.serve(1)], [second; 2]);
    // Different clients get different workers.
    let seconds: BTreeSet<u32> = (0..200).map(|client| cluster.serve(client)).collect();
    assert_eq!(seconds.len(), 3);
    cluster.refusers.clear();
    assert_eq!(cluster.serve(1), home);
}

/// Unix-domain clients have no address: they wait for any worker, and are distributed evenly.
#[test]
fn without_an_address_it_is_round_robin() {
    let mut sticky = Scheduler::new(PolicyName::Sticky.build(0), Config::default());
    let mut rr = Scheduler::new(PolicyName::RoundRobin.build(0), Config::default());
    let mut noise = 1u32;
    let (mut conns, mut in_flight) = (0u32, Vec::new());
    for worker in 0..5u32 {
        for scheduler in [&mut sticky, &mut rr] {
            scheduler.handle_input(Mono::ZERO, Input::Join { worker, slot: worker }).unwrap();
        }
    }
    for _ in 0..2000 {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let input = if noise >> 30 < 2 || in_flight.is_empty() {
            conns += 1;
            Input::Arrive { conn: conns, client: None }
        } else {
            let (worker, conn) = in_flight.swap_remove((noise >> 8) as usize % in_flight.len());
            Input::Accepted { worker, conn }
        };
        for scheduler in [&mut sticky, &mut rr] {
            scheduler.handle_input(Mono::ZERO, input).unwrap();
        }
        while let Some(output) = rr.poll_output() {
            assert_eq!(sticky.poll_output(), Some(output));
            if let Output::Assign { conn, worker } = output {
                in_flight.push((worker, conn));
            }
        }
        assert_eq!(sticky.poll_output(), None);
    }
}
