//! Sockets that a child process creates with a worker's rights.

use cluster_proto::ListenQuery;
#[cfg(target_os = "linux")]
use cluster_proto::{AddressType, Field};

use super::base::Primary;
use super::binder::Purpose;
#[cfg(target_os = "linux")]
use super::binder::Task;
use super::rights::Rights;
use crate::id::WorkerId;

#[cfg(target_os = "linux")]
impl Primary {
    /// The rights with which to serve this worker's listen, unless they are the primary's own.
    pub(super) fn listens_as(&self, worker: WorkerId, query: &ListenQuery) -> Option<Rights> {
        let settings = &self.settings;
        if !settings.listen_as_worker || query.primary_fd().is_some() {
            return None;
        }
        let known = self.child(worker).and_then(|child| child.rights.clone());
        let rights = known.unwrap_or_else(|| Rights::of(settings));
        let is_path = query.address_type == Field::Is(AddressType::Pipe);
        let port = query.port.value().and_then(|port| u16::try_from(port).ok());
        let granted = port.is_some_and(|port| settings.privileged_ports.contains(&port));
        (rights.differ() && (is_path || !granted)).then_some(rights)
    }

    /// Queues a task for a child process; it starts once the machine's outputs are done.
    pub(super) fn delegate(&mut self, purpose: Purpose, rights: Rights, worker: Option<WorkerId>) {
        self.binder.queue.push_back(Task { purpose, rights, worker });
    }
}

/// Elsewhere every socket is created with the primary's rights.
#[cfg(not(target_os = "linux"))]
impl Primary {
    pub(super) fn listens_as(&self, _: WorkerId, _: &ListenQuery) -> Option<Rights> {
        None
    }

    pub(super) fn delegate(&mut self, _: Purpose, _: Rights, _: Option<WorkerId>) {}
}
