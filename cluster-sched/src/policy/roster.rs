//! What a policy notes of each worker, at a place that is found once.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// A worker's place in a roster, as long as it is there.
pub(super) type Seat = usize;

/// Workers, each with a note. Finding one is O(log n) in the number of workers; with its seat, O(1).
/// It takes memory only when workers join.
#[derive(Clone, Debug)]
pub(super) struct Roster<W, T> {
    seats: BTreeMap<W, Seat>,
    notes: Vec<(W, T)>,
    free: Vec<Seat>,
}

impl<W: Copy + Ord, T> Roster<W, T> {
    pub(super) const fn new() -> Self {
        Self { seats: BTreeMap::new(), notes: Vec::new(), free: Vec::new() }
    }

    /// Takes a worker in, or notes something else of one that is there.
    pub(super) fn join(&mut self, worker: W, note: T) {
        let Self { seats, notes, free } = self;
        let seat = *seats.entry(worker).or_insert_with(|| free.pop().unwrap_or(notes.len()));
        match notes.get_mut(seat) {
            Some(place) => *place = (worker, note),
            None => notes.push((worker, note)),
        }
    }

    /// Strikes a worker off.
    pub(super) fn leave(&mut self, worker: W) {
        self.free.extend(self.seats.remove(&worker));
    }

    pub(super) fn seat(&self, worker: W) -> Option<Seat> {
        self.seats.get(&worker).copied()
    }

    /// All workers with their notes, in the order of their names.
    pub(super) fn iter(&self) -> impl Iterator<Item = (W, &T)> {
        self.seats.iter().map(|(&worker, &seat)| (worker, &self.notes[seat].1))
    }

    /// Who sits there.
    pub(super) fn worker(&self, seat: Seat) -> W {
        self.notes[seat].0
    }
}

impl<W, T> core::ops::Index<Seat> for Roster<W, T> {
    type Output = T;

    fn index(&self, seat: Seat) -> &T {
        &self.notes[seat].1
    }
}

impl<W, T> core::ops::IndexMut<Seat> for Roster<W, T> {
    fn index_mut(&mut self, seat: Seat) -> &mut T {
        &mut self.notes[seat].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seat_is_used_again() {
        let mut roster = Roster::new();
        roster.join('a', 1);
        roster.join('b', 2);
        let seat = roster.seat('a').unwrap();
        roster.leave('a');
        roster.leave('a');
        assert_eq!(roster.seat('a'), None);
        roster.join('c', 3);
        assert_eq!(roster.seat('c'), Some(seat));
        assert_eq!((roster.worker(seat), roster[seat]), ('c', 3));
        roster.join('c', 4);
        assert_eq!((roster[seat], roster.notes.len()), (4, 2));
    }
}
