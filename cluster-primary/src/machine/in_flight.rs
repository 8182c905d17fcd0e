//! Connections on their way to one worker.

use std::collections::VecDeque;

use cluster_sched::Mono;

use crate::{ConnId, ServerId};

/// A connection that awaits `{ack, accepted}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HandOff {
    /// The number of its message.
    pub(super) seq: u64,
    pub(super) server: ServerId,
    pub(super) conn: ConnId,
    /// When it was sent.
    pub(super) at: Mono,
}

/// Gaps that are left alone, lest a short queue be looked through all the time.
const FEW: usize = 16;

/// The hand-offs of one worker. Their numbers rise, and most are answered in order, so a queue
/// with gaps holds them without taking memory for each. There are never many more gaps than
/// hand-offs, however long one of them waits for its answer.
#[derive(Debug, Default)]
pub(super) struct InFlight {
    /// None: it is answered, and an older one is not.
    queue: VecDeque<(u64, Option<HandOff>)>,
    unanswered: usize,
}

impl InFlight {
    pub(super) fn push(&mut self, hand_off: HandOff) {
        debug_assert!(self.queue.back().is_none_or(|(last, _)| *last < hand_off.seq));
        self.queue.push_back((hand_off.seq, Some(hand_off)));
        self.unanswered += 1;
    }

    /// The hand-off of that number, if it awaits its answer.
    pub(super) fn find(&self, seq: u64) -> Option<&HandOff> {
        self.queue[self.position(seq)?].1.as_ref()
    }

    /// It is answered.
    pub(super) fn take(&mut self, seq: u64) -> Option<HandOff> {
        let position = self.position(seq)?;
        let taken = self.queue[position].1.take();
        self.unanswered -= usize::from(taken.is_some());
        while self.queue.front().is_some_and(|(_, hand_off)| hand_off.is_none()) {
            self.queue.pop_front();
        }
        // More than half of what is looked through is taken away, and nothing is allocated.
        if self.queue.len() - self.unanswered > self.unanswered + FEW {
            self.queue.retain(|(_, hand_off)| hand_off.is_some());
        }
        taken
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Nobody will answer.
    pub(super) fn clear(&mut self) {
        self.queue.clear();
        self.unanswered = 0;
    }

    /// How many await their answers.
    pub(super) fn len(&self) -> usize {
        self.unanswered
    }

    /// When the oldest of them was sent.
    pub(super) fn oldest(&self) -> Option<Mono> {
        // The front is unanswered: what is answered there is taken away.
        self.queue.front().and_then(|(_, hand_off)| Some(hand_off.as_ref()?.at))
    }

    fn position(&self, seq: u64) -> Option<usize> {
        self.queue.binary_search_by_key(&seq, |(number, _)| *number).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_answered_once_in_any_order() {
        let mut in_flight = InFlight::default();
        let hand_off =
            |seq| HandOff { seq, server: ServerId(1), conn: ConnId(seq), at: Mono::ZERO };
        for seq in [2, 5, 9] {
            in_flight.push(hand_off(seq));
        }
        assert_eq!(in_flight.find(5), Some(&hand_off(5)));
        assert_eq!(in_flight.take(5), Some(hand_off(5)));
        assert_eq!((in_flight.take(5), in_flight.take(3)), (None, None));
        assert_eq!(in_flight.find(5), None);
        assert_eq!(in_flight.take(2), Some(hand_off(2)));
        assert_eq!((in_flight.is_empty(), in_flight.len()), (false, 1));
        assert_eq!(in_flight.take(9), Some(hand_off(9)));
        assert!(in_flight.is_empty());
    }
    #[test]
    fn one_without_an_answer_does_not_keep_what_follows() {
        let mut in_flight = InFlight::default();
        let hand_off =
            |seq| HandOff { seq, server: ServerId(1), conn: ConnId(seq), at: Mono::ZERO };
        in_flight.push(hand_off(0));
        in_flight.push(hand_off(1));
        for seq in 2..10_000 {
            in_flight.push(hand_off(seq));
            assert_eq!(in_flight.take(seq - 1), Some(hand_off(seq - 1)));
            assert_eq!(in_flight.len(), 2);
            assert!(in_flight.queue.len() <= 2 * 2 + FEW + 1, "{}", in_flight.queue.len());
            assert_eq!(in_flight.find(0), Some(&hand_off(0)));
            assert_eq!(in_flight.find(seq), Some(&hand_off(seq)));
        }
        assert!(in_flight.queue.capacity() <= 64);
    }
}
