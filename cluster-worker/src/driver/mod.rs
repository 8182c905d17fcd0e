//! The core of all front-ends: a machine, its channel, and its sockets.
//!
//! Nothing here blocks. [`shared`] waits, for the blocking front-end.

mod accept;
mod asking;
mod base;
mod channel;
mod clock;
mod front;
mod inbound;
mod inbox;
mod link;
mod listen;
mod own;
mod requests;
mod server;
mod shared;
pub(crate) mod socket;
mod sockets;
mod step;
#[cfg(feature = "tokio")]
pub(crate) mod tasks;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use cluster_ipc::Channel;
use mio::event::Event;
use mio::{Events, Interest, Poll, Token, Waker};

use self::base::{CHANNEL, FIRST_SERVER, WAKER};
use crate::machine::{Machine, Mono, ServerId};
use crate::setup::Options;

pub(crate) use base::{Core, Poller};
pub(crate) use clock::Clock;
pub(crate) use front::{Front, News};
pub(crate) use inbound::{Inbound, InboundHandle};
pub(crate) use own::Own;
pub(crate) use server::{Kind, Server, Stage};
pub(crate) use shared::{Question, Shared};
pub(crate) use socket::Lent;

/// The length of an accept queue, where none was asked for.
pub(crate) const BACKLOG: i32 = 511;

/// Events of one wake.
const EVENTS: usize = 128;
/// Messages that are read in one wake, and how many bytes of them at most, but for the last.
const MESSAGES: usize = 256;
const BYTES: u64 = 1 << 20;

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
            link: link::Link::new(channel),
            handles: HashMap::new(),
            last_handle: 0,
            last_server: 0,
            absorbed_at: Mono::ZERO,
            gathering_since: None,
            corks: 0,
            draining: false,
            sockets: BTreeMap::new(),
            asking: asking::Asking::default(),
        };
        core.pump();
        core.flush();
        Ok(core)
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

    /// Takes what was waited for, a bounded amount of it.
    pub(crate) fn absorb(&mut self, poller: Poller) {
        self.absorbed_at = self.now();
        for event in &poller.events {
            self.event(event);
        }
        self.poller = Some(poller);
        let now = self.now();
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
                if let Some(server) = self.server_mut(id) {
                    server.retry = None;
                    server.acceptable = true;
                    self.note_change();
                }
            }
        }
    }
}
