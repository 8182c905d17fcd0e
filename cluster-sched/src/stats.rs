//! What a scheduler has counted.

use crate::event::ShedReason;

/// Counters since the scheduler was made; they only grow.
///
/// `arrived` equals `done` plus [`shed`](Self::shed) plus what is still held (waiting or in flight).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
#[non_exhaustive]
pub struct Stats {
    /// Connections taken in, those shed at once included.
    pub arrived: u64,
    /// Hand-offs asked for: a connection counts once for each time it is assigned.
    pub assigned: u64,
    /// Connections that a worker accepted.
    pub done: u64,
    /// Refusals, retired workers' included.
    pub refusals: u64,
    /// Hand-offs that came back because their worker left.
    pub orphaned: u64,
    /// Hand-offs that were [taken back](crate::Input::TakeBack).
    pub taken_back: u64,
    /// Connections shed with [`ShedReason::Full`].
    pub shed_full: u64,
    /// Connections shed with [`ShedReason::Refused`].
    pub shed_refused: u64,
    /// Connections shed with [`ShedReason::Closed`].
    pub shed_closed: u64,
}

impl Stats {
    /// Connections shed, for whatever reason.
    #[must_use]
    pub const fn shed(&self) -> u64 {
        self.shed_full + self.shed_refused + self.shed_closed
    }

    pub(crate) const fn count_shed(&mut self, reason: ShedReason) {
        match reason {
            ShedReason::Full => self.shed_full += 1,
            ShedReason::Refused => self.shed_refused += 1,
            ShedReason::Closed => self.shed_closed += 1,
        }
    }
}
