//! The primary without I/O: workers, servers, and who is told what.
//!
//! The machine sees ids only; the [driver](crate::Primary) owns processes, sockets and the clock.
//! Inputs may follow each other without outputs being drained in between; what comes out is the
//! same.
//!
//! It is public for simulations, fuzzing and drivers of one's own. Its inputs and outputs grow with
//! what the primary can do: code that uses this module directly may have to follow with any
//! release.

mod agent;
mod hand_off;
mod health;
mod in_flight;
mod io;
mod latency;
mod leaving;
mod listening;
mod probing;
mod server;
mod slots;
mod socket_limits;
mod sockets;
mod state;
mod vacating;
mod window;
mod worker;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use cluster_proto::{ClusterBody, ClusterMessage, Message, ServerKey, UserMessage, native};
use cluster_sched::Mono;

pub use io::{Bound, Fate, Handle, Input, Output, Queue, SendHandle};
pub use latency::AckLatency;
pub use socket_limits::{ListenLimit, ListenScope};
pub use state::MachineState;
pub use worker::WorkerState;

use crate::event::Address;
use crate::{ConnId, Event, HandleId, Placement, PolicyName, ServerId, Settings, Stats, WorkerId};
use server::Server;
use socket_limits::OpenSockets;
use vacating::Vacating;
use worker::Worker;

/// Connections at the most that a driver may report of a server that it closes. (The longest queue
/// that Linux allows by default.)
pub const LAST_CONNECTIONS: usize = 4096;

/// The primary without I/O.
#[derive(Debug)]
pub struct Machine {
    settings: Arc<Settings>,
    /// Placement and policy are frozen.
    frozen: bool,
    last_worker: u32,
    last_server: u32,
    seq: u64,
    seed: u64,
    workers: BTreeMap<WorkerId, Worker>,
    servers: BTreeMap<ServerId, Server>,
    keys: BTreeMap<ServerKey, ServerId>,
    /// Hand-offs in the order in which they were sent, answered or not: who leaves one unanswered
    /// for too long is slow.
    watched: VecDeque<(Mono, WorkerId, u64)>,
    /// Workers for which connections are kept back.
    reserving: Vec<WorkerId>,
    /// The most hand-offs that may be under way to all workers together.
    descriptors: usize,
    /// The most connections whose descriptors may be held here, under way or waiting.
    most_held: usize,
    /// How many are.
    held: usize,
    sockets: OpenSockets,
    /// The system passes no descriptors on: no worker can be judged by what it leaves unanswered.
    hand_offs_paused: bool,
    /// Workers that are about to disconnect, each with the number of its slot, and when it may at the
    /// earliest.
    settling: BTreeMap<(WorkerId, ServerId), (u32, Mono)>,
    /// Ports of closed servers that workers may still hold.
    vacating: Vec<Vacating>,
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
    pub fn new(settings: Settings, seed: u64) -> Self {
        Self {
            settings: Arc::new(settings),
            frozen: false,
            last_worker: 0,
            last_server: 0,
            seq: 0,
            seed,
            workers: BTreeMap::new(),
            servers: BTreeMap::new(),
            keys: BTreeMap::new(),
            watched: VecDeque::new(),
            reserving: Vec::new(),
            descriptors: usize::MAX,
            most_held: usize::MAX,
            held: 0,
            sockets: OpenSockets::new(),
            hand_offs_paused: false,
            settling: BTreeMap::new(),
            vacating: Vec::new(),
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
            Input::Setup { settings } => self.setup(*settings),
            Input::Forked { worker, pid, slot } => self.forked(now, worker, pid, slot),
            Input::Received { worker, message, handle } => {
                self.received(now, worker, message, handle);
            }
            Input::Heard { worker } => self.heard(now, worker),
            Input::SocketClosed { worker, key } => self.socket_closed(worker, &key),
            Input::AskSockets { worker, key, when_closed } => {
                self.ask_sockets(worker, key, when_closed);
            }
            Input::Undelivered { worker, seq } => self.undelivered(now, worker, seq),
            Input::Probed { worker } => self.probed(now, worker),
            Input::AnswersProbes { worker } => self.answers_probes(worker),
            Input::ProbeLooked { worker, read } => self.probe_looked(now, worker, read),
            Input::CannotListen { worker, runtime } => self.cannot_listen(worker, runtime),
            Input::ChannelFailed { worker, error } => {
                self.event(Event::Error { worker, error });
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
        self.forget_answered();
    }

    /// Takes notice of the time.
    pub fn handle_timeout(&mut self, now: Mono) {
        self.notice_slow(now);
        self.look_after_workers(now);
        self.probing_due(now);
        self.slots_due(now);
        let due: Vec<_> = self
            .servers
            .iter()
            .filter(|(_, s)| s.sched.poll_timeout().is_some_and(|at| at <= now))
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            if let Some(server) = self.servers.get_mut(&id) {
                server.sched.handle_timeout(now);
            }
            self.place(now, id);
        }
        self.give_up_reserves(now);
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is wanted.
    pub fn poll_timeout(&self) -> Option<Mono> {
        let servers = self.servers.values().filter_map(|s| s.sched.poll_timeout());
        let others =
            [self.next_slow(), self.next_reserve(), self.health_timeout(), self.slots_timeout()];
        servers.chain(others.into_iter().flatten()).chain(self.probing_timeout()).min()
    }

    /// Sets how many hand-offs may be under way to all workers together, each of which costs a
    /// descriptor here and one in the kernel: at least one to each worker all the same. Default: no
    /// limit.
    pub fn limit_descriptors(&mut self, descriptors: usize) {
        self.descriptors = descriptors;
    }

    /// Sets how many connections may be held here, of all servers together, whether they wait or are
    /// under way: each has a descriptor, and so has much else. A server leaves as many free as wait
    /// for its workers, so that others have some. Default: no limit.
    pub fn limit_held(&mut self, connections: usize) {
        self.most_held = connections;
    }

    /// The connection that went to a worker with the message of that number, as long as the worker
    /// has not answered for it.
    pub fn handed(&self, worker: WorkerId, seq: u64) -> Option<ConnId> {
        Some(self.workers.get(&worker)?.in_flight.find(seq)?.conn)
    }

    /// How many more connections of that server may be accepted now.
    pub fn room(&self, server: ServerId) -> usize {
        let limit = self.settings.limits.max_waiting;
        let free = self.most_held.saturating_sub(self.held);
        // Of one that nobody serves the kernel's queue holds what comes.
        let served = |s: &&Server| s.is_open() && (s.sched.workers() > 0 || !self.keeps_servers());
        let open = self.servers.get(&server).filter(served);
        let reserved = self.reserved(server);
        let room = |s: &Server| {
            let waiting = s.sched.waiting() + reserved;
            // Each that comes is one more that waits, and one less that is free.
            let fair = free.saturating_sub(waiting).div_ceil(2);
            limit.saturating_sub(waiting).min(fair)
        };
        open.map_or(0, room)
    }

    /// Where a worker listens, with the ports that are bound.
    pub fn listening(&self, id: WorkerId) -> Vec<Address> {
        let Some(worker) = self.workers.get(&id) else { return Vec::new() };
        let served = worker.servers.keys().filter_map(|server| self.servers.get(server));
        served.filter(|server| server.workers.contains(&id)).map(Server::bound_address).collect()
    }

    /// Sets placement and policy, unless they are frozen.
    pub fn schedule(&mut self, placement: Placement, policy: PolicyName) {
        if !self.frozen {
            let mut settings = (*self.settings).clone();
            settings.placement = placement;
            settings.policy = policy;
            self.settings = Arc::new(settings);
        }
    }

    /// The settings in force.
    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// The id of the next worker; it is used up by that.
    pub fn next_worker(&mut self) -> WorkerId {
        self.last_worker += 1;
        WorkerId(self.last_worker)
    }

    /// What is known of a worker, as long as its process or its channel is there.
    pub fn worker(&self, id: WorkerId) -> Option<WorkerState> {
        self.workers.get(&id).map(Worker::state)
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
        let has_some = |w: &Worker| !w.in_flight.is_empty() || !w.reserve.is_empty();
        self.workers.get(&id).is_some_and(|w| has_some(w) || !w.servers.is_empty())
    }

    /// What was counted so far.
    pub fn stats(&self) -> Stats {
        let waiting = self.servers.values().map(|server| server.sched.waiting());
        let reserved = self.workers.values().map(|worker| worker.reserve.len());
        Stats { waiting: waiting.chain(reserved).sum(), ..self.stats }
    }

    fn event(&mut self, event: Event<HandleId>) {
        self.output.push_back(Output::Event(event));
    }

    fn say(&mut self, worker: WorkerId, ack: Option<u64>, body: ClusterBody) {
        self.say_with(worker, ack, body, None);
    }

    fn say_with(
        &mut self,
        worker: WorkerId,
        ack: Option<u64>,
        body: ClusterBody,
        handle: Option<SendHandle>,
    ) -> u64 {
        let seq = self.seq;
        self.seq += 1;
        let message = Message::cluster(seq, ack, body);
        self.output.push_back(Output::Send { worker, message, handle });
        seq
    }

    fn setup(&mut self, mut settings: Settings) {
        if self.frozen {
            settings.placement = self.settings.placement;
            settings.policy = self.settings.policy;
        }
        self.frozen = true;
        self.settings = Arc::new(settings);
        let settings = Arc::clone(&self.settings);
        self.event(Event::Setup { settings });
    }

    fn forked(&mut self, now: Mono, worker: WorkerId, pid: u32, slot: Option<u32>) {
        // Node's fork calls setupPrimary().
        self.setup((*self.settings).clone());
        let slot = slot.unwrap_or_else(|| self.next_slot());
        let seat = lowest_free(self.workers.values().map(|worker| worker.seat));
        self.workers.insert(worker, Worker::new(pid, slot, seat));
        self.disconnected = false;
        self.narrow_windows(now);
        self.event(Event::Fork { worker, pid });
    }

    /// The lowest slot that no worker has: that of the next worker, unless it is forked for another.
    pub fn next_slot(&self) -> u32 {
        lowest_free(self.workers.values().map(|worker| worker.slot))
    }

    fn users_message(&mut self, worker: WorkerId, message: UserMessage, handle: Option<Handle>) {
        let handle = handle.map(|handle| self.count_socket(worker, handle));
        self.event(Event::Message { worker, message, handle });
    }

    fn received(&mut self, now: Mono, worker: WorkerId, message: Message, handle: Option<Handle>) {
        if self.workers.get(&worker).is_none_or(|w| !w.connected) {
            self.let_go(handle);
            return;
        }
        self.heard(now, worker);
        match message {
            Message::User(value) => self.users_message(worker, value.into(), handle),
            Message::Encoded(message) => self.users_message(worker, message, handle),
            Message::Cluster(message) => {
                self.let_go(handle);
                self.cluster_message(now, worker, message);
            }
            Message::SocketList(message) => {
                self.let_go(handle);
                self.socket_list(worker, message);
            }
            message => {
                self.let_go(handle);
                if let Some(held) = native::said_held(&message) {
                    self.holds(now, worker, held);
                }
                // Nothing else that a primary would have to answer.
            }
        }
    }

    fn let_go(&mut self, handle: Option<Handle>) {
        if let Some(Handle { id: handle, .. }) = handle {
            self.output.push_back(Output::CloseHandle { handle });
        }
    }

    fn cluster_message(&mut self, now: Mono, worker: WorkerId, message: ClusterMessage) {
        let offered = native::offered(&message);
        let ClusterMessage { seq, ack, body, .. } = message;
        match body {
            ClusterBody::Online => {
                if let (Some(speaker), Some(offered)) = (self.workers.get_mut(&worker), offered) {
                    speaker.native = true;
                    self.output.push_back(Output::Upgrade { worker, offered });
                    if self.settings.policy == PolicyName::LeastConnections {
                        let (message, handle) = (native::ask_held(), None);
                        self.output.push_back(Output::Send { worker, message, handle });
                    }
                }
                self.set_state(worker, "online");
                self.event(Event::Online { worker });
            }
            ClusterBody::QueryServer(query) => self.query_server(now, worker, seq, *query),
            ClusterBody::Listening(query) => {
                self.set_state(worker, "listening");
                let address = Address::of(&query);
                self.slot_listens(now, worker, &address);
                self.check_agent(worker);
                self.event(Event::Listening { worker, address });
            }
            ClusterBody::Close { key } => self.close(now, worker, &key),
            ClusterBody::ExitedAfterDisconnect => {
                if let Some(worker) = self.workers.get_mut(&worker) {
                    worker.exited_after_disconnect = Some(true);
                }
                self.say(worker, Some(seq), ClusterBody::Ack);
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

/// The lowest number that is not among these.
fn lowest_free(taken: impl Iterator<Item = u32>) -> u32 {
    let taken: BTreeSet<u32> = taken.collect();
    (0..)
        .zip(&taken)
        .find(|(free, taken)| free != *taken)
        .map_or(u32::try_from(taken.len()).unwrap_or(u32::MAX), |(free, _)| free)
}
