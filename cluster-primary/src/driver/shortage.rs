//! Connections that could not be accepted because the system was out of descriptors or memory.

use rustix::io::Errno;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shortage {
    /// How often accepting has paused.
    pauses: u64,
    /// Why it did last.
    last: Option<Errno>,
    /// Why nothing can be accepted now.
    now: Option<Errno>,
}

impl Shortage {
    /// After so many pauses.
    pub(super) fn after(pauses: u64) -> Self {
        Self { pauses, ..Self::default() }
    }

    /// Accepting pauses for that reason.
    pub(super) fn note_pause(&mut self, errno: Errno) {
        self.pauses += 1;
        self.last = Some(errno);
    }

    /// Whether, and why, the next could not be accepted either.
    pub(super) fn set_now(&mut self, errno: Option<Errno>) {
        self.now = errno;
    }

    pub(super) fn pauses(&self) -> u64 {
        self.pauses
    }

    pub(super) fn last(&self) -> Option<Errno> {
        self.last
    }

    pub(super) fn now(&self) -> Option<Errno> {
        self.now
    }
}
