//! What the primary holds.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;

use cluster_ipc::{Channel, ChannelConfig, Outgoing, Pressure, Wire};
use cluster_proto::env::Serialization;
use cluster_sched::Mono;
use mio::{Events, Poll, Registry};
use rustix::process::Rlimit;

use super::agent::AgentFolder;
use super::binder::Binder;
use super::blocking::Blocking;
use super::calls::Calls;
use super::child::Child;
use super::clock::Clock;
use super::closer::Closer;
use super::conns::Conns;
use super::handles::Handles;
use super::kernel::Group;
use super::limits;
use super::listen::Lender;
use super::listener::{Closing, Listener};
use super::shortage::Shortage;
use super::sorted::Sorted;
use super::stalled::Stalled;
use super::tokens::{Source, Tokens};
use super::told::Told;
use super::tree::Trees;
use super::watches::Watches;
use super::writes::Writes;
use crate::error::SendError;
use crate::id::{ServerId, WorkerId};
use crate::machine::{Config, Input, Machine, Origin};
use crate::settings::Settings;

/// Descriptors of one worker that may wait for the rest of their message.
pub(super) const MAX_HANDLES: usize = 16;

/// Readiness events that one poll returns at most.
pub(super) const EVENTS: usize = 256;

/// A primary: forks workers, shares its listening sockets among them, and reports their lives.
///
/// It works only inside its methods: its owner calls [`next_event`](Self::next_event) in a loop and reacts to
/// the events. Other threads use a [`Remote`](crate::Remote). A program with an event loop of its own waits for its
/// descriptor ([`AsFd`](std::os::fd::AsFd)) to become readable, or for [`poll_timeout`](Self::poll_timeout),
/// and then calls [`try_event`](Self::try_event) until it returns `None`.
///
/// Dropping it closes all channels and sockets; the workers then exit, as they do when a primary dies. To
/// stop gracefully, call [`disconnect`](Self::disconnect) and wait for [`Event::Disconnected`](crate::Event::Disconnected).
pub struct Primary {
    pub(super) machine: Machine,
    /// Those in force; placement and policy as the machine has them.
    pub(super) settings: Arc<Settings>,
    pub(super) poll: Poll,
    pub(super) ready: Events,
    pub(super) tokens: Tokens,
    pub(super) clock: Clock,
    pub(super) calls: Arc<Calls<Self>>,
    pub(super) children: BTreeMap<WorkerId, Child>,
    pub(super) listeners: BTreeMap<ServerId, Listener>,
    /// Sockets that workers may name by their number.
    pub(super) lent: BTreeMap<RawFd, OwnedFd>,
    /// Where they come from if the numbers are another process's.
    pub(super) lender: Option<Lender>,
    /// Where Node workers load their agents from.
    pub(super) agent_folder: Option<AgentFolder>,
    /// When its files were last checked.
    pub(super) agent_folder_seen: Mono,
    /// Workers that started without an agent since their programs did not look like Node.
    pub(super) without_agent: BTreeSet<WorkerId>,
    /// Servers with a socket for each slot.
    pub(super) groups: BTreeMap<ServerId, Group>,
    /// Servers that wait for descriptors before they close.
    pub(super) closing: BTreeMap<ServerId, Closing>,
    /// Children that make sockets with workers' rights.
    pub(super) binder: Binder,
    pub(super) conns: Conns,
    pub(super) handles: Handles,
    /// The descriptor that goes with the user's message, until the machine has that message sent.
    pub(super) outgoing: Option<Outgoing<OwnedFd>>,
    /// The result for the user's message, until the user gets it.
    pub(super) submitted: Option<Result<Submitted, SendError>>,
    pub(super) told: Told,
    /// What workers have started.
    pub(super) trees: Trees,
    /// Descriptors of others.
    pub(super) watches: Watches,
    /// Sources with more to read than was taken: the poll is edge-triggered and will not report them again.
    pub(super) pending: Sorted<Source>,
    pub(super) writes: Writes,
    /// Workers to whom the system refuses to pass anything on.
    pub(super) stalled: Stalled,
    pub(super) hand_off_pauses: u64,
    /// The last poll filled its buffer, so there may be more events.
    pub(super) full_wake: bool,
    pub(super) descriptor_limit: Rlimit,
    pub(super) shortage: Shortage,
    /// Closes unwanted descriptors that others have made.
    pub(super) closer: Closer,
    pub(super) blocking: Blocking,
}

/// How a worker's channel is set up.
pub(super) fn channel_config(settings: &Settings) -> ChannelConfig {
    let limits = settings.limits;
    let wire = match settings.serialization {
        Serialization::Advanced => Wire::Advanced,
        _ => Wire::Json,
    };
    ChannelConfig::default()
        .wire(wire)
        .max_frame(limits.max_frame)
        .high_water(limits.high_water)
        .queue_limit(limits.queue_limit)
        .native(true)
        .short_reads(true)
        .encoded(true)
        // A message carries at most one.
        .max_handles(MAX_HANDLES)
}

/// When queued messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Write {
    /// At once.
    Now,
    /// When no event is left to take, or the first message has waited long enough.
    Gathered,
    /// Later.
    Later,
}

/// A user's message that a channel has taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct Submitted {
    pub(super) pressure: Pressure,
    pub(super) origin: Origin,
}

impl Primary {
    /// A primary without workers. Raises this process's soft limit of descriptors to the hard one; workers
    /// get the original limit.
    ///
    /// # Errors If the system cannot create a poll (epoll or kqueue).
    pub fn new(settings: Settings) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut tokens = Tokens::default();
        let calls = Calls::new(poll.registry(), tokens.token(Source::Calls))?;
        // The owner may set the seed; otherwise it only has to differ between primaries.
        let seed = u64::from(std::process::id()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let descriptor_limit = limits::raise();
        let mut machine = Machine::new(Config::from(&settings), seed);
        machine.limit_descriptors(limits::for_hand_offs());
        machine.limit_held(limits::for_connections());
        machine.limit_sockets(limits::for_sockets());
        Ok(Self {
            machine,
            settings: Arc::new(settings),
            poll,
            ready: Events::with_capacity(EVENTS),
            tokens,
            clock: Clock::start(),
            calls,
            children: BTreeMap::new(),
            listeners: BTreeMap::new(),
            lent: BTreeMap::new(),
            lender: None,
            agent_folder: None,
            agent_folder_seen: Mono::ZERO,
            without_agent: BTreeSet::new(),
            groups: BTreeMap::new(),
            closing: BTreeMap::new(),
            binder: Binder::default(),
            conns: Conns::default(),
            handles: Handles::after(0, 0),
            outgoing: None,
            submitted: None,
            told: Told::default(),
            trees: Trees::default(),
            watches: Watches::default(),
            pending: Sorted::default(),
            writes: Writes::default(),
            stalled: Stalled::default(),
            hand_off_pauses: 0,
            full_wake: false,
            descriptor_limit,
            shortage: Shortage::default(),
            closer: Closer::default(),
            blocking: Blocking::default(),
        })
    }

    /// The time on the primary's clock.
    pub(super) fn now(&self) -> Mono {
        self.clock.now()
    }

    /// Gives the machine an input. The loop performs the outputs that follow.
    pub(super) fn tell(&mut self, input: Input) {
        self.machine.handle_input(self.clock.now(), input);
    }

    /// As [`tell`](Self::tell), with the time of the input.
    pub(super) fn tell_at(&mut self, now: Mono, input: Input) {
        self.machine.handle_input(now, input);
    }

    pub(super) fn child(&self, worker: WorkerId) -> Option<&Child> {
        self.children.get(&worker)
    }

    pub(super) fn child_mut(&mut self, worker: WorkerId) -> Option<&mut Child> {
        self.children.get_mut(&worker)
    }

    /// Something waits to be written to that worker, or may be.
    pub(super) fn wants_write(&mut self, worker: WorkerId) {
        self.writes.add(worker);
    }

    /// The settings in force, shared.
    pub(super) fn shared_settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings)
    }

    /// The channel of a worker, while it is open.
    pub(super) fn channel(&mut self, worker: WorkerId) -> Option<&mut Channel> {
        self.children.get_mut(&worker).and_then(Child::channel)
    }

    /// The poll's registry.
    pub(super) fn registry(&self) -> &Registry {
        self.poll.registry()
    }
}
