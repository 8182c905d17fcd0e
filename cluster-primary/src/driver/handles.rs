//! Descriptors that workers have sent.

use std::collections::HashMap;
use std::os::fd::OwnedFd;

use super::limits;
use crate::id::{HandleId, WorkerId};

pub(super) struct Handles {
    /// Descriptors about which the machine has not decided.
    received: HashMap<HandleId, (WorkerId, OwnedFd)>,
    last: u64,
    /// The number of descriptors in events that the user has not taken.
    in_events: usize,
    /// With this many of both, workers are not read any further.
    limit: usize,
    /// Descriptors that belonged to no message, of channels that are closed by now, and useless ones.
    unexpected: u64,
}

impl Handles {
    /// Holds none; ids continue after `last`.
    pub(super) fn after(last: u64, unexpected: u64) -> Self {
        let limit = limits::for_messages();
        Self { received: HashMap::new(), last, in_events: 0, limit, unexpected }
    }

    /// Whether no further descriptor may be received now.
    pub(super) fn is_full(&self) -> bool {
        self.in_events + self.received.len() >= self.limit
    }

    /// Whether the machine has decided about all of them.
    pub(super) fn is_empty(&self) -> bool {
        self.received.is_empty()
    }

    /// The last id that was given.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Keeps a descriptor until the machine has decided about it. Returns its id.
    pub(super) fn receive(&mut self, worker: WorkerId, handle: OwnedFd) -> HandleId {
        self.last += 1;
        let id = HandleId(self.last);
        self.received.insert(id, (worker, handle));
        id
    }

    /// Removes one that has no use.
    pub(super) fn remove(&mut self, id: HandleId) -> Option<(WorkerId, OwnedFd)> {
        self.received.remove(&id)
    }

    /// Removes one to put it into an event.
    pub(super) fn move_into_event(&mut self, id: HandleId) -> Option<OwnedFd> {
        let (_, handle) = self.received.remove(&id)?;
        self.in_events += 1;
        Some(handle)
    }

    /// The user has taken an event that had a descriptor.
    pub(super) fn note_event_taken(&mut self) {
        self.in_events -= 1;
    }

    pub(super) fn note_unexpected(&mut self, count: u64) {
        self.unexpected += count;
    }

    pub(super) fn unexpected(&self) -> u64 {
        self.unexpected
    }
}
