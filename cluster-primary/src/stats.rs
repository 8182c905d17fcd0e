//! What a primary counts.

use std::time::Duration;

use cluster_sched::ShedReason;
use serde::{Deserialize, Serialize};

/// Counts since the primary's start, over all servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(default)]
pub struct Stats {
    /// Connections that the primary accepted.
    pub accepted: u64,
    /// Of these, those that a worker took.
    pub handed_over: u64,
    /// Refusals by workers; a refused connection goes to another worker.
    pub refused: u64,
    /// Connections given up because too many waited.
    pub shed_full: u64,
    /// Connections given up because every worker refused them, again and again.
    pub shed_refused: u64,
    /// Connections given up because their server was closed.
    pub shed_closed: u64,
    /// How often a worker of [`Placement::Kernel`](crate::Placement::Kernel) was found stuck.
    pub stuck: u64,
    /// Of the accepted connections those of [`Placement::Kernel`](crate::Placement::Kernel): what
    /// waited without being accepted.
    pub rescued: u64,
    /// Connections that wait for a worker now.
    pub waiting: usize,
    /// Unexpected descriptors that workers sent; they were closed.
    pub unexpected_handles: u64,
    /// How often accepting rested because the system was out of descriptors or memory.
    pub accept_pauses: u64,
    /// Calls of the primary that a peer made block, and that were interrupted (on Linux): to close or to
    /// drop a descriptor that lingers, to accept from a listener that a worker has made blocking.
    #[serde(skip_serializing_if = "is_zero")]
    pub interrupted_calls: u64,
    /// How long the longest such call took.
    #[serde(skip_serializing_if = "Duration::is_zero")]
    pub longest_blocked_call: Duration,
    /// How long the primary worked, at most, between two waits for something to do.
    #[serde(skip_serializing_if = "Duration::is_zero")]
    pub longest_wake: Duration,
    /// How often the system began to refuse to pass connections on to workers: too many descriptors of this
    /// user were in flight between its processes (`ETOOMANYREFS`).
    #[serde(skip_serializing_if = "is_zero")]
    pub hand_off_pauses: u64,
    /// Descriptors of workers and clients that wait to be closed: that can block, and is left to threads.
    #[serde(skip_serializing_if = "is_none")]
    pub closing: usize,
    /// How many of these closes took longer than a second, so that they could not be interrupted: files of a
    /// FUSE file system that does not answer. A worker with two of them loses its channel.
    #[serde(skip_serializing_if = "is_zero")]
    pub stuck_closes: u64,
}

fn is_none(count: &usize) -> bool {
    *count == 0
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Stats {
    pub(crate) fn count_shed(&mut self, reason: ShedReason) {
        match reason {
            ShedReason::Full => self.shed_full += 1,
            ShedReason::Refused => self.shed_refused += 1,
            _ => self.shed_closed += 1,
        }
    }
}
