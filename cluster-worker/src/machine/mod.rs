//! The worker's half of the protocol, without I/O.
//!
//! [`Machine`] takes what happened ([`Input`]) and says what is to be done ([`Output`]). It holds
//! no descriptor, reads no clock, and its inputs may come back to back: how often its outputs are
//! drained changes nothing. The drivers of this crate are thin loops around it; write your own to
//! put a worker on another event loop.
//!
//! ```
//! use cluster_proto::{ClusterBody, Message, ServerKey};
//! use cluster_worker::ListenOptions;
//! use cluster_worker::machine::{Config, Input, Machine, Mono, Output, ServerId};
//!
//! let now = Mono::ZERO;
//! let mut machine = Machine::new(Config::default());
//! assert_eq!(machine.poll_output(), Some(Output::Send(Message::cluster(0, None, ClusterBody::Online))));
//!
//! let query = Box::new(ListenOptions::new().port(8080).query().unwrap());
//! machine.handle_input(now, Input::Listen { server: ServerId(1), query, max_connections: None });
//! let Some(Output::Send(Message::Cluster(message))) = machine.poll_output() else { panic!() };
//! assert!(matches!(message.body, ClusterBody::QueryServer(query) if query.index == 0));
//! ```

mod config;
mod event;
mod indexes;
mod mono;
mod server;
mod sockets;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use cluster_proto::{
    AddressType, ClusterBody, ClusterMessage, ListenQuery, ListenReply, Message, ServerKey, Value,
    native,
};

pub use config::Config;
pub use event::{Handle, HandleId, Input, ListenFailure, Output, ServerId};
use indexes::Indexes;
pub use mono::Mono;
use server::{Server, Stage};
use sockets::Sockets;

/// A worker's state, in Node's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// It runs.
    Online,
    /// It has listened, if only once.
    Listening,
    /// It closes its servers, and then its channel.
    Disconnecting,
    /// It is about to exit voluntarily.
    Destroying,
    /// Its channel is closed.
    Disconnected,
}

/// The worker's half of the protocol. See the [module](self).
#[derive(Debug)]
pub struct Machine {
    config: Config,
    seq: u64,
    awaited: BTreeMap<u64, Awaited>,
    servers: BTreeMap<ServerId, Server>,
    /// The servers that the primary knows, by their keys.
    keys: BTreeMap<ServerKey, ServerId>,
    /// The same in the order in which they came to be, in which Node closes them.
    opened: Vec<ServerId>,
    indexes: Indexes,
    /// Open tracked connections, also of servers that are closed.
    tracked: BTreeMap<ServerId, usize>,
    phase: Phase,
    destroying: bool,
    exited_after_disconnect: bool,
    answer_deadline: Option<Mono>,
    unexpected_handles: u64,
    /// The primary wants to know how many tracked connections are open; and how many it believes to
    /// be: what it was told last, and every one that was accepted since.
    tells_held: bool,
    believed_held: Option<usize>,
    sockets: Sockets,
    output: VecDeque<Output>,
}

/// What waits for an answer from the primary.
#[derive(Debug)]
enum Awaited {
    Listen(ServerId),
    /// The application no longer wants the server.
    AbandonedListen(Box<ListenQuery>),
    ExitedAfterDisconnect,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Running {
        listening: bool,
    },
    /// The servers are closed; connections are still open.
    Draining {
        by_primary: bool,
    },
    /// The primary has been told that the worker goes, and has not acknowledged it.
    AwaitingAck,
    /// The driver writes what is left and closes the channel.
    Closing,
    Closed,
}

impl Machine {
    /// A worker that has just started: its first output says `online`.
    pub fn new(config: Config) -> Self {
        let mut machine = Self {
            config,
            seq: 0,
            awaited: BTreeMap::new(),
            servers: BTreeMap::new(),
            keys: BTreeMap::new(),
            opened: Vec::new(),
            indexes: Indexes::default(),
            tracked: BTreeMap::new(),
            phase: Phase::Running { listening: false },
            destroying: false,
            exited_after_disconnect: false,
            answer_deadline: None,
            unexpected_handles: 0,
            tells_held: false,
            believed_held: None,
            sockets: Sockets::default(),
            output: VecDeque::new(),
        };
        machine.notify(None, ClusterBody::Online);
        machine
    }

    /// Has a server take no connection that is handed over from now on: the application accepts from its socket by itself.
    pub(crate) fn refuse_connections(&mut self, server: ServerId) {
        if let Some(server) = self.servers.get_mut(&server) {
            server.refuse_all();
        }
    }

    /// Takes what happened.
    pub fn handle_input(&mut self, now: Mono, input: Input) {
        match input {
            Input::Listen { server, query, max_connections } => {
                self.listen(server, query, max_connections);
            }
            Input::Own { server } => self.own(server),
            Input::SocketClosed(key) => self.socket_closed(&key),
            Input::AskSockets { key, when_closed } => self.ask_sockets(key, when_closed),
            Input::CloseChannel => self.close_at_once(),
            Input::Opened { server, port } => self.opened(server, port),
            Input::OpenFailed { server, errno } => self.open_failed(server, errno),
            Input::CloseServer(server) => self.close_server(server),
            Input::Take { server, tracked } => self.take(server, tracked),
            Input::Track(server) => *self.tracked.entry(server).or_default() += 1,
            Input::Ended(server) => self.ended(now, server),
            Input::TellHeld => self.tell_held(),
            Input::Disconnect => self.disconnect(now),
            Input::Kill => self.kill(now),
            Input::Received { message, handle } => self.received(now, message, handle),
            Input::ChannelClosed => self.channel_closed(),
        }
    }

    /// Takes the passage of time; due when [`poll_timeout`](Self::poll_timeout) says so.
    pub fn handle_timeout(&mut self, now: Mono) {
        if self.answer_deadline.is_some_and(|deadline| deadline <= now) {
            self.answer_deadline = None;
            if self.phase == Phase::AwaitingAck {
                self.close_channel();
            }
        }
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub fn poll_timeout(&self) -> Option<Mono> {
        self.answer_deadline
    }

    /// The worker's state.
    pub fn state(&self) -> State {
        match self.phase {
            Phase::Closed => State::Disconnected,
            _ if self.destroying => State::Destroying,
            Phase::Running { listening: false } => State::Online,
            Phase::Running { listening: true } => State::Listening,
            Phase::Draining { .. } | Phase::AwaitingAck | Phase::Closing => State::Disconnecting,
        }
    }

    /// Whether messages can be sent (`worker.isConnected()`).
    pub fn is_connected(&self) -> bool {
        !matches!(self.phase, Phase::Closing | Phase::Closed)
    }

    /// Whether the worker goes, or went, by a disconnect; `None` until that is known.
    pub fn exited_after_disconnect(&self) -> Option<bool> {
        match (self.exited_after_disconnect, self.phase) {
            (true, _) => Some(true),
            (false, Phase::Closed) => Some(false),
            (false, _) => None,
        }
    }

    /// Open tracked connections of all servers.
    pub fn tracked(&self) -> usize {
        self.tracked.values().sum()
    }

    /// Open tracked connections of this server.
    pub fn tracked_by(&self, server: ServerId) -> usize {
        self.tracked.get(&server).copied().unwrap_or(0)
    }

    /// Descriptors that came beside messages of the protocol's own that have none. They were to be
    /// closed. One beside a user's message is the driver's: see [`Output::Deliver`].
    pub fn unexpected_handles(&self) -> u64 {
        self.unexpected_handles
    }

    /// What the primary gave with its answer to a listen: the custom data of the first worker that
    /// had any (Node keeps the key of TLS tickets so). Null for a server that is none, or has none.
    pub fn data(&self, server: ServerId) -> Value {
        self.servers.get(&server).map(|server| server.data.clone()).unwrap_or_default()
    }

    fn notify(&mut self, ack: Option<u64>, body: ClusterBody) -> u64 {
        let seq = self.seq;
        self.seq += 1;
        // Without a channel the primary cannot be told.
        if self.phase != Phase::Closed {
            self.output.push_back(Output::Send(Message::cluster(seq, ack, body)));
        }
        seq
    }

    // Servers.

    fn listen(&mut self, id: ServerId, mut query: Box<ListenQuery>, max: Option<usize>) {
        debug_assert!(!self.servers.contains_key(&id), "{id} is in use");
        if !matches!(self.phase, Phase::Running { .. }) {
            self.fail(id, ListenFailure::Disconnected);
            return;
        }
        self.indexes.assign(&mut query);
        let seq = self.notify(None, ClusterBody::QueryServer(query.clone()));
        self.awaited.insert(seq, Awaited::Listen(id));
        self.servers.insert(id, Server::new(query, seq, max));
    }

    fn own(&mut self, id: ServerId) {
        if !matches!(self.phase, Phase::Running { .. }) {
            self.fail(id, ListenFailure::Disconnected);
            return;
        }
        self.servers.insert(id, Server::own());
        self.opened.push(id);
        self.output.push_back(Output::Listening { server: id, sockname: None });
    }

    fn fail(&mut self, server: ServerId, failure: ListenFailure) {
        self.output.push_back(Output::ListenFailed { server, failure });
    }

    fn listen_answered(&mut self, id: ServerId, body: ClusterBody, handle: Option<Handle>) {
        let Some(server) = self.servers.get_mut(&id) else { return self.close_handle(handle) };
        let udp = server.query.address_type.value().is_some_and(AddressType::is_udp);
        let reply = match body {
            ClusterBody::ListenReply(reply) => *reply,
            _ => return self.drop_unopened(id, ListenFailure::BadReply, handle),
        };
        if let Some(errno) = reply.error() {
            return self.drop_unopened(id, ListenFailure::Refused { errno }, handle);
        }
        if self.keys.contains_key(&reply.key) {
            // This worker listens there already (Node 25 and 26 with shared sockets say so in this
            // way). To close this one would close the other; Node's worker dies of an assertion.
            let errno = rustix::io::Errno::ADDRINUSE.raw_os_error();
            return self.drop_unopened(id, ListenFailure::Unusable { errno }, handle);
        }
        self.keys.insert(reply.key.clone(), id);
        self.opened.push(id);
        server.data = reply.data;
        match handle {
            Some(handle) => {
                let port = server.query.port.value().and_then(|port| u16::try_from(port).ok());
                let backlog = server.query.backlog_length();
                server.stage = Stage::Opening { key: reply.key };
                let handle = handle.id;
                self.output.push_back(Output::Open { server: id, handle, port, backlog, udp });
            }
            None if udp => {
                server.stage = Stage::Opening { key: reply.key };
                self.close_opened(id);
                self.fail(id, ListenFailure::BadReply);
            }
            None => {
                let ListenReply { key, sockname, .. } = reply;
                server.stage = Stage::Open { key };
                let port = sockname.as_ref().map(|name| name.port);
                self.output.push_back(Output::Listening { server: id, sockname });
                self.tell_listening(id, port);
            }
        }
    }

    /// Forgets a server that the primary does not have.
    fn drop_unopened(&mut self, id: ServerId, failure: ListenFailure, handle: Option<Handle>) {
        if let Some(server) = self.servers.remove(&id) {
            self.indexes.release(&server.query);
            self.fail(id, failure);
        }
        self.close_handle(handle);
    }

    fn opened(&mut self, id: ServerId, port: Option<u16>) {
        let Some(server) = self.servers.get_mut(&id) else { return };
        let Stage::Opening { key } = &server.stage else { return };
        server.stage = Stage::Open { key: key.clone() };
        self.output.push_back(Output::Listening { server: id, sockname: None });
        self.tell_listening(id, port);
    }

    fn open_failed(&mut self, id: ServerId, errno: i32) {
        let opening =
            self.servers.get(&id).is_some_and(|s| matches!(s.stage, Stage::Opening { .. }));
        if opening {
            self.close_opened(id);
            self.fail(id, ListenFailure::Unusable { errno });
        }
    }

    fn tell_listening(&mut self, id: ServerId, port: Option<u16>) {
        let Some(server) = self.servers.get(&id) else { return };
        let mut query = server.query.clone();
        if let Some(port) = port.filter(|port| *port != 0) {
            query.port = cluster_proto::Field::Is(port.into());
        }
        if let Phase::Running { listening } = &mut self.phase {
            *listening = true;
        }
        self.notify(None, ClusterBody::Listening(query));
    }

    fn close_server(&mut self, id: ServerId) {
        match self.servers.get(&id).map(|server| &server.stage) {
            None => {}
            Some(Stage::Asking { .. }) => {
                self.abandon(id);
                self.output.push_back(Output::Closed(id));
            }
            Some(Stage::Opening { .. } | Stage::Open { .. }) => {
                self.close_opened(id);
                self.output.push_back(Output::Closed(id));
            }
            Some(Stage::Own) => {
                self.opened.retain(|other| *other != id);
                self.servers.remove(&id);
                self.output.push_back(Output::Closed(id));
            }
        }
    }

    /// Whatever the primary answers, the server is not wanted any more.
    fn abandon(&mut self, id: ServerId) {
        let Some(Server { query, stage: Stage::Asking { seq }, .. }) = self.servers.remove(&id)
        else {
            return;
        };
        self.awaited.insert(seq, Awaited::AbandonedListen(query));
    }

    /// Tells the primary that the server is closed, and then refuses what waits in it: the other
    /// way round a Node primary would offer it to this worker again.
    fn close_opened(&mut self, id: ServerId) {
        let Some(server) = self.servers.remove(&id) else { return };
        let (Stage::Opening { key } | Stage::Open { key }) = server.stage else { return };
        self.opened.retain(|other| *other != id);
        self.keys.remove(&key);
        self.indexes.release(&server.query);
        self.notify(None, ClusterBody::Close { key });
        for (seq, handle) in server.queue {
            self.refuse(seq, Some(handle));
        }
    }

    // Connections.

    fn connection(&mut self, seq: u64, key: &ServerKey, handle: Option<Handle>) {
        let handle = handle.map(|handle| handle.id);
        let limit = self.config.queue_limit;
        let taker = self.keys.get(key).and_then(|id| {
            let tracked = self.tracked.get(id).copied().unwrap_or(0);
            self.servers.get_mut(id).filter(|server| server.has_room(tracked, limit)).zip(Some(*id))
        });
        match (taker, handle) {
            (Some((server, id)), Some(handle)) => {
                server.queue.push_back((seq, handle));
                self.output.push_back(Output::ConnectionReady(id));
            }
            (_, handle) => self.refuse(seq, handle),
        }
    }

    fn refuse(&mut self, seq: u64, handle: Option<HandleId>) {
        self.notify(Some(seq), ClusterBody::Accepted(false));
        self.output.extend(handle.map(Output::CloseHandle));
    }

    fn take(&mut self, id: ServerId, tracked: bool) {
        let taken = self.servers.get_mut(&id).and_then(|server| server.queue.pop_front());
        let Some((seq, handle)) = taken else { return };
        if tracked {
            *self.tracked.entry(id).or_default() += 1;
        }
        self.believed_held = self.believed_held.map(|held| held + 1);
        self.notify(Some(seq), ClusterBody::Accepted(true));
        self.output.push_back(Output::Connection { server: id, handle, tracked });
    }

    fn ended(&mut self, now: Mono, id: ServerId) {
        if let Some(count) = self.tracked.get_mut(&id) {
            *count -= 1;
            if *count == 0 {
                self.tracked.remove(&id);
            }
        }
        self.finish_draining(now);
    }

    // Messages.

    fn received(&mut self, now: Mono, message: Message, handle: Option<Handle>) {
        if self.phase == Phase::Closed {
            return self.close_handle(handle);
        }
        match message {
            Message::Cluster(message) => self.cluster_message(now, message, handle),
            Message::User(value) => {
                let handle = handle.map(|handle| self.count_socket(handle));
                self.output.push_back(Output::Deliver { value, handle });
            }
            // Our channels do not leave messages encoded; another one's may.
            Message::Encoded(message) => match message.into_value() {
                Ok(value) => self.received(now, Message::User(value), handle),
                Err(_) => self.reject_handle(handle),
            },
            Message::SocketList(message) => {
                self.reject_handle(handle);
                self.socket_list(message);
            }
            message => {
                self.reject_handle(handle);
                self.tells_held |= native::asks_held(&message);
            }
        }
    }

    /// Whether the primary wants to know how many connections are open, and believes otherwise.
    pub fn has_to_tell(&self) -> bool {
        self.tells_held && self.believed_held != Some(self.tracked()) && self.is_connected()
    }

    fn tell_held(&mut self) {
        if self.has_to_tell() {
            let held = self.tracked();
            self.believed_held = Some(held);
            let held = native::held(held.try_into().unwrap_or(u32::MAX));
            self.output.push_back(Output::Send(held));
        }
    }

    fn cluster_message(&mut self, now: Mono, message: ClusterMessage, handle: Option<Handle>) {
        let ClusterMessage { seq, ack, body, .. } = message;
        match ack.and_then(|ack| self.awaited.remove(&ack)) {
            Some(Awaited::Listen(server)) => return self.listen_answered(server, body, handle),
            Some(Awaited::AbandonedListen(query)) => {
                return self.abandoned_listen_answered(&query, body, handle);
            }
            Some(Awaited::ExitedAfterDisconnect) => {
                if self.phase == Phase::AwaitingAck {
                    self.close_channel();
                }
                return self.reject_handle(handle);
            }
            None => {}
        }
        match body {
            ClusterBody::NewConn { key } => self.connection(seq, &key, handle),
            ClusterBody::Disconnect => {
                self.reject_handle(handle);
                self.disconnected_by_primary(now);
            }
            _ => self.reject_handle(handle),
        }
    }

    fn abandoned_listen_answered(
        &mut self,
        query: &ListenQuery,
        body: ClusterBody,
        handle: Option<Handle>,
    ) {
        self.indexes.release(query);
        self.close_handle(handle);
        match body {
            ClusterBody::ListenReply(reply)
                if reply.error().is_none() && !self.keys.contains_key(&reply.key) =>
            {
                self.notify(None, ClusterBody::Close { key: reply.key });
            }
            _ => {}
        }
    }

    fn close_handle(&mut self, handle: Option<Handle>) {
        self.output.extend(handle.map(|handle| Output::CloseHandle(handle.id)));
    }

    /// Closes a descriptor that came with a message that has none.
    fn reject_handle(&mut self, handle: Option<Handle>) {
        self.unexpected_handles += u64::from(handle.is_some());
        self.close_handle(handle);
    }

    // Going away.

    fn disconnect(&mut self, now: Mono) {
        if matches!(self.phase, Phase::Running { .. }) {
            self.drain(now, false);
        }
    }

    fn disconnected_by_primary(&mut self, now: Mono) {
        match self.phase {
            Phase::Running { .. } => self.drain(now, true),
            // The primary knows by now: it need not be told.
            Phase::Draining { .. } => {
                self.phase = Phase::Draining { by_primary: true };
                self.finish_draining(now);
            }
            Phase::AwaitingAck => self.close_channel(),
            Phase::Closing | Phase::Closed => {}
        }
    }

    fn kill(&mut self, now: Mono) {
        if self.phase == Phase::Closed {
            self.exited_after_disconnect = true;
            self.output.push_back(Output::Exit { code: 0 });
            return;
        }
        if self.destroying {
            return;
        }
        self.destroying = true;
        self.exited_after_disconnect = true;
        if matches!(self.phase, Phase::Running { .. } | Phase::Draining { .. }) {
            self.close_all_servers();
            self.tell_exit(now);
        }
    }

    fn drain(&mut self, now: Mono, by_primary: bool) {
        self.exited_after_disconnect = true;
        self.phase = Phase::Draining { by_primary };
        self.close_all_servers();
        self.finish_draining(now);
    }

    fn close_all_servers(&mut self) {
        // A primary that knows that this worker goes does not answer its queries.
        let asking: Vec<ServerId> =
            self.servers.keys().copied().filter(|id| !self.opened.contains(id)).collect();
        for id in asking {
            self.abandon(id);
            self.fail(id, ListenFailure::Disconnected);
        }
        for id in self.opened.clone() {
            self.close_server(id);
        }
    }

    fn finish_draining(&mut self, now: Mono) {
        match self.phase {
            Phase::Draining { by_primary } if self.tracked.is_empty() => {
                if by_primary {
                    self.close_channel();
                } else {
                    self.tell_exit(now);
                }
            }
            _ => {}
        }
    }

    fn tell_exit(&mut self, now: Mono) {
        self.phase = Phase::AwaitingAck;
        self.answer_deadline =
            self.config.answer_timeout.and_then(|timeout| now.checked_add(timeout));
        let seq = self.notify(None, ClusterBody::ExitedAfterDisconnect);
        self.awaited.insert(seq, Awaited::ExitedAfterDisconnect);
    }

    /// A worker that leaves like this does not say so, and is an orphan.
    fn close_at_once(&mut self) {
        if self.is_connected() {
            self.close_channel();
        }
    }

    fn close_channel(&mut self) {
        self.phase = Phase::Closing;
        self.answer_deadline = None;
        self.output.push_back(Output::CloseChannel);
    }

    fn channel_closed(&mut self) {
        if self.phase == Phase::Closed {
            return;
        }
        self.phase = Phase::Closed;
        self.answer_deadline = None;
        self.awaited.clear();
        self.keys.clear();
        self.opened.clear();
        for (id, server) in std::mem::take(&mut self.servers) {
            // The primary cannot be told any more: it, if it lives, places them again itself.
            for (_, handle) in server.queue {
                self.output.push_back(Output::CloseHandle(handle));
            }
            match server.stage {
                Stage::Asking { .. } => self.fail(id, ListenFailure::Disconnected),
                Stage::Opening { .. } | Stage::Open { .. } | Stage::Own => {
                    self.output.push_back(Output::Closed(id));
                }
            }
        }
        self.output.push_back(Output::Disconnected);
        let orphaned = !self.exited_after_disconnect && self.config.exit_when_orphaned;
        if self.destroying || orphaned {
            self.output.push_back(Output::Exit { code: 0 });
        }
    }
}
