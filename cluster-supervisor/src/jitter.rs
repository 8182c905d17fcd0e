//! Random deviations from pauses and limits. They are seeded, so that a run can be repeated.

use core::time::Duration;

use serde::{Deserialize, Serialize};

/// A random number generator (SplitMix64).
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    /// A whole number of thousandths from `from` to `to`.
    fn thousandths(&mut self, from: u32, to: u32) -> u32 {
        let spread = u64::from(to - from) + 1;
        from + u32::try_from(self.next() % spread).unwrap_or(0)
    }

    /// A time that is up to a quarter longer or shorter.
    pub(crate) fn about(&mut self, time: Duration) -> Duration {
        time * self.thousandths(750, 1250) / 1000
    }

    /// How many thousandths of a limit remain: it is lowered by up to `percent` percent.
    pub(crate) fn share(&mut self, percent: u8) -> u32 {
        self.thousandths(1000 - u32::from(percent.min(100)) * 10, 1000)
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    #[test]
    fn deviations_are_within_their_bounds_and_differ() {
        let mut jitter = Jitter::new(7);
        let second = Duration::from_secs(1);
        let drawn: Vec<_> = (0..1000).map(|_| jitter.about(second)).collect();
        assert!(drawn.iter().all(|t| (second * 3 / 4..=second * 5 / 4).contains(t)));
        assert!(drawn.iter().max() > drawn.iter().min());
        assert!((0..1000).map(|_| jitter.share(10)).all(|share| (900..=1000).contains(&share)));
        assert_eq!(jitter.share(0), 1000);
        assert!((0..1000).map(|_| jitter.share(200)).all(|share| share <= 1000));
        let again = Jitter::new(7).about(second);
        assert_eq!(again, drawn[0]);
    }
}
