//! What the machine knows of one server.

mod port_reuse;
mod slots;

use std::collections::BTreeSet;
use std::fmt;

use super::io::Bound;
use crate::event::Address;
use crate::id::WorkerId;
use cluster_proto::{ServerKey, Value};
use serde::{Deserialize, Serialize};

pub(super) use port_reuse::{Attempt, PortReuse};
pub(super) use slots::{Slot, SlotState, Slots};

/// A server socket and the workers that serve it.
pub(super) struct Server {
    pub(super) key: ServerKey,
    /// As the first worker asked for it.
    pub(super) address: Address,
    /// Workers accept from it themselves.
    pub(super) shared: bool,
    /// Workers accept from sockets of their own.
    pub(super) slots: Option<Slots>,
    /// The data of the first worker that had any.
    pub(super) data: Value,
    pub(super) phase: Phase,
    pub(super) workers: BTreeSet<WorkerId>,
    /// The slots to which its open sockets are charged; the first is that of the worker that opened it.
    pub(super) charged: Vec<u32>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Phase {
    /// Not bound yet; those workers wait for it, each with the `seq` of its query.
    Binding { waiting: Vec<(WorkerId, u64)> },
    /// Bound.
    Open { bound: Bound },
    /// All its workers are about to disconnect, and serve what has come so far. `closed` once the
    /// driver has said that nothing more comes.
    Draining { closed: bool },
    /// Its socket is closed; hand-offs may still be under way.
    Closing,
}

impl Server {
    pub(super) fn new(key: ServerKey, address: Address, shared: bool) -> Self {
        Self {
            key,
            address,
            shared,
            slots: None,
            data: Value::Null,
            phase: Phase::Binding { waiting: Vec::new() },
            workers: BTreeSet::new(),
            charged: Vec::new(),
        }
    }

    /// Where it listens, with the port that is bound.
    pub(super) fn bound_address(&self) -> Address {
        let mut address = self.address.clone();
        if let Phase::Open { bound: Bound { sockname: Some(name), .. } } = &self.phase {
            address.port = Some(name.port.into());
        }
        address
    }

    /// Whether the driver holds sockets of it, or is about to.
    pub(super) fn holds_sockets(&self) -> bool {
        match self.phase {
            Phase::Binding { .. } | Phase::Open { .. } => true,
            Phase::Draining { closed } => !closed,
            Phase::Closing => false,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open { .. })
    }

    /// Whether it is drained by its workers: the last of them that are about to disconnect, and
    /// no connection waits any more. So many are `waiting`, and the dispatcher may give them to
    /// `placed` workers.
    pub(super) fn is_drained(&self, waiting: usize, placed: usize) -> bool {
        // Of those with slots there may be workers that cannot be asked.
        let unserved = self.workers.is_empty() || (self.slots.is_some() && placed == 0);
        let nothing_waits = unserved || waiting == 0;
        matches!(self.phase, Phase::Draining { closed: true }) && nothing_waits
    }

    /// Whether the worker has been told that it serves it.
    pub(super) fn serves(&self, worker: WorkerId) -> bool {
        let waits = |slots: &Slots| slots.is_asked_for_by(worker);
        self.workers.contains(&worker) && !self.slots.as_ref().is_some_and(waits)
    }

    /// Whether the worker serves it, or waits to.
    pub(super) fn has(&self, worker: WorkerId) -> bool {
        self.workers.contains(&worker)
            || matches!(&self.phase, Phase::Binding { waiting } if waiting.iter().any(|w| w.0 == worker))
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("key", &self.key)
            .field("shared", &self.shared)
            .field("slots", &self.slots)
            .field("phase", &self.phase)
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}
