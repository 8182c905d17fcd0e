//! One worker, as the scheduler sees it.

use crate::mono::Mono;
use crate::queue::Queue;
use crate::slab::At;

/// A worker that has joined and not yet left.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    /// Its place among the workers.
    pub(crate) slot: u32,
    /// Who has a lower number joined before.
    pub(crate) joined: u64,
    /// How many hand-offs may be in flight to it.
    pub(crate) window: u32,
    /// How many connections may be assigned to it, in flight or kept back; its window, if that is more.
    pub(crate) turns: u32,
    pub(crate) retired: bool,
    /// Connections that are assigned to it, oldest first: unanswered hand-offs, and behind them those
    /// that are kept back.
    pub(crate) assigned: Queue,
    /// How many of these are hand-offs in flight.
    pub(crate) in_flight: usize,
    /// The first that is kept back.
    pub(crate) first_kept: Option<At>,
    /// When those that are kept back go to others.
    pub(crate) deadline: Option<Mono>,
    /// Connections that wait for this worker and for no other.
    pub(crate) awaiting: Queue,
    /// What it holds by its own account, once it has given one.
    held: Option<u32>,
}

impl Member {
    pub(crate) const fn new(window: u32) -> Self {
        Self {
            slot: 0,
            joined: 0,
            window,
            turns: 0,
            retired: false,
            assigned: Queue::new(),
            in_flight: 0,
            first_kept: None,
            deadline: None,
            awaiting: Queue::new(),
            held: None,
        }
    }

    /// It joins, or joins again.
    pub(crate) const fn enter(&mut self, slot: u32, joined: u64) {
        (self.slot, self.joined) = (slot, joined);
        self.retired = false;
    }

    /// How many connections may be assigned to it.
    pub(crate) const fn capacity(&self) -> u32 {
        if self.turns > self.window { self.turns } else { self.window }
    }

    /// Whether it may be given one more.
    pub(crate) const fn has_room(&self) -> bool {
        !self.retired && self.assigned.len() < self.capacity() as usize
    }

    /// Whether one more may be in flight to it.
    pub(crate) const fn window_is_open(&self) -> bool {
        self.in_flight < self.window as usize
    }

    /// How many connections are kept back for it.
    pub(crate) const fn kept(&self) -> usize {
        self.assigned.len() - self.in_flight
    }

    /// The connections that it has, as far as is known.
    pub(crate) fn load(&self) -> u32 {
        let assigned = u32::try_from(self.assigned.len()).unwrap_or(u32::MAX);
        assigned.saturating_add(self.held.unwrap_or(0))
    }

    pub(crate) const fn report(&mut self, held: u32) {
        self.held = Some(held);
    }

    pub(crate) const fn held(&self) -> Option<u32> {
        self.held
    }

    /// It has accepted one more than it reported. Of one that reports nothing it is not known when
    /// it closes a connection, so its connections are not counted at all.
    pub(crate) const fn accept(&mut self) {
        if let Some(held) = &mut self.held {
            *held = held.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_reports_is_counted_beyond_its_hand_offs() {
        let mut member = Member::new(1);
        member.accept();
        assert_eq!(member.load(), 0);
        member.report(5);
        member.accept();
        assert_eq!(member.load(), 6);
        member.report(2);
        assert_eq!(member.load(), 2);
        member.report(u32::MAX);
        member.accept();
        assert_eq!(member.load(), u32::MAX);
    }
}
