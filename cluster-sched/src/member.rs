//! One worker, as the scheduler sees it.

use alloc::collections::VecDeque;

/// A worker that has joined and not yet left.
#[derive(Clone, Debug)]
pub(crate) struct Member<C> {
    pub(crate) window: u32,
    pub(crate) retired: bool,
    /// Unanswered hand-offs, oldest first, each with its serial number. A deque and not a map:
    /// answers come in order as a rule, and it keeps its memory from one hand-off to the next.
    in_flight: VecDeque<(u64, C)>,
}

impl<C: Copy> Member<C> {
    pub(crate) const fn new(window: u32) -> Self {
        Self { window, retired: false, in_flight: VecDeque::new() }
    }

    /// Whether it may be given one more.
    pub(crate) fn has_room(&self) -> bool {
        !self.retired && self.in_flight.len() < self.window as usize
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Serials must grow from one call to the next.
    pub(crate) fn assign(&mut self, serial: u64, conn: C) {
        self.in_flight.push_back((serial, conn));
    }

    pub(crate) fn settle(&mut self, serial: u64) {
        if let Ok(at) = self.in_flight.binary_search_by_key(&serial, |&(serial, _)| serial) {
            self.in_flight.remove(at);
        }
    }

    /// What is in flight, oldest first.
    pub(crate) fn into_orphans(self) -> impl Iterator<Item = C> {
        self.in_flight.into_iter().map(|(_, conn)| conn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn answers_may_come_in_any_order() {
        let mut member = Member::new(3);
        for (serial, conn) in [(4, 'a'), (7, 'b'), (9, 'c')] {
            assert!(member.has_room());
            member.assign(serial, conn);
        }
        assert!(!member.has_room());
        member.settle(7);
        assert!(member.has_room());
        assert_eq!(member.into_orphans().collect::<Vec<_>>(), ['a', 'c']);
    }
}
