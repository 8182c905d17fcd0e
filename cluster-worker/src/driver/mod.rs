//! The core of all front-ends: a machine, its channel, and its sockets.
//!
//! Nothing here blocks. [`shared`] waits, for the blocking front-end.

mod accept;
mod channel;
mod clock;
mod front;
mod inbox;
mod listen;
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
use std::os::fd::OwnedFd;
use std::time::Duration;

use cluster_ipc::Channel;
use cluster_proto::{ClusterBody, Message, native};
use mio::event::Event;
use mio::{Events, Interest, Poll, Registry, Token, Waker};

use crate::machine::{HandleId, Input, Machine, Mono, Output, ServerId, State};
use crate::setup::Options;

pub(crate) use clock::Clock;
pub(crate) use front::{Front, News};
pub(crate) use inbox::{Asked, Inbound, InboundHandle};
pub(crate) use own::Own;
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
/// How long a thread that need not wait goes on without looking whether anything has come.
const OVERDUE: Duration = Duration::from_millis(10);

/// The poller; the thread that waits has taken it.
#[derive(Debug)]
pub(crate) struct Poller {
    pub(crate) poll: Poll,
    pub(crate) events: Events,
}

/// What has changed, for the waiting threads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Changed {
    /// Anything.
    came: bool,
    /// The worker is about to go, or has gone.
    #[cfg_attr(not(feature = "tokio"), expect(dead_code, reason = "threads look for all alike"))]
    went: bool,
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
    /// Questions about connections whose answers a thread waits for.
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

    /// What has changed since that was last asked.
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

    /// What an event loop is told next.
    pub(crate) fn next_news(&mut self) -> Option<News> {
        self.front.next()
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

    /// What is readable when there is something to take: a duplicate.
    #[cfg(feature = "tokio")]
    pub(crate) fn poll_descriptor(&self) -> io::Result<OwnedFd> {
        let poller = self.poller.as_ref().expect("no thread waits with it");
        crate::inherit::duplicate(&poller.poll)
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

    /// Whether events have not been looked for in a long time.
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
                    self.notify(News::ListenFailed(server));
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
                    self.notify(News::Closed(server));
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

    fn notify(&mut self, news: News) {
        self.changed = true;
        self.front.notify(news);
    }
}
