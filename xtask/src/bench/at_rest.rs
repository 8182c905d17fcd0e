//! How much memory primaries take whose workers do nothing.

use std::io;
use std::thread;
use std::time::Duration;

use super::case::{Case, Start, Who};
use super::memory;
use super::peers::Peers;
use super::plan::{Bench, Part};
use super::rounds::Row;
use super::samples::Measured;
use super::table::Column;
use crate::node::Node;

/// What each further worker adds to what is resident.
pub(crate) const PER_WORKER: &str = "KiB per further worker";

/// Until what the start needed is put away.
const SETTLES: Duration = Duration::from_millis(200);

pub(crate) fn resident(workers: usize) -> String {
    format!("RSS, {workers} workers")
}

pub(crate) fn columns(bench: &Bench) -> Vec<Column> {
    let sizes = bench.effort.at_rest;
    let of_size = |name: &'static str| {
        sizes.iter().map(move |n| Column::plain(format!("{name}, {n} workers"), 0))
    };
    let further = Column::plain(PER_WORKER, 1);
    of_size("RSS").chain(of_size("PSS")).chain(of_size("dirty")).chain([further]).collect()
}

/// A primary whose workers are small Rust programs, for every primary but PM2's: a thousand of
/// those a machine can hold.
pub(crate) struct AtRest(Case);

pub(crate) fn all(nodes: &[Node], peers: &Peers) -> Vec<AtRest> {
    let pm2 = peers.pm2.iter().zip(nodes).map(|(pm2, node)| Who::Pm2(pm2.clone(), node.clone()));
    let who = nodes.iter().cloned().map(Who::Node).chain(pm2).chain([Who::Ours]);
    who.map(|who| AtRest(Case::new(who, "handoff"))).collect()
}

impl Row for AtRest {
    fn row(&self) -> Measured {
        let row = self.0.row(Part::Memory);
        let title = match &self.0.who {
            Who::Node(node) => format!("Node {}", node.version),
            Who::Ours => "cluster run".to_owned(),
            _ => row.title,
        };
        Measured { title, node: None, ..row }
    }

    fn measure(&self, bench: &Bench) -> io::Result<Vec<(String, f64)>> {
        let sizes = match &self.0.who {
            Who::Node(_) => bench.effort.at_rest_in_node,
            // It starts what it knows to start: Node.
            Who::Pm2(..) => &bench.effort.at_rest_in_node[..1],
            _ => bench.effort.at_rest,
        };
        let mut metrics = Vec::new();
        let mut resident = Vec::new();
        for workers in sizes {
            let start = Start { small_workers: true, ..Start::of(*workers) };
            let cluster = self.0.start(bench, start)?;
            thread::sleep(SETTLES);
            let memory = memory::of(cluster.primary())?;
            resident.push((*workers as f64, memory.resident as f64));
            let values = [memory.resident, memory.proportional, memory.dirty];
            for (name, value) in ["RSS", "PSS", "dirty"].into_iter().zip(values) {
                metrics.push((format!("{name}, {workers} workers"), value as f64));
            }
        }
        if let [(few, then), .., (many, now)] = resident[..] {
            metrics.push((PER_WORKER.to_owned(), (now - then) / (many - few)));
        }
        Ok(metrics)
    }
}
