//! Who plays: Node or ours, as the primary and as the worker.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::Command;

use serde::{Deserialize, Serialize};

use crate::node::Node;
use crate::step;

/// The environment variable in which a primary finds the worker's [`Program`].
const WORKER: &str = "COMPAT_WORKER";

/// How a worker is started: `execPath exec args…`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Program {
    pub(super) exec_path: String,
    pub(super) exec: String,
}

impl Program {
    /// That of the worker, in a primary.
    pub(super) fn from_env() -> io::Result<Self> {
        let text = env::var(WORKER).map_err(io::Error::other)?;
        Ok(serde_json::from_str(&text)?)
    }
}

/// One side of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    Node,
    Rust,
    /// Bun, as a worker.
    Bun,
    /// Deno, as a worker.
    Deno,
}

/// A primary and its workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pair {
    pub(super) primary: Side,
    pub(super) worker: Side,
}

impl Pair {
    /// What the others are compared with.
    pub(super) const NODE: Self = Self { primary: Side::Node, worker: Side::Node };

    pub(super) const ALL: [Self; 6] = [
        Self::NODE,
        Self { primary: Side::Rust, worker: Side::Node },
        Self { primary: Side::Node, worker: Side::Rust },
        Self { primary: Side::Rust, worker: Side::Rust },
        Self { primary: Side::Rust, worker: Side::Bun },
        Self { primary: Side::Rust, worker: Side::Deno },
    ];

    /// The variable that names the worker's runtime, if that is a runtime of its own.
    pub(super) fn variable(self) -> Option<&'static str> {
        match self.worker {
            Side::Bun => Some("CLUSTER_TEST_BUN"),
            Side::Deno => Some("CLUSTER_TEST_DENO"),
            Side::Node | Side::Rust => None,
        }
    }

    /// Whether there is the worker's runtime.
    pub(super) fn is_there(self) -> bool {
        self.variable().is_none_or(|variable| env::var_os(variable).is_some())
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Node => "node",
            Self::Rust => "rust",
            Self::Bun => "bun",
            Self::Deno => "deno",
        })
    }
}

/// Primary first: `rust-node` is a Rust primary with Node workers.
impl fmt::Display for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.primary, self.worker)
    }
}

/// Who accepts connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Policy {
    Rr,
    None,
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rr => "rr",
            Self::None => "none",
        })
    }
}

impl Pair {
    /// The command that starts the primary.
    pub(super) fn primary(self, node: &Node, policy: Policy) -> io::Result<Command> {
        let own = env::current_exe()?;
        let scripts = step::root().join("xtask/compat");
        let text = |path: PathBuf| {
            let not_utf8 = |path: OsString| io::Error::other(format!("{path:?} is not UTF-8"));
            path.into_os_string().into_string().map_err(not_utf8)
        };
        let mut command = match self.primary {
            Side::Node => {
                let mut command = Command::new(&node.path);
                command.arg(scripts.join("primary.cjs"));
                command
            }
            Side::Rust | Side::Bun | Side::Deno => {
                let mut command = Command::new(&own);
                command.arg("compat-primary");
                command
            }
        };
        let program = match self.worker {
            Side::Node => Program {
                exec_path: text(node.path.clone())?,
                exec: text(scripts.join("worker.cjs"))?,
            },
            Side::Bun | Side::Deno => {
                let variable = self.variable().unwrap_or_default();
                let path = env::var_os(variable).map(PathBuf::from);
                let path =
                    path.ok_or_else(|| io::Error::other(format!("{variable} is not set")))?;
                Program { exec_path: text(path)?, exec: text(scripts.join("worker.cjs"))? }
            }
            Side::Rust => Program { exec_path: text(own)?, exec: "compat-worker".into() },
        };
        cluster_worker::scrub(&mut command);
        command.env(WORKER, serde_json::to_string(&program)?);
        command.env("NODE_CLUSTER_SCHED_POLICY", policy.to_string());
        Ok(command)
    }
}
