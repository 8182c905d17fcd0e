//! What clients ask of the supervisor.

use std::fmt;
use std::time::Duration;

use cluster_proto::Value;
use serde::{Deserialize, Serialize};

/// A call that the primary alone cannot carry out. The owner of the
/// [`ControlServer`](super::ControlServer) takes it by
/// [`next_command`](super::ControlServer::next_command), and answers it, now or later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ControlCommand {
    /// `status`: how all is; [`status_object`](super::status_object) makes the answer.
    Status,
    /// `reload`: replace every worker. To be answered when all are, or when it was aborted.
    Reload,
    /// `scale`: keep so many workers.
    Scale {
        /// How many.
        workers: u32,
    },
    /// `drain`: say that no more is wanted, and end after that time.
    Drain {
        /// How long; none for what is set.
        delay: Option<Duration>,
    },
    /// `upgrade`: execute the primary's program again, in its new version.
    Upgrade,
}

impl ControlCommand {
    /// Whether workers that run may have to leave because of it, while the cluster goes on.
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

/// By what a command is answered. It has serde's traits, so that the owner of an open answer can hand that
/// on to the next image of the process ([`upgrade`](cluster_primary::upgrade)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CommandId(pub(super) u64);

impl CommandId {
    /// Its number, which an image of a program that is replaced tells the next.
    pub fn number(self) -> u64 {
        self.0
    }

    /// The order of that number.
    pub fn of_number(number: u64) -> Self {
        Self(number)
    }
}

/// Why a command is not carried out.
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
