//! Slots: workers with a listening socket of their own each, among which the kernel chooses.
//!
//! Sockets are numbered by their workers' seats, as two workers have the same slot of the cluster
//! while one succeeds the other: the kernel gives the slot's position to the later one from its first
//! `listening` on.
//!
//! The primary hands over nothing as long as all is well. It looks at the sockets' accept queues
//! now and then, and rescues what waits without being accepted: at a slot that is off, or in the
//! waiting room. What it rescued it places as under hand-off, among the workers that are on.

use std::time::Duration;

use cluster_proto::{AddressType, ClusterBody, ListenQuery, ListenReply, flags};
use cluster_sched::kernel::Choice;
use cluster_sched::{Mono, PolicyName};

use super::base::Machine;
use super::disconnecting::SETTLE;
use super::io::{Output, Queue, SendHandle};
use super::rotation::SHORTEST_WATCH;
use super::server::{Phase, Server, Slot, SlotState, Slots};
use super::worker::{Probe, Worker};
use crate::event::Event;
use crate::id::{ServerId, WorkerId};
use crate::listen_limit::ListenLimit;
use crate::placement::Fallback;
use crate::settings::Placement;

/// Where nothing waits, looks are so many times as far apart.
const CALM: u32 = 10;
/// A worker that answers but accepts nothing is given so many times as long as one that is silent:
/// it may just have more to do than the others.
const PATIENCE: u32 = 4;
/// How long such a worker rests; each time in a row twice as long, up to the longest.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(32);

/// Whether that listen is one that slots can serve: of a TCP address of our own. (A path has one
/// socket only; one that was inherited is what it is; and a worker that asks to share the port with other programs
/// must not have their connections chosen by us.)
pub(super) fn has_slots(query: &ListenQuery) -> bool {
    let tcp = matches!(query.address_type.value(), Some(AddressType::Tcp4 | AddressType::Tcp6));
    tcp && query.primary_fd().is_none() && query.flag_bits() & flags::TCP_REUSE_PORT == 0
}

impl Machine {
    /// How the kernel is to choose among slots for that listen, if it is to.
    pub(super) fn choice_for(&self, query: &ListenQuery) -> Option<Choice> {
        let wanted = self.config.placement == Placement::Kernel && has_slots(query);
        Choice::try_from(self.config.policy).ok().filter(|_| wanted)
    }

    pub(super) fn fell_back(&mut self, id: ServerId, instead: Fallback, reason: String) {
        let Some(server) = self.server_mut(id) else { return };
        if instead == Fallback::Handoff && matches!(server.phase, Phase::Binding { .. }) {
            server.slots = None;
        }
        let address = server.bound_address();
        self.event(Event::Fallback { address, instead, reason });
    }

    /// A worker that serves a server with slots gets the socket of its own.
    ///
    /// # Errors
    /// If there may be no more sockets; the worker has been told.
    pub(super) fn join_slot(
        &mut self,
        now: Mono,
        id: ServerId,
        worker: WorkerId,
        seq: u64,
    ) -> Result<(), ListenLimit> {
        let Some(asking) = self.known(worker) else { return Ok(()) };
        let (number, position) = (asking.seat, asking.slot);
        let slots = self.server(id).and_then(|server| server.slots.as_ref());
        if !slots.is_some_and(|slots| slots.has_socket(number)) {
            if let Err(limit) = self.room_for_socket(now, position, Some(id)) {
                self.refuse_slot(id, worker, seq, limit);
                return Err(limit);
            }
            self.charge_socket(id, position);
        }
        let Some(server) = self.server_mut(id) else { return Ok(()) };
        let Some(slots) = &mut server.slots else { return Ok(()) };
        server.workers.insert(worker);
        let slot = Slot {
            worker: Some(worker),
            position,
            state: SlotState::Asked { seq },
            since: None,
            length: 0,
            on_since: Mono::ZERO,
            rest: FIRST_REST,
        };
        slots.slots.insert(number, slot);
        self.put(Output::OpenSlot { server: id, slot: number });
        Ok(())
    }

    /// There may be no socket more for a worker that would serve that server.
    fn refuse_slot(&mut self, id: ServerId, worker: WorkerId, seq: u64, limit: ListenLimit) {
        let Some(server) = self.server(id) else { return };
        let (key, address) = (server.key.clone(), server.address.clone());
        if let Some(asking) = self.known_mut(worker) {
            asking.servers.remove(&id);
        }
        self.reply_limit(worker, seq, key, address, limit);
    }

    pub(super) fn slot_opened(
        &mut self,
        now: Mono,
        id: ServerId,
        number: u32,
        result: Result<(), i32>,
    ) {
        let Some(server) = self.servers.get_mut(&id) else { return };
        let Some(slot) = server.slots.as_mut().and_then(|s| s.slots.get_mut(&number)) else {
            return;
        };
        let (SlotState::Asked { seq }, Some(worker)) = (slot.state, slot.worker) else { return };
        slot.state = SlotState::Off;
        let Phase::Open { bound } = &server.phase else { return };
        let (key, data, kind) = (server.key.clone(), server.data.clone(), bound.kind.clone());
        let told = self.workers.get(&worker).is_some_and(Worker::may_listen);
        match result {
            Ok(()) if told => {
                if let Some(slots) = &mut server.slots {
                    slots.lent.retain(|known| self.workers.contains_key(known));
                    slots.lent.insert(worker);
                }
                if let Some(listening) = self.known_mut(worker) {
                    listening.listens.insert(key.clone());
                }
                let reply = ListenReply { errno: Some(0), key, data, sockname: None };
                let handle = SendHandle::Slot { server: id, slot: number, kind };
                let body = ClusterBody::ListenReply(Box::new(reply));
                self.send_internal_with(worker, Some(seq), body, Some(handle));
            }
            Ok(()) => {}
            Err(errno) => {
                slot.worker = None;
                server.workers.remove(&worker);
                let address = server.address.clone();
                if let Some(asking) = self.known_mut(worker) {
                    asking.servers.remove(&id);
                }
                self.reply_failure(worker, seq, key, address, errno);
                self.close_if_refused(now, id);
                self.close_if_unused(now, id);
            }
        }
    }

    /// When slots want the time.
    pub(super) fn slots_timeout(&self) -> Option<Mono> {
        let looks = self.servers.values().filter(|server| server.is_open());
        let looks = looks.filter_map(|server| server.slots.as_ref()?.look_at);
        // Those that settle at an open server wait for a look.
        let closed = |id: &ServerId| !self.servers.get(id).is_some_and(Server::is_open);
        let settled =
            self.settling.iter().filter(|((_, id), _)| closed(id)).map(|(_, (_, at))| *at);
        looks.chain(settled).chain(self.next_attempt()).min()
    }

    pub(super) fn slots_due(&mut self, now: Mono) {
        self.attempts_due(now);
        let watch = self.config.limits.queue_watch.max(SHORTEST_WATCH);
        for (id, server) in &mut self.servers {
            let open = server.is_open();
            let Some(slots) = server.slots.as_mut().filter(|_| open) else { continue };
            if slots.look_at.is_some_and(|at| at <= now) {
                // In case no answer comes.
                slots.look_at = Some(now + watch);
                self.output.push_back(Output::Look { server: *id });
            }
        }
        let closed = |id: ServerId| !self.server(id).is_some_and(Server::is_open);
        let settled: Vec<_> = self.settling.iter().filter(|((_, id), _)| closed(*id)).collect();
        let settled = settled.into_iter().filter(|(_, (_, at))| *at <= now).map(|(key, _)| *key);
        self.have_settled(now, settled.collect());
    }

    /// What a look found.
    pub(super) fn queues(&mut self, now: Mono, id: ServerId, queues: &[Queue]) {
        let Some(server) = self.server(id).filter(|server| server.is_open()) else { return };
        if server.slots.is_none() {
            return;
        }
        let stuck = self.find_stuck(now, id, queues);
        for (worker, state) in stuck {
            self.stats.stuck += 1;
            self.switch_off(now, id, worker, state);
        }
        self.switch_rested_on(now, id);
        self.rescue(id, queues);
        let settled: Vec<_> = self
            .settling
            .iter()
            .filter(|((_, of), (number, at))| {
                let length = queues.iter().find(|queue| queue.slot == Some(*number));
                *of == id && *at <= now && length.is_none_or(|queue| queue.length == 0)
            })
            .map(|(key, _)| *key)
            .collect();
        self.have_settled(now, settled);
        self.look_again(now, id, queues);
    }

    /// Accepts what waits without being accepted, if there is a worker to give it to.
    fn rescue(&mut self, id: ServerId, queues: &[Queue]) {
        let mut room = self.room(id);
        if self.dispatcher.workers(id) == 0 {
            return;
        }
        let Some(server) = self.servers.get(&id) else { return };
        let Some(slots) = &server.slots else { return };
        let is_on = |number: u32| slots.slots.get(&number).is_some_and(Slot::is_on);
        for queue in queues {
            let most = room.min(queue.length as usize);
            if most > 0 && !queue.slot.is_some_and(is_on) {
                room -= most;
                let slot = queue.slot;
                self.output.push_back(Output::Rescue { server: id, slot, most });
            }
        }
    }

    /// Workers that leave what comes to their slots waiting while others could take it.
    fn find_stuck(
        &mut self,
        now: Mono,
        id: ServerId,
        queues: &[Queue],
    ) -> Vec<(WorkerId, SlotState)> {
        let (limits, paused) = (self.config.limits, self.hand_offs_paused);
        // Clients that stick are not to be moved for having many neighbours.
        let sticks = self.config.policy == PolicyName::Sticky;
        let Some(slots) = self.servers.get_mut(&id).and_then(|s| s.slots.as_mut()) else {
            return Vec::new();
        };
        // The last one stays on: there is no better one.
        let mut others = slots.on().saturating_sub(1);
        let is_on = |slots: &Slots, queue: &Queue| {
            queue.slot.is_some_and(|number| slots.slots.get(&number).is_some_and(Slot::is_on))
        };
        let idle = queues.iter().any(|queue| queue.length == 0 && is_on(slots, queue));
        let (mut stuck, mut to_ask) = (Vec::new(), Vec::new());
        for &Queue { slot: number, length } in queues {
            let Some(slot) = number.and_then(|number| slots.slots.get_mut(&number)) else {
                continue;
            };
            let Some(worker) = slot.worker.filter(|_| slot.is_on()) else { continue };
            let before = std::mem::replace(&mut slot.length, length);
            if length == 0 {
                slot.since = None;
                continue;
            }
            if length < before {
                slot.since = Some(now);
            }
            let waited = now.saturating_sub(*slot.since.get_or_insert(now));
            let Some(serving) = self.workers.get_mut(&worker) else { continue };
            if others == 0 {
                continue;
            }
            let silent =
                !paused && serving.asked_at.is_some_and(|asked| now >= asked + limits.stuck_after);
            if silent && waited >= limits.stuck_after {
                others -= 1;
                stuck.push((worker, SlotState::Silent));
            } else if idle && !sticks && waited >= limits.stuck_after * PATIENCE {
                others -= 1;
                if now.saturating_sub(slot.on_since) > limits.stuck_after * PATIENCE * 2 {
                    slot.rest = FIRST_REST;
                }
                stuck.push((worker, SlotState::Full { until: now + slot.rest }));
                slot.rest = (slot.rest * 2).min(LONGEST_REST);
            } else if waited >= limits.queue_watch
                && serving.asked_at.is_none()
                && serving.answered_at.is_none_or(|at| now >= at + limits.stuck_after)
            {
                to_ask.push(worker);
            }
        }
        for worker in to_ask {
            if self.probe(now, worker, Probe::Queue)
                && let Some(serving) = self.known_mut(worker)
            {
                serving.asked_at = Some(now);
            }
        }
        stuck
    }

    /// When to look next.
    fn look_again(&mut self, now: Mono, id: ServerId, queues: &[Queue]) {
        let watch = self.config.limits.queue_watch.max(SHORTEST_WATCH);
        let settles = self.settling.keys().any(|(_, of)| *of == id);
        let Some(server) = self.server_mut(id).filter(|server| server.is_open()) else {
            return;
        };
        let Some(slots) = &mut server.slots else { return };
        let waits = queues.iter().any(|queue| queue.length > 0);
        let rests = |slot: &Slot| matches!(slot.state, SlotState::Silent | SlotState::Full { .. });
        let alert = waits || now < slots.alert_until || slots.slots.values().any(rests);
        slots.look_at = Some(match (settles, alert) {
            (true, _) => now + SETTLE.min(watch),
            (false, true) => now + watch,
            (false, false) => now + watch * CALM,
        });
    }
}
