//! The worker with the fewest connections.

use super::roster::{Roster, Seat};
use super::state::PolicyState;
use crate::policy::{Choice, Policy, Standing};
use alloc::vec::Vec;

/// The worker with the fewest connections; among several, the one that was not chosen for longest.
///
/// What counts is [`load`](Policy::load): unanswered hand-offs, and what a worker reports that it
/// holds. Of workers that report nothing (Node's do not) only the hand-offs are known: with a window
/// of one every ready worker has none, and the policy is round-robin by least recent choice.
///
/// A worker that has just joined holds nothing, and gets all connections until it has caught up.
///
/// O(log n), and once more for each worker that refused the connection.
#[derive(Clone, Debug)]
pub struct LeastConnections<W> {
    roster: Roster<W, Entry>,
    /// The ready workers as a binary heap, the next one to be chosen first.
    heap: Vec<Seat>,
    next_turn: u64,
    /// Those that were passed over in one choice; empty in between.
    passed_over: Vec<Seat>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    load: u32,
    /// When it was last chosen, or joined.
    turn: u64,
    /// Where it stands in the heap, if it is ready.
    place: Option<usize>,
}

impl<W: Copy + Ord> LeastConnections<W> {
    /// With no workers yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { roster: Roster::new(), heap: Vec::new(), next_turn: 0, passed_over: Vec::new() }
    }

    fn next_turn(&mut self) -> u64 {
        self.next_turn += 1;
        self.next_turn
    }

    fn choose(&mut self, mut free: impl FnMut(W) -> bool) -> Option<W> {
        let chosen = loop {
            let Some(&seat) = self.heap.first() else { break None };
            if free(self.roster.worker(seat)) {
                break Some(seat);
            }
            self.remove(seat);
            self.passed_over.push(seat);
        };
        while let Some(seat) = self.passed_over.pop() {
            self.push(seat);
        }
        let seat = chosen?;
        self.roster[seat].turn = self.next_turn();
        self.restore(seat);
        Some(self.roster.worker(seat))
    }

    fn push(&mut self, seat: Seat) {
        let place = self.heap.len();
        self.heap.push(seat);
        self.roster[seat].place = Some(place);
        self.rise(place);
    }

    fn remove(&mut self, seat: Seat) {
        let Some(place) = self.roster[seat].place.take() else { return };
        self.heap.swap_remove(place);
        if let Some(&moved) = self.heap.get(place) {
            self.roster[moved].place = Some(place);
            self.restore(moved);
        }
    }

    /// After a change of what it goes by.
    fn restore(&mut self, seat: Seat) {
        if let Some(place) = self.roster[seat].place {
            let place = self.rise(place);
            self.sink(place);
        }
    }

    fn rise(&mut self, mut place: usize) -> usize {
        while place > 0 && self.is_before(place, (place - 1) / 2) {
            self.swap(place, (place - 1) / 2);
            place = (place - 1) / 2;
        }
        place
    }

    fn sink(&mut self, mut place: usize) {
        loop {
            let mut least = place;
            for child in [place * 2 + 1, place * 2 + 2] {
                if child < self.heap.len() && self.is_before(child, least) {
                    least = child;
                }
            }
            if least == place {
                return;
            }
            self.swap(place, least);
            place = least;
        }
    }

    fn is_before(&self, one: usize, other: usize) -> bool {
        let key = |place: usize| {
            let Entry { load, turn, .. } = self.roster[self.heap[place]];
            (load, turn)
        };
        key(one) < key(other)
    }

    fn swap(&mut self, one: usize, other: usize) {
        self.heap.swap(one, other);
        for place in [one, other] {
            self.roster[self.heap[place]].place = Some(place);
        }
    }
}

impl<W: Copy + Ord> Default for LeastConnections<W> {
    fn default() -> Self {
        Self::new()
    }
}

impl<W: Copy + Ord, C> Policy<W, C> for LeastConnections<W> {
    fn join(&mut self, worker: W, _slot: u32) {
        let turn = self.next_turn();
        self.roster.join(worker, Entry { load: 0, turn, place: None });
    }

    fn leave(&mut self, worker: W) {
        Policy::<W, C>::busy(self, worker);
        self.roster.leave(worker);
    }

    fn ready(&mut self, worker: W) {
        if let Some(seat) = self.roster.seat(worker)
            && self.roster[seat].place.is_none()
        {
            self.push(seat);
        }
    }

    fn busy(&mut self, worker: W) {
        if let Some(seat) = self.roster.seat(worker) {
            self.remove(seat);
        }
    }

    fn load(&mut self, worker: W, connections: u32) {
        if let Some(seat) = self.roster.seat(worker) {
            self.roster[seat].load = connections;
            self.restore(seat);
        }
    }

    fn pick(
        &mut self,
        _conn: &C,
        _client: Option<u32>,
        standing: &mut dyn FnMut(W) -> Standing,
    ) -> Choice<W> {
        let choice = self.choose(|worker| standing(worker) == Standing::Free);
        choice.map_or(Choice::Wait, Choice::Give)
    }

    /// All workers, the one that was not chosen for longest coming first.
    fn state(&self) -> PolicyState<W> {
        let mut turns: Vec<_> = self.roster.iter().map(|(who, entry)| (entry.turn, who)).collect();
        turns.sort_unstable();
        PolicyState::of_order(turns.into_iter().map(|(_, worker)| worker))
    }

    fn resume(&mut self, state: &PolicyState<W>) {
        for &worker in &state.order {
            if let Some(seat) = self.roster.seat(worker) {
                self.roster[seat].turn = self.next_turn();
                self.restore(seat);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn with_workers(workers: core::ops::Range<u32>) -> LeastConnections<u32> {
        let mut policy = LeastConnections::new();
        for worker in workers {
            Policy::<u32, ()>::join(&mut policy, worker, 0);
            Policy::<u32, ()>::ready(&mut policy, worker);
        }
        policy
    }

    #[test]
    fn who_has_least_is_chosen_and_among_equals_who_waited_longest() {
        let mut policy = with_workers(0..4);
        let load = |policy: &mut LeastConnections<u32>, worker, connections| {
            Policy::<u32, ()>::load(policy, worker, connections);
        };
        load(&mut policy, 0, 2);
        load(&mut policy, 2, 1);
        let order = [(); 4].map(|()| policy.choose(|_| true).unwrap());
        assert_eq!(order, [1, 3, 1, 3]);
        load(&mut policy, 1, 1);
        load(&mut policy, 3, 1);
        let order = [(); 4].map(|()| policy.choose(|_| true).unwrap());
        assert_eq!(order, [2, 1, 3, 2]);
    }

    #[test]
    fn who_is_passed_over_keeps_its_turn() {
        let mut policy = with_workers(0..4);
        assert_eq!(policy.choose(|worker| worker >= 2), Some(2));
        assert_eq!(policy.choose(|_| false), None);
        let order = [(); 4].map(|()| policy.choose(|_| true).unwrap());
        assert_eq!(order, [0, 1, 3, 2]);
    }

    /// Any change, compared with looking at all of them.
    #[test]
    fn the_heap_is_right_whatever_happens() {
        let mut policy = LeastConnections::<u32>::new();
        // Load, turn, whether it is ready.
        let mut model: BTreeMap<u32, (u32, u64, bool)> = BTreeMap::new();
        let (mut turns, mut state) = (0, 1u32);
        for _ in 0..50_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let (op, worker, arg) = (state >> 28, state >> 20 & 31, state >> 16 & 15);
            match op {
                0 if !model.contains_key(&worker) => {
                    turns += 1;
                    model.insert(worker, (0, turns, false));
                    Policy::<u32, ()>::join(&mut policy, worker, 0);
                }
                1 if arg < 4 => {
                    model.remove(&worker);
                    Policy::<u32, ()>::leave(&mut policy, worker);
                }
                2..=4 => {
                    let ready = op != 2;
                    model.entry(worker).and_modify(|entry| entry.2 = ready);
                    match ready {
                        true => Policy::<u32, ()>::ready(&mut policy, worker),
                        false => Policy::<u32, ()>::busy(&mut policy, worker),
                    }
                }
                5..=9 => {
                    model.entry(worker).and_modify(|entry| entry.0 = arg);
                    Policy::<u32, ()>::load(&mut policy, worker, arg);
                }
                _ => {
                    let free = |worker: u32| worker & arg == 0;
                    let eligible = model.iter_mut().filter(|(w, entry)| entry.2 && free(**w));
                    let least = eligible.min_by_key(|(_, entry)| (entry.0, entry.1));
                    assert_eq!(policy.choose(free), least.as_ref().map(|(worker, _)| **worker));
                    if let Some((_, entry)) = least {
                        turns += 1;
                        entry.1 = turns;
                    }
                }
            }
        }
        assert!(policy.heap.len() > 3);
    }
}
