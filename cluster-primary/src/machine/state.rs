//! The machine, written down, and taken up.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cluster_proto::env::Serialization;
use cluster_proto::{Requests, RequestsState, ServerKey, Value};
use cluster_sched::{Dispatcher, DispatcherState, Mono, SchedulerState};
use serde::{Deserialize, Serialize};

use super::base::Machine;
use super::config::Config;
use super::server::{Phase, PortReuse, Server, Slots};
use super::worker::{Sends, Worker};
use crate::event::Address;
use crate::id::{ConnId, ServerId, WorkerId};
use crate::stats::Stats;
use crate::upgrade::{StateError, text};

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
    #[serde(rename = "vacating")]
    port_reuse: Vec<PortReuse>,
    #[serde(default)]
    look_after: Option<Mono>,
    disconnecting: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    disconnected: bool,
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
        let placed = self.dispatcher.state(now);
        let mut schedulers: BTreeMap<_, _> = placed.servers.into_iter().collect();
        let mut workers = self.workers.clone();
        for (id, lane) in placed.workers {
            if let Some(worker) = workers.get_mut(&id) {
                worker.lane = lane;
            }
        }
        let servers = self.servers.iter().filter_map(|(id, server)| {
            // The dispatcher has opened each of them.
            let mut state = server.state(schedulers.remove(id)?);
            // What follows from the rest is left out, as older versions have it.
            if state.charged == self.charged_by_default(server) {
                state.charged.clear();
            }
            Some((*id, state))
        });
        Ok(MachineState {
            frozen: self.frozen,
            last_worker: self.last_worker,
            last_server: self.last_server,
            seq: self.seq,
            seed: self.seed,
            workers,
            requests: self.requests.state(),
            last_send: self.last_send,
            servers: servers.collect(),
            keys: self.keys.iter().map(|(key, id)| (key.clone(), *id)).collect(),
            watched: placed.watched.into(),
            settling: self.settling.iter().map(|(whose, when)| (*whose, *when)).collect(),
            port_reuse: self.port_reuse.clone(),
            look_after: self.look_after,
            disconnecting: self.disconnecting,
            disconnected: self.disconnected,
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
        let mut schedulers = Vec::new();
        for (id, server) in state.servers {
            let (server, sched) = server.into_parts();
            schedulers.push((id, sched));
            machine.servers.insert(id, server);
        }
        machine.frozen = state.frozen;
        machine.last_worker = state.last_worker;
        machine.last_server = state.last_server;
        machine.seq = state.seq;
        machine.workers = state.workers;
        machine.keys = state.keys.into_iter().collect();
        machine.take_placed(now, schedulers, state.watched)?;
        machine.settling = state.settling.into_iter().collect();
        machine.port_reuse = state.port_reuse;
        machine.look_after = state.look_after;
        machine.disconnecting = state.disconnecting;
        machine.disconnected = state.disconnected;
        machine.disconnects = state.disconnects;
        machine.stats = state.stats;
        machine.charge_uncharged();
        machine.count_sockets();
        Ok(machine)
    }

    /// Connections that wait or are in flight, and their workers.
    fn take_placed(
        &mut self,
        now: Mono,
        schedulers: Vec<(ServerId, SchedulerState<WorkerId, ConnId>)>,
        watched: VecDeque<(Mono, WorkerId, u64)>,
    ) -> Result<(), StateError> {
        let mut lanes = Vec::new();
        for (id, worker) in &mut self.workers {
            let lane = std::mem::take(&mut worker.lane);
            if lane.hand_offs().any(|hand_off| hand_off.number >= self.seq) {
                return Err(StateError::contradiction("an answer is awaited to what comes yet"));
            }
            let is_assigned = lane.hand_offs().next().is_some() || !lane.kept.is_empty();
            if worker.connected {
                lanes.push((*id, lane));
            } else if is_assigned {
                return Err(StateError::contradiction(format_args!(
                    "connections are on their way to worker {id}, whose channel is closed"
                )));
            }
        }
        let state = DispatcherState::new(schedulers, lanes, watched.into());
        let limits = self.dispatcher.limits();
        let dispatcher = Dispatcher::from_state(now, limits, |id| self.placing(id), state);
        self.dispatcher = dispatcher.map_err(StateError::contradiction)?;
        Ok(())
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
        std::iter::once(opener).chain(server.slots.iter().flat_map(Slots::positions)).collect()
    }

    /// Connections that workers count are closed: the worker that had them is gone.
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
    fn state(&self, sched: SchedulerState<WorkerId, ConnId>) -> ServerState {
        ServerState {
            key: self.key.clone(),
            address: self.address.clone(),
            shared: self.shared,
            slots: self.slots.clone(),
            data: self.data.clone(),
            phase: self.phase.clone(),
            workers: self.workers.clone(),
            charged: self.charged.clone(),
            sched,
        }
    }
}

impl ServerState {
    fn into_parts(self) -> (Server, SchedulerState<WorkerId, ConnId>) {
        let Self { key, address, shared, slots, data, phase, workers, charged, sched } = self;
        (Server { key, address, shared, slots, data, phase, workers, charged }, sched)
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
        let lanes = self.workers.values().flat_map(|worker| worker.lane.times());
        let asked = self.workers.values().filter_map(|worker| worker.asked_at);
        let answered = self.workers.values().filter_map(|worker| worker.answered_at);
        let slots = self.servers.values().filter_map(|server| server.slots.as_ref());
        let watched = self.watched.iter().map(|(at, ..)| *at);
        watched.chain(lanes).chain(asked).chain(answered).chain(slots.flat_map(Slots::times))
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
