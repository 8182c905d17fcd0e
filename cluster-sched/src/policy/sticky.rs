//! The same client, the same worker.

use super::round_robin::RoundRobin;
use super::state::PolicyState;
use crate::policy::{Choice, Policy, Standing};
use crate::sticky::{Buckets, SIZE, bucket_of};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// The worker at the slot that the client's address belongs to ([`Buckets`]).
///
/// - As long as the same slots are there, a client's connections go to the same slot, whichever worker
///   has it: a replacement inherits its predecessor's clients. When a slot comes or goes, few clients
///   move that need not.
/// - If the worker has no room in its window, its clients' connections *wait for it*, even while others are
///   free. So a worker that is stuck keeps its clients waiting, and if enough of them wait to use
///   up [`Config::max_waiting`](crate::Config::max_waiting), all other clients wait as well.
/// - If it refuses a connection, that one goes to the slot of the next bucket that is another's, and
///   so on around the table: to one worker for one client, to all the others for all of a worker's
///   clients. The client's next connection is offered to its own worker again.
/// - If it leaves, its clients belong to the slots that are left, and so do those that wait.
/// - Connections without a client ([`Input::Arrive`](crate::Input::Arrive)), those of Unix-domain
///   sockets for example, are distributed in rotation, and wait for any worker.
///
/// Of two workers at one slot the one that joined last has the clients; while it refuses one, or if
/// there are more than [`SIZE`] slots, workers that have no clients of their own are asked in turns.
///
/// O(1) to look a client up, O(log n) to see how the worker stands to it. The table is rebuilt at
/// the first choice after a worker joined or left.
#[derive(Clone, Debug)]
pub struct Sticky<W> {
    /// The workers of each slot, in the order in which they joined.
    staff: BTreeMap<(u32, u64), W>,
    /// Where in `staff` a worker is.
    posts: BTreeMap<W, (u32, u64)>,
    joined: u64,
    buckets: Buckets,
    /// The worker that has the clients, by the places of `buckets`.
    hosts: Vec<W>,
    /// `staff` has changed since `buckets` were made.
    outdated: bool,
    /// For connections without a client, and for those that the client's workers refuse.
    turns: RoundRobin<W>,
}

impl<W: Copy + Ord> Sticky<W> {
    /// With no workers yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            staff: BTreeMap::new(),
            posts: BTreeMap::new(),
            joined: 0,
            buckets: Buckets::empty(),
            hosts: Vec::new(),
            outdated: false,
            turns: RoundRobin::new(),
        }
    }

    fn rebuild(&mut self) {
        let Self { staff, buckets, hosts, .. } = self;
        hosts.clear();
        let mut slot_before = None;
        for (&(slot, _), &worker) in &*staff {
            if slot_before.replace(slot) == Some(slot) {
                hosts.pop();
            }
            hosts.push(worker);
        }
        buckets.rebuild(staff.keys().map(|&(slot, _)| slot));
        self.outdated = false;
    }

    /// The workers that a client is offered to, in that order, each perhaps several times.
    fn hosts_of(&self, client: u32) -> impl Iterator<Item = W> {
        let home = bucket_of(client);
        let around = (home..SIZE).chain(0..home);
        around.map_while(|bucket| self.buckets.place_of(bucket)).map(|place| self.hosts[place])
    }
}

impl<W: Copy + Ord> Default for Sticky<W> {
    fn default() -> Self {
        Self::new()
    }
}

impl<W: Copy + Ord, C> Policy<W, C> for Sticky<W> {
    fn join(&mut self, worker: W, slot: u32) {
        let post = (slot, self.joined);
        self.joined += 1;
        if let Some(before) = self.posts.insert(worker, post) {
            self.staff.remove(&before);
        }
        self.staff.insert(post, worker);
        self.outdated = true;
        Policy::<W, C>::join(&mut self.turns, worker, slot);
    }

    fn leave(&mut self, worker: W) {
        if let Some(post) = self.posts.remove(&worker) {
            self.staff.remove(&post);
            self.outdated = true;
        }
        Policy::<W, C>::leave(&mut self.turns, worker);
    }

    fn ready(&mut self, worker: W) {
        Policy::<W, C>::ready(&mut self.turns, worker);
    }

    fn busy(&mut self, worker: W) {
        Policy::<W, C>::busy(&mut self.turns, worker);
    }

    fn pick(
        &mut self,
        conn: &C,
        client: Option<u32>,
        standing: &mut dyn FnMut(W) -> Standing,
    ) -> Choice<W> {
        if let Some(client) = client {
            if self.outdated {
                self.rebuild();
            }
            let mut barred = None;
            for host in self.hosts_of(client) {
                // Neighbouring buckets are often the same worker's.
                if barred == Some(host) {
                    continue;
                }
                match standing(host) {
                    Standing::Free => return Choice::Give(host),
                    Standing::Busy => return Choice::Await(host),
                    Standing::Barred => barred = Some(host),
                }
            }
        }
        self.turns.pick(conn, client, standing)
    }

    /// Who is next in turn. Who works where it is told, and the table follows from that.
    fn state(&self) -> PolicyState<W> {
        Policy::<W, C>::state(&self.turns)
    }

    fn resume(&mut self, state: &PolicyState<W>) {
        Policy::<W, C>::resume(&mut self.turns, state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Standing::{Barred, Busy, Free};

    fn with_workers(posts: &[(u8, u32)]) -> Sticky<u8> {
        let mut policy = Sticky::new();
        for &(worker, slot) in posts {
            Policy::<u8, ()>::join(&mut policy, worker, slot);
            Policy::<u8, ()>::ready(&mut policy, worker);
        }
        policy
    }

    fn pick(policy: &mut Sticky<u8>, client: u32, standing: [Standing; 4]) -> Choice<u8> {
        policy.pick(&(), Some(client), &mut |worker| standing[usize::from(worker)])
    }

    #[test]
    fn a_client_keeps_to_its_slot_and_waits_for_it() {
        let mut policy = with_workers(&[(0, 7), (1, 3), (2, 5)]);
        let buckets = Buckets::new([3, 5, 7]);
        for client in 0..100 {
            let home = match buckets.slot_of(client) {
                Some(7) => 0,
                Some(3) => 1,
                _ => 2,
            };
            assert_eq!(pick(&mut policy, client, [Free; 4]), Choice::Give(home));
            let mut standing = [Free; 4];
            standing[usize::from(home)] = Busy;
            assert_eq!(pick(&mut policy, client, standing), Choice::Await(home));
        }
    }

    #[test]
    fn who_is_refused_has_a_second_worker_and_the_clients_of_one_have_several() {
        let mut policy = with_workers(&[(0, 0), (1, 1), (2, 2), (3, 3)]);
        let mut seconds = std::collections::BTreeSet::new();
        for client in 0..400 {
            if pick(&mut policy, client, [Free; 4]) != Choice::Give(1) {
                continue;
            }
            let second = pick(&mut policy, client, [Free, Barred, Free, Free]);
            assert_eq!(pick(&mut policy, client, [Free, Barred, Free, Free]), second);
            let Choice::Give(worker) = second else { panic!("{second:?}") };
            let mut standing = [Free, Barred, Free, Free];
            standing[usize::from(worker)] = Busy;
            assert_eq!(pick(&mut policy, client, standing), Choice::Await(worker));
            seconds.insert(worker);
        }
        assert_eq!(seconds.len(), 3);
        assert_eq!(pick(&mut policy, 0, [Barred; 4]), Choice::Wait);
    }

    #[test]
    fn of_two_at_a_slot_the_later_has_the_clients() {
        let mut policy = with_workers(&[(0, 0), (1, 0)]);
        assert_eq!(pick(&mut policy, 9, [Free; 4]), Choice::Give(1));
        assert_eq!(pick(&mut policy, 9, [Free, Busy, Free, Free]), Choice::Await(1));
        assert_eq!(pick(&mut policy, 9, [Free, Barred, Free, Free]), Choice::Give(0));
        Policy::<u8, ()>::leave(&mut policy, 1);
        assert_eq!(pick(&mut policy, 9, [Free; 4]), Choice::Give(0));
        Policy::<u8, ()>::leave(&mut policy, 0);
        assert_eq!(pick(&mut policy, 9, [Free; 4]), Choice::Wait);
    }

    #[test]
    fn who_has_no_address_is_dealt_out_in_turns() {
        let mut policy = with_workers(&[(0, 0), (1, 1), (2, 2)]);
        let order = [(); 4].map(|()| policy.pick(&(), None, &mut |_| Free));
        assert_eq!(order, [0, 1, 2, 0].map(Choice::Give));
        assert_eq!(policy.pick(&(), None, &mut |_| Barred), Choice::Wait);
    }
}
