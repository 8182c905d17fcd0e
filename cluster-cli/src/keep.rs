//! Decides when a dead worker is replaced, and when to give up.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use cluster_primary::{Mono, WorkerId};

/// The pause before the first replacement; it doubles with each that fails in a row.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A worker that lived so long has started, even if it never listened.
const STARTED_AFTER: Duration = Duration::from_secs(5);
/// So many failures to start in a row while nobody serves, and more trying is of no use.
const GIVE_UP_AFTER: u32 = 5;

/// Keeps the count of workers, on the principle that a worker which once served deserves another
/// chance at once, and one which cannot start only a few.
#[derive(Debug, Default)]
pub(crate) struct Keeper {
    alive: BTreeMap<WorkerId, Life>,
    /// Failures since a worker last started.
    failures: u32,
    due: VecDeque<Mono>,
}

#[derive(Debug)]
struct Life {
    born: Mono,
    listened: bool,
}

impl Life {
    fn has_started(&self, now: Mono) -> bool {
        self.listened || now.saturating_sub(self.born) >= STARTED_AFTER
    }
}

/// What is to be done about a death.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Fork another, after that pause.
    Replace(Duration),
    /// Fork no more: so many failed in a row.
    GiveUp(u32),
}

impl Keeper {
    pub(crate) fn forked(&mut self, now: Mono, worker: WorkerId) {
        self.alive.insert(worker, Life { born: now, listened: false });
    }

    /// A worker that somebody else has forked is kept as well.
    pub(crate) fn adopt(&mut self, now: Mono, worker: WorkerId) {
        self.alive.entry(worker).or_insert(Life { born: now, listened: false });
    }

    /// The worker serves.
    pub(crate) fn started(&mut self, worker: WorkerId) {
        if let Some(life) = self.alive.get_mut(&worker) {
            life.listened = true;
        }
        self.failures = 0;
    }

    /// The worker died by accident.
    pub(crate) fn died(&mut self, now: Mono, worker: WorkerId) -> Verdict {
        let started = self.alive.remove(&worker).is_none_or(|life| life.has_started(now));
        if started {
            self.failures = 0;
            return self.replace(now, Duration::ZERO);
        }
        self.failed(now)
    }

    /// A worker could not even be forked.
    pub(crate) fn not_forked(&mut self, now: Mono) -> Verdict {
        self.failed(now)
    }

    fn failed(&mut self, now: Mono) -> Verdict {
        self.failures += 1;
        // As long as anybody serves there is something to keep.
        let somebody_serves = self.alive.values().any(|life| life.has_started(now));
        if self.failures >= GIVE_UP_AFTER && !somebody_serves {
            return Verdict::GiveUp(self.failures);
        }
        let doublings = (self.failures - 1).min(10);
        self.replace(now, (FIRST_PAUSE * 2u32.pow(doublings)).min(LONGEST_PAUSE))
    }

    fn replace(&mut self, now: Mono, pause: Duration) -> Verdict {
        self.due.push_back(now + pause);
        Verdict::Replace(pause)
    }

    /// The worker left of its own will.
    pub(crate) fn left(&mut self, worker: WorkerId) {
        self.alive.remove(&worker);
    }

    /// How many forks are due.
    pub(crate) fn take_due(&mut self, now: Mono) -> usize {
        let before = self.due.len();
        self.due.retain(|at| *at > now);
        before - self.due.len()
    }

    /// When the next fork is due.
    pub(crate) fn next_due(&self) -> Option<Mono> {
        self.due.iter().min().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Mono {
        Mono::from_secs(seconds)
    }

    #[test]
    fn one_that_served_is_replaced_at_once() {
        let mut keeper = Keeper::default();
        keeper.forked(at(0), WorkerId(1));
        keeper.started(WorkerId(1));
        assert_eq!(keeper.died(at(1), WorkerId(1)), Verdict::Replace(Duration::ZERO));
        assert_eq!(keeper.take_due(at(1)), 1);
        assert_eq!(keeper.take_due(at(1)), 0);
    }

    #[test]
    fn failures_to_start_back_off_and_end() {
        let mut keeper = Keeper::default();
        let mut pauses = Vec::new();
        for id in 1..=GIVE_UP_AFTER {
            keeper.forked(at(0), WorkerId(id));
            match keeper.died(at(1), WorkerId(id)) {
                Verdict::Replace(pause) => pauses.push(pause.as_millis()),
                Verdict::GiveUp(count) => assert_eq!((count, id), (5, 5)),
            }
        }
        assert_eq!(pauses, [100, 200, 400, 800]);
        assert_eq!(keeper.next_due(), Some(at(1) + FIRST_PAUSE));
    }

    #[test]
    fn while_others_serve_nobody_gives_up() {
        let mut keeper = Keeper::default();
        keeper.forked(at(0), WorkerId(1));
        keeper.started(WorkerId(1));
        for n in 0..20 {
            let verdict = keeper.not_forked(at(n));
            assert!(matches!(verdict, Verdict::Replace(pause) if pause <= LONGEST_PAUSE));
        }
        keeper.died(at(20), WorkerId(1));
        for _ in 0..GIVE_UP_AFTER - 1 {
            assert!(matches!(keeper.not_forked(at(20)), Verdict::Replace(_)));
        }
        assert_eq!(keeper.not_forked(at(20)), Verdict::GiveUp(GIVE_UP_AFTER));
    }

    #[test]
    fn a_worker_that_never_listens_may_live_and_die_without_end() {
        let mut keeper = Keeper::default();
        for id in 1..100 {
            let born = at(u64::from(id) * 10);
            keeper.forked(born, WorkerId(id));
            assert_eq!(keeper.died(born + at(5), WorkerId(id)), Verdict::Replace(Duration::ZERO));
        }
    }

    #[test]
    fn success_of_any_worker_forgives_the_failures_of_others() {
        let mut keeper = Keeper::default();
        for id in 1..100 {
            keeper.forked(at(0), WorkerId(id));
            assert!(matches!(keeper.died(at(0), WorkerId(id)), Verdict::Replace(_)));
            keeper.forked(at(0), WorkerId(1000));
            keeper.started(WorkerId(1000));
        }
    }
}
