//! The time, which only drivers read.

use std::time::{Duration, Instant};

use crate::machine::Mono;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { start: now() }
    }

    /// Since the start.
    pub(crate) fn mono(&self) -> Mono {
        now() - self.start
    }

    /// The time at which `after` will have passed; `None` if that is beyond all time.
    pub(crate) fn deadline(&self, after: Duration) -> Option<Mono> {
        self.mono().checked_add(after)
    }
}

#[expect(clippy::disallowed_methods, reason = "this is the drivers' clock")]
fn now() -> Instant {
    Instant::now()
}
