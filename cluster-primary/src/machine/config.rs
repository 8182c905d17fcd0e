//! The settings by which the machine decides.

use cluster_proto::env::Serialization;

use crate::custom_policy::CustomPolicy;
use crate::settings::{Limits, Placement, Settings};
use cluster_sched::PolicyName;

/// What the machine has to know of the settings: no descriptors, and nothing about processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Who accepts connections.
    pub placement: Placement,
    /// Which worker gets the next one.
    pub policy: PolicyName,
    /// A policy of the program's own, instead of that one.
    pub custom_policy: Option<CustomPolicy>,
    /// How the channels of workers that are forked from now on are encoded.
    pub serialization: Serialization,
    /// Whether servers stay open while no worker serves them.
    pub keep_listeners: bool,
    /// Whether [`Event::Taken`](super::Event::Taken) reports every connection that a worker took.
    pub report_connections: bool,
    /// What workers may do.
    pub limits: Limits,
}

impl Config {
    /// Whether the policy goes by the number of connections that workers hold.
    pub(super) fn counts_connections(&self) -> bool {
        self.custom_policy.is_some() || self.policy == PolicyName::LeastConnections
    }
}

/// The part of the settings that the machine uses.
impl From<&Settings> for Config {
    fn from(settings: &Settings) -> Self {
        Self {
            placement: settings.placement,
            policy: settings.policy,
            custom_policy: settings.custom_policy.clone(),
            serialization: settings.serialization,
            keep_listeners: settings.keep_listeners,
            report_connections: settings.report_connections,
            limits: settings.limits,
        }
    }
}
