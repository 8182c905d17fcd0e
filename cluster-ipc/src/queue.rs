//! What is to be written, in its order, each item the start of a write of its own.

mod state;

use std::cell::RefCell;
use std::collections::VecDeque;

use cluster_proto::native::{Answer, OpenAnswers};
use cluster_proto::{ServerKey, hex};
use serde::{Deserialize, Serialize};

use crate::config::Wire;

pub(crate) use state::QueueState;

/// Frames that are copied together into one write, in bytes.
const COALESCED: usize = 64 << 10;

/// The largest buffer that is kept for the next large frame, in bytes.
const KEPT: usize = 4 << 20;

thread_local! {
    /// Where a large frame was, for the next one of any channel: memory that is allocated again for each
    /// costs more than to write it.
    static LARGE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// One item to write.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Item {
    /// Whole frames without handles.
    Plain(#[serde(with = "hex")] Vec<u8>),
    /// The frame of that key, which has a handle.
    Handle(u64),
    /// The next so many of the lent connections, which share their frames.
    Connections(ServerKey, usize),
    /// From here on answers are written in this encoding.
    Wire(Wire),
    /// All before it is written.
    Mark(u64),
}

/// The order of writes.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    items: VecDeque<Item>,
    /// How much of the first item is written already: answers may go before it only if none is.
    written: usize,
    /// The first item holds answers already. No more are put before it, so that a peer that does
    /// not read cannot make it grow without bound.
    answered: bool,
    /// The numbers of the connections that are to be written, over all items.
    connections: VecDeque<u64>,
    /// The frame of answers that ends the last item, as long as it may grow.
    open: Option<OpenAnswers>,
    /// A buffer to be used again.
    spare: Vec<u8>,
}

impl Queue {
    /// What plain frames are appended to.
    pub(crate) fn tail(&mut self) -> &mut Vec<u8> {
        self.open = None;
        let has_room = |item: &Item| matches!(item, Item::Plain(tail) if tail.len() < COALESCED);
        if !self.items.back().is_some_and(has_room) {
            let fresh = self.buffer();
            self.items.push_back(Item::Plain(fresh));
        }
        match self.items.back_mut() {
            Some(Item::Plain(tail)) => tail,
            _ => unreachable!("one was put there if there was none"),
        }
    }

    /// As [`tail`](Self::tail), for a frame of about so many bytes: a large one begins a write of its
    /// own, where there is room for it.
    pub(crate) fn tail_for(&mut self, length: usize) -> &mut Vec<u8> {
        if length > COALESCED {
            self.items.push_back(Item::Plain(LARGE.take()));
        }
        self.tail()
    }

    /// Takes back what was appended to the tail behind so many bytes.
    pub(crate) fn cut_tail(&mut self, length: usize) {
        if let Some(Item::Plain(tail)) = self.items.back_mut() {
            tail.truncate(length);
            if tail.is_empty() {
                let tail = std::mem::take(tail);
                self.items.pop_back();
                self.recycle(tail);
            }
        }
    }

    /// Puts an answer to a connection at the end, in one frame with those before it; how many bytes
    /// it takes.
    pub(crate) fn push_answer(&mut self, answer: Answer) -> usize {
        if let (Some(open), Some(Item::Plain(tail))) = (&mut self.open, self.items.back_mut()) {
            let before = tail.len();
            if open.push(answer, tail) {
                return tail.len() - before;
            }
        }
        let tail = self.tail();
        let before = tail.len();
        let open = OpenAnswers::begin(answer, tail);
        let bytes = tail.len() - before;
        self.open = Some(open);
        bytes
    }

    /// Nothing that is there grows any more: it is about to be written.
    pub(crate) fn seal(&mut self) {
        self.open = None;
    }

    /// Puts a lent connection at the end, in one frame with those before it if they are for the same
    /// server.
    pub(crate) fn push_connection(&mut self, key: &ServerKey, number: u64) {
        self.open = None;
        self.connections.push_back(number);
        match self.items.back_mut() {
            Some(Item::Connections(server, count)) if server == key => *count += 1,
            _ => self.items.push_back(Item::Connections(key.clone(), 1)),
        }
    }

    /// The numbers of the connections that are to be written next.
    pub(crate) fn connections(&self, most: usize) -> impl Iterator<Item = u64> {
        self.connections.iter().copied().take(most)
    }

    /// So many connections of the first item are done with; of the last frame this is unwritten.
    pub(crate) fn wrote_connections(&mut self, done: usize, rest: &[u8]) {
        self.connections.drain(..done);
        if let Some(Item::Connections(_, count)) = self.items.front_mut() {
            *count -= done;
            if *count == 0 {
                self.pop();
            }
        }
        if !rest.is_empty() {
            let mut frame = self.buffer();
            frame.extend_from_slice(rest);
            self.items.push_front(Item::Plain(frame));
            // Nothing may come between its halves.
            self.answered = true;
        }
    }

    /// Puts a plain frame at the end.
    pub(crate) fn push_plain(&mut self, frame: Vec<u8>) {
        self.open = None;
        match self.items.back_mut() {
            Some(Item::Plain(tail)) if tail.len() + frame.len() <= COALESCED => {
                tail.extend_from_slice(&frame);
                self.recycle(frame);
            }
            _ => self.items.push_back(Item::Plain(frame)),
        }
    }

    pub(crate) fn push_handle(&mut self, key: u64) {
        self.open = None;
        self.items.push_back(Item::Handle(key));
    }

    pub(crate) fn push_wire(&mut self, wire: Wire) {
        self.open = None;
        self.items.push_back(Item::Wire(wire));
    }

    pub(crate) fn push_mark(&mut self, token: u64) {
        self.open = None;
        self.items.push_back(Item::Mark(token));
    }

    /// Whether answers may be put before the first item now.
    pub(crate) fn takes_answers(&self) -> bool {
        self.written == 0 && !self.answered
    }

    /// Puts answers before all else, with what follows in one write where that is possible.
    pub(crate) fn put_answers_first(&mut self, mut answers: Vec<u8>) {
        debug_assert!(self.takes_answers(), "a frame is never cut in two");
        match self.items.front_mut() {
            Some(Item::Plain(first)) if answers.len() + first.len() <= COALESCED => {
                answers.extend_from_slice(first);
                *first = answers;
            }
            _ => self.items.push_front(Item::Plain(answers)),
        }
        self.answered = true;
    }

    /// What is to be written next, and how much of it is already.
    pub(crate) fn front(&self) -> Option<(&Item, usize)> {
        self.items.front().map(|item| (item, self.written))
    }

    /// So much more of the first item is written.
    pub(crate) fn wrote(&mut self, bytes: usize) {
        self.written += bytes;
    }

    /// The first item is done with.
    pub(crate) fn pop(&mut self) {
        self.written = 0;
        self.answered = false;
        if let Some(Item::Plain(bytes)) = self.items.pop_front() {
            self.recycle(bytes);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// An empty buffer for the next frame.
    pub(crate) fn buffer(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.spare)
    }

    /// Takes back a buffer, unless it is too large to be kept.
    pub(crate) fn recycle(&mut self, mut buffer: Vec<u8>) {
        if (COALESCED + 1..=KEPT).contains(&buffer.capacity()) {
            buffer.clear();
            LARGE.with_borrow_mut(|large| {
                if large.capacity() < buffer.capacity() {
                    *large = buffer;
                }
            });
        } else if (self.spare.capacity()..=COALESCED).contains(&buffer.capacity()) {
            buffer.clear();
            self.spare = buffer;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn front(queue: &Queue) -> Option<Vec<u8>> {
        match queue.front() {
            Some((Item::Plain(bytes), 0)) => Some(bytes.clone()),
            _ => None,
        }
    }

    #[test]
    fn plain_frames_are_written_together_but_not_across_a_handle() {
        let mut queue = Queue::default();
        queue.push_plain(b"a\n".to_vec());
        queue.push_plain(b"b\n".to_vec());
        queue.push_handle(1);
        queue.push_plain(b"c\n".to_vec());
        assert_eq!(front(&queue).unwrap(), b"a\nb\n");
        queue.pop();
        assert!(matches!(queue.front(), Some((Item::Handle(1), 0))));
        queue.pop();
        assert_eq!(front(&queue).unwrap(), b"c\n");
        queue.pop();
        assert!(queue.is_empty());
    }

    #[test]
    fn answers_go_first_but_never_into_a_frame() {
        let mut queue = Queue::default();
        queue.push_plain(b"plain\n".to_vec());
        queue.put_answers_first(b"ack\n".to_vec());
        assert_eq!(front(&queue).unwrap(), b"ack\nplain\n");
        assert!(!queue.takes_answers());
        queue.pop();

        queue.push_plain(b"plain\n".to_vec());
        queue.wrote(3);
        assert!(!queue.takes_answers());
        queue.pop();
        queue.push_handle(1);
        queue.put_answers_first(b"ack\n".to_vec());
        assert_eq!(front(&queue).unwrap(), b"ack\n");
        queue.pop();
        assert!(matches!(queue.front(), Some((Item::Handle(1), 0))));
    }

    #[test]
    fn large_frames_of_all_channels_go_through_one_buffer() {
        let mut queues = [Queue::default(), Queue::default()];
        queues[0].tail().extend_from_slice(b"before");
        queues[0].tail_for(1 << 20).resize(1 << 20, 1);
        assert_eq!(front(&queues[0]).unwrap(), b"before", "nothing is copied");
        queues[0].pop();
        let Some((Item::Plain(large), 0)) = queues[0].front() else { panic!("it is next") };
        let place = large.as_ptr();
        queues[0].pop();
        for queue in &mut queues {
            let tail = queue.tail_for(COALESCED + 1);
            assert_eq!((tail.as_ptr(), tail.len()), (place, 0));
            tail.extend_from_slice(b"less");
            queue.pop();
        }
        // What would be too much to keep.
        let mut huge = Vec::with_capacity(KEPT + 1);
        huge.push(0);
        queues[0].push_plain(huge);
        queues[0].pop();
        assert_eq!(queues[0].tail_for(1 << 20).as_ptr(), place);
    }

    #[test]
    fn a_large_buffer_is_not_kept_for_small_frames() {
        let mut queue = Queue::default();
        queue.push_plain(vec![0; 1 << 20]);
        queue.push_plain(vec![0; 100]);
        queue.pop();
        queue.pop();
        assert_eq!(queue.buffer().capacity(), 100);
    }
}
