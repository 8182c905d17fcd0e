//! The waiting line: first come, first served, with a way in at the front.

use alloc::collections::BTreeMap;

/// A place in the line. Lower is nearer to the front.
pub(crate) type Ticket = i64;

/// Connections that wait for a worker.
///
/// A map and not a deque, because a worker that has refused the head takes one from the middle.
#[derive(Clone, Debug)]
pub(crate) struct Line<C> {
    places: BTreeMap<Ticket, C>,
    /// The ticket before the front. Neither counter can overflow: they move by one per connection.
    before: Ticket,
    /// The ticket after the tail.
    after: Ticket,
}

impl<C: Copy> Line<C> {
    pub(crate) const fn new() -> Self {
        Self { places: BTreeMap::new(), before: -1, after: 0 }
    }

    pub(crate) fn push_back(&mut self, conn: C) -> Ticket {
        let ticket = self.after;
        self.after += 1;
        self.places.insert(ticket, conn);
        ticket
    }

    pub(crate) fn push_front(&mut self, conn: C) -> Ticket {
        let ticket = self.before;
        self.before -= 1;
        self.places.insert(ticket, conn);
        ticket
    }

    pub(crate) fn remove(&mut self, ticket: Ticket) {
        self.places.remove(&ticket);
    }

    /// The first in line at `from` or behind it.
    pub(crate) fn first_from(&self, from: Ticket) -> Option<(Ticket, C)> {
        self.places.range(from..).next().map(|(&ticket, &conn)| (ticket, conn))
    }

    pub(crate) fn pop(&mut self) -> Option<C> {
        self.places.pop_first().map(|(_, conn)| conn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn the_front_is_served_before_the_tail() {
        let mut line = Line::new();
        line.push_back('b');
        let c = line.push_back('c');
        line.push_front('a');
        line.push_back('d');
        line.remove(c);
        let order: Vec<char> = core::iter::from_fn(|| line.pop()).collect();
        assert_eq!(order, ['a', 'b', 'd']);
    }

    #[test]
    fn the_line_can_be_walked_without_serving_it() {
        let mut line = Line::new();
        line.push_front('a');
        line.push_back('b');
        let (first, conn) = line.first_from(Ticket::MIN).unwrap();
        assert_eq!(conn, 'a');
        assert_eq!(line.first_from(first + 1).unwrap().1, 'b');
        assert_eq!(line.first_from(first + 2), None);
    }
}
