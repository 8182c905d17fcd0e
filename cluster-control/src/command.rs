//! What clients ask of the supervisor.

use std::fmt;
use std::time::Duration;

use cluster_proto::Value;
use serde::{Deserialize, Serialize};

/// A call that the primary alone cannot execute. The owner of the [`ControlServer`](super::ControlServer)
/// takes it with [`next_command`](super::ControlServer::next_command), and answers it, now or later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ControlCommand {
    /// `status`: the state of the cluster; [`status_object`](super::status_object) makes the answer.
    Status,
    /// `reload`: replace every worker. Answered when all are replaced, or the reload was aborted.
    Reload,
    /// `scale`: change the number of workers.
    Scale {
        /// The new number.
        workers: u32,
    },
    /// `drain`: report that the cluster is not ready, and stop it after a delay.
    Drain {
        /// The delay; `None` for the configured one.
        delay: Option<Duration>,
    },
    /// `upgrade`: execute the primary's program again, in its new version.
    Upgrade,
}

impl ControlCommand {
    /// Whether running workers may have to leave because of it, although the cluster continues.
    pub(super) const fn replaces_workers(&self) -> bool {
        matches!(self, Self::Reload | Self::Scale { .. })
    }

    /// The method's name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Reload => "reload",
            Self::Scale { .. } => "scale",
            Self::Drain { .. } => "drain",
            Self::Upgrade => "upgrade",
        }
    }
}

/// The id with which a command is answered. It has serde's traits, so that the owner of an unanswered command
/// can pass the id on to the next image of the process ([`upgrade`](cluster_primary::upgrade)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CommandId(pub(super) u64);

impl CommandId {
    /// Its number, to be passed on to the next image of the process.
    pub fn number(self) -> u64 {
        self.0
    }

    /// The command with that number.
    pub fn of_number(number: u64) -> Self {
        Self(number)
    }
}

/// Why a command is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// `data.code` of the answer: `ERR_RELOAD_ABORTED`, say.
    pub code: &'static str,
    /// What a person should know.
    pub message: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(code: &'static str, message: impl fmt::Display) -> Self {
        Self { code, message: message.to_string() }
    }
}

/// The answer to a command.
pub(super) type Answer = Result<Value, Refusal>;
