//! Which workers have refused which connections since those were last offered to all.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

/// Refusals by the workers that are present, seen from both sides. Empty as long as no worker refuses.
#[derive(Clone, Debug)]
pub(crate) struct Refusals<W, C> {
    by_conn: BTreeMap<C, BTreeSet<W>>,
    by_worker: BTreeMap<W, BTreeSet<C>>,
}

impl<W: Copy + Ord, C: Copy + Ord> Refusals<W, C> {
    pub(crate) const fn new() -> Self {
        Self { by_conn: BTreeMap::new(), by_worker: BTreeMap::new() }
    }

    pub(crate) fn record(&mut self, worker: W, conn: C) {
        self.by_conn.entry(conn).or_default().insert(worker);
        self.by_worker.entry(worker).or_default().insert(conn);
    }

    pub(crate) fn contains(&self, worker: W, conn: C) -> bool {
        self.by_conn.get(&conn).is_some_and(|workers| workers.contains(&worker))
    }

    /// The refused connections, each with the workers that have refused it.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (C, &BTreeSet<W>)> {
        self.by_conn.iter().map(|(&conn, workers)| (conn, workers))
    }

    /// How many workers have refused `conn`.
    pub(crate) fn count(&self, conn: C) -> usize {
        self.by_conn.get(&conn).map_or(0, BTreeSet::len)
    }

    /// The connections that `count` workers have refused.
    pub(crate) fn refused_by(&self, count: usize) -> Vec<C> {
        let refused = self.by_conn.iter().filter(|(_, workers)| workers.len() == count);
        refused.map(|(&conn, _)| conn).collect()
    }

    pub(crate) fn forget_conn(&mut self, conn: C) {
        for worker in self.by_conn.remove(&conn).unwrap_or_default() {
            if let Some(conns) = self.by_worker.get_mut(&worker) {
                conns.remove(&conn);
                if conns.is_empty() {
                    self.by_worker.remove(&worker);
                }
            }
        }
    }

    pub(crate) fn forget_worker(&mut self, worker: W) {
        for conn in self.by_worker.remove(&worker).unwrap_or_default() {
            if let Some(workers) = self.by_conn.get_mut(&conn) {
                workers.remove(&worker);
                if workers.is_empty() {
                    self.by_conn.remove(&conn);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_agree_and_nothing_is_left_behind() {
        let mut refusals = Refusals::new();
        refusals.record(1, 'a');
        refusals.record(2, 'a');
        refusals.record(1, 'b');
        assert_eq!(refusals.count('a'), 2);
        assert_eq!(refusals.refused_by(1), ['b']);
        refusals.forget_worker(1);
        assert!(!refusals.contains(1, 'a'));
        assert!(refusals.contains(2, 'a'));
        assert_eq!(refusals.count('b'), 0);
        refusals.forget_conn('a');
        assert!(refusals.by_conn.is_empty() && refusals.by_worker.is_empty());
    }
}
