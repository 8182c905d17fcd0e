//! What is noted of calls of the primary that workers make block.
//!
//! Each such call is [interrupted](super::call_timer). A worker that did it once has its connections
//! closed in the background from then on; one that goes on loses its channel. So what a worker can
//! take of the loop's time in its life has a limit.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::call_timer::CallLog;
use super::closer::ClosingState;

/// What is known of the loop's time.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Blocking {
    pub(super) calls: CallLog,
    /// How long the loop worked between two waits, at most.
    pub(super) longest_wake: Duration,
    /// Calls of `accept` among the interrupted ones.
    pub(super) accepts: u64,
    /// Closes that were stuck under former images of this process.
    pub(super) stuck_closes: u64,
    /// A connection that no worker had taken made its close block.
    #[serde(skip)]
    pub(super) shed_blocked: bool,
}

impl Blocking {
    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty() && self.longest_wake.is_zero() && self.stuck_closes == 0
    }

    /// With the closes that were stuck so far.
    pub(super) fn with_closes(self, closing: ClosingState) -> Self {
        Self { stuck_closes: self.stuck_closes + closing.stuck, ..self }
    }

    pub(super) fn stuck_closes(&self) -> u64 {
        self.stuck_closes
    }

    pub(super) fn note_wake(&mut self, took: Duration) {
        self.longest_wake = self.longest_wake.max(took);
    }
}

/// A call that a worker can make block.
#[derive(Clone, Copy, Debug)]
pub(super) enum Call {
    Accept,
    Close,
    Receive,
}

impl Call {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept4",
            Self::Close => "close",
            Self::Receive => "recvmsg",
        }
    }
}
