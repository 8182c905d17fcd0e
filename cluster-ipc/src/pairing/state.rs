//! A pairing, as plain data.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::error::StateError;
use crate::max_count::MAX_COUNT;

use super::{Pairing, Read};

/// What a [`Pairing`] knows beside its limit, its handles and its places in the stream, which are
/// the deframer's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct PairingState {
    reads: VecDeque<Read>,
    unexpected: u64,
}

impl<H> Pairing<H> {
    pub(crate) fn state(&self) -> PairingState {
        PairingState { reads: self.reads.clone(), unexpected: self.unexpected }
    }

    /// The handles that wait, in their order.
    pub(crate) fn handles(&self) -> impl Iterator<Item = &H> {
        self.waiting.iter()
    }

    /// The handles that wait, in their order.
    pub(crate) fn into_handles(self) -> impl Iterator<Item = H> {
        self.waiting.into_iter()
    }

    /// In a state that [was checked](PairingState::check), with as many handles as it speaks of.
    /// Frames were given out up to `next_frame`, and so much was `received`.
    pub(crate) fn from_state(
        state: PairingState,
        limit: usize,
        next_frame: u64,
        received: u64,
        waiting: VecDeque<H>,
    ) -> Self {
        let PairingState { reads, unexpected } = state;
        Self { received, next_frame, reads, waiting, limit, unexpected, kept: None }
    }
}

impl PairingState {
    /// How many handles wait.
    pub(crate) fn handles(&self) -> usize {
        self.reads.iter().fold(0, |sum, read| sum.saturating_add(read.handles))
    }

    /// Whether a pairing can be in this state, with so much `received`.
    pub(crate) fn check(&self, limit: usize, received: u64) -> Result<(), StateError> {
        let mut place = 0;
        for read in &self.reads {
            if read.range.start < place || read.range.end <= read.range.start {
                return Err(StateError::Contradiction { what: "reads that overlap" });
            }
            place = read.range.end;
        }
        if place > received {
            return Err(StateError::Contradiction { what: "a read beyond what was received" });
        }
        if self.handles() > limit {
            return Err(StateError::OutOfRange { what: "handles that wait for their frame" });
        }
        if self.unexpected > MAX_COUNT {
            return Err(StateError::OutOfRange { what: "unexpected handles" });
        }
        Ok(())
    }
}
