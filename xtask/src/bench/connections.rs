//! What a connection costs, and how fast it is served.

use std::io;
use std::time::Duration;

use super::case::{BARE, Case};
use super::cpu;
use super::effort::WORKERS;
use super::load::{CLIENTS, Load};
use super::plan::{Bench, Part};
use super::rounds::Row;
use super::samples::Measured;
use super::table::{Better, Column};
use crate::bench::case::Start;

pub(crate) const RATE: &str = "conn/s";
pub(crate) const PRIMARY: &str = "primary µs";
pub(crate) const WORKER: &str = "workers µs";
pub(crate) const TOTAL: &str = "total µs";
pub(crate) const P50: &str = "p50 µs";
pub(crate) const P99: &str = "p99 µs";
/// The busiest worker's connections over the mean: under load, and one connection after the other.
pub(crate) const BALANCE: &str = "balance";
pub(crate) const SEQUENTIAL: &str = "sequential";
pub(crate) const ERRORS: &str = "errors";

pub(crate) fn columns() -> Vec<Column> {
    vec![
        Column::plain(RATE, 0).against_peers(Better::More).against(BARE),
        Column::plain(PRIMARY, 1).against(BARE),
        Column::plain(WORKER, 1),
        Column::plain(TOTAL, 1).against_peers(Better::Less).against(BARE),
        Column::plain(P50, 0),
        Column::plain(P99, 0),
        Column::plain(BALANCE, 2),
        Column::plain(SEQUENTIAL, 2),
        Column::plain(ERRORS, 0),
    ]
}

impl Row for Case {
    fn row(&self) -> Measured {
        Case::row(self, Part::Connections)
    }

    /// One case once, in a cluster of its own.
    fn measure(&self, bench: &Bench) -> io::Result<Vec<(String, f64)>> {
        let effort = &bench.effort;
        let cluster = self.start(bench, Start::of(WORKERS))?;
        let load = |connections, clients| Load {
            port: cluster.port(),
            connections,
            clients,
            sources: if self.policy == Some("sticky") { 64 } else { 1 },
            forgiving: self.is_peer(),
        };
        let used = || {
            let primary = cpu::used(cluster.primary())?;
            io::Result::Ok((primary, cpu::used_by_all(cluster.workers())?))
        };
        let warm_up = load(effort.warm_up, CLIENTS).run()?;
        let before = used()?;
        let mut outcome = load(effort.connections, CLIENTS).run()?;
        let after = used()?;
        let sequential = load(effort.sequential, 1).run()?;

        let answered = f64::from(outcome.answered());
        let micros =
            |from: Duration, to: Duration| to.saturating_sub(from).as_secs_f64() * 1e6 / answered;
        let (primary, workers) = (micros(before.0, after.0), micros(before.1, after.1));
        let failed = warm_up.failed + outcome.failed + sequential.failed;
        let metrics = [
            (RATE, Some(answered / outcome.took.as_secs_f64())),
            (PRIMARY, Some(primary)),
            (WORKER, Some(workers)),
            (TOTAL, Some(primary + workers)),
            (P50, outcome.latency(50)),
            (P99, outcome.latency(99)),
            (BALANCE, outcome.imbalance(WORKERS)),
            (SEQUENTIAL, sequential.imbalance(WORKERS)),
            (ERRORS, Some(f64::from(failed))),
        ];
        let measured = |(name, value): (&str, Option<f64>)| Some((name.to_owned(), value?));
        Ok(metrics.into_iter().filter_map(measured).collect())
    }
}
