//! In turns: Node's policy.

use crate::Policy;
use alloc::collections::BTreeMap;

/// Workers in turns, as Node's `SCHED_RR` does it: the one that has been ready for longest.
///
/// A worker that is chosen goes to the tail of the free list as long as its window has room, and
/// comes back at the tail after it was busy. At a window of one this is Node's order exactly.
/// O(log n) in the number of ready workers.
#[derive(Clone, Debug)]
pub struct RoundRobin<W> {
    /// Node's free list, and each worker's turn in it. Two maps, because a worker may leave from
    /// the middle.
    free: BTreeMap<u64, W>,
    turns: BTreeMap<W, u64>,
    next_turn: u64,
}

impl<W: Copy + Ord> RoundRobin<W> {
    /// With no workers yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { free: BTreeMap::new(), turns: BTreeMap::new(), next_turn: 0 }
    }

    fn queue_up(&mut self, worker: W) {
        let turn = self.next_turn;
        self.next_turn += 1;
        if let Some(old) = self.turns.insert(worker, turn) {
            self.free.remove(&old);
        }
        self.free.insert(turn, worker);
    }

    fn remove(&mut self, worker: W) {
        if let Some(turn) = self.turns.remove(&worker) {
            self.free.remove(&turn);
        }
    }
}

impl<W: Copy + Ord> Default for RoundRobin<W> {
    fn default() -> Self {
        Self::new()
    }
}

impl<W: Copy + Ord, C> Policy<W, C> for RoundRobin<W> {
    fn join(&mut self, _worker: W) {}

    fn leave(&mut self, worker: W) {
        self.remove(worker);
    }

    fn ready(&mut self, worker: W) {
        self.queue_up(worker);
    }

    fn busy(&mut self, worker: W) {
        self.remove(worker);
    }

    fn pick(&mut self, _conn: &C, eligible: &mut dyn FnMut(W) -> bool) -> Option<W> {
        let worker = self.free.values().copied().find(|&worker| eligible(worker))?;
        self.queue_up(worker);
        Some(worker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(policy: &mut RoundRobin<u8>) -> Option<u8> {
        policy.pick(&(), &mut |_| true)
    }

    fn with_workers(workers: core::ops::Range<u8>) -> RoundRobin<u8> {
        let mut policy = RoundRobin::new();
        for worker in workers {
            Policy::<u8, ()>::join(&mut policy, worker);
            Policy::<u8, ()>::ready(&mut policy, worker);
        }
        policy
    }

    #[test]
    fn a_chosen_worker_goes_to_the_tail() {
        let mut policy = with_workers(0..3);
        let order = [(); 7].map(|()| next(&mut policy).unwrap());
        assert_eq!(order, [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn a_busy_worker_comes_back_at_the_tail() {
        let mut policy = with_workers(0..3);
        Policy::<u8, ()>::busy(&mut policy, 0);
        assert_eq!(next(&mut policy), Some(1));
        Policy::<u8, ()>::ready(&mut policy, 0);
        let order = [(); 3].map(|()| next(&mut policy).unwrap());
        assert_eq!(order, [2, 1, 0]);
    }

    #[test]
    fn who_is_passed_over_keeps_its_turn() {
        let mut policy = with_workers(0..3);
        assert_eq!(policy.pick(&(), &mut |worker| worker == 2), Some(2));
        let order = [(); 3].map(|()| next(&mut policy).unwrap());
        assert_eq!(order, [0, 1, 2]);
    }
}
