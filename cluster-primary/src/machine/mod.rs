//! The primary without I/O: workers, servers, and who is told what.
//!
//! The machine sees ids only; the [driver](crate::Primary) owns processes, sockets and the clock.
//! Inputs may follow each other without outputs being drained in between; what comes out is the
//! same.

mod io;
mod server;
mod worker;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use cluster_proto::{
    ClusterBody, ClusterMessage, HandleKind, ListenQuery, ListenReply, Message, ServerKey,
};
use cluster_sched::{Input as Place, Mono, Output as Placed};

pub use io::{Bound, Fate, Input, Output, SendHandle};
pub use worker::WorkerState;

use crate::event::Address;
use crate::{
    ConnId, Event, EventHandle, HandleId, Placement, ServerId, Settings, Stats, WorkerError,
    WorkerId,
};
use server::{Phase, Server};
use worker::Worker;

/// `EMFILE`, by libuv's sign.
const TOO_MANY: i32 = -24;

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
    /// Hand-offs that await `{ack, accepted}`, by the worker that must answer.
    handoffs: BTreeMap<(WorkerId, u64), (ServerId, ConnId)>,
    /// Every worker is to disconnect, and the user to be told when all have.
    disconnecting: bool,
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
            handoffs: BTreeMap::new(),
            disconnecting: false,
            output: VecDeque::new(),
            stats: Stats::default(),
        }
    }

    /// Takes one input.
    pub fn handle_input(&mut self, now: Mono, input: Input) {
        match input {
            Input::Setup { settings } => self.setup(*settings),
            Input::Forked { worker, pid } => self.forked(worker, pid),
            Input::Received { worker, message, handle } => {
                self.received(now, worker, message, handle);
            }
            Input::Undelivered { worker, seq } => self.undelivered(now, worker, seq),
            Input::Probed { worker } => self.probed(worker),
            Input::ChannelFailed { worker, error } => {
                self.event(Event::Error { worker, error });
            }
            Input::ChannelClosed { worker } => self.channel_closed(now, worker),
            Input::Exited { worker, status } => self.exited(now, worker, status),
            Input::Bound { server, result } => self.bound(now, server, result),
            Input::Closed { server } => self.closed(now, server),
            Input::Accepted { server, conn } => self.accepted(now, server, conn),
            Input::Disconnect { worker } => self.disconnect(now, worker),
            Input::DisconnectAll => self.disconnect_all(now),
        }
        self.finish_disconnecting();
    }

    /// Takes notice of the time.
    pub fn handle_timeout(&mut self, now: Mono) {
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
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is wanted.
    pub fn poll_timeout(&self) -> Option<Mono> {
        self.servers.values().filter_map(|s| s.sched.poll_timeout()).min()
    }

    /// How many more connections of that server may be accepted now.
    pub fn room(&self, server: ServerId) -> usize {
        let limit = self.settings.limits.max_waiting;
        let open = self.servers.get(&server).filter(|s| s.is_open());
        open.map_or(0, |s| limit.saturating_sub(s.sched.waiting()))
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

    /// What was counted so far.
    pub fn stats(&self) -> Stats {
        Stats { waiting: self.servers.values().map(|s| s.sched.waiting()).sum(), ..self.stats }
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

    fn forked(&mut self, worker: WorkerId, pid: u32) {
        // Node's fork calls setupPrimary().
        self.setup((*self.settings).clone());
        self.workers.insert(worker, Worker::new(pid));
        self.event(Event::Fork { worker, pid });
    }

    // ---- what workers say ----

    fn received(
        &mut self,
        now: Mono,
        worker: WorkerId,
        message: Message,
        handle: Option<(HandleKind, HandleId)>,
    ) {
        if self.workers.get(&worker).is_none_or(|w| !w.connected) {
            self.let_go(handle);
            return;
        }
        match message {
            Message::User(message) => {
                let handle = handle.map(|(kind, handle)| EventHandle { kind, handle });
                self.event(Event::Message { worker, message, handle });
            }
            Message::Cluster(message) => {
                self.let_go(handle);
                self.cluster_message(now, worker, message);
            }
            // Nothing that a primary would have to answer.
            _ => self.let_go(handle),
        }
    }

    fn let_go(&mut self, handle: Option<(HandleKind, HandleId)>) {
        if let Some((_, handle)) = handle {
            self.output.push_back(Output::CloseHandle { handle });
        }
    }

    fn cluster_message(&mut self, now: Mono, worker: WorkerId, message: ClusterMessage) {
        let ClusterMessage { seq, ack, body, .. } = message;
        match body {
            ClusterBody::Online => {
                self.set_state(worker, "online");
                self.event(Event::Online { worker });
            }
            ClusterBody::QueryServer(query) => self.query_server(now, worker, seq, *query),
            ClusterBody::Listening(query) => {
                self.set_state(worker, "listening");
                self.event(Event::Listening { worker, address: Address::of(&query) });
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

    fn query_server(&mut self, now: Mono, worker: WorkerId, seq: u64, query: ListenQuery) {
        let Some(asking) = self.workers.get(&worker) else { return };
        if asking.exited_after_disconnect == Some(true) {
            return;
        }
        // The younger form of the key: with the older one a worker that listens again after a
        // failure would miss the server that the others share by then. But a worker that listens a
        // second time on the same address tries to bind a second socket, under a key of its own:
        // of two servers with one key a Node worker of today dies.
        let mut key = ServerKey::node25(&query);
        if self.keys.get(&key).is_some_and(|id| self.has_worker(*id, worker)) {
            key = ServerKey::node20(&query);
        }
        if asking.servers.len() >= self.settings.limits.max_servers {
            self.reply_failure(worker, seq, key, Address::of(&query), TOO_MANY);
            return;
        }
        let shared_by_others =
            self.keys.get(&key).copied().filter(|id| !self.has_worker(*id, worker));
        let id = match shared_by_others {
            Some(id) => id,
            None => self.open_server(&key, &query),
        };
        let (Some(server), Some(asking)) =
            (self.servers.get_mut(&id), self.workers.get_mut(&worker))
        else {
            return;
        };
        // From now on, lest a worker ask for any number of them in one breath.
        asking.servers.insert(id, key);
        if !server.data.is_truthy() {
            server.data = query.data;
        }
        match &mut server.phase {
            Phase::Binding { waiting } => waiting.push((worker, seq)),
            Phase::Open { .. } => self.join(now, id, worker, seq),
            Phase::Draining { .. } | Phase::Closing => {}
        }
    }

    fn has_worker(&self, id: ServerId, worker: WorkerId) -> bool {
        self.servers.get(&id).is_some_and(|s| s.has(worker))
    }

    fn open_server(&mut self, key: &ServerKey, query: &ListenQuery) -> ServerId {
        self.last_server += 1;
        let id = ServerId(self.last_server);
        let udp = query.address_type.value().is_some_and(cluster_proto::AddressType::is_udp);
        let shared = udp || self.settings.placement == Placement::Shared;
        let policy = self.settings.policy.build(self.seed ^ u64::from(id.0));
        // Beyond the limit there is room for what a closing server finds in the kernel's queue.
        let most = self.settings.limits.max_waiting.saturating_add(LAST_CONNECTIONS);
        let config = cluster_sched::Config::default().with_max_waiting(most);
        self.servers
            .insert(id, Server::new(key.clone(), Address::of(query), shared, policy, config));
        self.keys.entry(key.clone()).or_insert(id);
        self.output.push_back(Output::Bind { server: id, query: Box::new(query.clone()), shared });
        id
    }

    fn bound(&mut self, now: Mono, id: ServerId, result: Result<Bound, i32>) {
        let Some(server) = self.servers.get_mut(&id) else { return };
        let Phase::Binding { waiting } = &mut server.phase else { return };
        let waiting = std::mem::take(waiting);
        let key = server.key.clone();
        match result {
            Ok(bound) => {
                server.phase = Phase::Open { bound };
                // The latest one that could be bound answers for the key.
                self.keys.insert(key, id);
                for (worker, seq) in waiting {
                    self.join(now, id, worker, seq);
                }
                // All that asked may have gone meanwhile.
                self.close_if_unused(now, id);
            }
            Err(errno) => {
                let address = server.address.clone();
                self.servers.remove(&id);
                // Gives other workers a chance to try again.
                if self.keys.get(&key) == Some(&id) {
                    self.keys.remove(&key);
                }
                for (worker, seq) in waiting {
                    if let Some(asking) = self.workers.get_mut(&worker) {
                        asking.servers.remove(&id);
                    }
                    self.reply_failure(worker, seq, key.clone(), address.clone(), errno);
                }
            }
        }
    }

    fn reply_failure(
        &mut self,
        worker: WorkerId,
        seq: u64,
        key: ServerKey,
        address: Address,
        errno: i32,
    ) {
        if self.workers.get(&worker).is_none_or(|w| !w.may_listen()) {
            return;
        }
        let data = Default::default();
        let reply = ListenReply { errno: Some(errno), key, data, sockname: None };
        self.say(worker, Some(seq), ClusterBody::ListenReply(Box::new(reply)));
        let error = std::io::Error::from_raw_os_error(errno.wrapping_neg());
        self.event(Event::ListenFailed { worker, address, error });
    }

    fn join(&mut self, now: Mono, id: ServerId, worker: WorkerId, seq: u64) {
        let (Some(server), Some(asking)) = (self.servers.get_mut(&id), self.workers.get(&worker))
        else {
            return;
        };
        let Phase::Open { bound } = &server.phase else { return };
        if !asking.may_listen() {
            return;
        }
        let errno = server.shared.then_some(0);
        let sockname = if server.shared { None } else { bound.sockname.clone() };
        let handle =
            server.shared.then(|| SendHandle::Server { server: id, kind: bound.kind.clone() });
        let (key, data) = (server.key.clone(), server.data.clone());
        server.workers.insert(worker);
        let shared = server.shared;
        let reply = ListenReply { errno, key, data, sockname };
        self.say_with(worker, Some(seq), ClusterBody::ListenReply(Box::new(reply)), handle);
        if !shared {
            self.place_input(now, id, Place::Join { worker });
            // One that listens again after it closed goes on where it was.
        }
    }

    fn close(&mut self, now: Mono, worker: WorkerId, key: &ServerKey) {
        let Some(closing) = self.workers.get_mut(&worker) else { return };
        // One that is still being bound the worker cannot mean.
        let servers = &self.servers;
        let serves = |id| servers.get(id).is_some_and(|s| s.workers.contains(&worker));
        let closed: Vec<_> = closing
            .servers
            .iter()
            .filter(|(id, name)| *name == key && serves(id))
            .map(|(id, _)| *id)
            .collect();
        for id in &closed {
            closing.servers.remove(id);
        }
        for id in closed {
            self.retire(now, id, worker);
        }
    }

    /// The worker gets nothing more of that server; what is on its way to it is still answered.
    fn retire(&mut self, now: Mono, id: ServerId, worker: WorkerId) {
        let Some(server) = self.servers.get_mut(&id) else { return };
        server.workers.remove(&worker);
        if !server.shared {
            self.place_input(now, id, Place::Retire { worker });
        }
        self.finish_draining(now, id);
        self.close_if_unused(now, id);
    }

    fn close_if_unused(&mut self, now: Mono, id: ServerId) {
        let Some(server) = self.servers.get_mut(&id) else { return };
        if !server.workers.is_empty() || !server.is_open() {
            return;
        }
        server.phase = Phase::Closing;
        self.close_socket(id, false);
        self.place_input(now, id, Place::Close);
    }

    /// Another server may take the address from here on.
    fn close_socket(&mut self, id: ServerId, accept_rest: bool) {
        if let Some(server) = self.servers.get(&id)
            && self.keys.get(&server.key) == Some(&id)
        {
            self.keys.remove(&server.key);
        }
        self.output.push_back(Output::CloseServer { server: id, accept_rest });
    }

    /// The workers serve what has come so far, and nothing more comes.
    fn drain(&mut self, id: ServerId) {
        let Some(server) = self.servers.get_mut(&id) else { return };
        if server.is_open() && !server.shared && !server.workers.is_empty() {
            server.phase = Phase::Draining { closed: false };
            self.close_socket(id, true);
        }
    }

    fn closed(&mut self, now: Mono, id: ServerId) {
        if let Some(server) = self.servers.get_mut(&id)
            && let Phase::Draining { closed } = &mut server.phase
        {
            *closed = true;
            self.place(now, id);
        }
    }

    /// Lets the workers of a drained server go.
    fn finish_draining(&mut self, now: Mono, id: ServerId) {
        let Some(server) = self.servers.get_mut(&id).filter(|s| s.is_drained()) else { return };
        server.phase = Phase::Closing;
        let workers = std::mem::take(&mut server.workers);
        self.place_input(now, id, Place::Close);
        for worker in workers {
            if let Some(leaving) = self.workers.get_mut(&worker) {
                leaving.servers.remove(&id);
            }
            self.send_disconnect(worker);
        }
    }

    // ---- connections ----

    fn accepted(&mut self, now: Mono, id: ServerId, conn: ConnId) {
        self.stats.accepted += 1;
        let takes = |s: &Server| matches!(s.phase, Phase::Open { .. } | Phase::Draining { .. });
        if !self.servers.get(&id).is_some_and(takes) {
            self.drop_conn(conn, Fate::Shed(cluster_sched::ShedReason::Closed));
            return;
        }
        // What a closing server brings at the last is taken beyond the limit.
        if self.servers.get(&id).is_some_and(Server::is_open) && self.room(id) == 0 {
            self.drop_conn(conn, Fate::Shed(cluster_sched::ShedReason::Full));
            return;
        }
        self.place_input(now, id, Place::Arrive { conn });
    }

    fn answered(&mut self, now: Mono, worker: WorkerId, ack: Option<u64>, accepted: bool) {
        let Some(ack) = ack else { return };
        // Only the worker that was asked may answer.
        let Some((id, conn)) = self.handoffs.remove(&(worker, ack)) else {
            self.event(Event::Error { worker, error: WorkerError::StrayAck { ack } });
            return;
        };
        let answer = match accepted {
            true => Place::Accepted { worker, conn },
            false => Place::Refused { worker, conn },
        };
        if !accepted {
            self.stats.refused += 1;
        }
        self.place_input(now, id, answer);
        self.send_disconnect(worker);
    }

    /// The descriptor of a hand-off never reached the worker, so no answer will come.
    fn undelivered(&mut self, now: Mono, worker: WorkerId, seq: u64) {
        if let Some((id, conn)) = self.handoffs.remove(&(worker, seq)) {
            self.place_input(now, id, Place::Refused { worker, conn });
            self.send_disconnect(worker);
        }
    }

    fn place_input(&mut self, now: Mono, id: ServerId, input: Place<WorkerId, ConnId>) {
        let Some(server) = self.servers.get_mut(&id) else { return };
        // An input that does not fit changes nothing: a worker that was never placed leaves, say.
        let _unfit = server.sched.handle_input(now, input);
        self.place(now, id);
    }

    fn place(&mut self, now: Mono, id: ServerId) {
        while let Some(server) = self.servers.get_mut(&id) {
            let Some(output) = server.sched.poll_output() else {
                if matches!(server.phase, Phase::Closing) && server.sched.is_idle() {
                    self.servers.remove(&id);
                }
                return self.finish_draining(now, id);
            };
            let key = server.key.clone();
            match output {
                Placed::Assign { conn, worker } => {
                    let handle = Some(SendHandle::Conn { conn });
                    let seq = self.say_with(worker, None, ClusterBody::NewConn { key }, handle);
                    self.handoffs.insert((worker, seq), (id, conn));
                }
                Placed::Done { conn, worker } => {
                    self.stats.handed_over += 1;
                    if let Some(worker) = self.workers.get_mut(&worker) {
                        worker.connections += 1;
                    }
                    self.drop_conn(conn, Fate::HandedOver);
                }
                Placed::Shed { conn, reason } => self.drop_conn(conn, Fate::Shed(reason)),
            }
        }
    }

    fn drop_conn(&mut self, conn: ConnId, why: Fate) {
        if let Fate::Shed(reason) = why {
            self.stats.count_shed(reason);
        }
        self.output.push_back(Output::DropConn { conn, why });
    }

    // ---- going away ----

    fn disconnect(&mut self, now: Mono, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.exited_after_disconnect = Some(true);
        worker.listed = false;
        if !worker.connected || worker.disconnect != worker::Disconnect::No {
            return;
        }
        worker.disconnect = worker::Disconnect::WhenAnswered;
        let servers: Vec<_> = worker.servers.keys().copied().collect();
        for server in servers {
            self.leave_server(now, server, id);
        }
        self.send_disconnect(id);
    }

    /// A worker that is about to disconnect gets nothing more of that server, unless it is the last
    /// one: then it serves what has come so far.
    fn leave_server(&mut self, now: Mono, id: ServerId, worker: WorkerId) {
        let alone = |s: &Server| s.workers.len() == 1 && s.workers.contains(&worker);
        if self.servers.get(&id).is_some_and(alone) {
            self.drain(id);
        }
        let draining = |s: &Server| matches!(s.phase, Phase::Draining { .. });
        if self.servers.get(&id).is_some_and(draining) {
            return;
        }
        if let Some(leaving) = self.workers.get_mut(&worker) {
            leaving.servers.remove(&id);
        }
        self.retire(now, id, worker);
    }

    /// Tells a worker to disconnect once it has answered for all that is on its way to it: a
    /// connection that it accepts after that could be lost.
    fn send_disconnect(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if worker.disconnect != worker::Disconnect::WhenAnswered || !worker.connected {
            return;
        }
        let drains = !worker.servers.is_empty();
        if drains || self.handoffs.range((id, 0)..=(id, u64::MAX)).next().is_some() {
            return;
        }
        if worker.connections > 0 {
            worker.disconnect = worker::Disconnect::Probing;
            self.output.push_back(Output::Probe { worker: id });
        } else {
            self.tell_disconnect(id);
        }
    }

    /// Every connection that the worker took before it answered has been read from once: a server
    /// of Node's that closes drops those from which it has heard nothing.
    fn probed(&mut self, id: WorkerId) {
        let probing = |w: &Worker| w.connected && w.disconnect == worker::Disconnect::Probing;
        if self.workers.get(&id).is_some_and(probing) {
            self.tell_disconnect(id);
        }
    }

    fn tell_disconnect(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.disconnect = worker::Disconnect::Told;
            self.say(id, None, ClusterBody::Disconnect);
        }
    }

    fn disconnect_all(&mut self, now: Mono) {
        self.disconnecting = true;
        let connected: Vec<_> =
            self.workers.iter().filter(|(_, w)| w.connected).map(|(id, _)| *id).collect();
        // All of them serve what has come so far.
        for server in self.servers.keys().copied().collect::<Vec<_>>() {
            self.drain(server);
        }
        for worker in connected {
            self.disconnect(now, worker);
        }
    }

    fn finish_disconnecting(&mut self) {
        let open = self.servers.values().any(|s| !matches!(s.phase, Phase::Closing));
        if self.disconnecting && !open && self.workers.values().all(|w| !w.connected) {
            self.disconnecting = false;
            self.event(Event::Disconnected);
        }
    }

    fn channel_closed(&mut self, now: Mono, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if !std::mem::replace(&mut worker.connected, false) {
            return;
        }
        worker.phase = "disconnected";
        let meant = *worker.exited_after_disconnect.get_or_insert(false);
        let dead = worker.status.is_some();
        self.forget_servers(now, id);
        if dead {
            self.workers.remove(&id);
        }
        self.event(Event::Disconnect { worker: id, exited_after_disconnect: meant });
    }

    fn exited(&mut self, now: Mono, id: WorkerId, status: crate::ExitStatus) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        if worker.status.replace(status).is_some() {
            return;
        }
        worker.phase = "dead";
        let meant = *worker.exited_after_disconnect.get_or_insert(false);
        if !worker.connected {
            self.forget_servers(now, id);
            self.workers.remove(&id);
        }
        self.event(Event::Exit { worker: id, status, exited_after_disconnect: meant });
    }

    /// What was on its way to the worker goes to others.
    fn forget_servers(&mut self, now: Mono, id: WorkerId) {
        let handoffs: Vec<_> =
            self.handoffs.range((id, 0)..=(id, u64::MAX)).map(|(k, _)| *k).collect();
        for handoff in handoffs {
            self.handoffs.remove(&handoff);
        }
        let known: Vec<_> = self.servers.keys().copied().collect();
        for server in known {
            self.place_input(now, server, Place::Leave { worker: id });
            if let Some(left) = self.servers.get_mut(&server) {
                if let Phase::Binding { waiting } = &mut left.phase {
                    waiting.retain(|(worker, _)| *worker != id);
                }
                left.workers.remove(&id);
            }
            self.finish_draining(now, server);
            self.close_if_unused(now, server);
        }
    }
}
