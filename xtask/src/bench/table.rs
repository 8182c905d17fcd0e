//! What was measured, for people.

use std::fmt::Write;

use super::case::Case;

/// One case in one round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Connections per second.
    pub(crate) rate: f64,
    /// Processor time of the primary per connection, in microseconds.
    pub(crate) primary: f64,
    /// The same of all workers together.
    pub(crate) workers: f64,
}

type Column = fn(&Sample) -> f64;

/// Medians, and how they relate to the Node primary's: with the same Node, or, for what has none,
/// with the first. A ratio is the median of the rounds' ratios, for only within a round has the
/// machine been the same for both.
pub(crate) fn render(cases: &[Case], samples: &[Vec<Sample>]) -> String {
    let mut text = format!(
        "{:<42}{:>9}{:>7}{:>14}{:>7}{:>14}{:>7}\n",
        "", "conn/s", "ratio", "primary µs", "ratio", "workers µs", "ratio"
    );
    for (index, (case, its)) in cases.iter().zip(samples).enumerate() {
        let base = base(cases, index).map(|base| samples[base].as_slice());
        let _ = write!(text, "{:<42}", case.to_string());
        let columns: [(Column, usize); 3] =
            [(|s| s.rate, 9), (|s| s.primary, 14), (|s| s.workers, 14)];
        for (column, width) in columns {
            let precision = usize::from(width != 9);
            let value = median(its.iter().map(column).collect());
            let _ = write!(text, "{value:>width$.precision$}");
            match base {
                Some(base) => {
                    let ratios = its.iter().zip(base).map(|(a, b)| column(a) / column(b));
                    let _ = write!(text, "{:>7.2}", median(ratios.collect()));
                }
                None => text.push_str("      –"),
            }
        }
        text.push('\n');
    }
    text
}

/// What a case is compared with: the last Node alone up to it, but the first for ours alone.
fn base(cases: &[Case], index: usize) -> Option<usize> {
    let alone = |case: &Case| matches!(case, Case::NodeAlone(_));
    match cases[index] {
        Case::RustAlone => cases.iter().position(alone),
        _ => cases[..=index].iter().rposition(alone),
    }
}

/// The middle of an odd number of values, the upper middle of an even one.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::{Case, Sample, median, render};

    #[test]
    fn a_median_is_not_moved_by_one_bad_run() {
        assert_eq!(median(vec![3.0, 1.0, 1000.0]), 3.0);
        assert!(median(Vec::new()).is_nan());
    }

    #[test]
    fn without_node_there_are_no_ratios() {
        let sample = Sample { rate: 17_000.4, primary: 15.04, workers: 27.0 };
        let text = render(&[Case::RustAlone], &[vec![sample]]);
        let row = text.lines().nth(1).unwrap();
        let words: Vec<_> = row.split_whitespace().skip(4).collect();
        assert_eq!(words, ["17000", "–", "15.0", "–", "27.0", "–"]);
    }
}
