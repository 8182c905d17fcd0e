//! How many server sockets the primary holds, and for which slots.
//!
//! A server's socket is a descriptor of the primary's, and it can outlive the worker that asked for it:
//! other workers serve it, or [`Settings::keep_listeners`](crate::Settings::keep_listeners) keeps it open. A limit
//! per worker is therefore not enough, as each successor could open as many again. Sockets are charged to
//! the slot whose worker had them opened, until they are closed.

use std::collections::BTreeMap;
use std::fmt;

use cluster_sched::Mono;

use super::Machine;
use crate::id::{ServerId, WorkerId};

/// Which limit a worker has reached that wanted to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenLimit {
    /// Whose sockets are counted.
    pub scope: ListenScope,
    /// How many there may be.
    pub limit: usize,
    /// It is lower than the settings allow, because this process may have few descriptors
    /// (`RLIMIT_NOFILE`).
    pub by_descriptors: bool,
}

/// Whose server sockets a [`ListenLimit`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ListenScope {
    /// The servers of this worker ([`Limits::max_servers`](crate::Limits::max_servers)).
    Worker,
    /// The sockets that all workers of its slot had opened and that are still open
    /// ([`Limits::max_sockets_per_slot`](crate::Limits::max_sockets_per_slot)).
    Slot(u32),
    /// The sockets of all servers ([`Limits::max_sockets`](crate::Limits::max_sockets)).
    Cluster,
}

impl fmt::Display for ListenLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scope, limit, by_descriptors } = self;
        match scope {
            ListenScope::Worker => write!(f, "a worker may have {limit} servers at most")?,
            ListenScope::Slot(slot) => {
                write!(
                    f,
                    "the workers of slot {slot} may have {limit} server sockets open at most"
                )?;
            }
            ListenScope::Cluster => {
                write!(f, "all workers together may have {limit} server sockets open at most")?;
            }
        }
        if *by_descriptors {
            f.write_str(
                ", as this process may have few descriptors (raise ulimit -n, or LimitNOFILE= of its unit)",
            )?;
        }
        Ok(())
    }
}

/// How many sockets are open, or about to be.
#[derive(Debug)]
pub(super) struct OpenSockets {
    by_slot: BTreeMap<u32, usize>,
    total: usize,
    /// How many the process's descriptors allow.
    most: usize,
}

impl OpenSockets {
    pub(super) fn new() -> Self {
        Self { by_slot: BTreeMap::new(), total: 0, most: usize::MAX }
    }

    fn charge(&mut self, slot: u32) {
        *self.by_slot.entry(slot).or_default() += 1;
        self.total += 1;
    }

    fn release(&mut self, slot: u32) {
        self.total -= 1;
        if let Some(count) = self.by_slot.get_mut(&slot) {
            *count -= 1;
            if *count == 0 {
                self.by_slot.remove(&slot);
            }
        }
    }
}

impl Machine {
    /// Sets how many server sockets may be open, as each is a descriptor. [`Limits`](crate::Limits) may allow
    /// fewer. The workers of one slot may have half of them, so that others can listen too. Default: no limit.
    pub fn limit_sockets(&mut self, sockets: usize) {
        self.sockets.most = sockets;
    }

    /// How many server sockets are open, or about to be.
    pub fn open_sockets(&self) -> usize {
        self.sockets.total
    }

    /// Makes room for one more socket of that slot's: where there is none, listeners that only wait for a
    /// worker of this slot to come back for them are closed, the oldest first. The server that the socket is for,
    /// if it is there already, is not one of these.
    ///
    /// # Errors
    /// The limit, if there is still no room.
    pub(super) fn room_for_socket(
        &mut self,
        now: Mono,
        slot: u32,
        of: Option<ServerId>,
    ) -> Result<(), ListenLimit> {
        while let Some(limit) = self.reached(slot) {
            let unserved = self.servers.iter().find(|(id, server)| {
                Some(**id) != of
                    && server.is_open()
                    && server.workers.is_empty()
                    && server.charged.first() == Some(&slot)
            });
            let Some((&id, _)) = unserved else { return Err(limit) };
            self.close_unused(now, id);
        }
        Ok(())
    }

    fn reached(&self, slot: u32) -> Option<ListenLimit> {
        let (limits, most) = (&self.config.limits, self.sockets.most);
        let limit = |scope, set: usize, allowed: usize| {
            let limit = set.min(allowed);
            ListenLimit { scope, limit, by_descriptors: allowed < set }
        };
        let per_slot =
            limit(ListenScope::Slot(slot), limits.max_sockets_per_slot, (most / 2).max(1));
        let total = limit(ListenScope::Cluster, limits.max_sockets, most.max(1));
        let of_slot = self.sockets.by_slot.get(&slot).copied().unwrap_or_default();
        [(of_slot, per_slot), (self.sockets.total, total)]
            .into_iter()
            .find(|(open, limit)| *open >= limit.limit)
            .map(|(_, limit)| limit)
    }

    /// A socket of that server is opened for a worker of that slot.
    pub(super) fn charge_socket(&mut self, id: ServerId, slot: u32) {
        if let Some(server) = self.servers.get_mut(&id) {
            server.charged.push(slot);
            self.sockets.charge(slot);
        }
    }

    /// The sockets of that server are closed.
    pub(super) fn release_sockets(&mut self, id: ServerId) {
        let server = self.servers.get_mut(&id);
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
        self.workers.get(&worker).map(|worker| worker.slot)
    }
}
