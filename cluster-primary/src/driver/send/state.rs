//! What is to be reported of messages, written down, and taken up.

use std::collections::{BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::Sends;
use crate::SendId;
use crate::upgrade::StateError;

/// What is to be reported of one worker's messages.
#[derive(Debug, Serialize, Deserialize)]
pub(in super::super) struct SendsState {
    open: BTreeSet<SendId>,
    draining: bool,
}

impl Sends {
    pub(in super::super) fn state(&self) -> Result<SendsState, StateError> {
        if self.has_news() {
            return Err(StateError::EventsWait);
        }
        Ok(SendsState { open: self.open.clone(), draining: self.draining })
    }
}

impl From<SendsState> for Sends {
    fn from(SendsState { open, draining }: SendsState) -> Self {
        Self { open, draining, news: VecDeque::new() }
    }
}
