//! Which descriptor belongs to which frame.

mod state;

use std::collections::VecDeque;
use std::error;
use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

pub(crate) use state::PairingState;

/// Finds the frame for each received descriptor, by their places in the stream.
///
/// The kernel gives descriptors to the read that takes the first byte they were sent with, and
/// ends that read no later than the write that carried them. So descriptors that came with the
/// bytes `[a, b)` belong to the frame that starts in `[a, b)` and says that it has any:
///
/// ```text
/// stream    │ plain │ plain │ handle frame     …│ plain │
/// reads     ├──────────────────────┤├─────────────────┤
///            a              ▲      b    the rest of it
///                           └─ the descriptor came with [a, b)
/// ```
///
/// It is pure: `H` is a descriptor or anything that stands for one. A descriptor that no frame can
/// claim any more is counted, and dropped, which closes it, unless its owner
/// [keeps such descriptors](Self::keep_unexpected).
///
/// ```
/// use cluster_ipc::{Found, Pairing};
///
/// let mut pairing = Pairing::new(16);
/// let mut taken = Vec::new();
/// // A read of 30 bytes with a descriptor: a plain frame, then half of a handle frame.
/// pairing.read(30, ["fd"], false)?;
/// pairing.pass(0..20);
/// pairing.drained();
/// pairing.read(10, [], false)?;
/// assert_eq!(pairing.take(20..40, 1, &mut taken), Found::All);
/// assert_eq!(taken, ["fd"]);
/// # Ok::<(), cluster_ipc::TooManyHandles>(())
/// ```
#[derive(Debug)]
pub struct Pairing<H> {
    /// Bytes read so far: where the next read starts.
    received: u64,
    /// Where the next frame starts.
    next_frame: u64,
    /// Reads that brought descriptors, by their places; they do not overlap.
    reads: VecDeque<Read>,
    /// What they brought, in order.
    waiting: VecDeque<H>,
    limit: usize,
    unexpected: u64,
    /// Descriptors that no frame can claim, for the owner to close.
    kept: Option<Vec<H>>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Read {
    range: Range<u64>,
    handles: usize,
    /// More came than could be received.
    truncated: bool,
}

/// Whether a frame's descriptors were there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// All of them.
    All,
    /// Not all: none was taken. What to answer is NACK.
    Missing {
        /// They were sent, but could not be received (`MSG_CTRUNC`): this process has too many
        /// open files, or the peer sent too many at once.
        lost: bool,
    },
}

/// More descriptors wait for their frame than may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyHandles {
    /// How many may.
    pub limit: usize,
}

impl fmt::Display for TooManyHandles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "more than {} handles wait for their frame", self.limit)
    }
}

impl error::Error for TooManyHandles {}

impl<H> Pairing<H> {
    /// At the start of a stream; at most `limit` descriptors may wait.
    pub fn new(limit: usize) -> Self {
        Self {
            received: 0,
            next_frame: 0,
            reads: VecDeque::new(),
            waiting: VecDeque::new(),
            limit,
            unexpected: 0,
            kept: None,
        }
    }

    /// Keeps descriptors that no frame can claim, instead of dropping them, until they are
    /// [taken](Self::take_unexpected). To close a descriptor that a peer has made can block.
    pub fn keep_unexpected(&mut self) {
        self.kept.get_or_insert_default();
    }

    /// The descriptors that were [kept](Self::keep_unexpected) since the last call.
    pub fn take_unexpected(&mut self) -> Vec<H> {
        self.kept.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Keeps a descriptor that no frame can claim, or drops it.
    pub(crate) fn discard_all(&mut self, handles: impl IntoIterator<Item = H>) {
        if let Some(kept) = &mut self.kept {
            kept.extend(handles);
        }
    }

    /// Takes what a read brought, before any frame is looked for in its bytes.
    ///
    /// `truncated` says that descriptors were sent with these bytes which could not be received.
    ///
    /// # Errors
    /// [`TooManyHandles`] if more than the limit wait now; the new ones are dropped.
    pub fn read(
        &mut self,
        bytes: usize,
        handles: impl IntoIterator<Item = H>,
        truncated: bool,
    ) -> Result<(), TooManyHandles> {
        let from = self.received;
        self.received += bytes as u64;
        let before = self.waiting.len();
        self.waiting.extend(handles);
        let handles = self.waiting.len() - before;
        if handles == 0 && !truncated {
            return Ok(());
        }
        if bytes == 0 || self.waiting.len() > self.limit {
            let excess = self.waiting.len() > self.limit && bytes > 0;
            self.unexpected += handles as u64;
            self.discard_from(before);
            return if excess { Err(TooManyHandles { limit: self.limit }) } else { Ok(()) };
        }
        self.reads.push_back(Read { range: from..self.received, handles, truncated });
        Ok(())
    }

    /// The next frame lies at `frame` and has `n` descriptors: appends them to `into`.
    ///
    /// Frames are given in their order, whole, without a gap.
    pub fn take(&mut self, frame: Range<u64>, n: usize, into: &mut Vec<H>) -> Found {
        self.find(frame, n, n, into)
    }

    /// As [`take`](Self::take), but if not all are there it takes those that are: they are the
    /// first ones.
    pub fn take_up_to(&mut self, frame: Range<u64>, n: usize, into: &mut Vec<H>) -> Found {
        self.find(frame, n, 0, into)
    }

    /// Takes `n`, or all that there are if that is `enough`.
    fn find(&mut self, frame: Range<u64>, n: usize, enough: usize, into: &mut Vec<H>) -> Found {
        self.discard(|read| read.range.end <= frame.start);
        let mut found = if n == 0 { Found::All } else { Found::Missing { lost: false } };
        if let Some(read) = self.reads.front_mut().filter(|read| read.range.contains(&frame.start))
        {
            let taken = n.min(read.handles);
            found = if taken == n { Found::All } else { Found::Missing { lost: read.truncated } };
            if taken >= enough {
                read.handles -= taken;
                into.extend(self.waiting.drain(..taken));
            }
        }
        self.pass(frame);
        found
    }

    /// The next frame lies at `frame` and has no descriptors.
    pub fn pass(&mut self, frame: Range<u64>) {
        debug_assert_eq!(frame.start, self.next_frame, "frames come in order");
        self.next_frame = frame.end;
        // The frame after this one starts at its end.
        self.discard(|read| read.range.end <= frame.end);
    }

    /// No whole frame is left in what was read: only descriptors of the one that has begun are
    /// kept. Where it is called before each read, no more than one read's descriptors ever wait.
    pub fn drained(&mut self) {
        let next_frame = self.next_frame;
        // That frame has not ended yet, so the one behind it starts in no read so far.
        self.discard(|read| read.range.end <= next_frame);
        while self.reads.back().is_some_and(|read| read.range.start > next_frame) {
            let dropped = self.reads.pop_back().map_or(0, |read| read.handles);
            self.unexpected += dropped as u64;
            self.discard_from(self.waiting.len() - dropped);
        }
    }

    /// Descriptors that wait for their frame.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Descriptors that were dropped because no frame could claim them.
    pub fn unexpected(&self) -> u64 {
        self.unexpected
    }

    /// Drops all that wait, uncounted: the stream is at its end. (They are kept, where
    /// [unexpected ones are](Self::keep_unexpected).)
    pub fn clear(&mut self) {
        self.reads.clear();
        self.discard_from(0);
    }

    /// Drops or keeps what waits behind the first `left`.
    fn discard_from(&mut self, left: usize) {
        let discarded = self.waiting.drain(left..);
        match &mut self.kept {
            Some(kept) => kept.extend(discarded),
            None => drop(discarded),
        }
    }

    fn discard(&mut self, dead: impl Fn(&Read) -> bool) {
        while self.reads.front().is_some_and(&dead) {
            let dropped = self.reads.pop_front().map_or(0, |read| read.handles);
            self.unexpected += dropped as u64;
            let discarded = self.waiting.drain(..dropped);
            match &mut self.kept {
                Some(kept) => kept.extend(discarded),
                None => drop(discarded),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(pairing: &mut Pairing<u32>, frame: Range<u64>, n: usize) -> (Found, Vec<u32>) {
        let mut taken = Vec::new();
        let found = pairing.take(frame, n, &mut taken);
        (found, taken)
    }

    const NONE: Found = Found::Missing { lost: false };
    const LOST: Found = Found::Missing { lost: true };

    #[test]
    fn a_descriptor_goes_to_the_frame_that_starts_in_its_read() {
        let mut pairing = Pairing::new(8);
        pairing.read(10, [], false).unwrap();
        pairing.read(20, [1], false).unwrap();
        pairing.read(20, [2], false).unwrap();
        // Starts before the read that brought it.
        assert_eq!(take(&mut pairing, 0..15, 1), (NONE, vec![]));
        assert_eq!(take(&mut pairing, 15..29, 1), (Found::All, vec![1]));
        // Its first byte is the last of the read, whose descriptor is gone.
        assert_eq!(take(&mut pairing, 29..40, 1), (NONE, vec![]));
        assert_eq!(take(&mut pairing, 40..90, 1), (Found::All, vec![2]));
        assert_eq!((pairing.waiting(), pairing.unexpected()), (0, 0));
    }

    #[test]
    fn what_no_frame_claims_is_dropped_as_soon_as_that_is_sure() {
        let mut pairing = Pairing::new(8);
        pairing.read(10, [1, 2], false).unwrap();
        pairing.pass(0..4);
        assert_eq!(pairing.waiting(), 2);
        assert_eq!(take(&mut pairing, 4..9, 1), (Found::All, vec![1]));
        assert_eq!(pairing.waiting(), 1);
        pairing.pass(9..10);
        assert_eq!((pairing.waiting(), pairing.unexpected()), (0, 1));
    }

    #[test]
    fn a_long_frame_gathers_no_descriptors() {
        let mut pairing = Pairing::new(2);
        pairing.read(1, [0], false).unwrap();
        for n in 1..100 {
            pairing.drained();
            assert_eq!((pairing.waiting(), pairing.unexpected()), (1, u64::from(n) - 1));
            pairing.read(1, [n], false).unwrap();
        }
        assert_eq!(take(&mut pairing, 0..100, 1), (Found::All, vec![0]));
        assert_eq!((pairing.waiting(), pairing.unexpected()), (0, 99));
    }

    #[test]
    fn what_no_frame_claims_can_be_kept() {
        let mut pairing = Pairing::new(3);
        pairing.keep_unexpected();
        pairing.read(10, [1, 2], false).unwrap();
        assert_eq!(take(&mut pairing, 0..9, 1), (Found::All, vec![1]));
        pairing.pass(9..10);
        assert_eq!(pairing.take_unexpected(), [2]);
        // Within a frame that began before.
        pairing.read(1, [3], false).unwrap();
        pairing.pass(10..11);
        pairing.read(1, [], false).unwrap();
        pairing.read(1, [4], false).unwrap();
        pairing.drained();
        assert_eq!(pairing.take_unexpected(), [3, 4]);
        assert!(pairing.read(1, [5, 6, 7, 8], false).is_err());
        pairing.read(0, [9], false).unwrap();
        pairing.read(1, [10], false).unwrap();
        pairing.clear();
        assert_eq!(pairing.take_unexpected(), [5, 6, 7, 8, 9, 10]);
        assert_eq!((pairing.waiting(), pairing.unexpected()), (0, 8));
    }

    #[test]
    fn too_many_at_once_are_refused() {
        let mut pairing = Pairing::new(2);
        assert_eq!(pairing.read(1, [1, 2], false), Ok(()));
        assert_eq!(pairing.read(1, [3], false), Err(TooManyHandles { limit: 2 }));
        assert_eq!((pairing.waiting(), pairing.unexpected()), (2, 1));
    }

    #[test]
    fn a_truncated_read_loses_what_its_handle_frame_needs() {
        let mut pairing = Pairing::new(8);
        pairing.read(30, [], true).unwrap();
        pairing.pass(0..10);
        assert_eq!(take(&mut pairing, 10..30, 1), (LOST, vec![]));
        // Part of them arrived: enough for one, not for two.
        pairing.read(10, [1], true).unwrap();
        assert_eq!(take(&mut pairing, 30..40, 1), (Found::All, vec![1]));
        pairing.read(10, [2], true).unwrap();
        assert_eq!(take(&mut pairing, 40..50, 2), (LOST, vec![]));
        assert_eq!((pairing.waiting(), pairing.unexpected()), (0, 1));
    }

    #[test]
    fn a_frame_may_have_several() {
        let mut pairing = Pairing::new(8);
        pairing.read(10, [1, 2, 3], false).unwrap();
        assert_eq!(take(&mut pairing, 0..10, 3), (Found::All, vec![1, 2, 3]));
        assert_eq!(take(&mut pairing, 10..11, 0), (Found::All, vec![]));
    }
}
