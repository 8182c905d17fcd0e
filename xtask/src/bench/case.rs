//! What is compared: the primary, the workers, and the placement.

use std::io;
use std::path::PathBuf;
use std::process::Command;

use super::cluster::Cluster;
use super::peers::{Bun, Peers, Pm2};
use super::plan::{Bench, Part};
use super::pm2;
use super::processes::free_port;
use super::programs::Programs;
use super::samples::Measured;
use crate::node::Node;
use crate::step;

/// Who accepts under `cluster run`. One that this build does not know is left out.
const PLACEMENTS: [&str; 3] = ["handoff", "shared", "kernel"];

/// Who is chosen, beside `rr`, where there is a choice.
const POLICIES: [&str; 3] = ["random", "least-connections", "sticky"];

/// The placements that have a policy.
const WITH_POLICY: [&str; 2] = ["handoff", "kernel"];

/// The rows that bars and tables name.
pub(crate) const BARE: &str = "bare-handoff";
pub(crate) const BARE_BOUNDED: &str = "bare-bounded";

#[derive(Clone, Debug)]
pub(crate) enum Who {
    /// Node's primary and workers.
    Node(Node),
    /// Bun's own `node:cluster`.
    Bun(Bun),
    /// PM2's daemon, with workers of that Node.
    Pm2(Pm2, Node),
    /// `cluster run`, with workers of that Node.
    OursWithNode(Node),
    /// `cluster run`, with Rust workers.
    Ours,
    /// The same with workers on tokio.
    OursOnTokio,
    /// The bench itself.
    Bare,
    /// The worker on tokio, without a cluster.
    BareTokio,
}

#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) who: Who,
    /// Who accepts: in the words of `cluster run`, but for the bare `reuseport`, and `bounded`, which is a
    /// hand-off whose calls are interrupted when they block.
    pub(crate) placement: &'static str,
    /// Who is chosen, if not each in turn.
    pub(crate) policy: Option<&'static str>,
}

/// How a cluster is started.
#[derive(Clone, Copy, Default)]
pub(crate) struct Start {
    pub(crate) workers: usize,
    /// Workers refuse connections beyond that number.
    pub(crate) max_connections: Option<u32>,
    /// The workers are the small Rust program, with every primary.
    pub(crate) small_workers: bool,
    /// Node workers run without the agent that `cluster run` gives them.
    pub(crate) without_agent: bool,
}

impl Start {
    pub(crate) fn of(workers: usize) -> Self {
        Self { workers, ..Self::default() }
    }
}

/// Every case, those with the same Node side by side.
pub(crate) fn all(nodes: &[Node], peers: &Peers) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |who: Who, placements: &[&'static str]| {
        cases.extend(placements.iter().map(|placement| Case::new(who.clone(), placement)));
    };
    for node in nodes {
        add(Who::Node(node.clone()), &["handoff", "shared"]);
        if let Some(pm2) = &peers.pm2 {
            add(Who::Pm2(pm2.clone(), node.clone()), &["handoff"]);
        }
        add(Who::OursWithNode(node.clone()), &PLACEMENTS);
    }
    if let Some(bun) = &peers.bun {
        add(Who::Bun(bun.clone()), &["handoff"]);
    }
    add(Who::Ours, &PLACEMENTS);
    for placement in WITH_POLICY {
        for policy in POLICIES {
            cases.push(Case { policy: Some(policy), ..Case::new(Who::Ours, placement) });
        }
    }
    cases.extend(
        ["handoff", "bounded", "reuseport"].map(|placement| Case::new(Who::Bare, placement)),
    );
    cases.extend(PLACEMENTS.map(|placement| Case::new(Who::OursOnTokio, placement)));
    cases.push(Case::new(Who::BareTokio, "reuseport"));
    cases
}

impl Case {
    pub(crate) fn new(who: Who, placement: &'static str) -> Self {
        Self { who, placement, policy: None }
    }

    pub(crate) fn id(&self) -> String {
        let who = match &self.who {
            Who::Node(node) => format!("node-{}", node.version),
            Who::Bun(bun) => format!("bun-{}", bun.version),
            Who::Pm2(pm2, node) => format!("pm2-{}-node-{}", pm2.version, node.version),
            Who::OursWithNode(node) => format!("rust-node-{}", node.version),
            Who::Ours => "rust-rust".to_owned(),
            Who::OursOnTokio => "rust-tokio".to_owned(),
            Who::Bare => "bare".to_owned(),
            Who::BareTokio => "bare-tokio".to_owned(),
        };
        let policy = self.policy.map(|policy| format!("-{policy}")).unwrap_or_default();
        format!("{who}-{}{policy}", self.placement)
    }

    pub(crate) fn title(&self) -> String {
        let policy = self.policy.map(|policy| format!(", {policy}")).unwrap_or_default();
        let placement = self.placement;
        match &self.who {
            Who::Node(node) => match placement {
                "shared" => format!("Node {}, SCHED_NONE", node.version),
                _ => format!("Node {}, SCHED_RR", node.version),
            },
            Who::Bun(bun) => format!("Bun {}, node:cluster", bun.version),
            Who::Pm2(pm2, node) => format!("PM2 {} on Node {}", pm2.version, node.version),
            Who::OursWithNode(node) => format!("cluster + Node {}, {placement}", node.version),
            Who::Ours => format!("cluster + Rust, {placement}{policy}"),
            Who::OursOnTokio => format!("cluster + Rust on tokio, {placement}"),
            Who::BareTokio => "bare tokio on SO_REUSEPORT".to_owned(),
            Who::Bare => match placement {
                "reuseport" => "bare SO_REUSEPORT".to_owned(),
                "bounded" => "bare accept4 + sendmsg, calls bounded".to_owned(),
                _ => "bare accept4 + sendmsg".to_owned(),
            },
        }
    }

    /// Whether it belongs to another project.
    pub(crate) fn is_peer(&self) -> bool {
        matches!(self.who, Who::Node(_) | Who::Bun(_) | Who::Pm2(..))
    }

    pub(crate) fn row(&self, part: Part) -> Measured {
        let node = match &self.who {
            Who::Node(node) | Who::Pm2(_, node) | Who::OursWithNode(node) => {
                Some(node.version.clone())
            }
            Who::Bun(_) | Who::Ours | Who::OursOnTokio | Who::Bare | Who::BareTokio => None,
        };
        let (id, title, peer) = (self.id(), self.title(), self.is_peer());
        Measured { part, id, title, peer, node }
    }

    /// Starts it; ready when all workers listen.
    pub(crate) fn start(&self, bench: &Bench, start: Start) -> io::Result<Cluster> {
        let Programs { cluster, http_worker, tokio_worker, own, .. } = &bench.programs;
        let worker = script("worker.cjs");
        let mut command = match &self.who {
            Who::Pm2(pm2, node) => return pm2::start(&pm2.script, node, &worker, start.workers),
            Who::Node(Node { path, .. }) | Who::Bun(Bun { path, .. }) => {
                let mut command = Command::new(path);
                command.arg(script("primary.cjs")).arg(start.workers.to_string());
                if start.small_workers {
                    command.env("BENCH_EXEC_PATH", http_worker);
                }
                command
            }
            Who::OursWithNode(node) if !start.small_workers => {
                let mut command = self.cluster_run(cluster, start.workers);
                if start.without_agent {
                    command.arg("--node-agent=false");
                }
                command.arg("--exec-path").arg(&node.path).arg(worker);
                command
            }
            Who::Ours | Who::OursWithNode(_) => {
                let mut command = self.cluster_run(cluster, start.workers);
                command.arg(http_worker);
                command
            }
            Who::OursOnTokio => {
                let mut command = self.cluster_run(cluster, start.workers);
                command.arg(tokio_worker);
                command
            }
            Who::BareTokio => {
                let mut command = Command::new(own);
                command.arg("bench-bare-primary").arg(start.workers.to_string());
                command.arg("--reuse-port").arg("--worker").arg(tokio_worker);
                command
            }
            Who::Bare => {
                let mut command = Command::new(own);
                command.arg("bench-bare-primary").arg(start.workers.to_string());
                match self.placement {
                    "reuseport" => {
                        command.arg("--reuse-port");
                    }
                    "bounded" => {
                        command.arg("--bounded");
                    }
                    _ => {}
                }
                command
            }
        };
        match &self.who {
            // Its workers take each a free port of their own for 0.
            Who::Bun(_) => command.env("BENCH_PORT", free_port()?.to_string()),
            _ => command.env_remove("BENCH_PORT"),
        };
        match start.max_connections {
            Some(most) => command.env("BENCH_MAX_CONNECTIONS", most.to_string()),
            None => command.env_remove("BENCH_MAX_CONNECTIONS"),
        };
        let policy = if self.placement == "shared" { "none" } else { "rr" };
        command.env("NODE_CLUSTER_SCHED_POLICY", policy);
        cluster_worker::scrub(&mut command);
        Cluster::start(&mut command, start.workers)
    }

    fn cluster_run(&self, cluster: &PathBuf, workers: usize) -> Command {
        let mut command = Command::new(cluster);
        command.args(["run", "--json", "--placement", self.placement]);
        command.args(self.policy.iter().flat_map(|policy| ["--policy", policy]));
        command.args(["--workers", &workers.to_string()]);
        command
    }
}

/// One of those in `xtask/bench`.
pub(crate) fn script(name: &str) -> PathBuf {
    step::root().join("xtask/bench").join(name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn node(version: &str) -> Node {
        Node { path: "node".into(), version: version.into() }
    }

    fn every() -> Vec<Case> {
        let bun = Some(Bun { path: "bun".into(), version: "1.4".into() });
        let pm2 = Some(Pm2 { script: "pm2".into(), version: "7".into() });
        all(&[node("20.1.0"), node("26.1.0")], &Peers { bun, pm2 })
    }

    #[test]
    fn no_two_cases_have_a_name_in_common() {
        let cases = every();
        let ids: BTreeSet<_> = cases.iter().map(Case::id).collect();
        let titles: BTreeSet<_> = cases.iter().map(Case::title).collect();
        assert_eq!((ids.len(), titles.len()), (cases.len(), cases.len()));
        assert!(ids.contains(BARE) && ids.contains("node-26.1.0-handoff"), "{ids:?}");
        assert!(
            ids.contains("rust-node-20.1.0-kernel") && ids.contains("rust-rust-handoff-sticky")
        );
    }

    #[test]
    fn without_node_and_peers_there_are_ours_and_the_bare_ones() {
        let cases = all(&[], &Peers::default());
        assert!(cases.iter().all(|case| !case.is_peer()));
        assert_eq!(cases.len(), 2 * PLACEMENTS.len() + WITH_POLICY.len() * POLICIES.len() + 4);
    }
}
