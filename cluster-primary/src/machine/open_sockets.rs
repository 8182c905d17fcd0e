//! How many server sockets the primary holds, and for which slots.
//!
//! A server's socket is a descriptor of the primary's, and it can outlive the worker that asked for it:
//! other workers serve it, or [`Settings::keep_listeners`](crate::Settings::keep_listeners) keeps it open. A limit
//! per worker is therefore not enough, as each successor could open as many again. Sockets are charged to
//! the slot whose worker had them opened, until they are closed.

use std::collections::BTreeMap;

use crate::listen_limit::{ListenLimit, ListenScope};
use crate::settings::Limits;

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

    pub(super) fn charge(&mut self, slot: u32) {
        *self.by_slot.entry(slot).or_default() += 1;
        self.total += 1;
    }

    pub(super) fn release(&mut self, slot: u32) {
        self.total -= 1;
        if let Some(count) = self.by_slot.get_mut(&slot) {
            *count -= 1;
            if *count == 0 {
                self.by_slot.remove(&slot);
            }
        }
    }

    /// Sets how many the process's descriptors allow.
    pub(super) fn limit(&mut self, sockets: usize) {
        self.most = sockets;
    }

    pub(super) fn total(&self) -> usize {
        self.total
    }

    /// The limit that leaves no room for one more socket of a slot, if any.
    pub(super) fn reached(&self, limits: &Limits, slot: u32) -> Option<ListenLimit> {
        let limit = |scope, set: usize, allowed: usize| {
            let limit = set.min(allowed);
            ListenLimit { scope, limit, by_descriptors: allowed < set }
        };
        let per_slot =
            limit(ListenScope::Slot(slot), limits.max_sockets_per_slot, (self.most / 2).max(1));
        let total = limit(ListenScope::Cluster, limits.max_sockets, self.most.max(1));
        let of_slot = self.by_slot.get(&slot).copied().unwrap_or_default();
        [(of_slot, per_slot), (self.total, total)]
            .into_iter()
            .find(|(open, limit)| *open >= limit.limit)
            .map(|(_, limit)| limit)
    }
}
