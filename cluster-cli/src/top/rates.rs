//! What happened between two looks at a cluster.

use std::collections::BTreeMap;

use crate::status::{Status, Worker};

/// What happens in a second. What cannot be said of two looks is `None`: something was not counted
/// then, or started over in between.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rates {
    /// Connections that workers took, of all.
    pub(crate) connections: Option<f64>,
    /// HTTP requests that ended in the workers that have an agent.
    pub(crate) requests: Option<f64>,
    /// The processor time of all workers, in percent of one processor.
    pub(crate) cpu: Option<f64>,
    /// That of the primary.
    pub(crate) primary_cpu: Option<f64>,
    workers: BTreeMap<u32, Rate>,
    reports: BTreeMap<u32, Report>,
}

/// What a worker does in a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Rate {
    pub(crate) connections: Option<f64>,
    pub(crate) requests: Option<f64>,
    pub(crate) cpu: Option<f64>,
}

/// When a worker's agent was first seen to have reported what it reports now, and the rate of requests
/// by that report.
///
/// An agent counts requests, but reports only once a second: between two looks there may be no report
/// or two. So the rate is taken between two reports, and stays until there is a new one.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Report {
    uptime_ms: u64,
    rate: Option<f64>,
}

impl Report {
    /// The time between two reports: a report that is seen sooner after the last was late to be seen,
    /// not early.
    const PERIOD_MS: u64 = 1000;
    /// An agent that has not reported for so long has stopped, or its event loop is blocked.
    const SILENCE_MS: u64 = 3000;

    /// The latest report of the worker, where `self` is the one that was the latest at the look before.
    fn after(self, before: &Worker, now: &Worker, uptime_ms: u64) -> Self {
        let elapsed = uptime_ms.saturating_sub(self.uptime_ms);
        if before.agent == now.agent {
            return Self { rate: self.rate.filter(|_| elapsed < Self::SILENCE_MS), ..self };
        }
        let seconds = elapsed.max(Self::PERIOD_MS) as f64 / 1000.0;
        let ended = increase(before.requests(), now.requests());
        Self { uptime_ms, rate: ended.map(|ended| ended as f64 / seconds) }
    }
}

impl Rates {
    /// Those between two looks, where `self` are those of the look before. By the primary's own clock,
    /// which does not mind how long an answer took.
    pub(crate) fn next(&self, before: &Status, now: &Status) -> Self {
        let ms = increase(before.uptime_ms, now.uptime_ms).filter(|ms| *ms > 0);
        let (Some(ms), true) = (ms, before.pid == now.pid) else { return Self::default() };
        let ms = ms as f64;
        let per_second = |before, now| increase(before, now).map(|n| n as f64 * 1000.0 / ms);
        let percent = |before, now| increase(before, now).map(|n| n as f64 * 100.0 / ms);

        let older: BTreeMap<_, _> =
            before.workers.iter().map(|worker| (worker.worker, worker)).collect();
        let reports: BTreeMap<_, _> = now
            .workers
            .iter()
            .filter_map(|worker| {
                let (older, uptime_ms) = (*older.get(&worker.worker)?, now.uptime_ms?);
                older.agent.as_ref().and(worker.agent.as_ref())?;
                let first = Report { uptime_ms: before.uptime_ms?, rate: None };
                let last = self.reports.get(&worker.worker).copied().unwrap_or(first);
                Some((worker.worker, last.after(older, worker, uptime_ms)))
            })
            .collect();
        let rate = |worker: &Worker| {
            let older = *older.get(&worker.worker)?;
            let rate = Rate {
                connections: per_second(older.connections, worker.connections),
                requests: reports.get(&worker.worker).and_then(|report| report.rate),
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
            requests: sum(workers.values().filter_map(|rate| rate.requests)),
            cpu: sum(workers.values().filter_map(|rate| rate.cpu)),
            primary_cpu: percent(before.primary.cpu_ms, now.primary.cpu_ms),
            workers,
            reports,
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
        let rates = Rates::default().next(&before, &now);
        let of = |n: usize| rates.of(&now.workers[n]);
        assert_eq!(of(0), Rate { connections: Some(250.0), requests: None, cpu: Some(25.0) });
        assert_eq!(of(1), Rate { connections: Some(5.0), requests: None, cpu: Some(0.0) });
        // Its processor time is not known.
        assert_eq!(of(3), Rate { connections: Some(0.0), requests: None, cpu: None });
        assert_eq!((rates.connections, rates.cpu), (Some(350.0), Some(25.0)));
        assert_eq!(rates.primary_cpu, Some(5.0));
    }

    #[test]
    fn where_the_primary_hands_nothing_over_the_workers_are_summed() {
        let (before, mut now) = later();
        now.workers[0].connections = Some(1010);
        now.workers[1].connections = Some(15_104);
        assert_eq!(Rates::default().next(&before, &now).connections, Some(7.0));
    }

    #[test]
    fn of_what_began_anew_nothing_is_said() {
        let (before, mut now) = later();
        now.workers[0].worker = 77;
        now.workers[0].connections = Some(1_000_000);
        now.workers[1].connections = Some(3);
        let rates = Rates::default().next(&before, &now);
        assert_eq!(rates.of(&now.workers[0]), Rate::default());
        assert_eq!(rates.of(&now.workers[1]).connections, None);
        assert_eq!(rates.connections, Some(0.0));

        now.pid = Some(1);
        assert_eq!(Rates::default().next(&before, &now), Rates::default());
        let mut early = before.clone();
        early.uptime_ms = Some(5);
        assert_eq!(Rates::default().next(&before, &early), Rates::default());
        assert_eq!(Rates::default().next(&before, &before), Rates::default());
        assert_eq!(Rates::default().next(&Status::default(), &before), Rates::default());
    }

    /// One look after another: so many milliseconds later, with so many more requests reported, or
    /// nothing new. The rate of requests after each.
    fn looks(looks: &[(u64, Option<u64>)]) -> Vec<Option<f64>> {
        let (mut rates, mut before) = (Rates::default(), full());
        let look = |(ms, more): &(u64, Option<u64>)| {
            let mut now = before.clone();
            now.uptime_ms = now.uptime_ms.map(|uptime| uptime + ms);
            if let (Some(more), Some(agent)) = (*more, &mut now.workers[0].agent) {
                agent.requests = agent.requests.map(|requests| requests + more);
                agent.heap_used_bytes = agent.heap_used_bytes.map(|bytes| bytes + 1);
            }
            rates = rates.next(&before, &now);
            before = now;
            assert_eq!(rates.requests, rates.of(&before.workers[0]).requests);
            assert_eq!(rates.of(&before.workers[3]).requests, None, "it has no agent");
            rates.requests
        };
        looks.iter().map(look).collect()
    }

    #[test]
    fn requests_are_counted_between_reports() {
        let [none, zero, five, ten] = [None, Some(0.0), Some(5.0), Some(10.0)];
        assert_eq!(looks(&[(1000, Some(10)), (1000, Some(5)), (1000, Some(0))]), [ten, five, zero]);
        // A look without a new report, and then one with two.
        assert_eq!(looks(&[(1000, Some(10)), (1000, None), (1000, Some(20))]), [ten, ten, ten]);
        // Several looks between two reports.
        let often = [(900, Some(10)), (400, None), (400, None), (200, Some(5)), (400, None)];
        assert_eq!(looks(&often), [ten, ten, ten, five, five]);
        // Several reports between two looks.
        assert_eq!(looks(&[(5000, Some(50)), (2000, Some(10))]), [ten, five]);
        // While an event loop is blocked there are no reports; the next is about all of that time.
        let blocked = [(1000, Some(10)), (2000, None), (1000, None), (2000, Some(25))];
        assert_eq!(looks(&blocked), [ten, ten, none, five]);
    }

    #[test]
    fn an_agent_that_is_new_or_gone_has_no_rate() {
        let (before, mut now) = later();
        now.workers[3].agent = now.workers[0].agent.take();
        let rates = Rates::default().next(&before, &now);
        assert_eq!(rates.requests, None);
        assert!(rates.reports.is_empty(), "{rates:?}");
    }
}
