//! The descriptors that the primary watches for its owner.

use std::collections::BTreeMap;
use std::os::fd::RawFd;

use super::sorted::Sorted;

/// A descriptor that a primary [watches](crate::Primary::watch).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WatchId(u32);

/// All of them, and those that became readable.
#[derive(Debug, Default)]
pub(super) struct Watches {
    watched: BTreeMap<WatchId, RawFd>,
    readable: Sorted<WatchId>,
    last: u32,
}

impl Watches {
    /// The name of the next.
    pub(super) fn name(&mut self) -> WatchId {
        self.last += 1;
        WatchId(self.last)
    }

    pub(super) fn add(&mut self, id: WatchId, fd: RawFd) {
        self.watched.insert(id, fd);
    }

    /// Its descriptor, which is watched no more.
    pub(super) fn remove(&mut self, id: WatchId) -> Option<RawFd> {
        self.readable.remove(&id);
        self.watched.remove(&id)
    }

    pub(super) fn note_readable(&mut self, id: WatchId) {
        self.readable.insert(id);
    }

    /// Whether it became readable since this was last asked.
    pub(super) fn take_ready(&mut self, id: WatchId) -> bool {
        self.readable.remove(&id)
    }
}
