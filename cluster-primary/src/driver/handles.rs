//! Descriptors that workers have sent.

use std::collections::HashMap;
use std::os::fd::OwnedFd;

use super::limits;
use crate::id::{HandleId, WorkerId};

pub(super) struct Handles {
    /// Those that the machine has not decided upon.
    received: HashMap<HandleId, (WorkerId, OwnedFd)>,
    last: u64,
    /// Those in events that the user has not taken.
    in_events: usize,
    /// How many of both there may be before workers are not read.
    limit: usize,
    /// Of channels that are closed by now, and of messages that have no use for one.
    unexpected: u64,
}

impl Handles {
    /// None; their names follow that of `last`.
    pub(super) fn after(last: u64, unexpected: u64) -> Self {
        let limit = limits::for_messages();
        Self { received: HashMap::new(), last, in_events: 0, limit, unexpected }
    }

    /// Whether no more may be received now.
    pub(super) fn is_full(&self) -> bool {
        self.in_events + self.received.len() >= self.limit
    }

    /// Whether the machine has decided upon all.
    pub(super) fn is_empty(&self) -> bool {
        self.received.is_empty()
    }

    /// The last name.
    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// Keeps one until the machine has decided; its name.
    pub(super) fn receive(&mut self, worker: WorkerId, handle: OwnedFd) -> HandleId {
        self.last += 1;
        let id = HandleId(self.last);
        self.received.insert(id, (worker, handle));
        id
    }

    /// One that has no use.
    pub(super) fn remove(&mut self, id: HandleId) -> Option<(WorkerId, OwnedFd)> {
        self.received.remove(&id)
    }

    /// One that goes into an event.
    pub(super) fn move_into_event(&mut self, id: HandleId) -> Option<OwnedFd> {
        let (_, handle) = self.received.remove(&id)?;
        self.in_events += 1;
        Some(handle)
    }

    /// The user has taken an event with one.
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
