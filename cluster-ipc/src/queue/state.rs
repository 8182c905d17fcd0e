//! What is to be written, as plain data.

use serde::{Deserialize, Serialize};

use crate::error::StateError;

use super::{Item, Queue};

/// What a [`Queue`] knows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct QueueState {
    items: Vec<Item>,
    written: usize,
    answered: bool,
    connections: Vec<u64>,
}

impl Queue {
    /// What it knows; it must be [sealed](Self::seal).
    pub(crate) fn state(&self) -> QueueState {
        QueueState {
            items: self.items.iter().cloned().collect(),
            written: self.written,
            answered: self.answered,
            connections: self.connections.iter().copied().collect(),
        }
    }

    /// In a state that [was checked](QueueState::check).
    pub(crate) fn from_state(state: QueueState) -> Self {
        Self {
            items: state.items.into(),
            written: state.written,
            answered: state.answered,
            connections: state.connections.into(),
            open: None,
            spare: Vec::new(),
        }
    }
}

impl QueueState {
    /// Whether a queue can be in this state. What stands in the frames that it names by their keys
    /// is not looked at.
    pub(crate) fn check(&self) -> Result<(), StateError> {
        let mut connections = 0_usize;
        for item in &self.items {
            match item {
                Item::Plain(bytes) if bytes.is_empty() => {
                    return Err(StateError::Contradiction { what: "nothing is to be written" });
                }
                Item::Connections(_, 0) => {
                    return Err(StateError::Contradiction { what: "a frame of no connections" });
                }
                Item::Connections(_, count) => connections = connections.saturating_add(*count),
                _ => {}
            }
        }
        if connections != self.connections.len() {
            return Err(StateError::Contradiction { what: "how many connections are queued" });
        }
        let possible = match self.items.first() {
            Some(Item::Plain(bytes)) => self.written < bytes.len(),
            Some(Item::Handle(_)) => true,
            Some(Item::Connections(..) | Item::Wire(_) | Item::Mark(_)) | None => self.written == 0,
        };
        if possible { Ok(()) } else { Err(StateError::OutOfRange { what: "what is written" }) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The keys of the frames with handles, in their order.
    pub(crate) fn handles(&self) -> impl Iterator<Item = u64> {
        self.items.iter().filter_map(|item| match item {
            Item::Handle(key) => Some(*key),
            _ => None,
        })
    }

    /// How many lent connections are queued.
    pub(crate) fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Bytes in whole frames without handles.
    pub(crate) fn plain_bytes(&self) -> usize {
        let bytes = |item: &Item| if let Item::Plain(bytes) = item { bytes.len() } else { 0 };
        self.items.iter().map(bytes).sum()
    }

    /// How much of the first item is written.
    pub(crate) fn written(&self) -> usize {
        self.written
    }

    /// How much of that frame is written.
    pub(crate) fn written_of(&self, key: u64) -> usize {
        match self.items.first() {
            Some(Item::Handle(first)) if *first == key => self.written,
            _ => 0,
        }
    }
}
