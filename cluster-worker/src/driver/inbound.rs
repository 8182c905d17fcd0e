//! Messages of the primary that wait for the application.

use std::os::fd::OwnedFd;

use cluster_proto::{HandleKind, Value};

/// A message from the primary that the application has not received.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub(crate) value: Value,
    pub(crate) handle: Option<InboundHandle>,
    /// The primary's number of it, if it waits for an answer.
    pub(crate) request: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct InboundHandle {
    pub(crate) kind: HandleKind,
    pub(crate) fd: OwnedFd,
    pub(crate) key: Option<String>,
}

/// A question about connections, whose answer a thread waits for.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) waiting: usize,
    /// How many answers came since a thread began to wait.
    pub(crate) answers: u64,
    /// The last answer.
    pub(crate) count: u64,
}
