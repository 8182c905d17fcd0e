//! Slots: workers with a listening socket of their own each, among which the kernel chooses.
//!
//! Sockets are numbered by their workers' seats, as two workers have the same slot of the cluster
//! while one succeeds the other: the kernel gives the slot's position to the later one from its first
//! `listening` on.
//!
//! The primary hands over nothing as long as all is well. It looks at the sockets' accept queues
//! now and then, and rescues what waits without being accepted: at a slot that is off, or in the
//! waiting room. What it rescued it places as under hand-off, among the workers that are on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cluster_proto::{AddressType, ClusterBody, ListenQuery, ListenReply, flags};
use cluster_sched::Mono;
use cluster_sched::kernel::Choice;

use super::io::{Output, Queue, SendHandle};
use super::port_reuse::Attempt;
use super::server::{Phase, Server};
use super::socket_limits::ListenLimit;
use super::{Machine, worker};
use crate::event::{Address, Event};
use crate::id::{ServerId, WorkerId};
use crate::placement::Fallback;
use crate::settings::Placement;
use cluster_sched::PolicyName;
use serde::{Deserialize, Serialize};

/// How long a slot that was switched off is left to finish the handshakes that were under way, with
/// clients nearby, and its worker to hear from the connections that it accepted at the last, before
/// the worker is told to disconnect. What comes later still is rescued.
const SETTLE: Duration = Duration::from_millis(10);
/// Looks are no closer together, whatever is set.
const SHORTEST_WATCH: Duration = Duration::from_millis(1);
/// Where nothing waits, looks are so many times as far apart.
const CALM: u32 = 10;
/// So many looks after a slot was switched off it is still watched closely, for handshakes of
/// clients far away.
const AFTERMATH: u32 = 20;
/// A worker that answers but accepts nothing is given so many times as long as one that is silent:
/// it may just have more to do than the others.
const PATIENCE: u32 = 4;
/// How long such a worker rests; each time in a row twice as long, up to the longest.
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(32);

/// What the machine knows of the slots of one server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Slots {
    /// By the numbers of their sockets.
    slots: BTreeMap<u32, Slot>,
    /// Who was given a socket, and may still have it.
    pub(super) lent: BTreeSet<WorkerId>,
    /// As long as it is not bound.
    pub(super) attempt: Option<Attempt>,
    look_at: Option<Mono>,
    /// Until then looks are not far apart, whatever they find.
    alert_until: Mono,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Slot {
    /// The worker that has it; none when its worker is gone.
    worker: Option<WorkerId>,
    /// Its position in the rotation: the slot of its worker.
    #[serde(rename = "turn")]
    position: u32,
    state: State,
    /// Since when connections wait there without becoming fewer, and how many did at the last look.
    since: Option<Mono>,
    length: u32,
    /// Since when it is on.
    on_since: Mono,
    rest: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum State {
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
    fn is_on(&self) -> bool {
        self.state == State::On
    }
}

impl Slots {
    pub(super) fn wanted(query: Box<ListenQuery>, choice: Choice, worker: WorkerId) -> Self {
        Self {
            slots: BTreeMap::new(),
            lent: BTreeSet::new(),
            attempt: Some(Attempt::first(query, choice, worker)),
            look_at: None,
            alert_until: Mono::ZERO,
        }
    }

    fn of(&mut self, worker: WorkerId) -> Option<(u32, &mut Slot)> {
        let mut slots = self.slots.iter_mut();
        slots.find(|(_, slot)| slot.worker == Some(worker)).map(|(&number, slot)| (number, slot))
    }

    /// Whether that worker waits for its socket.
    pub(super) fn is_asked_for_by(&self, worker: WorkerId) -> bool {
        let waits =
            |slot: &Slot| slot.worker == Some(worker) && matches!(slot.state, State::Asked { .. });
        self.slots.values().any(waits)
    }

    /// Times to which others are added, or that are doubled.
    pub(super) fn times(&self) -> impl Iterator<Item = Mono> {
        self.slots.values().map(|slot| slot.rest).chain([self.alert_until])
    }

    /// The positions that the sockets of workers have.
    pub(super) fn positions(&self) -> impl Iterator<Item = u32> {
        self.slots.values().map(|slot| slot.position)
    }

    /// Whether there is a socket of that number.
    fn has_socket(&self, number: u32) -> bool {
        self.slots.contains_key(&number)
    }

    /// How many are on.
    fn on(&self) -> usize {
        self.slots.values().filter(|slot| slot.is_on()).count()
    }
}

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
        let Some(server) = self.servers.get_mut(&id) else { return };
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
        let Some(asking) = self.workers.get(&worker) else { return Ok(()) };
        let (number, position) = (asking.seat, asking.slot);
        let slots = self.servers.get(&id).and_then(|server| server.slots.as_ref());
        if !slots.is_some_and(|slots| slots.has_socket(number)) {
            if let Err(limit) = self.room_for_socket(now, position, Some(id)) {
                self.refuse_slot(id, worker, seq, limit);
                return Err(limit);
            }
            self.charge_socket(id, position);
        }
        let Some(server) = self.servers.get_mut(&id) else { return Ok(()) };
        let Some(slots) = &mut server.slots else { return Ok(()) };
        server.workers.insert(worker);
        let slot = Slot {
            worker: Some(worker),
            position,
            state: State::Asked { seq },
            since: None,
            length: 0,
            on_since: Mono::ZERO,
            rest: FIRST_REST,
        };
        slots.slots.insert(number, slot);
        self.output.push_back(Output::OpenSlot { server: id, slot: number });
        Ok(())
    }

    /// Closes a server whose workers were all refused, unless one has served it before: connections would wait
    /// there for a worker that has been told that it does not listen.
    pub(super) fn close_if_refused(&mut self, now: Mono, id: ServerId) {
        let slots = self.servers.get(&id).and_then(|server| server.slots.as_ref());
        if slots.is_some_and(|slots| slots.lent.is_empty()) {
            self.close_unused(now, id);
        }
    }

    /// There may be no socket more for a worker that would serve that server.
    fn refuse_slot(&mut self, id: ServerId, worker: WorkerId, seq: u64, limit: ListenLimit) {
        let Some(server) = self.servers.get(&id) else { return };
        let (key, address) = (server.key.clone(), server.address.clone());
        if let Some(asking) = self.workers.get_mut(&worker) {
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
        let (State::Asked { seq }, Some(worker)) = (slot.state, slot.worker) else { return };
        slot.state = State::Off;
        let Phase::Open { bound } = &server.phase else { return };
        let (key, data, kind) = (server.key.clone(), server.data.clone(), bound.kind.clone());
        let told = self.workers.get(&worker).is_some_and(worker::Worker::may_listen);
        match result {
            Ok(()) if told => {
                if let Some(slots) = &mut server.slots {
                    slots.lent.retain(|known| self.workers.contains_key(known));
                    slots.lent.insert(worker);
                }
                if let Some(listening) = self.workers.get_mut(&worker) {
                    listening.listens.insert(key.clone());
                }
                let reply = ListenReply { errno: Some(0), key, data, sockname: None };
                let handle = SendHandle::Slot { server: id, slot: number, kind };
                let body = ClusterBody::ListenReply(Box::new(reply));
                self.say_with(worker, Some(seq), body, Some(handle));
            }
            Ok(()) => {}
            Err(errno) => {
                slot.worker = None;
                server.workers.remove(&worker);
                let address = server.address.clone();
                if let Some(asking) = self.workers.get_mut(&worker) {
                    asking.servers.remove(&id);
                }
                self.reply_failure(worker, seq, key, address, errno);
                self.close_if_refused(now, id);
                self.close_if_unused(now, id);
            }
        }
    }

    /// The worker listens there, and so can accept what comes to its slot.
    pub(super) fn slot_listens(&mut self, now: Mono, worker: WorkerId, at: &Address) {
        let Some(listening) = self.workers.get(&worker) else { return };
        for id in listening.servers.keys().copied().collect::<Vec<_>>() {
            let Some(server) = self.servers.get_mut(&id) else { continue };
            if server.bound_address() != *at {
                continue;
            }
            let slot = server.slots.as_mut().and_then(|slots| slots.of(worker));
            if let Some((number, Slot { state: State::Off, .. })) = slot {
                self.switch_on(now, id, number);
            }
        }
    }

    fn switch_on(&mut self, now: Mono, id: ServerId, number: u32) {
        let Some(server) = self.servers.get_mut(&id).filter(|server| server.is_open()) else {
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
            slot.state = State::Succeeded;
            return;
        }
        slot.state = State::On;
        slot.on_since = now;
        if let Some(serving) = self.workers.get_mut(&worker) {
            serving.had_slot = true;
        }
        self.output.push_back(Output::Slot { server: id, slot: number, position, on: true });
        self.dispatch_to(now, id, worker, position);
        if let Some(predecessor) = other {
            self.switch_off(now, id, predecessor, State::Succeeded);
        }
        self.eject_silent(now, id);
        // Others may have waited for a worker to take them.
        self.look_now(now, id);
    }

    /// Nothing more comes to the worker by its slot, and what has not been accepted there is looked
    /// for.
    fn switch_off(&mut self, now: Mono, id: ServerId, worker: WorkerId, state: State) {
        let watch = self.config.limits.queue_watch.max(SHORTEST_WATCH);
        let Some(server) = self.servers.get_mut(&id) else { return };
        let open = server.is_open();
        let Some(slots) = &mut server.slots else { return };
        let Some((number, slot)) = slots.of(worker) else { return };
        let (was_on, position) = (slot.is_on(), slot.position);
        slot.state = state;
        slot.since = None;
        slots.alert_until = now + watch * AFTERMATH;
        if was_on && open {
            self.output.push_back(Output::Slot { server: id, slot: number, position, on: false });
        }
        // One that was not on may have been drafted; of a stranger it changes nothing.
        self.place_no_more(now, id, worker);
        self.look_now(now, id);
    }

    /// The worker is not heard of any more: it gets nothing more by its slot until it is, unless
    /// no other is on.
    pub(super) fn silence_slot(&mut self, now: Mono, id: ServerId, worker: WorkerId) {
        let Some(slots) = self.servers.get_mut(&id).and_then(|s| s.slots.as_mut()) else { return };
        let others = slots.on() > 1;
        if slots.of(worker).is_some_and(|(_, slot)| slot.is_on()) && others {
            self.stats.stuck += 1;
            self.switch_off(now, id, worker, State::Silent);
        }
    }

    /// The worker does not serve that server any more.
    pub(super) fn leave_slot(&mut self, now: Mono, id: ServerId, worker: WorkerId) {
        let Some(slots) = self.servers.get_mut(&id).and_then(|s| s.slots.as_mut()) else { return };
        let Some((number, _)) = slots.of(worker) else { return };
        self.switch_off(now, id, worker, State::Off);
        let slots = self.servers.get_mut(&id).and_then(|server| server.slots.as_mut());
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
        let Some(slots) = self.servers.get(&id).and_then(|server| server.slots.as_ref()) else {
            return;
        };
        let sharing = slots.slots.iter().filter(|(_, slot)| slot.position == position);
        if sharing.clone().any(|(_, slot)| slot.worker.is_some() && slot.is_on()) {
            return;
        }
        let succeeded = |slot: &Slot| slot.worker.is_some() && slot.state == State::Succeeded;
        let latest =
            sharing.filter(|(_, slot)| succeeded(slot)).max_by_key(|(_, slot)| slot.worker);
        if let Some((&number, _)) = latest {
            self.switch_on(now, id, number);
        }
    }

    /// A server is drained, and none of those that serve what is left is on: the others are asked,
    /// those that rest, and those that have not said yet that they listen.
    pub(super) fn enlist_for_drain(&mut self, now: Mono, id: ServerId) {
        let Some(server) = self.servers.get(&id) else { return };
        let Some(slots) = &server.slots else { return };
        if !matches!(server.phase, Phase::Draining { .. }) || self.dispatcher.workers(id) > 0 {
            return;
        }
        let has_socket = |slot: &Slot| !matches!(slot.state, State::Asked { .. });
        let able: Vec<_> = slots
            .slots
            .iter()
            .filter(|(_, slot)| has_socket(slot))
            .filter_map(|(&number, slot)| Some((number, slot.worker?)))
            .filter(|(_, worker)| server.workers.contains(worker))
            .filter(|(_, worker)| self.workers.get(worker).is_some_and(|w| w.connected))
            .collect();
        for (slot, worker) in able {
            self.dispatch_to(now, id, worker, slot);
        }
    }

    /// All workers of a server are about to disconnect: each is given time to settle.
    pub(super) fn settle_all(&mut self, now: Mono, id: ServerId) {
        let Some(server) = self.servers.get(&id) else { return };
        let Some(slots) = &server.slots else { return };
        let had: Vec<_> =
            slots.slots.iter().filter_map(|(&n, slot)| Some((slot.worker?, n))).collect();
        for (worker, number) in had {
            self.settling.insert((worker, id), (number, now + SETTLE));
        }
    }

    fn settle(&mut self, now: Mono, id: ServerId, worker: WorkerId, number: u32) {
        let leaves = |w: &worker::Worker| w.connected && w.disconnect != worker::Disconnect::No;
        if self.workers.get(&worker).is_some_and(leaves) {
            self.settling.insert((worker, id), (number, now + SETTLE));
        }
    }

    /// Whether connections may still come to the worker by itself.
    pub(super) fn is_settling(&self, worker: WorkerId) -> bool {
        self.settling.range((worker, ServerId(0))..=(worker, ServerId(u32::MAX))).next().is_some()
    }

    fn look_now(&mut self, now: Mono, id: ServerId) {
        let Some(server) = self.servers.get_mut(&id).filter(|server| server.is_open()) else {
            return;
        };
        let Some(slots) = &mut server.slots else { return };
        slots.look_at = Some(now + SETTLE);
        self.output.push_back(Output::Look { server: id });
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
        let closed = |id: ServerId| !self.servers.get(&id).is_some_and(Server::is_open);
        let settled: Vec<_> = self.settling.iter().filter(|((_, id), _)| closed(*id)).collect();
        let settled = settled.into_iter().filter(|(_, (_, at))| *at <= now).map(|(key, _)| *key);
        self.have_settled(now, settled.collect());
    }

    fn have_settled(&mut self, now: Mono, settled: Vec<(WorkerId, ServerId)>) {
        for (worker, id) in settled {
            self.settling.remove(&(worker, id));
            self.send_disconnect(now, worker);
        }
    }

    /// What a look found.
    pub(super) fn queues(&mut self, now: Mono, id: ServerId, queues: &[Queue]) {
        let Some(server) = self.servers.get(&id).filter(|server| server.is_open()) else { return };
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
    fn find_stuck(&mut self, now: Mono, id: ServerId, queues: &[Queue]) -> Vec<(WorkerId, State)> {
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
                stuck.push((worker, State::Silent));
            } else if idle && !sticks && waited >= limits.stuck_after * PATIENCE {
                others -= 1;
                if now.saturating_sub(slot.on_since) > limits.stuck_after * PATIENCE * 2 {
                    slot.rest = FIRST_REST;
                }
                stuck.push((worker, State::Full { until: now + slot.rest }));
                slot.rest = (slot.rest * 2).min(LONGEST_REST);
            } else if waited >= limits.queue_watch
                && serving.asked_at.is_none()
                && serving.answered_at.is_none_or(|at| now >= at + limits.stuck_after)
            {
                to_ask.push(worker);
            }
        }
        for worker in to_ask {
            if self.probe(now, worker, worker::Probe::Queue)
                && let Some(serving) = self.workers.get_mut(&worker)
            {
                serving.asked_at = Some(now);
            }
        }
        stuck
    }

    /// A worker that was asked whether it is still there says so.
    pub(super) fn slots_answered(&mut self, now: Mono, worker: WorkerId) {
        let Some(serving) = self.workers.get_mut(&worker) else { return };
        serving.asked_at = None;
        serving.answered_at = Some(now);
        for id in serving.servers.keys().copied().collect::<Vec<_>>() {
            let slots = self.servers.get_mut(&id).and_then(|server| server.slots.as_mut());
            if let Some((number, Slot { state: State::Silent, .. })) =
                slots.and_then(|slots| slots.of(worker))
            {
                self.switch_on(now, id, number);
            }
        }
    }

    fn switch_rested_on(&mut self, now: Mono, id: ServerId) {
        let Some(slots) = self.servers.get(&id).and_then(|server| server.slots.as_ref()) else {
            return;
        };
        // With no slot on, none can rest.
        let alone = slots.on() == 0;
        let rested =
            |slot: &Slot| matches!(slot.state, State::Full { until } if alone || until <= now);
        let rested: Vec<_> =
            slots.slots.iter().filter(|(_, slot)| rested(slot)).map(|(&n, _)| n).collect();
        for number in rested {
            self.switch_on(now, id, number);
        }
    }

    /// When to look next.
    fn look_again(&mut self, now: Mono, id: ServerId, queues: &[Queue]) {
        let watch = self.config.limits.queue_watch.max(SHORTEST_WATCH);
        let settles = self.settling.keys().any(|(_, of)| *of == id);
        let Some(server) = self.servers.get_mut(&id).filter(|server| server.is_open()) else {
            return;
        };
        let Some(slots) = &mut server.slots else { return };
        let waits = queues.iter().any(|queue| queue.length > 0);
        let rests = |slot: &Slot| matches!(slot.state, State::Silent | State::Full { .. });
        let alert = waits || now < slots.alert_until || slots.slots.values().any(rests);
        slots.look_at = Some(match (settles, alert) {
            (true, _) => now + SETTLE.min(watch),
            (false, true) => now + watch,
            (false, false) => now + watch * CALM,
        });
    }
}
