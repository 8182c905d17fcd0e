//! In turns: Node's policy.

use super::roster::{Roster, Seat};
use super::state::PolicyState;
use crate::policy::{Choice, Policy, Standing};

/// Workers in turns, as Node's `SCHED_RR` does it: the one that has been ready for longest.
///
/// A worker that is chosen goes to the tail of the free list as long as its window has room, and
/// comes back at the tail after it was busy. At a window of one this is Node's order exactly.
///
/// Choosing is O(1), one more step for each worker that refused; to find a worker that becomes ready
/// or busy is O(log n).
#[derive(Clone, Debug)]
pub struct RoundRobin<W> {
    /// Node's free list, through the workers' own notes: one may leave from the middle.
    roster: Roster<W, Turn>,
    first: Option<Seat>,
    last: Option<Seat>,
}

/// A worker's place in the free list.
#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    queued: bool,
    before: Option<Seat>,
    behind: Option<Seat>,
}

impl<W: Copy + Ord> RoundRobin<W> {
    /// With no workers yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { roster: Roster::new(), first: None, last: None }
    }

    /// Workers and seats of those in the free list, the next in turn first.
    fn turns(&self) -> impl Iterator<Item = (W, Seat)> {
        let turns = core::iter::successors(self.first, |&seat| self.roster[seat].behind);
        turns.map(|seat| (self.roster.worker(seat), seat))
    }

    /// Worker and seat of the first in turn that it is.
    fn find(&self, mut is: impl FnMut(W) -> bool) -> Option<(W, Seat)> {
        self.turns().find(|&(worker, _)| is(worker))
    }

    fn queue_up(&mut self, seat: Seat) {
        self.unqueue(seat);
        self.roster[seat] = Turn { queued: true, before: self.last, behind: None };
        match self.last.replace(seat) {
            Some(last) => self.roster[last].behind = Some(seat),
            None => self.first = Some(seat),
        }
    }

    fn unqueue(&mut self, seat: Seat) {
        let Turn { queued, before, behind } = self.roster[seat];
        if !queued {
            return;
        }
        match before {
            Some(before) => self.roster[before].behind = behind,
            None => self.first = behind,
        }
        match behind {
            Some(behind) => self.roster[behind].before = before,
            None => self.last = before,
        }
        self.roster[seat] = Turn::default();
    }
}

impl<W: Copy + Ord> Default for RoundRobin<W> {
    fn default() -> Self {
        Self::new()
    }
}

impl<W: Copy + Ord, C> Policy<W, C> for RoundRobin<W> {
    fn join(&mut self, worker: W, _slot: u32) {
        self.roster.join(worker, Turn::default());
    }

    fn leave(&mut self, worker: W) {
        Policy::<W, C>::busy(self, worker);
        self.roster.leave(worker);
    }

    fn ready(&mut self, worker: W) {
        if let Some(seat) = self.roster.seat(worker) {
            self.queue_up(seat);
        }
    }

    fn busy(&mut self, worker: W) {
        if let Some(seat) = self.roster.seat(worker) {
            self.unqueue(seat);
        }
    }

    fn pick(
        &mut self,
        _conn: &C,
        _client: Option<u32>,
        standing: &mut dyn FnMut(W) -> Standing,
    ) -> Choice<W> {
        match self.find(|worker| standing(worker) == Standing::Free) {
            Some((worker, seat)) => {
                self.queue_up(seat);
                Choice::Give(worker)
            }
            None => Choice::Wait,
        }
    }

    /// The free list.
    fn state(&self) -> PolicyState<W> {
        PolicyState::of_order(self.turns().map(|(worker, _)| worker))
    }

    fn resume(&mut self, state: &PolicyState<W>) {
        for &worker in &state.order {
            if let Some(seat) = self.roster.seat(worker)
                && self.roster[seat].queued
            {
                self.queue_up(seat);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(policy: &mut RoundRobin<u8>) -> Choice<u8> {
        policy.pick(&(), None, &mut |_| Standing::Free)
    }

    fn with_workers(workers: core::ops::Range<u8>) -> RoundRobin<u8> {
        let mut policy = RoundRobin::new();
        for worker in workers {
            Policy::<u8, ()>::join(&mut policy, worker, 0);
            Policy::<u8, ()>::ready(&mut policy, worker);
        }
        policy
    }

    #[test]
    fn a_chosen_worker_goes_to_the_tail() {
        let mut policy = with_workers(0..3);
        let order = [(); 7].map(|()| next(&mut policy));
        assert_eq!(order, [0, 1, 2, 0, 1, 2, 0].map(Choice::Give));
    }

    #[test]
    fn a_busy_worker_comes_back_at_the_tail() {
        let mut policy = with_workers(0..3);
        Policy::<u8, ()>::busy(&mut policy, 0);
        assert_eq!(next(&mut policy), Choice::Give(1));
        Policy::<u8, ()>::ready(&mut policy, 0);
        let order = [(); 3].map(|()| next(&mut policy));
        assert_eq!(order, [2, 1, 0].map(Choice::Give));
    }

    #[test]
    fn who_is_passed_over_keeps_its_turn() {
        let mut policy = with_workers(0..3);
        let mut only_two = |worker| if worker == 2 { Standing::Free } else { Standing::Barred };
        assert_eq!(policy.pick(&(), None, &mut only_two), Choice::Give(2));
        let order = [(); 3].map(|()| next(&mut policy));
        assert_eq!(order, [0, 1, 2].map(Choice::Give));
    }

    #[test]
    fn a_worker_that_leaves_from_the_middle_leaves_no_gap() {
        let mut policy = with_workers(0..4);
        for gone in [1, 3, 0] {
            Policy::<u8, ()>::leave(&mut policy, gone);
        }
        assert_eq!(next(&mut policy), Choice::Give(2));
        Policy::<u8, ()>::leave(&mut policy, 2);
        assert_eq!(next(&mut policy), Choice::Wait);
        Policy::<u8, ()>::join(&mut policy, 5, 0);
        assert_eq!(next(&mut policy), Choice::Wait);
        Policy::<u8, ()>::ready(&mut policy, 5);
        assert_eq!(next(&mut policy), Choice::Give(5));
    }
}
