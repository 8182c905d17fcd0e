//! Charges listening sockets to the slots of the workers that asked for them.

use super::base::Machine;
use crate::id::{ServerId, WorkerId};

impl Machine {
    /// A socket of that server is opened for a worker of that slot.
    pub(super) fn charge_socket(&mut self, id: ServerId, slot: u32) {
        if let Some(server) = self.server_mut(id) {
            server.charged.push(slot);
            self.sockets.charge(slot);
        }
    }

    /// The sockets of that server are closed.
    pub(super) fn release_sockets(&mut self, id: ServerId) {
        let server = self.server_mut(id);
        for slot in server.map(|server| std::mem::take(&mut server.charged)).unwrap_or_default() {
            self.sockets.release(slot);
        }
    }

    /// Counts the sockets of all servers, after they were taken up.
    pub(super) fn count_sockets(&mut self) {
        for slot in self.servers.values().flat_map(|server| &server.charged) {
            self.sockets.charge(*slot);
        }
    }

    /// The slot of a worker, to which its sockets are charged.
    pub(super) fn slot_of(&self, worker: WorkerId) -> Option<u32> {
        self.known(worker).map(|worker| worker.slot)
    }
}
