//! The settings by which the machine decides.

use cluster_proto::env::Serialization;

use crate::{Limits, Placement, PolicyName};

/// What the machine has to know of the settings: no descriptors, no closures, nothing about processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Who accepts connections.
    pub placement: Placement,
    /// Which worker gets the next one.
    pub policy: PolicyName,
    /// How the channels of workers that are forked from now on are encoded.
    pub serialization: Serialization,
    /// Whether servers stay open while no worker serves them.
    pub keep_listeners: bool,
    /// Whether [`Event::Taken`](super::Event::Taken) reports every connection that a worker took.
    pub report_connections: bool,
    /// What workers may do.
    pub limits: Limits,
}
