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

/// How much more than its share the busiest has: 1 is exact. None where nobody has anything.
pub(crate) fn imbalance(counts: impl IntoIterator<Item = u32>) -> Option<f64> {
    let counts: Vec<f64> = counts.into_iter().map(f64::from).collect();
    let sum: f64 = counts.iter().sum();
    let most = counts.iter().copied().max_by(f64::total_cmp)?;
    (sum > 0.0).then(|| most * counts.len() as f64 / sum)
}

#[cfg(test)]
mod tests {
    use super::{imbalance, median, percentile};

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
    fn an_even_share_is_one() {
        assert_eq!(imbalance([50, 50]), Some(1.0));
        assert_eq!(imbalance([75, 25]), Some(1.5));
        assert_eq!(imbalance([100, 0]), Some(2.0));
        assert_eq!(imbalance([0, 0]), None);
        assert_eq!(imbalance([]), None);
    }
}
