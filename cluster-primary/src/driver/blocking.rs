//! Statistics about the primary's system calls that workers made block.
//!
//! Each such call is [interrupted](super::call_timer). Once a worker has done this, its connections are
//! closed in the background; if it goes on, it loses its channel. So the loop's time that a worker can
//! take over its whole life is limited.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::call_timer::CallLog;
use super::closer::ClosingState;

/// Time that the loop lost or used.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Blocking {
    pub(super) calls: CallLog,
    /// The longest time that the loop worked between two polls.
    pub(super) longest_wake: Duration,
    /// How many of the interrupted calls were `accept`.
    pub(super) accepts: u64,
    /// Closes that were stuck in earlier images of this process.
    pub(super) stuck_closes: u64,
    /// Closing a connection that no worker had taken has blocked before.
    #[serde(skip)]
    pub(super) shed_blocked: bool,
}

impl Blocking {
    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty() && self.longest_wake.is_zero() && self.stuck_closes == 0
    }

    /// Adds the closes that were stuck so far.
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
