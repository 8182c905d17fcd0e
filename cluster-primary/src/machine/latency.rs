//! How long a worker takes to answer for connections.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Times from the sending of a connection to the worker's answer, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(default)]
pub struct AckLatency {
    /// Answers.
    pub count: u64,
    /// All times together.
    pub total: Duration,
    /// The last one.
    pub last: Duration,
    /// How many took no longer than each of [`BOUNDS`](Self::BOUNDS) and longer than the one before.
    pub buckets: [u64; AckLatency::BOUNDS.len()],
}

impl AckLatency {
    /// The upper bounds of the [buckets](Self::buckets). What takes longer than the last is in none.
    pub const BOUNDS: [Duration; 10] = [
        Duration::from_micros(50),
        Duration::from_micros(100),
        Duration::from_micros(250),
        Duration::from_micros(500),
        Duration::from_millis(1),
        Duration::from_micros(2500),
        Duration::from_millis(10),
        Duration::from_millis(50),
        Duration::from_millis(250),
        Duration::from_secs(1),
    ];

    pub(super) fn record(&mut self, after: Duration) {
        self.count += 1;
        self.total = self.total.saturating_add(after);
        self.last = after;
        if let Some(bucket) = Self::BOUNDS.iter().position(|bound| after <= *bound) {
            self.buckets[bucket] += 1;
        }
    }

    /// The mean; none where nothing was answered.
    pub fn mean(&self) -> Option<Duration> {
        let count = u32::try_from(self.count).unwrap_or(u32::MAX);
        (count > 0).then(|| self.total / count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_is_in_one_bucket_or_beyond_all() {
        let mut latency = AckLatency::default();
        assert_eq!(latency.mean(), None);
        for micros in [50, 51, 2_000_000] {
            latency.record(Duration::from_micros(micros));
        }
        assert_eq!(latency.buckets, [1, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!((latency.count, latency.last), (3, Duration::from_secs(2)));
        assert_eq!(latency.mean(), Some(Duration::from_micros(2_000_101) / 3));
    }
}
