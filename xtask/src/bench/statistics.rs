//! The few statistics that are needed.

/// The middle of an odd number of values, the upper middle of an even one; none of none.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    percentile(&mut values.into_iter().collect::<Vec<_>>(), 50)
}

/// The value that so many of a hundred do not exceed; sorts them.
pub(crate) fn percentile(values: &mut [f64], of_a_hundred: usize) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    values.get((values.len() * of_a_hundred / 100).min(last)).copied()
}

/// How much more than its share the busiest has: 1 is exact. None if none has any.
pub(crate) fn imbalance(counts: impl IntoIterator<Item = u32>) -> Option<f64> {
    let counts: Vec<f64> = counts.into_iter().map(f64::from).collect();
    let sum: f64 = counts.iter().sum();
    let most = counts.iter().copied().max_by(f64::total_cmp)?;
    (sum > 0.0).then(|| most * counts.len() as f64 / sum)
}

/// A mean, and how far its 95 % confidence interval reaches to either side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Estimate {
    pub(crate) mean: f64,
    half: f64,
}

impl Estimate {
    /// Of independent values by Student's t; none of fewer than two.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let freedom = values.len().checked_sub(1).filter(|freedom| *freedom > 0)?;
        let mean = mean(values);
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let error = (squares / freedom as f64 / values.len() as f64).sqrt();
        Some(Self { mean, half: t_95(freedom) * error })
    }

    pub(crate) fn low(&self) -> f64 {
        self.mean - self.half
    }

    pub(crate) fn high(&self) -> f64 {
        self.mean + self.half
    }
}

/// Two sides that were measured in pairs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paired {
    pub(crate) pairs: usize,
    /// The means of the sides.
    pub(crate) first: f64,
    pub(crate) second: f64,
    /// How much more the first has than the second: the pairs' differences,
    pub(crate) difference: Estimate,
    /// and the same as percentages of the second.
    pub(crate) percent: Estimate,
}

impl Paired {
    /// None of fewer than two pairs.
    pub(crate) fn of(first: &[f64], second: &[f64]) -> Option<Self> {
        let pairs = first.len().min(second.len());
        let (first, second) = (&first[..pairs], &second[..pairs]);
        let each = |difference: fn(f64, f64) -> f64| -> Vec<f64> {
            first.iter().zip(second).map(|(a, b)| difference(*a, *b)).collect()
        };
        Some(Self {
            pairs,
            first: mean(first),
            second: mean(second),
            difference: Estimate::of(&each(|a, b| a - b))?,
            percent: Estimate::of(&each(|a, b| (a / b - 1.0) * 100.0))?,
        })
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The quantile of Student's t distribution that bounds 95 % on both sides; exact to three digits.
fn t_95(freedom: usize) -> f64 {
    const FEW: [f64; 9] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262];
    /// The same of the normal distribution.
    const Z: f64 = 1.959_964;
    if let Some(t) = freedom.checked_sub(1).and_then(|index| FEW.get(index)) {
        return *t;
    }
    // The expansion of Cornish and Fisher.
    let n = freedom as f64;
    Z + (Z.powi(3) + Z) / (4.0 * n)
        + (5.0 * Z.powi(5) + 16.0 * Z.powi(3) + 3.0 * Z) / (96.0 * n * n)
        + (3.0 * Z.powi(7) + 19.0 * Z.powi(5) + 17.0 * Z.powi(3) - 15.0 * Z) / (384.0 * n.powi(3))
}

#[cfg(test)]
mod tests {
    use super::{Estimate, Paired, imbalance, median, percentile, t_95};

    #[test]
    fn a_median_is_not_moved_by_one_bad_run() {
        assert_eq!(median([3.0, 1.0, 1000.0]), Some(3.0));
        assert_eq!(median([]), None);
    }

    #[test]
    fn percentiles_are_values_that_were_there() {
        let mut hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(&mut hundred, 50), Some(51.0));
        assert_eq!(percentile(&mut hundred, 99), Some(100.0));
        assert_eq!(percentile(&mut [7.0], 99), Some(7.0));
        assert_eq!(percentile(&mut [], 99), None);
    }

    #[test]
    fn t_is_that_of_the_tables() {
        for (freedom, t) in [(1, 12.706), (9, 2.262), (10, 2.228), (19, 2.093), (60, 2.000)] {
            assert!((t_95(freedom) - t).abs() < 0.001, "{freedom}: {}", t_95(freedom));
        }
        assert!((t_95(100_000) - 1.960).abs() < 0.001);
    }

    #[test]
    fn a_confidence_interval_needs_two_values() {
        assert_eq!(Estimate::of(&[]), None);
        assert_eq!(Estimate::of(&[1.0]), None);
        // A standard deviation of 1, so a standard error of 1/√3.
        let estimate = Estimate::of(&[1.0, 2.0, 3.0]).unwrap();
        assert_eq!(estimate.mean, 2.0);
        let half = 4.303 / 3.0_f64.sqrt();
        assert!((estimate.low() - (2.0 - half)).abs() < 1e-9);
        assert!((estimate.high() - (2.0 + half)).abs() < 1e-9);
        let same = Estimate::of(&[5.0, 5.0]).unwrap();
        assert_eq!((same.low(), same.high()), (5.0, 5.0));
    }

    #[test]
    fn what_both_sides_of_a_pair_have_in_common_does_not_widen_the_interval() {
        // The machine was ten times slower in the second pair.
        let paired = Paired::of(&[11.0, 101.0, 51.0, 7.0], &[10.0, 100.0, 50.0]).unwrap();
        assert_eq!((paired.pairs, paired.difference.mean), (3, 1.0));
        assert_eq!((paired.difference.low(), paired.difference.high()), (1.0, 1.0));
        let paired = Paired::of(&[11.0, 110.0], &[10.0, 100.0]).unwrap();
        assert!((paired.percent.low() - 10.0).abs() < 1e-9, "{paired:?}");
        assert!((paired.percent.high() - 10.0).abs() < 1e-9, "{paired:?}");
        assert!(Paired::of(&[1.0], &[1.0, 2.0]).is_none());
    }

    #[test]
    fn an_even_share_is_one() {
        assert_eq!(imbalance([50, 50]), Some(1.0));
        assert_eq!(imbalance([75, 25]), Some(1.5));
        assert_eq!(imbalance([100, 0]), Some(2.0));
        assert_eq!(imbalance([0, 0]), None);
        assert_eq!(imbalance([]), None);
    }
}
