//! The machine, written down, and taken up.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cluster_proto::env::Serialization;
use cluster_proto::{Requests, RequestsState, ServerKey, Value};
use cluster_sched::{Mono, SchedulerState};
use serde::{Deserialize, Serialize};

use super::Machine;
use super::server::{Phase, Server};
use super::slots::Slots;
use super::vacating::Vacating;
use super::worker::Worker;
use super::{Config, Sends};
use crate::upgrade::StateError;
use crate::upgrade::text;
use crate::{Address, ConnId, ServerId, Stats, WorkerId};

/// More than any primary has counted.
const MAX_COUNT: u64 = 1 << 62;

/// Longer than any system runs.
const NEVER: Mono = Mono::from_secs(1 << 40);

/// All that a [`Machine`] knows, but for its configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MachineState {
    frozen: bool,
    last_worker: u32,
    last_server: u32,
    seq: u64,
    seed: u64,
    workers: BTreeMap<WorkerId, Worker>,
    #[serde(default, skip_serializing_if = "was_never_asked")]
    requests: RequestsState<WorkerId>,
    #[serde(default, skip_serializing_if = "is_zero")]
    last_send: u64,
    servers: BTreeMap<ServerId, ServerState>,
    keys: Vec<(ServerKey, ServerId)>,
    watched: VecDeque<(Mono, WorkerId, u64)>,
    settling: Vec<((WorkerId, ServerId), (u32, Mono))>,
    vacating: Vec<Vacating>,
    #[serde(default)]
    look_after: Option<Mono>,
    disconnecting: bool,
    disconnects: u64,
    stats: Stats,
}

fn was_never_asked(requests: &RequestsState<WorkerId>) -> bool {
    requests.last == 0
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A server, in a [`MachineState`].
#[derive(Clone, Debug, Serialize, Deserialize)]
struct ServerState {
    key: ServerKey,
    address: Address,
    shared: bool,
    slots: Option<Slots>,
    #[serde(with = "text::tagged")]
    data: Value,
    phase: Phase,
    workers: BTreeSet<WorkerId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    charged: Vec<u32>,
    sched: SchedulerState<WorkerId, ConnId>,
}

impl Machine {
    /// What it knows, `now`: one that is made [from it](Self::from_state), with the same
    /// [configuration](Self::config), does the same from here on.
    ///
    /// # Errors
    /// [`StateError::EventsWait`] unless all outputs were taken.
    pub fn state(&self, now: Mono) -> Result<MachineState, StateError> {
        if !self.output.is_empty() {
            return Err(StateError::EventsWait);
        }
        let servers = self.servers.iter().map(|(id, server)| {
            let mut state = server.state(now);
            // What follows from the rest is left out, as older versions have it.
            if state.charged == self.charged_by_default(server) {
                state.charged.clear();
            }
            (*id, state)
        });
        Ok(MachineState {
            frozen: self.frozen,
            last_worker: self.last_worker,
            last_server: self.last_server,
            seq: self.seq,
            seed: self.seed,
            workers: self.workers.clone(),
            requests: self.requests.state(),
            last_send: self.last_send,
            servers: servers.collect(),
            keys: self.keys.iter().map(|(key, id)| (key.clone(), *id)).collect(),
            watched: self.watched.clone(),
            settling: self.settling.iter().map(|(whose, when)| (*whose, *when)).collect(),
            vacating: self.vacating.clone(),
            look_after: self.look_after,
            disconnecting: self.disconnecting,
            disconnects: self.disconnects,
            stats: self.stats,
        })
    }

    /// A machine in that state, `now`, by the same clock. How many descriptors there are is to be
    /// [said](Self::limit_descriptors) again.
    ///
    /// # Errors
    /// [`StateError`] if there is no such state.
    pub fn from_state(now: Mono, config: Config, state: MachineState) -> Result<Self, StateError> {
        state.check()?;
        let mut machine = Self::new(config, state.seed);
        let impossible = |_| StateError::contradiction("a request comes after the last one");
        machine.requests = Requests::from_state(state.requests).map_err(impossible)?;
        machine.last_send = state.last_send;
        for (id, server) in state.servers {
            let server = machine.server_from(now, id, server)?;
            machine.servers.insert(id, server);
        }
        machine.frozen = state.frozen;
        machine.last_worker = state.last_worker;
        machine.last_server = state.last_server;
        machine.seq = state.seq;
        machine.workers = state.workers;
        machine.keys = state.keys.into_iter().collect();
        let reserving = machine.workers.iter().filter(|(_, worker)| !worker.reserve.is_empty());
        machine.reserving = reserving.map(|(id, _)| *id).collect();
        machine.watched = state.watched;
        machine.settling = state.settling.into_iter().collect();
        machine.vacating = state.vacating;
        machine.look_after = state.look_after;
        machine.disconnecting = state.disconnecting;
        machine.disconnects = state.disconnects;
        machine.stats = state.stats;
        machine.check_hand_offs()?;
        machine.charge_uncharged();
        machine.count_sockets();
        let waiting = machine.servers.values().map(|server| server.sched.waiting());
        let under_way =
            machine.workers.values().map(|worker| worker.in_flight.len() + worker.reserve.len());
        machine.held = waiting.sum::<usize>() + under_way.sum::<usize>();
        Ok(machine)
    }

    fn server_from(
        &self,
        now: Mono,
        id: ServerId,
        state: ServerState,
    ) -> Result<Server, StateError> {
        let (policy, config) = self.placing(id);
        let sched = cluster_sched::Scheduler::from_state(now, policy, config, state.sched);
        let of = |error| StateError::contradiction(format_args!("server {}: {error}", id.0));
        Ok(Server {
            key: state.key,
            address: state.address,
            shared: state.shared,
            slots: state.slots,
            data: state.data,
            phase: state.phase,
            workers: state.workers,
            charged: state.charged,
            sched: sched.map_err(of)?,
        })
    }

    /// Where it is not noted to whom sockets are charged, it is to one of those that serve the server.
    fn charge_uncharged(&mut self) {
        let uncharged = self.servers.iter().filter(|(_, server)| server.charged.is_empty());
        let charged = uncharged.map(|(id, server)| (*id, self.charged_by_default(server)));
        for (id, charged) in charged.collect::<Vec<_>>() {
            if let Some(server) = self.servers.get_mut(&id) {
                server.charged = charged;
            }
        }
    }

    fn charged_by_default(&self, server: &Server) -> Vec<u32> {
        if !server.holds_sockets() {
            return Vec::new();
        }
        let mut serving = server.workers.iter().filter_map(|id| self.workers.get(id));
        let opener = serving.next().map_or(0, |worker| worker.slot);
        std::iter::once(opener).chain(server.slots.iter().flat_map(Slots::turns)).collect()
    }

    /// What is on its way to a worker is so in its server's books, and nothing else is.
    fn check_hand_offs(&self) -> Result<(), StateError> {
        for (id, worker) in &self.workers {
            let mut sent = BTreeMap::<ServerId, usize>::new();
            for hand_off in worker.in_flight.iter() {
                if hand_off.seq >= self.seq {
                    return Err(StateError::contradiction(
                        "an answer is awaited to what comes yet",
                    ));
                }
                *sent.entry(hand_off.server).or_default() += 1;
            }
            let conns = worker.in_flight.iter().map(|hand_off| hand_off.conn);
            let conns: Vec<_> = conns.chain(worker.reserve.iter().map(|r| r.conn)).collect();
            if conns.iter().collect::<BTreeSet<_>>().len() < conns.len() {
                return Err(StateError::contradiction("a connection is a worker's twice"));
            }
            for reserved in &worker.reserve {
                *sent.entry(reserved.server).or_default() += 1;
            }
            if worker.in_flight.is_empty() && !worker.reserve.is_empty() {
                return Err(StateError::contradiction(
                    "connections are kept back for a worker that could have them",
                ));
            }
            let known = sent.keys().all(|server| self.servers.contains_key(server));
            let booked = |(server, entry): (&ServerId, &Server)| {
                entry.sched.in_flight(*id) == sent.get(server).copied().unwrap_or_default()
            };
            if !known || !self.servers.iter().all(booked) {
                return Err(StateError::contradiction(format_args!(
                    "what is on its way to worker {id} is not what servers have sent it"
                )));
            }
        }
        Ok(())
    }

    /// Connections that workers count are closed: whoever had them is gone.
    pub(crate) fn lose_counted(&mut self) {
        let news: Vec<_> = self
            .workers
            .iter_mut()
            .flat_map(|(&id, w)| w.sockets.held.close_all().into_iter().map(move |n| (id, n)))
            .collect();
        for (worker, news) in news {
            self.tell_sockets(worker, news);
        }
    }
}

impl Server {
    fn state(&self, now: Mono) -> ServerState {
        ServerState {
            key: self.key.clone(),
            address: self.address.clone(),
            shared: self.shared,
            slots: self.slots.clone(),
            data: self.data.clone(),
            phase: self.phase.clone(),
            workers: self.workers.clone(),
            charged: self.charged.clone(),
            sched: self.sched.state(now),
        }
    }
}

impl MachineState {
    fn check(&self) -> Result<(), StateError> {
        let knows = |id: &WorkerId| self.workers.contains_key(id);
        let serves = |id: &ServerId| self.servers.contains_key(id);
        let no = |what: &str| Err(StateError::contradiction(what));
        if self.workers.keys().any(|id| id.0 > self.last_worker) {
            return no("a worker comes after the last one");
        }
        if self.servers.keys().any(|id| id.0 > self.last_server) {
            return no("a server comes after the last one");
        }
        if self.seq > MAX_COUNT || self.last_worker == u32::MAX || self.last_server == u32::MAX {
            return no("more was counted than can be");
        }
        if !self.counts().all(|count| count < MAX_COUNT) || !self.times().all(|at| at < NEVER) {
            return no("a count or a time is one that is never reached");
        }
        if !self.keys.iter().all(|(_, id)| serves(id)) {
            return no("a key is that of a server that is not there");
        }
        if !self.servers.values().all(|server| server.workers.iter().all(knows)) {
            return no("a server has a worker that is not there");
        }
        Ok(())
    }

    /// All that goes up by one.
    fn counts(&self) -> impl Iterator<Item = u64> {
        let Stats {
            accepted,
            handed_over,
            refused,
            shed_full,
            shed_refused,
            shed_closed,
            stuck,
            rescued,
            ..
        } = self.stats;
        let stats =
            [accepted, handed_over, refused, shed_full, shed_refused, shed_closed, stuck, rescued];
        let workers = self.workers.values().flat_map(|worker| {
            let latency = &worker.latency;
            latency.buckets.into_iter().chain([worker.connections, latency.count])
        });
        let others = [self.disconnects, self.requests.last, self.last_send];
        stats.into_iter().chain(others).chain(workers)
    }

    /// All times to which others are added.
    fn times(&self) -> impl Iterator<Item = Mono> {
        let hand_offs = self.workers.values().flat_map(|worker| worker.in_flight.iter());
        let asked = self.workers.values().filter_map(|worker| worker.asked_at);
        let answered = self.workers.values().filter_map(|worker| worker.answered_at);
        let slots = self.servers.values().filter_map(|server| server.slots.as_ref());
        let watched = self.watched.iter().map(|(at, ..)| *at);
        let sent = hand_offs.map(|hand_off| hand_off.at);
        let reserves = self.workers.values().flat_map(|worker| &worker.reserve);
        let sent = sent.chain(reserves.map(|reserved| reserved.at));
        watched.chain(sent).chain(asked).chain(answered).chain(slots.flat_map(Slots::times))
    }

    /// The connections that a driver keeps for it.
    pub(crate) fn conns(&self) -> BTreeSet<ConnId> {
        let conns = self.servers.values().flat_map(|server| {
            let sched = &server.sched;
            let under_way = sched.members.iter().flat_map(|member| &member.in_flight);
            let waiting = sched.waiting.iter().map(|waiting| waiting.conn);
            waiting.chain(under_way.chain(&sched.parked).map(|conn| conn.conn))
        });
        conns.collect()
    }

    /// Takes out what a primary's state has elsewhere, where versions before the machine knew of it look for it.
    pub(crate) fn take_requests(&mut self) -> (RequestsState<WorkerId>, u64) {
        (std::mem::take(&mut self.requests), std::mem::take(&mut self.last_send))
    }

    /// Puts that back.
    pub(crate) fn put_requests(&mut self, requests: RequestsState<WorkerId>, last_send: u64) {
        self.requests = requests;
        self.last_send = last_send;
    }

    /// Takes out what a primary's state has with the worker's channel.
    pub(crate) fn take_sends(&mut self, worker: WorkerId) -> Sends {
        let worker = self.workers.get_mut(&worker);
        worker.map(|worker| std::mem::take(&mut worker.sends)).unwrap_or_default()
    }

    /// Puts that back, and says how the worker's channel is encoded.
    pub(crate) fn put_channel(
        &mut self,
        worker: WorkerId,
        sends: Sends,
        serialization: Serialization,
    ) {
        if let Some(worker) = self.workers.get_mut(&worker) {
            worker.sends = sends;
            worker.serialization = serialization;
        }
    }

    /// The workers.
    pub(crate) fn workers(&self) -> impl Iterator<Item = WorkerId> {
        self.workers.keys().copied()
    }
}

/// Node's names of a worker's states.
pub(super) mod phase {
    use serde::{Deserialize, Deserializer, Serializer};

    const NAMES: [&str; 5] = ["none", "online", "listening", "disconnected", "dead"];

    pub(in super::super) fn serialize<S: Serializer>(
        name: &&'static str,
        s: S,
    ) -> Result<S::Ok, S::Error> {
        s.serialize_str(name)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        d: D,
    ) -> Result<&'static str, D::Error> {
        let name = String::deserialize(d)?;
        let known = NAMES.into_iter().find(|known| *known == name);
        known.ok_or_else(|| serde::de::Error::custom(format_args!("no state {name:?} of a worker")))
    }
}
