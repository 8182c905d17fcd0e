//! Which workers of a server get connections: those at the dispatcher, or, under placement `kernel`, those whose
//! slots are on.

use std::time::Duration;

use cluster_sched::Mono;

use super::base::Machine;
use super::disconnecting::SETTLE;
use super::io::Output;
use super::server::{Server, Slot, SlotState};
use crate::event::Address;
use crate::id::{ServerId, WorkerId};

/// So many looks after a slot was switched off it is still watched closely, for handshakes of
/// clients far away.
const AFTERMATH: u32 = 20;

/// Looks are no closer together, whatever is set.
pub(super) const SHORTEST_WATCH: Duration = Duration::from_millis(1);

impl Machine {
    /// A worker has joined that server: those that do not answer need not stand in any more.
    pub(super) fn eject_silent(&mut self, now: Mono, id: ServerId) {
        let Some(server) = self.server(id) else { return };
        let silent =
            |worker: &&WorkerId| self.workers.get(worker).is_some_and(|w| w.health.is_silent());
        for worker in server.workers.iter().filter(silent).copied().collect::<Vec<_>>() {
            self.eject(now, id, worker);
        }
    }

    pub(super) fn eject(&mut self, now: Mono, id: ServerId, worker: WorkerId) {
        // A server needs a worker, and one that does not answer may answer yet.
        if self.dispatcher.workers(id) <= 1 {
            return;
        }
        if self.server(id).is_some_and(|server| server.slots.is_some()) {
            self.silence_slot(now, id, worker);
        } else {
            self.place_no_more(now, id, worker);
        }
    }

    /// A worker that was out of rotation at that server is in it again.
    pub(super) fn readmit(&mut self, now: Mono, id: ServerId, worker: WorkerId) {
        let Some(slot) = self.known(worker).map(|worker| worker.slot) else { return };
        let serves = |s: &Server| s.serves(worker) && !s.shared;
        let Some(server) = self.server(id).filter(|server| serves(server)) else { return };
        if server.slots.is_some() {
            self.slots_answered(now, worker);
        } else {
            // Of one that was never left out it changes nothing.
            self.dispatch_to(now, id, worker, slot);
        }
    }

    /// Those that are to serve what is left of a server are asked, whether they answer or not.
    pub(super) fn readmit_all(&mut self, now: Mono, id: ServerId) {
        let Some(server) = self.server(id) else { return };
        let silent =
            |worker: &&WorkerId| self.workers.get(worker).is_some_and(|w| w.health.is_silent());
        for worker in server.workers.iter().filter(silent).copied().collect::<Vec<_>>() {
            if self.server(id).is_some_and(|server| server.slots.is_none()) {
                self.readmit(now, id, worker);
            }
        }
    }

    /// The worker listens there, and so can accept what comes to its slot.
    pub(super) fn slot_listens(&mut self, now: Mono, worker: WorkerId, at: &Address) {
        let Some(listening) = self.known(worker) else { return };
        for id in listening.servers.keys().copied().collect::<Vec<_>>() {
            let Some(server) = self.server_mut(id) else { continue };
            if server.bound_address() != *at {
                continue;
            }
            let slot = server.slots.as_mut().and_then(|slots| slots.of(worker));
            if let Some((number, Slot { state: SlotState::Off, .. })) = slot {
                self.switch_on(now, id, number);
            }
        }
    }

    fn switch_on(&mut self, now: Mono, id: ServerId, number: u32) {
        let Some(server) = self.server_mut(id).filter(|server| server.is_open()) else {
            return;
        };
        let Some(slots) = &mut server.slots else { return };
        let Some(slot) = slots.slots.get(&number) else { return };
        let Some(worker) = slot.worker else { return };
        let position = slot.position;
        let shares =
            |slot: &Slot| slot.position == position && slot.worker.is_some() && slot.is_on();
        let mut sharing =
            slots.slots.iter().filter(|(other, slot)| **other != number && shares(slot));
        let other = sharing.next().and_then(|(_, slot)| slot.worker);
        let Some(slot) = slots.slots.get_mut(&number) else { return };
        slot.since = None;
        if other.is_some_and(|other| other > worker) {
            slot.state = SlotState::Succeeded;
            return;
        }
        slot.state = SlotState::On;
        slot.on_since = now;
        if let Some(serving) = self.known_mut(worker) {
            serving.had_slot = true;
        }
        self.put(Output::Slot { server: id, slot: number, position, on: true });
        self.dispatch_to(now, id, worker, position);
        if let Some(predecessor) = other {
            self.switch_off(now, id, predecessor, SlotState::Succeeded);
        }
        self.eject_silent(now, id);
        // Others may have waited for a worker to take them.
        self.look_now(now, id);
    }

    /// Nothing more comes to the worker by its slot, and what has not been accepted there is looked
    /// for.
    pub(super) fn switch_off(
        &mut self,
        now: Mono,
        id: ServerId,
        worker: WorkerId,
        state: SlotState,
    ) {
        let watch = self.config.limits.queue_watch.max(SHORTEST_WATCH);
        let Some(server) = self.server_mut(id) else { return };
        let open = server.is_open();
        let Some(slots) = &mut server.slots else { return };
        let Some((number, slot)) = slots.of(worker) else { return };
        let (was_on, position) = (slot.is_on(), slot.position);
        slot.state = state;
        slot.since = None;
        slots.alert_until = now + watch * AFTERMATH;
        if was_on && open {
            self.put(Output::Slot { server: id, slot: number, position, on: false });
        }
        // One that was not on may have been enlisted; of a stranger it changes nothing.
        self.place_no_more(now, id, worker);
        self.look_now(now, id);
    }

    /// The worker is not heard of any more: it gets nothing more by its slot until it is, unless
    /// no other is on.
    pub(super) fn silence_slot(&mut self, now: Mono, id: ServerId, worker: WorkerId) {
        let Some(slots) = self.server_mut(id).and_then(|s| s.slots.as_mut()) else { return };
        let others = slots.on() > 1;
        if slots.of(worker).is_some_and(|(_, slot)| slot.is_on()) && others {
            self.stats.stuck += 1;
            self.switch_off(now, id, worker, SlotState::Silent);
        }
    }

    /// The worker does not serve that server any more.
    pub(super) fn leave_slot(&mut self, now: Mono, id: ServerId, worker: WorkerId) {
        let Some(slots) = self.server_mut(id).and_then(|s| s.slots.as_mut()) else { return };
        let Some((number, _)) = slots.of(worker) else { return };
        self.switch_off(now, id, worker, SlotState::Off);
        let slots = self.server_mut(id).and_then(|server| server.slots.as_mut());
        let slot = slots.and_then(|slots| slots.slots.get_mut(&number));
        let position = slot.map(|slot| {
            slot.worker = None;
            slot.position
        });
        self.settle(now, id, worker, number);
        if let Some(position) = position {
            self.give_position_back(now, id, position);
        }
    }

    /// The worker that had a slot's position has gone: the latest of those that it had succeeded, and that are still
    /// there, takes them again.
    fn give_position_back(&mut self, now: Mono, id: ServerId, position: u32) {
        let Some(slots) = self.server(id).and_then(|server| server.slots.as_ref()) else {
            return;
        };
        let sharing = slots.slots.iter().filter(|(_, slot)| slot.position == position);
        if sharing.clone().any(|(_, slot)| slot.worker.is_some() && slot.is_on()) {
            return;
        }
        let succeeded = |slot: &Slot| slot.worker.is_some() && slot.state == SlotState::Succeeded;
        let latest =
            sharing.filter(|(_, slot)| succeeded(slot)).max_by_key(|(_, slot)| slot.worker);
        if let Some((&number, _)) = latest {
            self.switch_on(now, id, number);
        }
    }

    /// A worker that was asked whether it is still there says so.
    pub(super) fn slots_answered(&mut self, now: Mono, worker: WorkerId) {
        let Some(serving) = self.known_mut(worker) else { return };
        serving.asked_at = None;
        serving.answered_at = Some(now);
        for id in serving.servers.keys().copied().collect::<Vec<_>>() {
            let slots = self.server_mut(id).and_then(|server| server.slots.as_mut());
            if let Some((number, Slot { state: SlotState::Silent, .. })) =
                slots.and_then(|slots| slots.of(worker))
            {
                self.switch_on(now, id, number);
            }
        }
    }

    pub(super) fn switch_rested_on(&mut self, now: Mono, id: ServerId) {
        let Some(slots) = self.server(id).and_then(|server| server.slots.as_ref()) else {
            return;
        };
        // With no slot on, none can rest.
        let alone = slots.on() == 0;
        let rested =
            |slot: &Slot| matches!(slot.state, SlotState::Full { until } if alone || until <= now);
        let rested: Vec<_> =
            slots.slots.iter().filter(|(_, slot)| rested(slot)).map(|(&n, _)| n).collect();
        for number in rested {
            self.switch_on(now, id, number);
        }
    }

    fn look_now(&mut self, now: Mono, id: ServerId) {
        let Some(server) = self.server_mut(id).filter(|server| server.is_open()) else {
            return;
        };
        let Some(slots) = &mut server.slots else { return };
        slots.look_at = Some(now + SETTLE);
        self.put(Output::Look { server: id });
    }
}
