//! A primary's state for an in-place upgrade.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::fd::AsRawFd;
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;

use cluster_proto::RequestsState;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll};
use rustix::process::Rlimit;
use serde::{Deserialize, Serialize};

use super::agent::{AgentFolder, AgentFolderState};
use super::base::{EVENTS, Primary, Write};
use super::binder::{Binder, BinderState};
use super::blocking::Blocking;
use super::calls::Calls;
use super::child::{Child, ChildState};
use super::clock::Clock;
use super::closer::Closer;
use super::conns::Conns;
use super::handles::Handles;
use super::kernel::{Group, GroupState};
use super::listener::{Closing, Listener, ListenerState};
use super::shortage::Shortage;
use super::sorted::Sorted;
use super::stalled::Stalled;
use super::tokens::{Source, Tokens};
use super::told::Told;
use super::tree::{Trees, TreesState};
use super::watches::Watches;
use super::writes::Writes;
use super::{call_timer, limits};
use crate::id::{ConnId, ServerId, WorkerId};
use crate::machine::{Config, Machine, MachineState};
use crate::settings::SettingsState;
use crate::upgrade::{self, Arriving, Frozen, Leaving, StateError};

/// What its text says that it is.
const KIND: &str = "primary";

/// The state of a [`Primary`], for the next image of the process; descriptors by their places.
#[derive(Debug, Serialize, Deserialize)]
pub struct PrimaryState {
    settings: SettingsState,
    machine: MachineState,
    clock: Clock,
    children: BTreeMap<WorkerId, ChildState>,
    listeners: BTreeMap<ServerId, ListenerState>,
    groups: BTreeMap<ServerId, GroupState>,
    #[serde(default)]
    lent: BTreeMap<RawFd, usize>,
    #[serde(default)]
    agent_folder: Option<AgentFolderState>,
    #[serde(default, skip_serializing_if = "TreesState::is_empty")]
    trees: TreesState,
    #[serde(default)]
    closing: BTreeMap<ServerId, Closing>,
    #[serde(default, skip_serializing_if = "BinderState::is_empty")]
    binder: BinderState,
    conns: BTreeMap<ConnId, usize>,
    last_conn: u64,
    last_handle: u64,
    /// The machine's, as the requests.
    last_send: u64,
    #[serde(default, skip_serializing_if = "has_no_requests")]
    requests: RequestsState<WorkerId>,
    disconnects_told: u64,
    descriptor_limit: (Option<u64>, Option<u64>),
    accept_pauses: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    hand_off_pauses: u64,
    unexpected_handles: u64,
    #[serde(default, skip_serializing_if = "Blocking::is_empty")]
    blocking: Blocking,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

fn has_no_requests(requests: &RequestsState<WorkerId>) -> bool {
    requests.last == 0
}

impl PrimaryState {
    /// The driver must hold exactly what the machine knows.
    fn check(&self) -> Result<(), StateError> {
        let no = |what: &str| Err(StateError::contradiction(what));
        if !self.clock.has_started() {
            return no("it was written after now: the system was restarted");
        }
        if !self.machine.workers().eq(self.children.keys().copied()) {
            return no("the machine's workers are not those that there are");
        }
        let conns: BTreeSet<_> = self.conns.keys().copied().collect();
        if self.machine.conns() != conns {
            return no("the machine's connections are not those that there are");
        }
        if conns.last().is_some_and(|conn| conn.0 > self.last_conn) {
            return no("a connection comes after the last one");
        }
        Ok(())
    }
}

impl Primary {
    /// Everything that it holds, written down for the next image of this process (see
    /// [`upgrade`](crate::upgrade)). It goes on as before.
    ///
    /// Calls of other threads that wait are carried out first.
    ///
    /// # Errors
    /// [`StateError::EventsWait`] unless [`ready_event`](Self::ready_event) has said that there is
    /// none, or another if something cannot be handed over.
    pub fn state(&mut self) -> Result<Frozen, StateError> {
        let mut leaving = Leaving::default();
        let state = self.leave(&mut leaving)?;
        Ok(Frozen { text: upgrade::write(KIND, &state)?, fds: leaving.into_fds() })
    }

    /// Takes up what another image of this process has [written down](Self::state), with the
    /// descriptors in the same order.
    ///
    /// Nothing is read or written yet: a copy that is only to show that it can be made is
    /// [abandoned](Self::abandon).
    ///
    /// # Errors
    /// [`StateError`]; the descriptors are closed then, and nothing else has changed.
    pub fn from_state(text: &str, fds: Vec<OwnedFd>) -> Result<Self, StateError> {
        let state = upgrade::read(KIND, text)?;
        Self::arrive(state, Arriving::new(fds)?)
    }

    /// Closes its descriptors and leaves everything else as it is: no socket's file is removed. For
    /// a copy that was only a trial, and for what another has taken over.
    pub fn abandon(mut self) {
        for listener in self.listeners.values_mut() {
            listener.keep_file();
        }
        if let Some(folder) = &mut self.agent_folder {
            folder.keep();
        }
        // Its children are the other's.
        self.binder = Binder::default();
    }

    /// The state that [`state`](Self::state) writes, for a component that hands it over together with
    /// its own. Descriptors are added to `leaving`.
    ///
    /// # Errors
    /// As [`state`](Self::state).
    pub fn leave(&mut self, leaving: &mut Leaving) -> Result<PrimaryState, StateError> {
        let _bounded = call_timer::bounded();
        for call in self.calls.take() {
            call(self);
        }
        self.settle(Write::Later);
        if !self.told.is_empty() || !self.handles.is_empty() {
            return Err(StateError::EventsWait);
        }
        let settings = SettingsState::of(&self.settings, leaving)?;
        let mut machine = self.machine.state(self.now())?;
        let (requests, last_send) = machine.take_requests();
        let mut children = BTreeMap::new();
        for (id, child) in &mut self.children {
            children.insert(*id, child.state(machine.take_sends(*id), leaving)?);
        }
        let mut listeners = BTreeMap::new();
        for (id, listener) in &self.listeners {
            listeners.insert(*id, listener.state(leaving)?);
        }
        let mut groups = BTreeMap::new();
        for (id, group) in &self.groups {
            groups.insert(*id, group.state(leaving)?);
        }
        let mut lent = BTreeMap::new();
        for (number, socket) in &self.lent {
            lent.insert(*number, leaving.place(socket)?);
        }
        let mut conns = BTreeMap::new();
        for (id, conn) in self.conns.in_order() {
            conns.insert(id, leaving.place(conn)?);
        }
        Ok(PrimaryState {
            settings,
            machine,
            clock: self.clock,
            children,
            listeners,
            groups,
            lent,
            agent_folder: self.agent_folder.as_ref().map(|f| f.state(leaving)).transpose()?,
            trees: self.trees.state(leaving)?,
            closing: self.closing.clone(),
            binder: self.binder.state(leaving)?,
            conns,
            last_conn: self.conns.last(),
            last_handle: self.handles.last(),
            last_send,
            requests,
            disconnects_told: self.told.disconnects(),
            descriptor_limit: (self.descriptor_limit.current, self.descriptor_limit.maximum),
            accept_pauses: self.shortage.pauses(),
            hand_off_pauses: self.hand_off_pauses,
            unexpected_handles: self.handles.unexpected(),
            blocking: self.blocking.with_closes(self.closer.state()),
        })
    }

    /// A primary from what [`leave`](Self::leave) returned in another image of this process.
    ///
    /// # Errors
    /// As [`from_state`](Self::from_state).
    pub fn arrive(mut state: PrimaryState, mut arriving: Arriving) -> Result<Self, StateError> {
        state.check()?;
        let poll = Poll::new().map_err(StateError::system("poll"))?;
        let mut tokens = Tokens::default();
        let calls = Calls::new(poll.registry(), tokens.token(Source::Calls));
        let calls = calls.map_err(StateError::system("waker"))?;

        let settings = state.settings.into_settings(&arriving)?;
        let now = state.clock.now();
        state.machine.put_requests(state.requests, state.last_send);
        for (id, child) in &mut state.children {
            let (sends, serialization) = child.for_machine();
            state.machine.put_channel(*id, sends, serialization);
        }
        let mut machine = Machine::from_state(now, Config::from(&settings), state.machine)?;
        let conns = state.conns.into_iter().map(|(id, place)| Ok((id, arriving.take(place)?)));
        let conns = conns.collect::<Result<HashMap<_, _>, StateError>>()?;
        let children = state.children.into_iter();
        let children = children.map(|(id, child)| Ok((id, child.unpack(&mut arriving)?)));
        let children = children.collect::<Result<Vec<_>, StateError>>()?;
        let mut groups = BTreeMap::new();
        for (id, group) in state.groups {
            groups.insert(id, Group::from_state(group, &mut arriving)?);
        }
        let mut listeners = BTreeMap::new();
        for (id, listener) in state.listeners {
            listeners.insert(id, Listener::from_state(listener, &arriving)?);
        }
        let lent = state.lent.into_iter().map(|(n, place)| Ok((n, arriving.take(place)?)));
        let lent = lent.collect::<Result<_, StateError>>()?;
        let agent_folder = state.agent_folder.map(|f| AgentFolder::from_state(f, &mut arriving));
        let mut agent_folder = agent_folder.transpose()?;
        let trees = Trees::from_state(state.trees, &mut arriving)?;
        let registry = poll.registry();
        let binder = Binder::from_state(state.binder, &mut arriving, registry, &mut tokens)?;
        // A channel is the only owner of what it has received.
        drop(arriving);

        for (id, listener) in listeners.iter().filter(|(_, listener)| !listener.is_shared()) {
            let token = tokens.token(Source::Listener(*id));
            registry
                .register(&mut SourceFd(&listener.as_raw_fd()), token, Interest::READABLE)
                .map_err(StateError::system("watch on a listener"))?;
        }
        trees.register(registry, &mut tokens)?;
        let children = children
            .into_iter()
            .map(|(id, child)| Ok((id, child.into_child(id, registry, &mut tokens)?)));
        let children: BTreeMap<_, _> = children.collect::<Result<_, StateError>>()?;

        // From here on nothing can fail.
        let mut children = children;
        for (id, child) in &mut children {
            if machine.has_blocked(*id) {
                child.note_blocks();
            }
        }
        let limit = settings.limits.max_unexpected_handles;
        for channel in children.values_mut().filter_map(Child::channel) {
            channel.keep_unexpected(limit);
        }
        let (current, maximum) = state.descriptor_limit;
        let descriptor_limit = Rlimit { current, maximum };
        limits::raise_again(descriptor_limit);
        machine.limit_descriptors(limits::for_hand_offs());
        machine.limit_held(limits::for_connections());
        machine.limit_sockets(limits::for_sockets());
        machine.lose_counted();
        if let Some(folder) = &mut agent_folder {
            folder.own();
        }
        // Every source may be ready, and every channel writable.
        let mut pending = Sorted::default();
        tokens.sources().for_each(|source| {
            pending.insert(source);
        });
        let mut writes = Writes::default();
        children.keys().for_each(|id| {
            writes.add(*id);
        });
        Ok(Self {
            machine,
            settings: Arc::new(settings),
            poll,
            ready: Events::with_capacity(EVENTS),
            tokens,
            clock: state.clock,
            calls,
            children,
            listeners,
            groups,
            lent,
            lender: None,
            agent_folder,
            agent_folder_seen: now,
            without_agent: BTreeSet::new(),
            closing: state.closing,
            binder,
            conns: Conns::of(conns, state.last_conn),
            handles: Handles::after(state.last_handle, state.unexpected_handles),
            outgoing: None,
            submitted: None,
            told: Told::after(state.disconnects_told),
            trees,
            watches: Watches::default(),
            pending,
            writes,
            stalled: Stalled::default(),
            hand_off_pauses: state.hand_off_pauses,
            full_wake: true,
            descriptor_limit,
            shortage: Shortage::after(state.accept_pauses),
            closer: Closer::default(),
            blocking: state.blocking,
        })
    }
}
