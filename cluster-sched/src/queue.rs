//! Queues of connections: those that wait, and those in flight to a worker.

use crate::conn::Conns;
use crate::slab::{At, NONE};

/// A connection's position among all that wait, in whichever queue. Lower is nearer to the front.
pub(crate) type Ticket = i64;

/// A connection can be in one queue of each kind.
pub(crate) const LISTS: usize = 2;

/// Where it waits, or to which worker it goes.
pub(crate) const PLACE: usize = 0;

/// All hand-offs whose worker may become slow, the oldest first.
pub(crate) const WATCH: usize = 1;

/// A linked list of connections. A connection is in one queue of each `KIND` at most.
///
/// The links are in the connections' own records, so that it takes no memory, and a connection
/// in the middle is removed in O(1): a worker that has refused the first takes a later one.
#[derive(Clone, Debug)]
pub(crate) struct Queue<const KIND: usize = PLACE> {
    first: At,
    last: At,
    len: usize,
}

/// The neighbours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Links {
    before: At,
    behind: At,
}

impl Links {
    pub(crate) const NEW: Self = Self { before: NONE, behind: NONE };
}

const fn some(at: At) -> Option<At> {
    if at == NONE { None } else { Some(at) }
}

impl<const KIND: usize> Queue<KIND> {
    pub(crate) const fn new() -> Self {
        Self { first: NONE, last: NONE, len: 0 }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) const fn first(&self) -> Option<At> {
        some(self.first)
    }

    pub(crate) const fn last(&self) -> Option<At> {
        some(self.last)
    }

    /// The connection behind `at`, in its queue.
    pub(crate) fn behind<W, C>(conns: &Conns<W, C>, at: At) -> Option<At> {
        some(conns[at].links[KIND].behind)
    }

    /// The connection before `at`, in its queue.
    pub(crate) fn before<W, C>(conns: &Conns<W, C>, at: At) -> Option<At> {
        some(conns[at].links[KIND].before)
    }

    pub(crate) fn push_back<W, C>(&mut self, conns: &mut Conns<W, C>, at: At) {
        self.enter(conns, at, self.last, NONE);
    }

    pub(crate) fn push_front<W, C>(&mut self, conns: &mut Conns<W, C>, at: At) {
        self.enter(conns, at, NONE, self.first);
    }

    /// Inserts `at` where its ticket belongs. Searches from the back.
    pub(crate) fn insert<W, C>(&mut self, conns: &mut Conns<W, C>, at: At) {
        let ticket = conns[at].ticket;
        let (mut before, mut behind) = (self.last, NONE);
        while before != NONE && conns[before].ticket > ticket {
            behind = before;
            before = conns[before].links[KIND].before;
        }
        self.enter(conns, at, before, behind);
    }

    fn enter<W, C>(&mut self, conns: &mut Conns<W, C>, at: At, before: At, behind: At) {
        let links = &mut conns[at].links[KIND];
        (links.before, links.behind) = (before, behind);
        *self.link_behind(conns, before) = at;
        *self.link_before(conns, behind) = at;
        self.len += 1;
    }

    /// Removes `at`, which must be in this queue.
    pub(crate) fn remove<W, C>(&mut self, conns: &mut Conns<W, C>, at: At) {
        let Links { before, behind } = conns[at].links[KIND];
        *self.link_behind(conns, before) = behind;
        *self.link_before(conns, behind) = before;
        self.len -= 1;
    }

    pub(crate) fn pop<W, C>(&mut self, conns: &mut Conns<W, C>) -> Option<At> {
        let first = self.first()?;
        self.remove(conns, first);
        Some(first)
    }

    /// The link to the connection behind `at`, or to the first one.
    fn link_behind<'a, W, C>(&'a mut self, conns: &'a mut Conns<W, C>, at: At) -> &'a mut At {
        if at == NONE { &mut self.first } else { &mut conns[at].links[KIND].behind }
    }

    /// The link to the connection before `at`, or to the last one.
    fn link_before<'a, W, C>(&'a mut self, conns: &'a mut Conns<W, C>, at: At) -> &'a mut At {
        if at == NONE { &mut self.last } else { &mut conns[at].links[KIND].before }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::Conn;
    use std::string::String;

    fn conns(names: &str) -> (Conns<u8, char>, std::vec::Vec<At>) {
        let mut conns = Conns::new();
        let places = names.chars().map(|name| conns.insert(name, Conn::new(None))).collect();
        (conns, places)
    }

    fn serve(mut queue: Queue, conns: &mut Conns<u8, char>) -> String {
        core::iter::from_fn(|| queue.pop(conns).map(|at| conns.key(at))).collect()
    }

    #[test]
    fn the_front_is_served_before_the_tail() {
        let (mut conns, at) = conns("abcd");
        let mut queue: Queue = Queue::new();
        queue.push_back(&mut conns, at[1]);
        queue.push_back(&mut conns, at[2]);
        queue.push_front(&mut conns, at[0]);
        queue.push_back(&mut conns, at[3]);
        assert_eq!(queue.len(), 4);
        queue.remove(&mut conns, at[2]);
        assert_eq!(serve(queue, &mut conns), "abd");
    }

    #[test]
    fn a_queue_can_be_walked_without_serving_it() {
        let (mut conns, at) = conns("ab");
        let mut queue: Queue = Queue::new();
        assert_eq!(queue.first(), None);
        at.iter().for_each(|&at| queue.push_back(&mut conns, at));
        assert_eq!(queue.first(), Some(at[0]));
        assert_eq!(Queue::<PLACE>::behind(&conns, at[0]), Some(at[1]));
        assert_eq!(Queue::<PLACE>::behind(&conns, at[1]), None);
    }

    #[test]
    fn a_ticket_decides_the_position() {
        let (mut conns, at) = conns("abcde");
        let mut queue: Queue = Queue::new();
        for (place, ticket) in [(2, 3), (0, -1), (4, 9), (1, 2), (3, 5)] {
            conns[at[place]].ticket = ticket;
            queue.insert(&mut conns, at[place]);
        }
        assert_eq!(serve(queue, &mut conns), "abcde");
    }

    #[test]
    fn a_queue_that_was_emptied_can_be_used_again() {
        let (mut conns, at) = conns("ab");
        let mut queue: Queue = Queue::new();
        queue.push_front(&mut conns, at[0]);
        queue.push_front(&mut conns, at[1]);
        queue.remove(&mut conns, at[0]);
        queue.remove(&mut conns, at[1]);
        queue.push_back(&mut conns, at[0]);
        assert_eq!(serve(queue, &mut conns), "a");
    }
}
