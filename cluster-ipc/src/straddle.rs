//! When a handle must wait for the answer to the one before it, whatever the window is.

use serde::{Deserialize, Serialize};

use crate::error::StateError;

/// How much Node reads at once.
const NODE_READ: usize = 64 << 10;

/// Keeps a Node peer from pairing handles with the wrong frames.
///
/// Node keeps one received handle until its frame is whole. If a read ends within a frame that has
/// a handle, the next read may bring another handle, which takes the first one's place. A read
/// stops behind each write that carries a handle, so that cannot happen to a frame that ends
/// within one read's length of the last such write and was written at once. After any other the
/// next handle waits until all are answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Straddle {
    /// Bytes written since the last handle.
    plain: usize,
    /// Handles that are written and not answered.
    unanswered: usize,
    /// The last of them must be answered before the next one is written.
    barrier: bool,
    /// The peer takes a handle for that of the first frame that it reads together with it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    apart: bool,
}

impl Straddle {
    /// Bytes without a handle were written.
    pub(crate) fn wrote_plain(&mut self, bytes: usize) {
        self.plain = self.plain.saturating_add(bytes);
    }

    /// Whether a handle's frame of that length, written `at_once` or in pieces, may end in another
    /// of Node's reads than it starts in.
    pub(crate) fn straddles(&self, bytes: usize, at_once: bool) -> bool {
        !at_once || self.plain.saturating_add(bytes) > NODE_READ
    }

    /// A handle's frame is written; if it `bars`, the next one has to wait for its answer.
    pub(crate) fn wrote_handle(&mut self, bars: bool) {
        self.barrier |= bars;
        self.plain = 0;
        self.unanswered += 1;
    }

    /// Whether the next handle has to wait.
    pub(crate) fn is_barred(&self) -> bool {
        self.barrier || self.waits_to_be_read()
    }

    /// Has handles wait until the peer has read what was written before.
    pub(crate) fn keep_apart(&mut self) {
        self.apart = true;
    }

    /// Whether the next handle has to wait until the peer has read what was written before.
    pub(crate) fn waits_to_be_read(&self) -> bool {
        self.apart && self.plain > 0
    }

    /// The peer has read all that was written.
    pub(crate) fn all_read(&mut self) {
        self.plain = 0;
    }

    /// Handles that are written and not answered.
    pub(crate) fn unanswered(&self) -> usize {
        self.unanswered
    }

    /// Whether what was read as one can be one: a barrier that nothing removes bars forever.
    pub(crate) fn check(&self) -> Result<(), StateError> {
        if self.barrier && self.unanswered == 0 {
            return Err(StateError::Contradiction { what: "a barrier behind nothing" });
        }
        Ok(())
    }

    /// The oldest handle is answered; false if none is awaited.
    pub(crate) fn answered(&mut self) -> bool {
        let Some(left) = self.unanswered.checked_sub(1) else { return false };
        self.unanswered = left;
        // Nothing is written behind a barrier, so what made it is the last to be answered.
        self.barrier &= left > 0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(straddle: &mut Straddle, bytes: usize, at_once: bool) {
        let bars = straddle.straddles(bytes, at_once);
        straddle.wrote_handle(bars);
    }

    #[test]
    fn a_handle_within_one_read_bars_nothing() {
        let mut straddle = Straddle::default();
        for _ in 0..1000 {
            straddle.wrote_plain(NODE_READ - 100);
            write(&mut straddle, 100, true);
            assert!(!straddle.is_barred());
        }
        assert_eq!(straddle.unanswered(), 1000);
    }

    #[test]
    fn a_handle_that_is_kept_apart_waits_until_what_was_before_it_is_read() {
        let mut straddle = Straddle::default();
        straddle.keep_apart();
        assert!(!straddle.is_barred());
        straddle.wrote_plain(1);
        assert!(straddle.is_barred() && straddle.waits_to_be_read());
        straddle.all_read();
        assert!(!straddle.is_barred());
        // A read ends behind a handle: the next one is not read together with it.
        write(&mut straddle, 100, true);
        assert!(!straddle.is_barred());
    }

    #[test]
    fn one_beyond_a_read_or_in_pieces_bars_until_all_are_answered() {
        let mut straddle = Straddle::default();
        write(&mut straddle, 100, true);
        straddle.wrote_plain(NODE_READ - 99);
        write(&mut straddle, 100, true);
        assert!(straddle.is_barred());
        assert!(straddle.answered());
        assert!(straddle.is_barred());
        assert!(straddle.answered());
        assert!(!straddle.is_barred());
        assert!(!straddle.answered());

        write(&mut straddle, 100, false);
        assert!(straddle.is_barred());
    }
}
