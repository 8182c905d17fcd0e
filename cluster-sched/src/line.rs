//! Lines of connections: those that wait, and those on their way to a worker.

use crate::conn::Conns;
use crate::slab::{At, NONE};

/// A connection's place among all that wait, in whatever line. Lower is nearer to the front.
pub(crate) type Ticket = i64;

/// Connections one behind the other. A connection is in one line at the most.
///
/// The links are in the connections' own records, so that it takes no memory, and whoever stands
/// in the middle can go at once: a worker that has refused the first takes a later one.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    first: At,
    last: At,
    len: usize,
}

/// Who stands before and behind, and the ticket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Links {
    before: At,
    behind: At,
    pub(crate) ticket: Ticket,
}

impl Links {
    pub(crate) const NEW: Self = Self { before: NONE, behind: NONE, ticket: 0 };
}

impl Line {
    pub(crate) const fn new() -> Self {
        Self { first: NONE, last: NONE, len: 0 }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn first(&self) -> Option<At> {
        (self.first != NONE).then_some(self.first)
    }

    /// Who stands behind `at`, in its line.
    pub(crate) fn behind<W, C>(conns: &Conns<W, C>, at: At) -> Option<At> {
        let behind = conns[at].links.behind;
        (behind != NONE).then_some(behind)
    }

    pub(crate) fn push_back<W, C>(&mut self, conns: &mut Conns<W, C>, at: At) {
        self.enter(conns, at, self.last, NONE);
    }

    pub(crate) fn push_front<W, C>(&mut self, conns: &mut Conns<W, C>, at: At) {
        self.enter(conns, at, NONE, self.first);
    }

    /// Lets `at` in where its ticket belongs. Looks for the place from the back.
    pub(crate) fn insert<W, C>(&mut self, conns: &mut Conns<W, C>, at: At) {
        let ticket = conns[at].links.ticket;
        let (mut before, mut behind) = (self.last, NONE);
        while before != NONE && conns[before].links.ticket > ticket {
            behind = before;
            before = conns[before].links.before;
        }
        self.enter(conns, at, before, behind);
    }

    fn enter<W, C>(&mut self, conns: &mut Conns<W, C>, at: At, before: At, behind: At) {
        let links = &mut conns[at].links;
        (links.before, links.behind) = (before, behind);
        *self.link_behind(conns, before) = at;
        *self.link_before(conns, behind) = at;
        self.len += 1;
    }

    /// Takes out `at`, which must stand in this line.
    pub(crate) fn remove<W, C>(&mut self, conns: &mut Conns<W, C>, at: At) {
        let Links { before, behind, .. } = conns[at].links;
        *self.link_behind(conns, before) = behind;
        *self.link_before(conns, behind) = before;
        self.len -= 1;
    }

    pub(crate) fn pop<W, C>(&mut self, conns: &mut Conns<W, C>) -> Option<At> {
        let first = self.first()?;
        self.remove(conns, first);
        Some(first)
    }

    /// What says who stands behind `at`, or who is the first.
    fn link_behind<'a, W, C>(&'a mut self, conns: &'a mut Conns<W, C>, at: At) -> &'a mut At {
        if at == NONE { &mut self.first } else { &mut conns[at].links.behind }
    }

    /// What says who stands before `at`, or who is the last.
    fn link_before<'a, W, C>(&'a mut self, conns: &'a mut Conns<W, C>, at: At) -> &'a mut At {
        if at == NONE { &mut self.last } else { &mut conns[at].links.before }
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

    fn serve(mut line: Line, conns: &mut Conns<u8, char>) -> String {
        core::iter::from_fn(|| line.pop(conns).map(|at| conns.key(at))).collect()
    }

    #[test]
    fn the_front_is_served_before_the_tail() {
        let (mut conns, at) = conns("abcd");
        let mut line = Line::new();
        line.push_back(&mut conns, at[1]);
        line.push_back(&mut conns, at[2]);
        line.push_front(&mut conns, at[0]);
        line.push_back(&mut conns, at[3]);
        assert_eq!(line.len(), 4);
        line.remove(&mut conns, at[2]);
        assert_eq!(serve(line, &mut conns), "abd");
    }

    #[test]
    fn the_line_can_be_walked_without_serving_it() {
        let (mut conns, at) = conns("ab");
        let mut line = Line::new();
        assert_eq!(line.first(), None);
        at.iter().for_each(|&at| line.push_back(&mut conns, at));
        assert_eq!(line.first(), Some(at[0]));
        assert_eq!(Line::behind(&conns, at[0]), Some(at[1]));
        assert_eq!(Line::behind(&conns, at[1]), None);
    }

    #[test]
    fn a_ticket_says_where_to_stand() {
        let (mut conns, at) = conns("abcde");
        let mut line = Line::new();
        for (place, ticket) in [(2, 3), (0, -1), (4, 9), (1, 2), (3, 5)] {
            conns[at[place]].links.ticket = ticket;
            line.insert(&mut conns, at[place]);
        }
        assert_eq!(serve(line, &mut conns), "abcde");
    }

    #[test]
    fn the_last_to_go_leaves_nothing() {
        let (mut conns, at) = conns("ab");
        let mut line = Line::new();
        line.push_front(&mut conns, at[0]);
        line.push_front(&mut conns, at[1]);
        line.remove(&mut conns, at[0]);
        line.remove(&mut conns, at[1]);
        line.push_back(&mut conns, at[0]);
        assert_eq!(serve(line, &mut conns), "a");
    }
}
