//! The one clock.

use std::time::{Duration, Instant};

use cluster_sched::Mono;

/// The driver's start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(Instant);

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "this is the driver's clock")]
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since then.
    pub(super) fn now(&self) -> Mono {
        self.0.elapsed()
    }

    /// How long it is until then.
    pub(super) fn until(&self, at: Mono) -> Duration {
        at.saturating_sub(self.now())
    }
}
