//! What is compared: who is the primary, and who are the workers.

use std::fmt;
use std::io;
use std::path::Path;
use std::process::Command;

use super::WORKERS;
use super::server::Server;
use crate::node::Node;
use crate::step;

#[derive(Clone, Debug)]
pub(crate) enum Case {
    /// Node as it is.
    NodeAlone(Node),
    /// `cluster run` with Node workers.
    NodeWorkers(Node),
    /// `cluster run` with Rust workers.
    RustAlone,
}

/// Every case: two per Node, those with the same Node side by side, and ours without any.
pub(crate) fn all(nodes: &[Node]) -> Vec<Case> {
    nodes
        .iter()
        .flat_map(|node| [Case::NodeAlone(node.clone()), Case::NodeWorkers(node.clone())])
        .chain([Case::RustAlone])
        .collect()
}

impl Case {
    /// Starts it; ready when all workers listen.
    pub(crate) fn start(&self) -> io::Result<Server> {
        let scripts = step::root().join("xtask/bench");
        let built = step::target_dir().join("release");
        let mut command = match self {
            Case::NodeAlone(node) => {
                let mut command = Command::new(&node.path);
                command.arg(scripts.join("primary.js")).arg(WORKERS.to_string());
                command
            }
            Case::NodeWorkers(node) => {
                let mut command = run(&built);
                command.arg("--exec-path").arg(&node.path).arg(scripts.join("worker.js"));
                command
            }
            Case::RustAlone => {
                let mut command = run(&built);
                command.arg(built.join("examples/bench_http"));
                command
            }
        };
        Server::start(command.env_remove("NODE_CLUSTER_SCHED_POLICY"), WORKERS)
    }
}

fn run(built: &Path) -> Command {
    let mut command = Command::new(built.join("cluster"));
    command.args(["run", "--json", "--placement", "handoff", "--workers", &WORKERS.to_string()]);
    command
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Case::NodeAlone(node) => {
                write!(f, "Node {0} primary, Node {0} workers", node.version)
            }
            Case::NodeWorkers(node) => write!(f, "Rust primary, Node {} workers", node.version),
            Case::RustAlone => write!(f, "Rust primary, Rust workers"),
        }
    }
}
