//! The core of all front-ends: a machine, its channel, and its sockets.
//!
//! Nothing here blocks. [`shared`] waits, for the blocking front-end.

mod channel;
mod clock;
mod own;
mod requests;
mod server;
mod shared;
pub(crate) mod socket;
#[cfg(feature = "tokio")]
pub(crate) mod tasks;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use cluster_ipc::{Channel, Outgoing, Pressure};
use cluster_proto::{
    ClusterBody, EncodeError, Field, HandleKind, ListenQuery, Message, SockName, Value,
    is_internal, native,
};
use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token, Waker};
use rustix::io::Errno;

use crate::error::{ListenError, RecvError, SendError};
use crate::machine::{HandleId, Input, ListenFailure, Machine, Mono, Output, ServerId, State};
use crate::setup::Options;

pub(crate) use clock::Clock;
pub(crate) use own::Own;
use own::bind;
use server::Taken;
pub(crate) use server::{Kind, Server, Stage};
pub(crate) use shared::{Question, Shared};
pub(crate) use socket::Lent;

const CHANNEL: Token = Token(0);
const WAKER: Token = Token(1);
const FIRST_SERVER: usize = 2;

/// The length of an accept queue, where none was asked for.
pub(crate) const BACKLOG: i32 = 511;

/// Events of one wake.
const EVENTS: usize = 128;
/// Messages that are read in one wake, and how many bytes of them at the most, but for the last.
const MESSAGES: usize = 256;
const BYTES: u64 = 1 << 20;
/// Connections whose acceptance an event loop's worker writes at once. What it has not yielded of
/// them when it dies is lost, and each write costs it, and the primary, a system call.
const TAKEN_AT_ONCE: usize = 8;
/// How long a thread that need not wait goes on without looking whether anything has come.
const OVERDUE: Duration = Duration::from_millis(10);
/// How long an evented worker leaves a socket alone that would not accept.
const PAUSE: Duration = Duration::from_millis(100);

/// What waits for events; whoever waits has it.
#[derive(Debug)]
pub(crate) struct Poller {
    pub(crate) poll: Poll,
    pub(crate) events: Events,
}

/// What the evented front-end tells.
#[derive(Debug)]
pub(crate) enum News {
    Listening(ServerId),
    ListenFailed(ServerId),
    Closed(ServerId),
    /// All is written that waited when the pressure was high.
    Drained,
    SocketCount(String, u64),
    SocketsClosed(String),
}

/// Who waits for what happens.
#[derive(Debug)]
pub(crate) enum Front {
    /// Threads of the application, which do the worker's business meanwhile.
    Threads,
    /// An event loop of the application's, which is told.
    Loop(VecDeque<News>),
    /// Tasks of a runtime's, which waits for sockets itself.
    #[cfg(feature = "tokio")]
    Tasks,
}

impl Front {
    /// Whether sockets of the application's block.
    fn blocks(&self) -> bool {
        matches!(self, Self::Threads)
    }

    /// Whether the runtime waits for what comes to sockets that the primary lends.
    fn waits_itself(&self, udp: bool) -> bool {
        match self {
            Self::Threads => false,
            Self::Loop(_) => udp,
            #[cfg(feature = "tokio")]
            Self::Tasks => true,
        }
    }

    /// Whether it is told what happens, and does not wait for it.
    fn is_told(&self) -> bool {
        matches!(self, Self::Loop(_))
    }

    fn tell(&mut self, news: News) {
        if let Self::Loop(queue) = self {
            queue.push_back(news);
        }
    }

    fn next(&mut self) -> Option<News> {
        match self {
            Self::Loop(queue) => queue.pop_front(),
            _ => None,
        }
    }
}

/// What has changed for those who wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Changed {
    /// Anything.
    came: bool,
    /// The worker is about to go, or has gone.
    #[cfg_attr(not(feature = "tokio"), expect(dead_code, reason = "threads look for all alike"))]
    went: bool,
}

/// A message from the primary that the application has not received.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub(crate) value: Value,
    pub(crate) handle: Option<InboundHandle>,
    /// The primary's number of it, if it waits for an answer.
    pub(crate) request: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct InboundHandle {
    pub(crate) kind: HandleKind,
    pub(crate) fd: OwnedFd,
    pub(crate) key: Option<String>,
}

/// A question about connections, asked by whoever waits for its answer.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) waiting: usize,
    /// How many answers there were since somebody waits.
    pub(crate) answers: u64,
    /// The last answer.
    pub(crate) count: u64,
}

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) id: u32,
    pub(crate) slot: Option<u32>,
    pub(crate) machine: Machine,
    pub(crate) servers: BTreeMap<ServerId, Server>,
    pub(crate) inbox: VecDeque<Inbound>,
    /// Messages that have come into it.
    delivered: u64,
    inbox_limit: usize,
    /// Of descriptors, in the inbox.
    handle_limit: usize,
    inbox_handles: usize,
    /// Messages that found the inbox full.
    pub(crate) lost: u64,
    /// Descriptors that came beside users' messages, and were closed.
    unexpected: u64,
    pub(crate) failure: Option<cluster_ipc::RecvError>,
    pub(crate) clock: Clock,
    /// `None` while a thread waits with it.
    pub(crate) poller: Option<Poller>,
    pub(crate) waker: Waker,
    /// Something happened that a waiting thread may wait for.
    pub(crate) changed: bool,
    /// And the worker's state, too.
    went: bool,
    pub(crate) front: Front,
    registry: Registry,
    link: channel::Link,
    handles: HashMap<HandleId, OwnedFd>,
    last_handle: u64,
    last_server: u64,
    /// When was last looked whether anything has come.
    absorbed_at: Mono,
    /// When it sent the first message since its loop last found nothing more to take. For the
    /// evented front-end only.
    pub(crate) gathering_since: Option<Mono>,
    /// How many have corked the channel. For the blocking front-end only.
    pub(crate) corks: usize,
    /// The application was told to wait until all is written.
    draining: bool,
    /// The questions about connections to which somebody waits for an answer.
    pub(crate) sockets: BTreeMap<(String, bool), Asked>,
    asking: requests::Asking,
}

impl Core {
    pub(crate) fn new(id: u32, fd: OwnedFd, options: &Options, front: Front) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut channel = Channel::from_fd(fd, options.channel_config())?;
        let both = Interest::READABLE | Interest::WRITABLE;
        poll.registry().register(&mut channel, CHANNEL, both)?;
        let mut core = Self {
            id,
            slot: options.slot,
            machine: Machine::new(options.machine_config()),
            servers: BTreeMap::new(),
            inbox: VecDeque::new(),
            delivered: 0,
            inbox_limit: options.inbox_limit,
            handle_limit: options.handle_limit,
            inbox_handles: 0,
            lost: 0,
            unexpected: 0,
            failure: None,
            clock: Clock::new(),
            waker: Waker::new(poll.registry(), WAKER)?,
            changed: false,
            went: false,
            front,
            registry: poll.registry().try_clone()?,
            poller: Some(Poller { poll, events: Events::with_capacity(EVENTS) }),
            link: channel::Link::new(channel),
            handles: HashMap::new(),
            last_handle: 0,
            last_server: 0,
            absorbed_at: Mono::ZERO,
            gathering_since: None,
            corks: 0,
            draining: false,
            sockets: BTreeMap::new(),
            asking: requests::Asking::default(),
        };
        core.pump();
        core.flush();
        Ok(core)
    }

    // What the front-ends want.

    pub(crate) fn input(&mut self, input: Input) {
        self.step(|machine, now| machine.handle_input(now, input));
    }

    /// Moves the machine on, and does what it says.
    fn step(&mut self, go: impl FnOnce(&mut Machine, Mono)) {
        let before = self.standing();
        go(&mut self.machine, self.clock.mono());
        self.pump();
        let went = self.standing() != before;
        self.changed |= went;
        self.went |= went;
    }

    /// What has changed since somebody asked.
    pub(crate) fn take_changed(&mut self) -> Changed {
        let went = std::mem::take(&mut self.went);
        Changed { came: std::mem::take(&mut self.changed), went }
    }

    /// What threads wait for though no output tells it, and until when the leader may poll.
    fn standing(&self) -> (State, bool, Option<bool>, Option<Mono>) {
        let machine = &self.machine;
        let connected = machine.is_connected();
        (machine.state(), connected, machine.exited_after_disconnect(), machine.poll_timeout())
    }

    /// Listens by way of the primary, or, exclusively, on a socket of the worker's own.
    pub(crate) fn serve(
        &mut self,
        query: ListenQuery,
        kind: Kind,
        max_connections: Option<usize>,
        exclusive: bool,
    ) -> ServerId {
        match exclusive {
            true => self.listen_exclusive(&query, kind, max_connections),
            false => self.listen(query, kind, max_connections),
        }
    }

    fn listen(
        &mut self,
        query: ListenQuery,
        kind: Kind,
        max_connections: Option<usize>,
    ) -> ServerId {
        self.last_server += 1;
        let server = ServerId(self.last_server);
        let mut opening = Server::new(name(&query), kind, max_connections);
        opening.access = own::access(&query);
        self.servers.insert(server, opening);
        self.input(Input::Listen { server, query: Box::new(query), max_connections });
        server
    }

    /// Binds a socket of the worker's own, and listens on it.
    fn listen_exclusive(
        &mut self,
        query: &ListenQuery,
        kind: Kind,
        max_connections: Option<usize>,
    ) -> ServerId {
        let backlog = query.backlog_length();
        self.listen_own(name(query), kind, max_connections, backlog, bind(query))
    }

    /// Listens on a socket of the worker's own.
    pub(crate) fn listen_own(
        &mut self,
        name: String,
        kind: Kind,
        max_connections: Option<usize>,
        backlog: i32,
        own: Result<Own, Errno>,
    ) -> ServerId {
        self.last_server += 1;
        let id = ServerId(self.last_server);
        self.servers.insert(id, Server::new(name, kind, max_connections));
        if self.machine.state() == State::Disconnected || !self.machine.is_connected() {
            self.input(Input::Own { server: id });
            return id;
        }
        let udp = kind == Kind::Udp;
        let opened = own.and_then(|Own { fd, file }| {
            let (lent, local) = Lent::prepare(fd, None, backlog, udp)?;
            self.watch(id, &lent, udp)?;
            Ok((lent, local, file))
        });
        match (opened, self.servers.get_mut(&id)) {
            (Ok((lent, local, file)), Some(server)) => {
                server.lent = Some(lent);
                server.local = local;
                server.acceptable = !udp;
                server.file = file;
                self.input(Input::Own { server: id });
            }
            (Err(errno), _) => {
                let errno = errno.raw_os_error();
                self.unlist(id, Stage::Failed(ListenFailure::Unusable { errno }));
                self.tell(News::ListenFailed(id));
            }
            (Ok(_), None) => {}
        }
        id
    }

    pub(crate) fn close(&mut self, id: ServerId) {
        if let Some(server) = self.servers.get_mut(&id) {
            server.closed_here = true;
            self.changed = true;
        }
        self.input(Input::CloseServer(id));
    }

    /// Whether nothing comes from that server any more, and the application is to be told.
    ///
    /// It learns of a disconnect when that is done: then it can let `main` return. Before, the
    /// process would go while connections are open, or under the primary's acknowledgement, and a
    /// Node primary dies of having nobody to write it to.
    pub(crate) fn has_ended(&self, id: ServerId) -> bool {
        let Some(server) = self.servers.get(&id) else { return true };
        let over = matches!(server.stage, Stage::Closed | Stage::Failed(_));
        let told = server.closed_here || self.machine.state() == State::Disconnected;
        over && told && server.taken.is_empty()
    }

    /// Closes a server and forgets it.
    pub(crate) fn forget(&mut self, id: ServerId) {
        self.input(Input::CloseServer(id));
        if let Some(server) = self.servers.remove(&id) {
            // Accepted, and yet nobody is left to see them.
            for _ in server.taken.iter().filter(|taken| taken.tracked) {
                self.input(Input::Ended(id));
            }
        }
    }

    pub(crate) fn send(
        &mut self,
        value: Value,
        handle: Option<Outgoing<OwnedFd>>,
    ) -> Result<Pressure, SendError> {
        if !self.machine.is_connected() || self.link.is_closed() {
            return Err(SendError::Disconnected);
        }
        if is_internal(&value) {
            return Err(SendError::Encode(EncodeError::Reserved));
        }
        // Nobody asks for a report.
        let handle = handle.map(|mut handle| {
            handle.token = None;
            handle
        });
        let sent = self.link.send_user(&Message::User(value), handle);
        self.draining |= sent == Ok(Pressure::High);
        sent
    }

    /// What an event loop is told next.
    pub(crate) fn next_news(&mut self) -> Option<News> {
        self.front.next()
    }

    /// What threads and tasks are told of messages from the primary: the next one, what went wrong,
    /// or that there will be no more.
    pub(crate) fn next_inbound(&mut self) -> Option<Result<Option<Inbound>, RecvError>> {
        if self.lost > 0 {
            return Some(Err(RecvError::Lost { messages: std::mem::take(&mut self.lost) }));
        }
        if let Some(message) = self.take_message() {
            return Some(Ok(Some(message)));
        }
        if let Some(failure) = self.failure.take() {
            return Some(Err(RecvError::Channel(failure)));
        }
        (self.machine.state() == State::Disconnected).then_some(Ok(None))
    }

    /// How it went with a server that was asked for, once that is known.
    pub(crate) fn opened(&mut self, id: ServerId) -> Option<Result<(), ListenError>> {
        match self.servers.get(&id).map(|server| &server.stage) {
            Some(Stage::Asking) => None,
            Some(Stage::Failed(failure)) => {
                let failure = *failure;
                let server = self.servers.remove(&id)?;
                Some(Err(server.listen_error(failure)))
            }
            _ => Some(Ok(())),
        }
    }

    /// Looks what has come, without waiting, and takes it.
    pub(crate) fn look(&mut self) -> io::Result<()> {
        let Some(mut poller) = self.poller.take() else { return Ok(()) };
        let polled = poller.poll.poll(&mut poller.events, Some(Duration::ZERO));
        let full = poller.events.iter().count() == poller.events.capacity();
        match polled {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                self.poller = Some(poller);
                return Err(error);
            }
            _ => self.absorb(poller),
        }
        if full || self.patience(None) == Some(Duration::ZERO) {
            self.waker.wake()?;
        }
        Ok(())
    }

    /// The next message for the application.
    pub(crate) fn take_message(&mut self) -> Option<Inbound> {
        let inbound = self.inbox.pop_front()?;
        self.inbox_handles -= usize::from(inbound.handle.is_some());
        Some(inbound)
    }

    /// A descriptor that nobody wants.
    pub(crate) fn refuse_handle(&mut self, handle: Option<InboundHandle>) {
        let Some(InboundHandle { fd, key, .. }) = handle else { return };
        self.unexpected += 1;
        drop(fd);
        if let Some(key) = key {
            self.input(Input::SocketClosed(key));
        }
    }

    /// Asks the primary about connections that were sent away with that key.
    pub(crate) fn ask_sockets(&mut self, key: &str, when_closed: bool) -> Result<(), SendError> {
        if !self.machine.is_connected() || self.link.is_closed() {
            return Err(SendError::Disconnected);
        }
        self.input(Input::AskSockets { key: key.into(), when_closed });
        Ok(())
    }

    fn sockets_answered(&mut self, key: String, when_closed: bool, count: u64) {
        if let Some(asked) = self.sockets.get_mut(&(key.clone(), when_closed)) {
            asked.answers += 1;
            asked.count = count;
        }
        self.tell(if when_closed {
            News::SocketsClosed(key)
        } else {
            News::SocketCount(key, count)
        });
    }

    /// Descriptors that came beside what has none, and were closed.
    pub(crate) fn unexpected_handles(&self) -> u64 {
        self.machine.unexpected_handles() + self.unexpected + self.link.unexpected_handles()
    }

    /// A connection of that server, if there is one; `Some(None)` once there will be no more.
    pub(crate) fn try_accept(
        &mut self,
        id: ServerId,
        tracked: bool,
    ) -> Option<io::Result<Option<OwnedFd>>> {
        if let Some(taken) = self.written(id) {
            return Some(Ok(Some(self.hand_out(id, taken, tracked))));
        }
        let server = match self.servers.get_mut(&id) {
            None => return Some(Ok(None)),
            Some(server) => server,
        };
        if server.ready > 0 {
            let ready = server.ready;
            for _ in 0..ready.min(self.may_take()) {
                self.input(Input::Take { server: id, tracked });
            }
            // The frame that accepts is written before the connection is seen.
            self.flush();
            let taken = self.written(id)?;
            return Some(Ok(Some(self.hand_out(id, taken, tracked))));
        }
        if let Some(listener) = server.lent.as_ref().and_then(Lent::listener) {
            // What is not accepted here waits for another worker.
            if server.max_connections.is_some_and(|max| self.machine.tracked_by(id) >= max) {
                return None;
            }
            return match socket::accept(listener, self.front.blocks()) {
                Ok(Some(fd)) => {
                    if tracked {
                        self.input(Input::Track(id));
                    }
                    Some(Ok(Some(fd)))
                }
                Ok(None) => {
                    server.acceptable = false;
                    None
                }
                Err(error) => {
                    // What waits there is reported no second time. A caller that blocks tries again
                    // when it calls again.
                    server.acceptable = false;
                    let pause = || self.clock.deadline(PAUSE);
                    server.retry = matches!(self.front, Front::Loop(_)).then(pause).flatten();
                    Some(Err(error.into()))
                }
            };
        }
        self.has_ended(id).then_some(Ok(None))
    }

    /// What is readable when there is something to take: a duplicate.
    #[cfg(feature = "tokio")]
    pub(crate) fn poll_descriptor(&self) -> io::Result<OwnedFd> {
        let poller = self.poller.as_ref().expect("no thread waits with it");
        crate::inherit::duplicate(&poller.poll)
    }

    /// Whether that server has as many connections as it may have.
    #[cfg(feature = "tokio")]
    pub(crate) fn is_full(&self, id: ServerId) -> bool {
        let most = self.servers.get(&id).and_then(|server| server.max_connections);
        most.is_some_and(|most| self.machine.tracked_by(id) >= most)
    }

    /// Has the runtime that is entered wait for what comes to that server's listener, if it accepts from
    /// one itself.
    #[cfg(feature = "tokio")]
    pub(crate) fn wait_by_runtime(&mut self, id: ServerId) -> io::Result<()> {
        let Some(server) = self.servers.get_mut(&id) else { return Ok(()) };
        server.lent = match server.lent.take() {
            Some(Lent::Listener(listener)) => {
                Some(Lent::Waited(std::sync::Arc::new(socket::waited_for(listener)?)))
            }
            other => other,
        };
        Ok(())
    }

    /// What the runtime waits with for what comes to that server's listener; none once it is closed.
    #[cfg(feature = "tokio")]
    pub(crate) fn waited(&self, id: ServerId) -> Option<&std::sync::Arc<socket::Waited>> {
        match self.servers.get(&id)?.lent.as_ref()? {
            Lent::Waited(listener) => Some(listener),
            _ => None,
        }
    }

    /// How many connections may be accepted now, all servers of an event loop being taken together.
    ///
    /// A loop is given all that is there before it waits again, but of what it is given it may die.
    /// A thread may go on with one for as long as it likes, and a task may never come back: the others
    /// are somebody else's then.
    fn may_take(&self) -> usize {
        if !matches!(self.front, Front::Loop(_)) {
            return 1;
        }
        let taken = self.servers.values().map(|server| server.taken.len()).sum();
        TAKEN_AT_ONCE.saturating_sub(taken).max(1)
    }

    /// A connection whose acceptance is written.
    fn written(&mut self, id: ServerId) -> Option<Taken> {
        let flushes = self.link.flushes();
        let taken = &mut self.servers.get_mut(&id)?.taken;
        if taken.front()?.flush <= flushes { taken.pop_front() } else { None }
    }

    fn hand_out(&mut self, id: ServerId, taken: Taken, tracked: bool) -> OwnedFd {
        match (taken.tracked, tracked) {
            (true, false) => self.input(Input::Ended(id)),
            (false, true) => self.input(Input::Track(id)),
            _ => {}
        }
        taken.fd
    }

    /// A tracked connection ended, which may have freed a descriptor too.
    pub(crate) fn ended(&mut self, id: ServerId) {
        for server in self.servers.values_mut().filter(|server| server.retry.is_some()) {
            server.retry = None;
            server.acceptable = true;
            self.changed = true;
        }
        // One that was full may accept again.
        self.changed |= self.servers.get(&id).is_some_and(|s| s.max_connections.is_some());
        self.input(Input::Ended(id));
        // A loop looks again by itself. A thread that waits may do so for long, and the primary
        // would take this worker for a busier one than it is.
        if !matches!(self.front, Front::Loop(_)) {
            self.tell_held();
        }
    }

    // What happens by itself.

    /// How long may be waited for events at the most.
    pub(crate) fn patience(&self, deadline: Option<Mono>) -> Option<Duration> {
        if self.link.is_readable() {
            return Some(Duration::ZERO);
        }
        let retries = self.servers.values().map(|server| server.retry);
        let asking = self.asking.poll_timeout();
        let others = [deadline, asking, self.machine.poll_timeout(), self.link.again_at()];
        let until = others.into_iter().chain(retries);
        Some(until.flatten().min()?.saturating_sub(self.clock.mono()))
    }

    /// Whether nobody has looked for long whether anything has come.
    pub(crate) fn is_overdue(&self) -> bool {
        self.clock.mono() >= self.absorbed_at + OVERDUE
    }

    /// Takes what was waited for, a bounded amount of it.
    pub(crate) fn absorb(&mut self, poller: Poller) {
        self.absorbed_at = self.clock.mono();
        for event in &poller.events {
            self.event(event);
        }
        self.poller = Some(poller);
        let now = self.clock.mono();
        if self.machine.poll_timeout().is_some_and(|due| due <= now) {
            self.step(Machine::handle_timeout);
            // The only timer is that of the primary's answer. It may not even read.
            self.link.give_up();
        }
        for server in self.servers.values_mut() {
            if server.retry.is_some_and(|due| due <= now) {
                server.retry = None;
                server.acceptable = true;
                self.changed = true;
            }
        }
        self.read(MESSAGES, BYTES);
        // An answer that has just come is in time.
        self.end_overdue_requests(now);
        self.tell_held();
    }

    /// Tells the primary how many connections are open, if it wants to know: once a turn.
    pub(crate) fn tell_held(&mut self) {
        if self.machine.has_to_tell() {
            self.input(Input::TellHeld);
        }
    }

    fn event(&mut self, event: &Event) {
        match event.token() {
            CHANNEL => self.link.note_event(event.is_read_closed() || event.is_error()),
            WAKER => {}
            Token(n) => {
                let id = ServerId((n - FIRST_SERVER) as u64 + 1);
                if let Some(server) = self.servers.get_mut(&id) {
                    server.retry = None;
                    server.acceptable = true;
                    self.changed = true;
                }
            }
        }
    }

    /// Does what the machine says.
    pub(crate) fn pump(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Send(mut message) => {
                    // A Node primary does not look at it.
                    if let Message::Cluster(message) = &mut message
                        && message.body == ClusterBody::Online
                    {
                        native::offer(message);
                    }
                    self.link.send_own(message);
                }
                Output::Open { server, handle, port, backlog, udp } => {
                    self.open(server, handle, port, backlog, udp);
                }
                Output::Listening { server, sockname } => self.listening(server, sockname),
                Output::ListenFailed { server, failure } => {
                    self.unlist(server, Stage::Failed(failure));
                    self.tell(News::ListenFailed(server));
                }
                Output::ConnectionReady(server) => {
                    if let Some(server) = self.servers.get_mut(&server) {
                        server.ready += 1;
                    }
                    self.changed = true;
                }
                Output::Connection { server, handle, tracked } => {
                    self.connection(server, handle, tracked);
                }
                Output::Closed(server) => {
                    self.unlist(server, Stage::Closed);
                    self.tell(News::Closed(server));
                }
                Output::Deliver { value, handle } => {
                    let handle = handle.and_then(|handle| {
                        let fd = self.handles.remove(&handle.id)?;
                        Some(InboundHandle { kind: handle.kind, fd, key: handle.key })
                    });
                    self.deliver(value, handle);
                }
                Output::SocketCount { key, count } => self.sockets_answered(key, false, count),
                Output::SocketsClosed { key } => self.sockets_answered(key, true, 0),
                Output::CloseHandle(handle) => drop(self.handles.remove(&handle)),
                Output::CloseChannel => {
                    self.link.close();
                    self.changed = true;
                }
                Output::Disconnected => self.changed = true,
                Output::Exit { code } => std::process::exit(code),
            }
        }
    }

    fn tell(&mut self, news: News) {
        self.changed = true;
        self.front.tell(news);
    }

    fn deliver(&mut self, value: Value, handle: Option<InboundHandle>) {
        self.changed = true;
        let Some((value, request)) = self.sort_out(value) else {
            return self.refuse_handle(handle);
        };
        let room = handle.is_none() || self.inbox_handles < self.handle_limit;
        if self.inbox.len() < self.inbox_limit && room {
            self.inbox_handles += usize::from(handle.is_some());
            self.delivered += 1;
            self.inbox.push_back(Inbound { value, handle, request });
        } else {
            self.lost += 1;
            // Descriptors that wait to be received are bounded too: a flood must not take all that
            // this process may have.
            self.refuse_handle(handle);
            self.turn_away(request);
        }
    }

    fn connection(&mut self, id: ServerId, handle: HandleId, tracked: bool) {
        let fd = self.handles.remove(&handle);
        let (Some(fd), Some(server)) = (fd, self.servers.get_mut(&id)) else { return };
        server.ready -= 1;
        // If it fails the application will see the same with its first call.
        let _ = socket::set_mode(&fd, self.front.blocks());
        let flush = self.link.next_flush();
        server.taken.push_back(Taken { fd, tracked, flush });
    }

    fn open(&mut self, id: ServerId, handle: HandleId, port: Option<u16>, backlog: i32, udp: bool) {
        let Some(fd) = self.handles.remove(&handle) else { return };
        if !self.servers.contains_key(&id) {
            return;
        }
        let opened = Lent::prepare(fd, port, backlog, udp).and_then(|(lent, local)| {
            if let Some(server) = self.servers.get(&id) {
                own::open_to_all(&server.name, server.access)?;
            }
            self.watch(id, &lent, udp)?;
            Ok((lent, local))
        });
        let Some(server) = self.servers.get_mut(&id) else { return };
        let input = match opened {
            Ok((lent, local)) => {
                server.lent = Some(lent);
                server.local = local;
                server.acceptable = !udp;
                Input::Opened { server: id, port: local.map(|local| local.port()) }
            }
            Err(errno) => Input::OpenFailed { server: id, errno: errno.raw_os_error() },
        };
        self.machine.handle_input(self.clock.mono(), input);
    }

    /// Waits for what comes to a socket that is accepted from here.
    fn watch(&self, id: ServerId, lent: &Lent, udp: bool) -> Result<(), Errno> {
        if self.front.waits_itself(udp) {
            return Ok(());
        }
        let token = Token((id.0 - 1) as usize + FIRST_SERVER);
        let raw = lent.as_fd().as_raw_fd();
        let registered = self.registry.register(&mut SourceFd(&raw), token, Interest::READABLE);
        registered.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }

    fn listening(&mut self, id: ServerId, sockname: Option<SockName>) {
        if let Some(server) = self.servers.get_mut(&id) {
            server.stage = Stage::Open;
            if let Some(name) = sockname {
                let ip = name.address.parse().ok();
                server.local = ip.map(|ip| SocketAddr::new(ip, name.port));
            }
        }
        self.tell(News::Listening(id));
    }

    fn unlist(&mut self, id: ServerId, stage: Stage) {
        let Some(server) = self.servers.get_mut(&id) else { return };
        server.stage = stage;
        server.ready = 0;
        server.acceptable = false;
        server.retry = None;
        server.file = None;
        if let Some(lent) = server.lent.take() {
            // Others hold the same socket: closed but not deregistered it would go on to report.
            let _ = self.registry.deregister(&mut SourceFd(&lent.as_fd().as_raw_fd()));
        }
    }
}

/// What a user would call the address.
pub(crate) fn name(query: &ListenQuery) -> String {
    match (query.primary_fd(), &query.address, query.port) {
        (Some(fd), ..) => format!("the primary's descriptor {fd}"),
        (None, Field::Is(path), Field::Is(..=-1)) => path.clone(),
        (None, Field::Is(ip), Field::Is(port)) if ip.contains(':') => format!("[{ip}]:{port}"),
        (None, Field::Is(ip), Field::Is(port)) => format!("{ip}:{port}"),
        (None, _, port) => format!("*:{port}"),
    }
}
