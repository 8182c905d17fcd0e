//! Errors that a worker can cause without end: how many of them are logged.

use std::collections::BTreeMap;

use cluster_primary::WorkerId;

/// So many of each kind are logged for each worker; then only every time that their number has doubled.
const ALL_OF_THE_FIRST: u64 = 8;

/// Counts errors of each kind for each worker.
#[derive(Debug, Default)]
pub(crate) struct Repeats(BTreeMap<WorkerId, BTreeMap<&'static str, Count>>);

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    seen: u64,
    left_out: u64,
}

impl Repeats {
    /// Counts one; if it is to be logged, how many before it were not.
    pub(crate) fn note(&mut self, worker: WorkerId, kind: &'static str) -> Option<u64> {
        let count = self.0.entry(worker).or_default().entry(kind).or_default();
        count.seen += 1;
        if count.seen <= ALL_OF_THE_FIRST || count.seen.is_power_of_two() {
            return Some(std::mem::take(&mut count.left_out));
        }
        count.left_out += 1;
        None
    }

    /// The worker has ended: how many of each kind were not logged, and not told since.
    pub(crate) fn end(&mut self, worker: WorkerId) -> Vec<(&'static str, u64)> {
        let counts = self.0.remove(&worker).unwrap_or_default().into_iter();
        let left_out = counts.map(|(kind, count)| (kind, count.left_out));
        left_out.filter(|(_, count)| *count > 0).collect()
    }
}

/// What is added to an error before which so many were not logged.
pub(crate) fn more(left_out: u64) -> String {
    match left_out {
        0 => String::new(),
        count => format!(" ({count} more of this kind before it were not logged)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ever_fewer_are_logged_and_all_are_counted() {
        let (mut repeats, one, other) = (Repeats::default(), WorkerId(1), WorkerId(2));
        let mut logged = Vec::new();
        for nth in 1..=1000 {
            logged.extend(repeats.note(one, "ERR_A").map(|left_out| (nth, left_out)));
        }
        let first = (1..=8).map(|nth| (nth, 0));
        let then = [(16, 7), (32, 15), (64, 31), (128, 63), (256, 127), (512, 255)];
        assert_eq!(logged, first.chain(then).collect::<Vec<_>>());
        // Other kinds and other workers have counts of their own.
        assert_eq!(repeats.note(one, "ERR_B"), Some(0));
        assert_eq!(repeats.note(other, "ERR_A"), Some(0));
        assert_eq!(repeats.end(one), [("ERR_A", 488)]);
        assert_eq!(repeats.end(one), []);
        assert_eq!(repeats.end(other), []);
    }
}
