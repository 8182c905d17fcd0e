//! The one clock.

use std::time::Duration;

use cluster_sched::Mono;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// The driver's start, by the system's monotonic clock: another image of this process reads the
/// same one.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Clock {
    started_at: Duration,
}

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Self {
        Self { started_at: monotonic() }
    }

    /// The time since then.
    pub fn now(&self) -> Mono {
        monotonic().saturating_sub(self.started_at)
    }

    /// How long it is until then.
    pub fn until(&self, at: Mono) -> Duration {
        at.saturating_sub(self.now())
    }

    /// Whether that start has been: the system was not restarted since.
    pub fn has_started(&self) -> bool {
        self.started_at <= monotonic()
    }
}

fn monotonic() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    // It counts up from the system's start.
    let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or_default())
}
