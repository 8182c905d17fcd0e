//! Users' messages between a primary and a worker.

use std::io;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::case::script;
use super::peers::Peers;
use super::plan::{Bench, Part};
use super::processes::printed;
use super::rounds::Row;
use super::samples::Measured;
use super::table::{Better, Column};
use crate::node::Node;

/// What the programs call what they measure, and what it is called here.
pub(crate) const METRICS: [(&str, &str); 7] = [
    ("small inTurn", IN_TURN),
    ("small atOnce", AT_ONCE),
    ("small toWorker", TO_WORKER),
    ("small toPrimary", TO_PRIMARY),
    ("large inTurn", "1 MiB there and back, MB/s"),
    ("large toWorker", "1 MiB to worker, MB/s"),
    ("large toPrimary", "1 MiB to primary, MB/s"),
];
/// One at a time.
pub(crate) const IN_TURN: &str = "round trips/s";
pub(crate) const AT_ONCE: &str = "round trips/s, 64 at a time";
pub(crate) const TO_WORKER: &str = "to worker/s";
pub(crate) const TO_PRIMARY: &str = "to primary/s";

pub(crate) const SERIALIZATIONS: [&str; 2] = ["json", "advanced"];

pub(crate) fn columns() -> Vec<Column> {
    METRICS.iter().map(|(_, name)| Column::plain(*name, 0).against_peers(Better::More)).collect()
}

/// For what comes before and after the measurements.
const PATIENCE: Duration = Duration::from_secs(20);

/// Who talks to whom.
#[derive(Clone, Debug)]
pub(crate) enum Pair {
    /// A process and its child: Node's, or Bun's.
    Alone { runtime: &'static str, node: Node, serialization: &'static str },
    /// Ours with a Node worker.
    WithNode { node: Node, serialization: &'static str },
    /// Ours with a Rust worker of that kind.
    Ours { evented: bool },
    /// Two processes that do nothing but write and read, one message at a time.
    Bare,
}

pub(crate) fn all(nodes: &[Node], peers: &Peers) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for node in nodes {
        for serialization in SERIALIZATIONS {
            pairs.push(Pair::Alone { runtime: "node", node: node.clone(), serialization });
            pairs.push(Pair::WithNode { node: node.clone(), serialization });
        }
    }
    if let Some(bun) = &peers.bun {
        for serialization in SERIALIZATIONS {
            pairs.push(Pair::Alone { runtime: "bun", node: bun.as_node(), serialization });
        }
    }
    pairs.extend([false, true].map(|evented| Pair::Ours { evented }));
    pairs.push(Pair::Bare);
    pairs
}

impl Pair {
    pub(crate) fn id(&self) -> String {
        match self {
            Self::Alone { runtime, node, serialization } => {
                format!("{runtime}-{}-{serialization}", node.version)
            }
            Self::WithNode { node, serialization } => {
                format!("rust-node-{}-{serialization}", node.version)
            }
            Self::Ours { evented: false } => "rust-rust-blocking".to_owned(),
            Self::Ours { evented: true } => "rust-rust-evented".to_owned(),
            Self::Bare => "bare-socketpair".to_owned(),
        }
    }

    fn title(&self) -> String {
        match self {
            Self::Alone { runtime, node, serialization } => {
                let name = if *runtime == "bun" { "Bun" } else { "Node" };
                format!("{name} {}, {serialization}", node.version)
            }
            Self::WithNode { node, serialization } => {
                format!("Rust + Node {}, {serialization}", node.version)
            }
            Self::Ours { evented: false } => "Rust + Rust, Worker".to_owned(),
            Self::Ours { evented: true } => "Rust + Rust, EventedWorker".to_owned(),
            Self::Bare => "bare `write` + `read`".to_owned(),
        }
    }

    fn command(&self, bench: &Bench) -> Command {
        let millis = bench.effort.talk.as_millis().to_string();
        let own = &bench.programs.own;
        let primary = |serialization: &str| {
            let mut command = Command::new(own);
            command.args(["bench-talk-primary", serialization, &millis]);
            command
        };
        match self {
            Self::Alone { node, serialization, .. } => {
                let mut command = Command::new(&node.path);
                command.arg(script("talk-primary.cjs")).args([serialization, millis.as_str()]);
                command
            }
            Self::WithNode { node, serialization } => {
                let mut command = primary(serialization);
                command.arg("--exec-path").arg(&node.path).arg(script("talk-worker.cjs"));
                command
            }
            Self::Ours { evented } => {
                let mut command = primary("json");
                command.arg(own).arg("bench-talk-worker");
                command.args(evented.then_some("--evented"));
                command
            }
            Self::Bare => {
                let mut command = Command::new(own);
                command.args(["bench-talk-bare", &millis]);
                command
            }
        }
    }
}

impl Row for Pair {
    fn row(&self) -> Measured {
        let node = match self {
            Self::WithNode { node, .. } | Self::Alone { runtime: "node", node, .. } => {
                Some(node.version.clone())
            }
            Self::Alone { .. } | Self::Ours { .. } | Self::Bare => None,
        };
        let peer = matches!(self, Self::Alone { .. });
        Measured { part: Part::Messages, id: self.id(), title: self.title(), peer, node }
    }

    fn measure(&self, bench: &Bench) -> io::Result<Vec<(String, f64)>> {
        let mut command = self.command(bench);
        cluster_worker::scrub(&mut command);
        // Twice three measurements, and what warms them up.
        let patience = PATIENCE + bench.effort.talk * 12;
        let wanted = if matches!(self, Self::Bare) { &METRICS[..1] } else { &METRICS[..] };
        metrics(&printed(&mut command, patience)?, wanted)
    }
}

/// All that the programs are to measure.
fn metrics(printed: &[u8], wanted: &[(&str, &str)]) -> io::Result<Vec<(String, f64)>> {
    let measured: Value = serde_json::from_slice(printed)?;
    let metric = |(theirs, ours): &(&str, &str)| {
        let value = measured[*theirs].as_f64();
        let value = value.ok_or_else(|| io::Error::other(format!("no {theirs}: {measured}")))?;
        Ok(((*ours).to_owned(), value))
    };
    wanted.iter().map(metric).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_was_measured_is_taken_and_what_is_missing_is_said() {
        let text = "{\"small inTurn\":1,\"small atOnce\":1.5,\"small toWorker\":2.5,\"small toPrimary\":3,\
                    \"large inTurn\":4,\"large toWorker\":5,\"large toPrimary\":6}";
        let metrics = |text: &str| super::metrics(text.as_bytes(), &METRICS);
        assert_eq!(metrics(text).unwrap()[2], (TO_WORKER.to_owned(), 2.5));
        let error = metrics(&text.replace("large toPrimary", "nothing")).unwrap_err();
        assert!(error.to_string().starts_with("no large toPrimary"), "{error}");
    }
}
