//! Events that wait to be taken, and what has to be known of those that were.

use std::collections::{BTreeMap, VecDeque};

use cluster_proto::env::Serialization;

use crate::event::Event;
use crate::id::WorkerId;

#[derive(Debug, Default)]
pub(super) struct Told {
    events: VecDeque<Event>,
    /// How messages of workers were written that are gone, as long as events of theirs may wait.
    departed: BTreeMap<WorkerId, Serialization>,
    /// The `Disconnected` events that were taken.
    disconnects: u64,
}

impl Told {
    /// None waits, and so many `Disconnected` were taken.
    pub(super) fn after(disconnects: u64) -> Self {
        Self { disconnects, ..Self::default() }
    }

    pub(super) fn add(&mut self, event: Event) {
        self.events.push_back(event);
    }

    /// The next event that is taken.
    pub(super) fn take(&mut self) -> Option<Event> {
        let event = self.events.pop_front();
        match event {
            None => self.departed.clear(),
            Some(Event::Disconnected) => self.disconnects += 1,
            Some(_) => {}
        }
        event
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    /// A worker is gone whose messages were written like that.
    pub(super) fn note_departed(&mut self, worker: WorkerId, serialization: Serialization) {
        self.departed.insert(worker, serialization);
    }

    /// How the messages of such a worker were written.
    pub(super) fn serialization(&self, worker: WorkerId) -> Option<Serialization> {
        self.departed.get(&worker).copied()
    }

    /// The `Disconnected` events that were taken.
    pub(super) fn disconnects(&self) -> u64 {
        self.disconnects
    }
}
