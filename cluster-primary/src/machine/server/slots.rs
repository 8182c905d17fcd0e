//! The slots of one server: a listening socket for each of its workers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cluster_proto::ListenQuery;
use cluster_sched::Mono;
use cluster_sched::kernel::Choice;
use serde::{Deserialize, Serialize};

use super::port_reuse::Attempt;
use crate::id::WorkerId;

/// What the machine knows of the slots of one server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::machine) struct Slots {
    /// By the numbers of their sockets.
    pub(in crate::machine) slots: BTreeMap<u32, Slot>,
    /// Who was given a socket, and may still have it.
    pub(in crate::machine) lent: BTreeSet<WorkerId>,
    /// As long as it is not bound.
    pub(in crate::machine) attempt: Option<Attempt>,
    pub(in crate::machine) look_at: Option<Mono>,
    /// Until then looks are not far apart, whatever they find.
    pub(in crate::machine) alert_until: Mono,
}

/// A socket of one worker, or of one that is gone.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::machine) struct Slot {
    /// The worker that has it; none when its worker is gone.
    pub(in crate::machine) worker: Option<WorkerId>,
    /// Its position in the rotation: the slot of its worker.
    #[serde(rename = "turn")]
    pub(in crate::machine) position: u32,
    pub(in crate::machine) state: SlotState,
    /// Since when connections wait there without becoming fewer, and how many did at the last look.
    pub(in crate::machine) since: Option<Mono>,
    pub(in crate::machine) length: u32,
    /// Since when it is on.
    pub(in crate::machine) on_since: Mono,
    pub(in crate::machine) rest: Duration,
}

/// Whether the kernel chooses a slot, and if not, why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::machine) enum SlotState {
    /// Its worker waits for the socket, having asked by the message with that `seq`.
    Asked {
        seq: u64,
    },
    /// Its worker has not said that it listens, or is gone.
    Off,
    On,
    /// Off because a successor has its position.
    Succeeded,
    /// Off because its worker does not answer; on again when it does.
    Silent,
    /// Off because its worker answers but does not accept.
    Full {
        until: Mono,
    },
}

impl Slot {
    pub(in crate::machine) fn is_on(&self) -> bool {
        self.state == SlotState::On
    }
}

impl Slots {
    pub(in crate::machine) fn wanted(
        query: Box<ListenQuery>,
        choice: Choice,
        worker: WorkerId,
    ) -> Self {
        Self {
            slots: BTreeMap::new(),
            lent: BTreeSet::new(),
            attempt: Some(Attempt::first(query, choice, worker)),
            look_at: None,
            alert_until: Mono::ZERO,
        }
    }

    pub(in crate::machine) fn of(&mut self, worker: WorkerId) -> Option<(u32, &mut Slot)> {
        let mut slots = self.slots.iter_mut();
        slots.find(|(_, slot)| slot.worker == Some(worker)).map(|(&number, slot)| (number, slot))
    }

    /// Whether that worker waits for its socket.
    pub(in crate::machine) fn is_asked_for_by(&self, worker: WorkerId) -> bool {
        let waits = |slot: &Slot| {
            slot.worker == Some(worker) && matches!(slot.state, SlotState::Asked { .. })
        };
        self.slots.values().any(waits)
    }

    /// Times to which others are added, or that are doubled.
    pub(in crate::machine) fn times(&self) -> impl Iterator<Item = Mono> {
        self.slots.values().map(|slot| slot.rest).chain([self.alert_until])
    }

    /// The positions that the sockets of workers have.
    pub(in crate::machine) fn positions(&self) -> impl Iterator<Item = u32> {
        self.slots.values().map(|slot| slot.position)
    }

    /// Whether there is a socket of that number.
    pub(in crate::machine) fn has_socket(&self, number: u32) -> bool {
        self.slots.contains_key(&number)
    }

    /// How many are on.
    pub(in crate::machine) fn on(&self) -> usize {
        self.slots.values().filter(|slot| slot.is_on()).count()
    }
}
