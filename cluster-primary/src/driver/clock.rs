//! The one clock.

use std::time::{Duration, Instant};

use cluster_sched::Mono;

/// The driver's start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "this is the driver's clock")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// The time since then.
    pub(crate) fn now(&self) -> Mono {
        self.0.elapsed()
    }

    /// How long it is until then.
    pub(crate) fn until(&self, at: Mono) -> Duration {
        at.saturating_sub(self.now())
    }
}
