//! The state of in-place upgrades.

use std::io;

use cluster_control::CommandId;
use cluster_primary::WatchId;

use crate::upgrade::{Program, Trial};

/// What an upgrade needs, and where it stands.
pub(super) struct Upgrades {
    pub(super) program: Program,
    /// How many there were.
    pub(super) count: u64,
    pub(super) trial: Option<(Trial, WatchId)>,
    pub(super) asked_by: Vec<CommandId>,
}

impl Upgrades {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { program: Program::own()?, count: 0, trial: None, asked_by: Vec::new() })
    }
}
