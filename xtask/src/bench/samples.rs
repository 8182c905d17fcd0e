//! What was measured: for each row and metric a number a round.

use std::collections::BTreeMap;

use super::plan::Part;
use super::statistics::median;

/// One number of one row: `connections/node-20.20.2-rr/conn/s`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) part: Part,
    pub(crate) row: String,
    pub(crate) metric: String,
}

impl Key {
    pub(crate) fn new(part: Part, row: impl Into<String>, metric: impl Into<String>) -> Self {
        Self { part, row: row.into(), metric: metric.into() }
    }
}

/// A row of a part, once it has been measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Measured {
    pub(crate) part: Part,
    /// What `--case` selects by.
    pub(crate) id: String,
    /// What people read.
    pub(crate) title: String,
    /// Whether it belongs to another project.
    pub(crate) peer: bool,
    /// The Node that its workers are, by its version: it is compared with peers of the same.
    pub(crate) node: Option<String>,
}

#[derive(Default)]
pub(crate) struct Samples {
    rows: Vec<Measured>,
    values: BTreeMap<Key, Vec<f64>>,
}

impl Samples {
    /// Adds what one round brought.
    pub(crate) fn add(&mut self, row: &Measured, metrics: impl IntoIterator<Item = (String, f64)>) {
        if !self.rows.contains(row) {
            self.rows.push(row.clone());
        }
        for (metric, value) in metrics {
            self.values.entry(Key::new(row.part, &row.id, metric)).or_default().push(value);
        }
    }

    /// The rows of a part, in the order in which they were first measured.
    pub(crate) fn rows(&self, part: Part) -> impl Iterator<Item = &Measured> {
        self.rows.iter().filter(move |row| row.part == part)
    }

    /// Every number, with whose and which it is.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&Key, &[f64])> {
        self.values.iter().map(|(key, values)| (key, values.as_slice()))
    }

    /// The numbers of one key, in the order in which they were measured.
    pub(crate) fn values(&self, key: &Key) -> &[f64] {
        self.values.get(key).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn median(&self, key: &Key) -> Option<f64> {
        median(self.values.get(key)?.iter().copied())
    }

    /// How two numbers relate: the median of the rounds' ratios, for only within a round has the
    /// machine been the same for both.
    pub(crate) fn ratio(&self, of: &Key, to: &Key) -> Option<f64> {
        let rounds = self.values.get(of)?.iter().zip(self.values.get(to)?);
        median(rounds.map(|(of, to)| of / to)).filter(|ratio| ratio.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str) -> Measured {
        let (id, title) = (id.to_owned(), id.to_uppercase());
        Measured { part: Part::Connections, id, title, peer: false, node: None }
    }

    fn rate(row: &str) -> Key {
        Key::new(Part::Connections, row, "rate")
    }

    #[test]
    fn ratios_are_taken_within_rounds() {
        let mut samples = Samples::default();
        // The machine was three times as fast in the second round.
        for (a, b) in [(20.0, 10.0), (60.0, 30.0), (10.0, 10.0)] {
            samples.add(&row("a"), [("rate".to_owned(), a)]);
            samples.add(&row("b"), [("rate".to_owned(), b)]);
        }
        assert_eq!(samples.ratio(&rate("a"), &rate("b")), Some(2.0));
        assert_eq!(samples.median(&rate("a")), Some(20.0));
        assert_eq!(samples.rows(Part::Connections).count(), 2);
        assert_eq!(samples.rows(Part::Messages).count(), 0);
    }

    #[test]
    fn what_was_not_measured_has_no_ratio() {
        let mut samples = Samples::default();
        samples.add(&row("a"), [("rate".to_owned(), 1.0)]);
        samples.add(&row("nothing"), [("rate".to_owned(), 0.0)]);
        assert_eq!(samples.ratio(&rate("a"), &rate("b")), None);
        assert_eq!(samples.ratio(&rate("a"), &rate("nothing")), None);
        assert_eq!(samples.median(&rate("b")), None);
    }
}
