//! The state of the core, and what its parts need of each other.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::os::fd::OwnedFd;
use std::time::Duration;

use mio::{Events, Poll, Registry, Token, Waker};

use super::asking::Asking;
use super::clock::Clock;
use super::front::{Front, News};
use super::inbound::{Asked, Inbound};
use super::link::Link;
use super::server::Server;
use crate::machine::{HandleId, Machine, Mono, ServerId, State};

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
    pub(super) came: bool,
    /// The worker is about to go, or has gone.
    #[cfg_attr(not(feature = "tokio"), expect(dead_code, reason = "threads look for all alike"))]
    pub(super) went: bool,
}

#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) id: u32,
    pub(crate) slot: Option<u32>,
    pub(crate) machine: Machine,
    pub(crate) servers: BTreeMap<ServerId, Server>,
    pub(crate) inbox: VecDeque<Inbound>,
    /// Messages that have come into it.
    pub(super) delivered: u64,
    pub(super) inbox_limit: usize,
    /// Of descriptors, in the inbox.
    pub(super) handle_limit: usize,
    pub(super) inbox_handles: usize,
    /// Messages that found the inbox full.
    pub(crate) lost: u64,
    /// Descriptors that came beside users' messages, and were closed.
    pub(super) unexpected: u64,
    pub(crate) failure: Option<cluster_ipc::RecvError>,
    pub(crate) clock: Clock,
    /// `None` while a thread waits with it.
    pub(crate) poller: Option<Poller>,
    pub(crate) waker: Waker,
    /// Something happened that a waiting thread may wait for.
    pub(crate) changed: bool,
    /// And the worker's state, too.
    pub(super) went: bool,
    pub(crate) front: Front,
    pub(super) registry: Registry,
    pub(super) link: Link,
    pub(super) handles: HashMap<HandleId, OwnedFd>,
    pub(super) last_handle: u64,
    pub(super) last_server: u64,
    /// When was last looked whether anything has come.
    pub(super) absorbed_at: Mono,
    /// When it sent the first message since its loop last found nothing more to take. For the
    /// evented front-end only.
    pub(crate) gathering_since: Option<Mono>,
    /// How many have corked the channel. For the blocking front-end only.
    pub(crate) corks: usize,
    /// The application was told to wait until all is written.
    pub(super) draining: bool,
    /// Questions about connections whose answers a thread waits for.
    pub(crate) sockets: BTreeMap<(String, bool), Asked>,
    pub(super) asking: Asking,
}

/// How long a thread that need not wait goes on without looking whether anything has come.
const OVERDUE: Duration = Duration::from_millis(10);

pub(super) const FIRST_SERVER: usize = 2;

pub(super) const CHANNEL: Token = Token(0);

pub(super) const WAKER: Token = Token(1);

impl Core {
    /// Something happened that a waiting thread may wait for.
    pub(super) fn note_change(&mut self) {
        self.changed = true;
    }

    pub(super) fn now(&self) -> Mono {
        self.clock.mono()
    }

    pub(super) fn server(&self, id: ServerId) -> Option<&Server> {
        self.servers.get(&id)
    }

    pub(super) fn server_mut(&mut self, id: ServerId) -> Option<&mut Server> {
        self.servers.get_mut(&id)
    }

    /// The handle's descriptor, which the machine has no more use for.
    pub(super) fn take_handle(&mut self, handle: HandleId) -> Option<OwnedFd> {
        self.handles.remove(&handle)
    }

    pub(super) fn notify(&mut self, news: News) {
        self.changed = true;
        self.front.notify(news);
    }

    /// What has changed since that was last asked.
    pub(crate) fn take_changed(&mut self) -> Changed {
        let went = std::mem::take(&mut self.went);
        Changed { came: std::mem::take(&mut self.changed), went }
    }

    /// What threads wait for though no output tells it, and until when the leader may poll.
    pub(super) fn standing(&self) -> (State, bool, Option<bool>, Option<Mono>) {
        let machine = &self.machine;
        let connected = machine.is_connected();
        (machine.state(), connected, machine.exited_after_disconnect(), machine.poll_timeout())
    }

    /// What an event loop is told next.
    pub(crate) fn next_news(&mut self) -> Option<News> {
        self.front.next()
    }

    /// Whether events have not been looked for in a long time.
    pub(crate) fn is_overdue(&self) -> bool {
        self.clock.mono() >= self.absorbed_at + OVERDUE
    }

    /// How long may be waited for events at most.
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

    /// What is readable when there is something to take: a duplicate.
    #[cfg(feature = "tokio")]
    pub(crate) fn poll_descriptor(&self) -> std::io::Result<OwnedFd> {
        let poller = self.poller.as_ref().expect("no thread waits with it");
        crate::inherit::duplicate(&poller.poll)
    }
}
