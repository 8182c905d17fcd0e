//! What the agent of Node workers costs: CPU time until a worker listens, and CPU time per request.
//!
//! Workers with and without the agent are measured in pairs, which alternate in which comes first.

use std::io;
use std::time::Duration;

use super::case::{Case, Start, Who};
use super::cluster::Cluster;
use super::kept_alive::Client;
use super::plan::{Bench, Part};
use super::rounds::Row;
use super::samples::{Key, Measured, Samples};
use super::statistics::{Estimate, Paired};
use super::{cpu, table};
use crate::node::Node;

/// CPU time and wall-clock time of a worker, from its fork until it listens.
pub(crate) const START_CPU: &str = "start-up, CPU ms";
pub(crate) const START_WALL: &str = "start-up, wall-clock ms";
/// CPU time of a worker.
pub(crate) const REQUEST_CPU: &str = "request, CPU µs";

const METRICS: [(&str, usize); 3] = [(START_CPU, 2), (START_WALL, 2), (REQUEST_CPU, 3)];

/// Turns of a pair of workers under load. A turn of the one is followed by one of the other, so that
/// what else the machine does affects both alike.
pub(crate) const TURNS: u32 = 8;

/// The two sides of a comparison: the samples of `metric` with the agent, and without.
pub(crate) fn sides(row: &str, metric: &str) -> [Key; 2] {
    ["with", "without"].map(|side| Key::new(Part::Agent, row, format!("{metric}, {side}")))
}

/// The workers of one Node.
pub(crate) struct Workers(Case);

pub(crate) fn all(nodes: &[Node]) -> Vec<Workers> {
    nodes.iter().map(Workers::of).collect()
}

impl Workers {
    pub(crate) fn of(node: &Node) -> Self {
        Self(Case::new(Who::OursWithNode(node.clone()), "handoff"))
    }

    pub(crate) fn id(&self) -> String {
        self.0.id()
    }

    pub(crate) fn title(&self) -> String {
        self.0.title()
    }

    fn start(&self, bench: &Bench, with_agent: bool) -> io::Result<Cluster> {
        self.0.start(bench, Start { without_agent: !with_agent, ..Start::of(1) })
    }

    /// CPU time and wall-clock time of a start-up.
    fn start_up(&self, bench: &Bench, with_agent: bool) -> io::Result<[f64; 2]> {
        let cluster = self.start(bench, with_agent)?;
        let used = cpu::used_by_all(cluster.workers())?;
        Ok([used, cluster.listened_after()].map(|time| time.as_secs_f64() * 1e3))
    }

    /// CPU time per request of two new workers, with the agent and without.
    fn requests(&self, bench: &Bench, with_first: bool) -> io::Result<[f64; 2]> {
        let effort = &bench.effort;
        let clusters = [self.start(bench, true)?, self.start(bench, false)?];
        for cluster in &clusters {
            Client::connect(cluster.port())?.ask(effort.agent_warm_up)?;
        }
        let mut used = [Duration::ZERO; 2];
        for turn in 0..TURNS {
            // With, without, without, with, or the other way around.
            for side in in_turn(with_first == turn.is_multiple_of(2)) {
                let (port, workers) = (clusters[side].port(), clusters[side].workers());
                // New connections each time: Node closes idle ones after five seconds.
                let mut client = Client::connect(port)?;
                let before = cpu::used_by_all(workers)?;
                client.ask(effort.agent_requests)?;
                used[side] += cpu::used_by_all(workers)?.saturating_sub(before);
            }
        }
        let requests = f64::from(TURNS * effort.agent_requests);
        Ok(used.map(|used| used.as_secs_f64() * 1e6 / requests))
    }
}

/// The indexes of the sides (0: with, 1: without), in the order in which they are measured.
fn in_turn(with_first: bool) -> [usize; 2] {
    if with_first { [0, 1] } else { [1, 0] }
}

impl Row for Workers {
    fn row(&self) -> Measured {
        self.0.row(Part::Agent)
    }

    /// Some pairs; each metric has a value per pair.
    fn measure(&self, bench: &Bench) -> io::Result<Vec<(String, f64)>> {
        let id = self.id();
        let mut measured = Vec::new();
        let mut add = |metric, [with, without]: [f64; 2]| {
            let names = sides(&id, metric).map(|key| key.metric);
            measured.extend(names.into_iter().zip([with, without]));
        };
        for pair in 0..bench.effort.agent_starts {
            let mut times = [[0.0; 2]; 2];
            for side in in_turn(pair % 2 == 0) {
                times[side] = self.start_up(bench, side == 0)?;
            }
            add(START_CPU, times.map(|[cpu, _]| cpu));
            add(START_WALL, times.map(|[_, wall]| wall));
        }
        for pair in 0..bench.effort.agent_loads {
            add(REQUEST_CPU, self.requests(bench, pair % 2 == 0)?);
        }
        Ok(measured)
    }
}

/// Means, differences and their confidence intervals; empty if nothing was measured.
pub(crate) fn render(samples: &Samples) -> String {
    let heads = ["worker", "pairs", "with", "without", "difference", "95 % CI", "%", "95 % CI, %"];
    let heads = heads.map(str::to_owned);
    let interval = |estimate: &Estimate, digits: usize| {
        format!("{:.digits$} … {:.digits$}", estimate.low(), estimate.high())
    };
    let mut rows = Vec::new();
    for row in samples.rows(Part::Agent) {
        for (metric, digits) in METRICS {
            let [with, without] = sides(&row.id, metric);
            let Some(paired) = Paired::of(samples.values(&with), samples.values(&without)) else {
                continue;
            };
            let number = |value| table::number(Some(value), digits);
            let Paired { pairs, first, second, difference, percent } = paired;
            rows.push(vec![
                format!("{}: {metric}", row.title),
                pairs.to_string(),
                number(first),
                number(second),
                number(difference.mean),
                interval(&difference, digits),
                table::number(Some(percent.mean), 2),
                interval(&percent, 2),
            ]);
        }
    }
    if rows.is_empty() { String::new() } else { table::render(&heads, &rows) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_the_means_and_the_interval_of_the_difference() {
        let node = Node { path: "node".into(), version: "20.1.0".into() };
        let workers = Workers::of(&node);
        let [with, without] = sides(&workers.id(), START_CPU).map(|key| key.metric);
        let mut samples = Samples::default();
        assert_eq!(render(&samples), "");
        for (a, b) in [(12.0, 10.0), (14.0, 10.0)] {
            samples.add(&workers.row(), [(with.clone(), a), (without.clone(), b)]);
        }
        let text = render(&samples);
        let line = text.lines().last().unwrap();
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let expected = ["2", "13.00", "10.00", "3.00", "-9.71 … 15.71", "30.00", "-97.06 … 157.06"];
        assert_eq!(cells[2..9], expected);
        assert_eq!(text.lines().count(), 3);
    }

    #[test]
    fn the_sides_alternate() {
        assert_eq!([in_turn(true), in_turn(false)].concat(), [0, 1, 1, 0]);
    }
}
