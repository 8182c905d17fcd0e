//! How long clusters take to start.

use std::io;

use super::case::{Case, Start, Who};
use super::peers::Peers;
use super::plan::{Bench, Part};
use super::rounds::Row;
use super::samples::Measured;
use super::table::{Better, Column};
use crate::node::Node;
use crate::step;

/// What each further worker adds: only in this is the start of the primary itself not contained.
pub(crate) const PER_WORKER: &str = "ms per further worker";

fn until(workers: usize) -> String {
    format!("{workers} workers, ms")
}

pub(crate) fn columns(bench: &Bench) -> Vec<Column> {
    let until = bench.effort.starts.map(|workers| Column::plain(until(workers), 1));
    let further = Column::plain(PER_WORKER, 2).against_peers(Better::Less);
    until.into_iter().chain([further]).collect()
}

/// A cluster that is started with few workers, and with many.
pub(crate) struct Starting(Case);

pub(crate) fn all(nodes: &[Node], peers: &Peers) -> Vec<Starting> {
    let bun = peers.bun.clone().map(Who::Bun);
    let node = |node: &Node| [Who::Node(node.clone()), Who::OursWithNode(node.clone())];
    let who = nodes.iter().flat_map(node).chain(bun).chain([Who::Ours]);
    who.map(|who| Starting(Case::new(who, "handoff"))).collect()
}

impl Row for Starting {
    fn row(&self) -> Measured {
        self.0.row(Part::Startup)
    }

    fn measure(&self, bench: &Bench) -> io::Result<Vec<(String, f64)>> {
        let [few, many] = bench.effort.starts;
        let millis = |workers: usize| {
            let begun = step::now();
            let cluster = self.0.start(bench, Start::of(workers))?;
            let took = begun.elapsed();
            drop(cluster);
            io::Result::Ok(took.as_secs_f64() * 1e3)
        };
        let (with_few, with_many) = (millis(few)?, millis(many)?);
        let further = (with_many - with_few) / (many - few) as f64;
        Ok(vec![(until(few), with_few), (until(many), with_many), (PER_WORKER.to_owned(), further)])
    }
}
