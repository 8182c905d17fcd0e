//! The machine's state, and what every part of it needs: events, internal messages, a look at a worker.

use std::collections::{BTreeMap, VecDeque};

use cluster_proto::{ClusterBody, Message, Requests, ServerKey};
use cluster_sched::{DispatchLimits, Dispatcher, Mono};

use super::config::Config;
use super::event::Event;
use super::io::{Handle, Output, SendHandle};
use super::open_sockets::OpenSockets;
use super::reply_data;
use super::server::{PortReuse, Server};
use super::worker::Worker;
use crate::event::LeaveProgress;
use crate::id::{ConnId, ServerId, WorkerId};
use crate::stats::Stats;

/// Connections at most that a driver may report of a server that it closes. (The longest queue
/// that Linux allows by default.)
pub const LAST_CONNECTIONS: usize = 4096;

/// The primary without I/O.
#[derive(Debug)]
pub struct Machine {
    pub(super) config: Config,
    /// Placement and policy are frozen.
    pub(super) frozen: bool,
    pub(super) last_worker: u32,
    pub(super) last_server: u32,
    pub(super) seq: u64,
    pub(super) seed: u64,
    pub(super) workers: BTreeMap<WorkerId, Worker>,
    /// Users' requests that wait for their answers.
    pub(super) requests: Requests<WorkerId>,
    pub(super) last_send: u64,
    pub(super) servers: BTreeMap<ServerId, Server>,
    pub(super) keys: BTreeMap<ServerKey, ServerId>,
    /// All connections that wait or are in flight, and which worker gets them.
    pub(super) dispatcher: Dispatcher<ServerId, WorkerId, ConnId>,
    pub(super) sockets: OpenSockets,
    /// The system passes no descriptors on: no worker can be judged by what it leaves unanswered.
    pub(super) hand_offs_paused: bool,
    /// Workers that are about to disconnect, each with the number of its slot, and when it may at the
    /// earliest.
    pub(super) settling: BTreeMap<(WorkerId, ServerId), (u32, Mono)>,
    /// Ports of closed servers that workers may still hold.
    pub(super) port_reuse: Vec<PortReuse>,
    /// When workers are next looked after.
    pub(super) look_after: Option<Mono>,
    /// Every worker is to disconnect, and the user to be told when all have.
    pub(super) disconnecting: bool,
    /// All workers have disconnected because they were all told to, and none was forked since.
    pub(super) disconnected: bool,
    /// How often all have disconnected.
    pub(super) disconnects: u64,
    pub(super) output: VecDeque<Output>,
    pub(super) stats: Stats,
}

impl Machine {
    /// The id of the next worker; it is used up by that.
    pub fn next_worker(&mut self) -> WorkerId {
        self.last_worker += 1;
        WorkerId(self.last_worker)
    }

    /// Takes an id for a worker that comes with one; whether it was never given before. The next id is greater.
    pub fn claim_worker(&mut self, id: WorkerId) -> bool {
        let is_new = id.0 > 0 && self.known(id).is_none();
        self.last_worker = self.last_worker.max(id.0);
        is_new
    }

    /// A primary without workers. `seed` is for policies that choose at random.
    pub fn new(config: Config, seed: u64) -> Self {
        let limits = dispatch_limits(&config, DispatchLimits::default());
        Self {
            config,
            frozen: false,
            last_worker: 0,
            last_server: 0,
            seq: 0,
            seed,
            workers: BTreeMap::new(),
            requests: Requests::default(),
            last_send: 0,
            servers: BTreeMap::new(),
            keys: BTreeMap::new(),
            dispatcher: Dispatcher::new(limits),
            sockets: OpenSockets::new(),
            hand_offs_paused: false,
            settling: BTreeMap::new(),
            port_reuse: Vec::new(),
            look_after: None,
            disconnecting: false,
            disconnected: false,
            disconnects: 0,
            output: VecDeque::new(),
            stats: Stats::default(),
        }
    }

    /// What is known of a worker, as long as its process or its channel exists.
    pub(super) fn known(&self, id: WorkerId) -> Option<&Worker> {
        self.workers.get(&id)
    }

    pub(super) fn known_mut(&mut self, id: WorkerId) -> Option<&mut Worker> {
        self.workers.get_mut(&id)
    }

    pub(super) fn server(&self, id: ServerId) -> Option<&Server> {
        self.servers.get(&id)
    }

    pub(super) fn server_mut(&mut self, id: ServerId) -> Option<&mut Server> {
        self.servers.get_mut(&id)
    }

    /// Has the driver do something.
    pub(super) fn put(&mut self, output: Output) {
        self.output.push_back(output);
    }

    pub(super) fn event(&mut self, event: impl Into<Event>) {
        self.output.push_back(Output::Event(event.into()));
    }

    pub(super) fn send_internal(&mut self, worker: WorkerId, ack: Option<u64>, body: ClusterBody) {
        self.send_internal_with(worker, ack, body, None);
    }

    pub(super) fn send_internal_with(
        &mut self,
        worker: WorkerId,
        ack: Option<u64>,
        mut body: ClusterBody,
        handle: Option<SendHandle>,
    ) -> u64 {
        let serialization = self.workers.get(&worker).map(|worker| worker.serialization);
        reply_data::drop_unencodable(&mut body, serialization.unwrap_or_default());
        let seq = self.seq;
        self.seq += 1;
        let message = Message::cluster(seq, ack, body);
        self.output.push_back(Output::Send { worker, message, handle });
        seq
    }

    pub(super) fn close_handle(&mut self, handle: Option<Handle>) {
        if let Some(Handle { id: handle, .. }) = handle {
            self.output.push_back(Output::CloseHandle { handle });
        }
    }

    pub(super) fn set_state(&mut self, worker: WorkerId, state: &'static str) {
        if let Some(worker) = self.workers.get_mut(&worker) {
            worker.phase = state;
        }
    }

    pub(super) fn progress(&mut self, worker: WorkerId, progress: LeaveProgress) {
        self.event(crate::event::Event::Leaving { worker, progress });
    }

    /// Whether what comes on a worker's channel is heard: it has one that has not failed.
    pub(crate) fn hears(&self, id: WorkerId) -> bool {
        self.workers.get(&id).is_some_and(|worker| worker.connected && !worker.failed)
    }

    /// The connection that went to a worker with the message of that number, as long as the worker
    /// has not answered for it.
    pub fn handed(&self, worker: WorkerId, seq: u64) -> Option<ConnId> {
        self.dispatcher.hand_off(worker, seq).map(|(_, conn)| conn)
    }

    /// How many more connections of that server may be accepted now.
    pub fn room(&self, server: ServerId) -> usize {
        // The kernel's queue holds what comes while a server that stays open has no workers.
        let is_served = self.dispatcher.workers(server) > 0 || !self.keeps_servers();
        let open = self.servers.get(&server).is_some_and(Server::is_open);
        if open && is_served { self.dispatcher.room(server) } else { 0 }
    }

    /// Whether a server stays open when no worker serves it.
    pub(super) fn keeps_servers(&self) -> bool {
        self.config.keep_listeners && !self.disconnecting
    }

    /// Whether connections are in flight to the worker, or kept back for it.
    pub(super) fn is_assigned_some(&self, id: WorkerId) -> bool {
        self.dispatcher.in_flight(id) > 0 || self.dispatcher.kept(id) > 0
    }
}

/// What the configuration says of the dispatcher's limits. The others depend on the system.
pub(super) fn dispatch_limits(config: &Config, limits: DispatchLimits) -> DispatchLimits {
    limits.window(config.limits.max_window).waiting(config.limits.max_waiting)
}
