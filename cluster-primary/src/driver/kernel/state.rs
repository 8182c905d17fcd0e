//! A group, written down.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use cluster_sched::kernel::Choice;
use serde::{Deserialize, Serialize};

use super::super::rights::Rights;
use crate::upgrade::text;

/// What there is of a group. The program belongs to its sockets, and stays with them.
#[derive(Debug, Serialize, Deserialize)]
#[cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "there are no groups"))]
pub(in super::super) struct GroupState {
    pub(super) address: SocketAddr,
    pub(super) v6_only: bool,
    pub(super) backlog: i32,
    /// By their places.
    pub(super) sockets: Vec<usize>,
    pub(super) places: BTreeMap<u32, u32>,
    pub(super) on: BTreeMap<u32, u32>,
    #[serde(with = "text::choice")]
    pub(super) choice: Choice,
    /// Those that the program reads; none where a classic one chooses.
    pub(super) maps: Option<MapsState>,
    /// With whose rights its sockets are made, if not with the primary's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) rights: Option<Rights>,
}

/// The maps of a group.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct MapsState {
    pub(super) table: usize,
    pub(super) counter: usize,
    pub(super) sockets: usize,
}
