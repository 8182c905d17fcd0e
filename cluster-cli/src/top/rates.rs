//! What happened between two looks at a cluster.

use std::collections::BTreeMap;

use crate::status::{Status, Worker};

/// What happens in a second. What cannot be said of two looks is `None`: something was not counted
/// then, or began anew in between.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rates {
    /// Connections that workers took, of all.
    pub(crate) connections: Option<f64>,
    /// The processor time of all workers, in percent of one processor.
    pub(crate) cpu: Option<f64>,
    /// That of the primary.
    pub(crate) primary_cpu: Option<f64>,
    workers: BTreeMap<u32, Rate>,
}

/// What a worker does in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Rate {
    pub(crate) connections: Option<f64>,
    pub(crate) cpu: Option<f64>,
}

impl Rates {
    /// By the primary's own clock, which does not mind how long an answer took.
    pub(crate) fn between(before: &Status, now: &Status) -> Self {
        let ms = increase(before.uptime_ms, now.uptime_ms).filter(|ms| *ms > 0);
        let (Some(ms), true) = (ms, before.pid == now.pid) else { return Self::default() };
        let ms = ms as f64;
        let per_second = |before, now| increase(before, now).map(|n| n as f64 * 1000.0 / ms);
        let percent = |before, now| increase(before, now).map(|n| n as f64 * 100.0 / ms);

        let older: BTreeMap<_, _> =
            before.workers.iter().map(|worker| (worker.worker, worker)).collect();
        let rate = |worker: &Worker| {
            let older = *older.get(&worker.worker)?;
            let rate = Rate {
                connections: per_second(older.connections, worker.connections),
                cpu: percent(older.cpu_ms, worker.cpu_ms),
            };
            Some((worker.worker, rate))
        };
        let workers: BTreeMap<_, _> = now.workers.iter().filter_map(rate).collect();
        // The total also has what workers took that are no more; but what the kernel deals out only
        // workers can tell.
        let total = per_second(before.totals.handed_over, now.totals.handed_over);
        let told = sum(workers.values().filter_map(|rate| rate.connections));
        Self {
            connections: [total, told].into_iter().flatten().reduce(f64::max),
            cpu: sum(workers.values().filter_map(|rate| rate.cpu)),
            primary_cpu: percent(before.primary.cpu_ms, now.primary.cpu_ms),
            workers,
        }
    }

    /// Those of a worker; of one that was not there before nothing can be said.
    pub(crate) fn of(&self, worker: &Worker) -> Rate {
        self.workers.get(&worker.worker).copied().unwrap_or_default()
    }
}

fn increase(before: Option<u64>, now: Option<u64>) -> Option<u64> {
    now?.checked_sub(before?)
}

/// None of nothing.
fn sum(values: impl Iterator<Item = f64>) -> Option<f64> {
    values.reduce(|a, b| a + b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::full;

    /// The full status two seconds later.
    fn later() -> (Status, Status) {
        let before = full();
        let mut now = before.clone();
        now.uptime_ms = before.uptime_ms.map(|ms| ms + 2000);
        (before, now)
    }

    #[test]
    fn increases_are_per_second() {
        let (before, mut now) = later();
        now.workers[0].connections = Some(1500);
        now.workers[0].cpu_ms = Some(5230 + 500);
        now.workers[1].connections = Some(15_110);
        now.totals.handed_over = before.totals.handed_over.map(|n| n + 700);
        now.primary.cpu_ms = Some(1300);
        let rates = Rates::between(&before, &now);
        let of = |n: usize| rates.of(&now.workers[n]);
        assert_eq!(of(0), Rate { connections: Some(250.0), cpu: Some(25.0) });
        assert_eq!(of(1), Rate { connections: Some(5.0), cpu: Some(0.0) });
        // Its processor time is not known.
        assert_eq!(of(3), Rate { connections: Some(0.0), cpu: None });
        assert_eq!((rates.connections, rates.cpu), (Some(350.0), Some(25.0)));
        assert_eq!(rates.primary_cpu, Some(5.0));
    }

    #[test]
    fn where_the_primary_hands_nothing_over_the_workers_are_summed() {
        let (before, mut now) = later();
        now.workers[0].connections = Some(1010);
        now.workers[1].connections = Some(15_104);
        assert_eq!(Rates::between(&before, &now).connections, Some(7.0));
    }

    #[test]
    fn of_what_began_anew_nothing_is_said() {
        let (before, mut now) = later();
        now.workers[0].worker = 77;
        now.workers[0].connections = Some(1_000_000);
        now.workers[1].connections = Some(3);
        let rates = Rates::between(&before, &now);
        assert_eq!(rates.of(&now.workers[0]), Rate::default());
        assert_eq!(rates.of(&now.workers[1]).connections, None);
        assert_eq!(rates.connections, Some(0.0));

        now.pid = Some(1);
        assert_eq!(Rates::between(&before, &now), Rates::default());
        let mut early = before.clone();
        early.uptime_ms = Some(5);
        assert_eq!(Rates::between(&before, &early), Rates::default());
        assert_eq!(Rates::between(&before, &before), Rates::default());
        assert_eq!(Rates::between(&Status::default(), &before), Rates::default());
    }
}
