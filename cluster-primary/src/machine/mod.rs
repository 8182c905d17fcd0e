//! The primary without I/O: workers, servers, and what is sent to each.
//!
//! The machine sees ids only; the [driver](crate::Primary) owns processes, sockets and the clock.
//! Inputs may follow each other without outputs being drained in between; what comes out is the
//! same.
//!
//! It is public for simulations, fuzzing and custom drivers. Its inputs and outputs grow with
//! what the primary can do: code that uses this module directly may have to follow with any
//! release.

mod agent;
mod config;
mod event;
mod faults;
mod hand_off;
mod health;
mod io;
mod latency;
mod leaving;
mod listening;
mod port_reuse;
mod probing;
mod reply_data;
mod requests;
mod sends;
mod server;
mod slots;
mod socket_limits;
mod sockets;
mod state;
mod worker;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cluster_proto::{ClusterBody, ClusterMessage, Message, Requests, ServerKey, native};
use cluster_sched::{DispatchInput as Place, DispatchLimits, Dispatcher, Mono};

pub use config::Config;
pub use event::Event;
pub use io::{Bound, ConnOutcome, Handle, Input, Origin, Output, Queue, SendHandle, Sending};
pub use latency::AckLatency;
pub use socket_limits::{ListenLimit, ListenScope};
pub use state::MachineState;
pub use worker::WorkerState;

pub(crate) use sends::Sends;

use crate::error::WorkerError;
use crate::event::Address;
use crate::id::{ConnId, ServerId, WorkerId};
use crate::settings::Placement;
use crate::stats::Stats;
use cluster_sched::PolicyName;
use port_reuse::PortReuse;
use server::Server;
use socket_limits::OpenSockets;
use worker::Worker;

/// Connections at the most that a driver may report of a server that it closes. (The longest queue
/// that Linux allows by default.)
pub const LAST_CONNECTIONS: usize = 4096;

/// The primary without I/O.
#[derive(Debug)]
pub struct Machine {
    config: Config,
    /// Placement and policy are frozen.
    frozen: bool,
    last_worker: u32,
    last_server: u32,
    seq: u64,
    seed: u64,
    workers: BTreeMap<WorkerId, Worker>,
    /// Users' requests that wait for their answers.
    requests: Requests<WorkerId>,
    last_send: u64,
    servers: BTreeMap<ServerId, Server>,
    keys: BTreeMap<ServerKey, ServerId>,
    /// All connections that wait or are in flight, and which worker gets them.
    dispatcher: Dispatcher<ServerId, WorkerId, ConnId>,
    sockets: OpenSockets,
    /// The system passes no descriptors on: no worker can be judged by what it leaves unanswered.
    hand_offs_paused: bool,
    /// Workers that are about to disconnect, each with the number of its slot, and when it may at the
    /// earliest.
    settling: BTreeMap<(WorkerId, ServerId), (u32, Mono)>,
    /// Ports of closed servers that workers may still hold.
    port_reuse: Vec<PortReuse>,
    /// When workers are next looked after.
    look_after: Option<Mono>,
    /// Every worker is to disconnect, and the user to be told when all have.
    disconnecting: bool,
    /// All workers have disconnected because they were all told to, and none was forked since.
    disconnected: bool,
    /// How often all have disconnected.
    disconnects: u64,
    output: VecDeque<Output>,
    stats: Stats,
}

impl Machine {
    /// A primary without workers. `seed` is for policies that draw lots.
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

    /// Takes one input.
    pub fn handle_input(&mut self, now: Mono, input: Input) {
        match input {
            Input::Setup { config } => self.setup(config),
            Input::Schedule { placement, policy } => self.schedule(placement, policy),
            Input::Forked { worker, pid, slot } => self.forked(now, worker, pid, slot),
            Input::Received { worker, message, handle, arrived } => {
                self.received(now, worker, message, handle, arrived);
            }
            Input::TooDeep { worker } => self.too_deep(now, worker),
            Input::Send { worker, sending, handle } => self.send(now, worker, sending, handle),
            Input::NotSent { worker, origin, error } => self.not_sent(now, worker, origin, &error),
            Input::HighWater { worker } => self.high_water(worker),
            Input::Drained { worker } => self.drained(worker),
            Input::Sent { worker, id, delivered } => self.sent(worker, id, delivered),
            Input::SocketClosed { worker, key } => self.socket_closed(worker, &key),
            Input::AskSockets { worker, key, when_closed } => {
                self.ask_sockets(worker, key, when_closed);
            }
            Input::Undelivered { worker, seq } => self.undelivered(now, worker, seq),
            Input::Probed { worker } => self.probed(now, worker),
            Input::AnswersProbes { worker } => self.answers_probes(worker),
            Input::ProbeLooked { worker, read } => self.probe_looked(now, worker, read),
            Input::CannotListen { worker, runtime } => self.cannot_listen(worker, runtime),
            Input::ChannelFailed { worker, error } => self.fail_channel(worker, error),
            Input::Unwanted { worker } => self.unwanted(worker),
            Input::Blocked { worker, call } => self.blocked(worker, call),
            Input::Failed { worker, error } => {
                self.event(crate::event::Event::Error { worker, error });
            }
            Input::NoAgent { worker, reason } => {
                self.event(crate::event::Event::NoAgent { worker, reason });
            }
            Input::Stdio { worker, fd, data } => {
                self.event(crate::event::Event::Stdio { worker, fd, data });
            }
            Input::Leftovers { worker, progress } => {
                self.event(crate::event::Event::Leftovers { worker, progress });
            }
            Input::ChannelClosed { worker } => self.channel_closed(now, worker),
            Input::Exited { worker, status } => self.exited(now, worker, status),
            Input::Bound { server, result } => self.bound(now, server, result),
            Input::Closed { server } => self.closed(now, server),
            Input::HandOffsPaused { paused } => self.pause_hand_offs(now, paused),
            Input::FellBack { server, instead, reason } => self.fell_back(server, instead, reason),
            Input::SlotOpened { server, slot, result } => {
                self.slot_opened(now, server, slot, result);
            }
            Input::Queues { server, queues } => self.queues(now, server, &queues),
            Input::Accepted { server, conn, client } => self.accepted(now, server, conn, client),
            Input::TakeOutOfRotation { worker } => self.take_out_of_rotation(now, worker),
            Input::TakeAllOutOfRotation => self.take_all_out_of_rotation(now),
            Input::FinishWork { worker } => self.finish_work(worker),
            Input::AskStop { worker, signal, message, catches, serves_aside } => {
                self.ask_stop(worker, signal, message, catches, serves_aside);
            }
            Input::AgentMessage { worker, message } => self.agent_message(now, worker, message),
            Input::AgentLost { worker } => self.agent_lost(worker),
            Input::Disconnect { worker } => self.disconnect(now, worker),
            Input::CloseChannel { worker } => self.close_channel(now, worker),
            Input::DisconnectAll => self.disconnect_all(now),
            Input::ReleaseUnused => self.release_unused(now),
        }
        self.finish_disconnecting();
    }

    /// Takes notice of the time.
    pub fn handle_timeout(&mut self, now: Mono) {
        self.end_overdue_requests(now);
        self.look_after_workers(now);
        self.probing_due(now);
        self.slots_due(now);
        self.dispatcher.handle_timeout(now);
        self.carry_out(now);
    }

    /// Whether [`poll_output`](Self::poll_output) has something.
    pub fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is wanted.
    pub fn poll_timeout(&self) -> Option<Mono> {
        let due = [
            self.dispatcher.poll_timeout(),
            self.requests.poll_timeout(),
            self.health_timeout(),
            self.slots_timeout(),
        ];
        due.into_iter().flatten().chain(self.probing_timeout()).min()
    }

    /// Sets how many hand-offs may be under way to all workers together, each of which costs a
    /// descriptor here and one in the kernel: at least one to each worker all the same. Default: no
    /// limit.
    pub fn limit_descriptors(&mut self, descriptors: usize) {
        self.dispatcher.set_limits(self.dispatcher.limits().in_flight(descriptors));
    }

    /// Sets how many connections may be held here, of all servers together, whether they wait or are
    /// under way: each has a descriptor, and so has much else. A server leaves as many free as wait
    /// for its workers, so that others have some. Default: no limit.
    pub fn limit_held(&mut self, connections: usize) {
        self.dispatcher.set_limits(self.dispatcher.limits().held(connections));
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

    /// How large a window may be.
    pub(crate) fn window_limit(&self) -> u32 {
        self.dispatcher.window_limit()
    }

    /// Where a worker listens, with the ports that are bound.
    pub fn listening(&self, id: WorkerId) -> Vec<Address> {
        let Some(worker) = self.workers.get(&id) else { return Vec::new() };
        let served = worker.servers.keys().filter_map(|server| self.servers.get(server));
        served.filter(|server| server.workers.contains(&id)).map(Server::bound_address).collect()
    }

    /// The configuration in force.
    pub fn config(&self) -> Config {
        self.config.clone()
    }

    /// The id of the next worker; it is used up by that.
    pub fn next_worker(&mut self) -> WorkerId {
        self.last_worker += 1;
        WorkerId(self.last_worker)
    }

    /// What is known of a worker, as long as its process or its channel is there.
    pub fn worker(&self, id: WorkerId) -> Option<WorkerState> {
        let (in_flight, held) = (self.dispatcher.in_flight(id), self.dispatcher.reported(id));
        self.workers.get(&id).map(|worker| worker.state(in_flight, held))
    }

    /// The worker that has the socket of that slot under [`Placement::Kernel`].
    pub(crate) fn worker_at(&self, slot: u32) -> Option<WorkerId> {
        self.workers.iter().find(|(_, worker)| worker.seat == slot).map(|(id, _)| *id)
    }

    /// Whether a worker speaks the native wire.
    pub(crate) fn is_native(&self, id: WorkerId) -> bool {
        self.workers.get(&id).is_some_and(|worker| worker.native)
    }

    /// Node's `cluster.workers`: those that have not both disconnected and exited, less those that
    /// the primary has told to disconnect.
    pub fn workers(&self) -> impl Iterator<Item = WorkerId> {
        self.workers.iter().filter(|(_, w)| w.listed).map(|(id, _)| *id)
    }

    /// All workers whose process or channel is there, also those that were told to disconnect.
    pub fn all_workers(&self) -> impl Iterator<Item = WorkerId> {
        self.workers.keys().copied()
    }

    /// Whether no worker is left, not even a dying one.
    pub fn is_empty(&self) -> bool {
        self.workers.is_empty()
    }

    /// Whether a worker has connections on their way to it for which it has not answered, or
    /// serves what waits for the last workers of a server.
    pub fn is_serving(&self, id: WorkerId) -> bool {
        self.is_assigned_some(id) || self.workers.get(&id).is_some_and(|w| !w.servers.is_empty())
    }

    /// Whether connections are in flight to the worker, or kept back for it.
    fn is_assigned_some(&self, id: WorkerId) -> bool {
        self.dispatcher.in_flight(id) > 0 || self.dispatcher.kept(id) > 0
    }

    /// What was counted so far.
    pub fn stats(&self) -> Stats {
        Stats { waiting: self.dispatcher.all_waiting(), ..self.stats }
    }

    fn event(&mut self, event: impl Into<Event>) {
        self.output.push_back(Output::Event(event.into()));
    }

    fn send_internal(&mut self, worker: WorkerId, ack: Option<u64>, body: ClusterBody) {
        self.say_with(worker, ack, body, None);
    }

    fn say_with(
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

    fn setup(&mut self, mut config: Config) {
        if self.frozen {
            config.placement = self.config.placement;
            config.policy = self.config.policy;
            config.custom_policy = self.config.custom_policy.clone();
        }
        self.frozen = true;
        self.dispatcher.set_limits(dispatch_limits(&config, self.dispatcher.limits()));
        self.config = config.clone();
        self.event(Event::Setup { config });
    }

    fn schedule(&mut self, placement: Placement, policy: PolicyName) {
        if !self.frozen {
            self.config.placement = placement;
            self.config.policy = policy;
            self.config.custom_policy = None;
        }
    }

    fn forked(&mut self, now: Mono, worker: WorkerId, pid: u32, slot: Option<u32>) {
        // Node's fork calls setupPrimary().
        self.setup(self.config.clone());
        let slot = slot.unwrap_or_else(|| self.next_slot());
        let seat = lowest_free(self.workers.values().map(|worker| worker.seat));
        let serialization = self.config.serialization;
        self.workers.insert(worker, Worker::new(pid, slot, seat, serialization));
        self.disconnected = false;
        self.dispatch(now, Place::Enter { worker });
        self.event(crate::event::Event::Fork { worker, pid });
    }

    /// The lowest slot that no worker has: that of the next worker, unless it is forked for another.
    pub fn next_slot(&self) -> u32 {
        lowest_free(self.workers.values().map(|worker| worker.slot))
    }

    fn received(
        &mut self,
        now: Mono,
        worker: WorkerId,
        message: Message,
        handle: Option<Handle>,
        arrived: bool,
    ) {
        if !self.hears(worker) {
            self.close_handle(handle);
            return;
        }
        self.heard(now, worker);
        match message {
            Message::User(value) => self.users_message(worker, value.into(), handle),
            Message::Encoded(message) => self.users_message(worker, message, handle),
            Message::Cluster(message) => {
                self.close_handle(handle);
                self.cluster_message(now, worker, message, arrived);
            }
            Message::SocketList(message) => {
                self.close_handle(handle);
                self.socket_list(worker, message);
            }
            message => {
                self.close_handle(handle);
                if let Some(held) = native::said_held(&message) {
                    self.dispatch(now, Place::Held { worker, held });
                }
                // Nothing else that a primary would have to answer.
            }
        }
    }

    /// A worker sent a message that cannot be read, which is a sign of life as any other.
    fn too_deep(&mut self, now: Mono, worker: WorkerId) {
        if self.hears(worker) {
            self.heard(now, worker);
            self.event(crate::event::Event::Error { worker, error: WorkerError::TooDeep });
        }
    }

    fn close_handle(&mut self, handle: Option<Handle>) {
        if let Some(Handle { id: handle, .. }) = handle {
            self.output.push_back(Output::CloseHandle { handle });
        }
    }

    fn cluster_message(
        &mut self,
        now: Mono,
        worker: WorkerId,
        message: ClusterMessage,
        arrived: bool,
    ) {
        let offered = native::offered(&message);
        let ClusterMessage { seq, ack, body, .. } = message;
        match body {
            ClusterBody::Online => {
                if let (Some(speaker), Some(offered)) = (self.workers.get_mut(&worker), offered) {
                    speaker.native = true;
                    self.output.push_back(Output::Negotiate { worker, offered });
                    if self.config.counts_connections() {
                        let (message, handle) = (native::ask_held(), None);
                        self.output.push_back(Output::Send { worker, message, handle });
                    }
                }
                self.set_state(worker, "online");
                self.event(crate::event::Event::Online { worker });
            }
            ClusterBody::QueryServer(query) => self.query_server(now, worker, seq, *query),
            ClusterBody::Listening(query) => {
                self.set_state(worker, "listening");
                let address = Address::of(&query);
                self.slot_listens(now, worker, &address);
                self.check_agent(worker);
                self.event(crate::event::Event::Listening { worker, address });
            }
            ClusterBody::Close { key } => self.close(now, worker, &key),
            ClusterBody::ExitedAfterDisconnect => {
                if let Some(worker) = self.workers.get_mut(&worker) {
                    worker.exited_after_disconnect = Some(true);
                }
                self.send_internal(worker, Some(seq), ClusterBody::Ack);
            }
            ClusterBody::Accepted(_) | ClusterBody::Ack
                if self.is_too_soon(worker, ack, arrived) =>
            {
                self.answered_too_soon(worker);
            }
            ClusterBody::Accepted(accepted) => self.answered(now, worker, ack, accepted),
            // As in Node: an answer that does not say that it took the connection refused it.
            ClusterBody::Ack => self.answered(now, worker, ack, false),
            _ => {}
        }
    }

    fn set_state(&mut self, worker: WorkerId, state: &'static str) {
        if let Some(worker) = self.workers.get_mut(&worker) {
            worker.phase = state;
        }
    }
}

/// What the configuration says of the dispatcher's limits. The others depend on the system.
fn dispatch_limits(config: &Config, limits: DispatchLimits) -> DispatchLimits {
    limits.window(config.limits.max_window).waiting(config.limits.max_waiting)
}

/// The lowest number that is not among these.
fn lowest_free(taken: impl Iterator<Item = u32>) -> u32 {
    let taken: BTreeSet<u32> = taken.collect();
    (0..)
        .zip(&taken)
        .find(|(free, taken)| free != *taken)
        .map_or(u32::try_from(taken.len()).unwrap_or(u32::MAX), |(free, _)| free)
}
