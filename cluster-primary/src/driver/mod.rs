//! The primary with I/O: a thin loop around the [machine](crate::machine).

#[cfg(target_os = "linux")]
mod affinity;
mod agent;
mod aside;
mod before_exec;
#[cfg(target_os = "linux")]
mod binder;
#[cfg(not(target_os = "linux"))]
#[path = "binder/elsewhere.rs"]
mod binder;
mod bound;
mod call_timer;
mod calls;
mod child;
mod clock;
mod closer;
mod conns;
#[cfg(target_os = "linux")]
mod credentials;
mod descriptor;
mod exec;
mod fork;
mod frame_tokens;
mod fuzz;
mod handles;
mod inherited;
mod inspect;
mod kernel;
mod limits;
mod listen;
mod next;
mod private_socket;
#[cfg(target_os = "linux")]
mod privileges;
mod process;
mod program;
mod publish;
mod remote;
mod requests;
mod rights;
mod runtime;
mod send;
mod serve;
mod shortage;
mod signals;
mod socket_file;
mod sorted;
mod spawn;
mod stalled;
mod starting;
mod state;
mod step;
mod thread;
mod tokens;
mod told;
mod tree;
mod unread;
mod untaken;
pub mod usage;
mod view;
mod watch;
mod watches;
mod writes;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::Duration;

use cluster_ipc::{Channel, ChannelConfig, Outgoing, Wire};
use cluster_proto::env::Serialization;
use mio::{Events, Poll};
use rustix::process::{Pid, Rlimit};

pub use call_timer::{Bounded, bounded_calls};
pub use clock::Clock;
pub use closer::{Closer, PausedClosing};
pub use limits::for_clients;
pub use next::Next;
pub use private_socket::PrivateSocket;
pub use remote::{Gone, Remote};
pub use requests::Broadcast;
pub use socket_file::SocketFile;
pub use stalled::HandOffsPaused;
pub use state::PrimaryState;
pub use thread::spawn_without_signals;
pub use view::Worker;
pub use watches::WatchId;

use crate::error::{ForkError, KillError, SendError};
use crate::event::{Address, Event};
use crate::id::{ServerId, WorkerId};
use crate::machine::{Config, Input, Machine, WorkerState};
use crate::settings::{Placement, Settings};
use crate::signal::Signal;
use crate::stats::Stats;
use agent::{AgentFolder, Prepared};
use binder::Binder;
use bound::Blocking;
use calls::Calls;
use child::Child;
use cluster_sched::{Mono, PolicyName};
use conns::Conns;
use handles::Handles;
use kernel::Group;
use process::Process;
use rights::Rights;
use send::Submitted;
use serve::{Closing, Listener};
use shortage::Shortage;
use sorted::Sorted;
use stalled::Stalled;
use tokens::{Source, Tokens};
use told::Told;
use tree::Trees;
use watches::Watches;
use writes::Writes;

/// A duplicate of this process's descriptor of that number, close-on-exec; `None` if it is not open.
pub fn duplicate(number: RawFd) -> Option<OwnedFd> {
    inherited::duplicate(number).ok()
}

/// Descriptors of a worker's that may wait for the rest of their message.
const MAX_HANDLES: usize = 16;

/// Readiness that one wake can bring.
const EVENTS: usize = 256;

/// A primary: forks workers, shares its listening sockets among them, and reports their lives.
///
/// It works only inside its methods: its owner calls [`next_event`](Self::next_event) in a loop and reacts to
/// the events. Other threads use a [`Remote`]. A program with an event loop of its own waits for its
/// descriptor ([`AsFd`](std::os::fd::AsFd)) to become readable, or for [`poll_timeout`](Self::poll_timeout),
/// and then calls [`try_event`](Self::try_event) until it returns `None`.
///
/// Dropping it closes all channels and sockets; the workers then exit, as they do when a primary dies. To
/// stop gracefully, call [`disconnect`](Self::disconnect) and wait for [`Event::Disconnected`].
pub struct Primary {
    machine: Machine,
    /// Those in force; placement and policy as the machine has them.
    settings: Arc<Settings>,
    poll: Poll,
    ready: Events,
    tokens: Tokens,
    clock: Clock,
    calls: Arc<Calls<Self>>,
    children: BTreeMap<WorkerId, Child>,
    listeners: BTreeMap<ServerId, Listener>,
    /// Sockets that workers may name by their number.
    lent: BTreeMap<RawFd, OwnedFd>,
    /// Where Node workers load their agents from.
    agent_folder: Option<AgentFolder>,
    /// When that was last looked after.
    agent_folder_seen: Mono,
    /// Workers that started without an agent since their programs did not look like Node.
    without_agent: BTreeSet<WorkerId>,
    /// Servers with a socket for each slot.
    groups: BTreeMap<ServerId, Group>,
    /// Servers that wait for descriptors before they close.
    closing: BTreeMap<ServerId, Closing>,
    /// Children that make sockets with workers' rights.
    binder: Binder,
    conns: Conns,
    handles: Handles,
    /// The descriptor that is to be sent with the user's message, until the machine has had that sent.
    outgoing: Option<Outgoing<OwnedFd>>,
    /// What became of the user's message, until the user is told.
    submitted: Option<Result<Submitted, SendError>>,
    told: Told,
    /// What workers have started.
    trees: Trees,
    /// Descriptors of others.
    watches: Watches,
    /// Sources that may have more than was taken of them: no new edge comes for it.
    pending: Sorted<Source>,
    writes: Writes,
    /// Workers to whom the system refuses to pass anything on.
    stalled: Stalled,
    hand_off_pauses: u64,
    /// The last wake brought as much as it could hold: there may be more, and no new edge for it.
    full_wake: bool,
    descriptor_limit: Rlimit,
    shortage: Shortage,
    /// Closes unwanted descriptors that others have made.
    closer: Closer,
    blocking: Blocking,
}

/// The progress of [`Primary::disconnect`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Disconnects {
    /// How often it has completed.
    pub over: u64,
    /// How many [`Event::Disconnected`] have been taken.
    pub told: u64,
    /// Some workers have not disconnected yet.
    pub pending: bool,
}

impl Disconnects {
    /// Whether all workers were told to disconnect, and the [`Event::Disconnected`] for that was not taken
    /// yet.
    pub fn under_way(&self) -> bool {
        self.pending || self.over > self.told
    }
}

/// How a worker's channel is set up.
fn channel_config(settings: &Settings) -> ChannelConfig {
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
        // A message of a worker's carries one.
        .max_handles(MAX_HANDLES)
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
        // The owner may set the seed; otherwise it is enough that two primaries have different ones.
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

    /// The current settings: Node's `cluster.settings`.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Changes the settings for future forks: Node's `cluster.setupPrimary()`. Settings that `change` does
    /// not touch stay; placement and policy are fixed by the first call and by the first fork.
    pub fn setup(&mut self, change: impl FnOnce(&mut Settings)) {
        change(Arc::make_mut(&mut self.settings));
        let config = Config::from(&*self.settings);
        self.input(Input::Setup { config });
    }

    /// Forks a worker: Node's `cluster.fork()`.
    ///
    /// # Errors [`ForkError`] says what could not be executed, and why. (Node returns a worker that then
    /// emits `'error'`; here there is no worker.)
    pub fn fork(&mut self) -> Result<WorkerId, ForkError> {
        self.fork_with(std::iter::empty::<(OsString, Option<OsString>)>())
    }

    /// Forks a worker with changes to the environment of the settings: `cluster.fork(env)`. `None` removes a
    /// variable.
    ///
    /// # Errors As [`fork`](Self::fork).
    pub fn fork_with<N, V>(
        &mut self,
        env: impl IntoIterator<Item = (N, Option<V>)>,
    ) -> Result<WorkerId, ForkError>
    where
        N: Into<OsString>,
        V: Into<OsString>,
    {
        let env = env.into_iter().map(|(n, v)| (n.into(), v.map(Into::into))).collect();
        self.spawn(None, env)
    }

    /// Forks a worker for a [slot](WorkerState::slot), even if the slot has a worker, which the new one then
    /// succeeds. Otherwise as [`fork`](Self::fork).
    ///
    /// # Errors As [`fork`](Self::fork).
    pub fn fork_in(&mut self, slot: u32) -> Result<WorkerId, ForkError> {
        self.spawn(Some(slot), Vec::new())
    }

    fn spawn(
        &mut self,
        slot: Option<u32>,
        env: Vec<(OsString, Option<OsString>)>,
    ) -> Result<WorkerId, ForkError> {
        let settings = Arc::clone(&self.settings);
        settings.check_placement().map_err(ForkError::Placement)?;
        let no = |what| move |error| ForkError::Resources { what, error };
        let (mut channel, theirs) =
            Channel::pair(channel_config(&settings)).map_err(no("channel"))?;
        channel.keep_unexpected(settings.limits.max_unexpected_handles);

        let id = self.machine.next_worker();
        let slot = slot.unwrap_or_else(|| self.machine.next_slot());
        let first_line = program::survey(&settings, &env)?;
        let mut agent = self.prepare_agent(&settings, id, &env, first_line);
        let limit = self.descriptor_limit;
        let paused = self.closer.pause();
        let (agent_of, is_first) = (agent.as_mut(), self.children.is_empty());
        let spawned = spawn::spawn(&settings, id, slot, &env, theirs, agent_of, limit, is_first)?;
        let start = spawned.start.map(|start| start.with_closing_paused(paused));
        let registered = self.watch_worker(id, spawned.pid, &mut channel);
        let process = match registered {
            Ok(process) => process,
            Err(error) => {
                fork::abandon(spawned.pid);
                return Err(ForkError::Resources { what: "process descriptor", error });
            }
        };
        let pid = spawned.pid;
        let rights = Rights::of(&settings);
        self.children.insert(id, Child::new(channel, process, settings.serialization, rights));
        let mut pipes = spawned.pipes.into_iter();
        let added = pipes
            .try_for_each(|(fd, pipe)| self.add_pipe(id, fd, pipe))
            .and_then(|()| agent.map_or(Ok(()), |agent| self.add_agent(id, agent)))
            .and_then(|()| start.map_or(Ok(()), |start| self.add_start(id, start)));
        if let Err(error) = added {
            self.closer.discard_from(id, self.children.remove(&id));
            fork::abandon(pid);
            return Err(ForkError::Resources { what: "watch on a worker's pipe or socket", error });
        }
        let pid = pid.as_raw_nonzero().get().cast_unsigned();
        self.input(Input::Forked { worker: id, pid, slot: Some(slot) });
        self.follow_tree(id, pid, &settings);
        Ok(id)
    }

    fn watch_worker(
        &mut self,
        id: WorkerId,
        pid: Pid,
        channel: &mut Channel,
    ) -> io::Result<Process> {
        let pid = pid.as_raw_nonzero().get().cast_unsigned();
        let registry = self.poll.registry();
        let interest = mio::Interest::READABLE | mio::Interest::WRITABLE;
        registry.register(channel, self.tokens.token(Source::Channel(id)), interest)?;
        Process::watch(pid, registry, self.tokens.token(Source::Process(id)))
    }

    /// The agent that a worker is to start with, if the settings want one and there is a way.
    fn prepare_agent(
        &mut self,
        settings: &Settings,
        worker: WorkerId,
        env: &[(OsString, Option<OsString>)],
        first_line: Vec<OsString>,
    ) -> Option<Prepared> {
        if !settings.node_agent {
            return None;
        }
        let first = spawn::first_free(settings);
        match Prepared::new(settings, env, first, first_line, &mut self.agent_folder) {
            Ok(None) => {
                self.without_agent.insert(worker);
                None
            }
            Ok(prepared) => prepared,
            Err(reason) => {
                self.machine.handle_input(self.clock.now(), Input::NoAgent { worker, reason });
                None
            }
        }
    }

    fn add_agent(&mut self, worker: WorkerId, agent: Prepared) -> io::Result<()> {
        let Some(mut pipes) = agent.pipes else { return Ok(()) };
        let token = self.tokens.token(Source::Agent(worker));
        pipes.register(self.poll.registry(), token)?;
        if let Some(child) = self.children.get_mut(&worker) {
            child.agent = Some(pipes);
        }
        Ok(())
    }

    /// The workers: Node's `cluster.workers`.
    pub fn workers(&self) -> Vec<WorkerId> {
        self.machine.workers().collect()
    }

    /// All workers whose process or channel still exists, including those that were told to disconnect, which
    /// [`workers`](Self::workers), like Node's `cluster.workers`, no longer contains.
    pub fn all_workers(&self) -> Vec<WorkerId> {
        self.machine.all_workers().collect()
    }

    /// A worker, as long as its process or its channel exists.
    pub fn worker(&mut self, id: WorkerId) -> Option<Worker<'_>> {
        self.machine.worker(id).map(|state| Worker::new(self, id, state))
    }

    /// The state of a worker, as long as its process or its channel exists.
    pub fn worker_state(&self, id: WorkerId) -> Option<WorkerState> {
        self.machine.worker(id)
    }

    /// The encoding of messages on a worker's channel, as long as its process or its channel exists, or
    /// events of it wait to be taken: the [setting](Settings::serialization) at its fork.
    pub fn serialization(&self, id: WorkerId) -> Option<Serialization> {
        let child = self.children.get(&id).map(|child| child.serialization);
        child.or_else(|| self.told.serialization(id))
    }

    /// The addresses on which a worker listens through this primary, with the ports that are bound.
    pub fn listening(&self, id: WorkerId) -> Vec<Address> {
        self.machine.listening(id)
    }

    /// Sets placement and policy, before the first
    /// [`setup`](Self::setup) or fork; after that it changes nothing (Node's
    /// `cluster.schedulingPolicy`).
    pub fn schedule(&mut self, placement: Placement, policy: PolicyName) {
        self.input(Input::Schedule { placement, policy });
        self.adopt(self.machine.config());
    }

    /// The counters so far.
    pub fn stats(&self) -> Stats {
        let open = self.children.values().map(Child::unexpected_handles).sum::<u64>();
        let closing = self.closer.state();
        Stats {
            stuck_closes: self.blocking.stuck_closes() + closing.stuck,
            closing: closing.waiting,
            accept_pauses: self.shortage.pauses(),
            hand_off_pauses: self.hand_off_pauses,
            unexpected_handles: self.handles.unexpected() + open,
            interrupted_calls: self.blocking.calls.interrupted,
            longest_blocked_call: self.blocking.calls.longest,
            longest_wake: self.blocking.longest_wake,
            ..self.machine.stats()
        }
    }

    /// The system's error when accepting last paused ([`Stats::accept_pauses`]); `None` if it never did since
    /// this process began to execute its program.
    pub fn accept_error(&self) -> Option<io::Error> {
        self.shortage.last().map(io::Error::from)
    }

    /// Why no connection can be accepted at present, if descriptors or memory ran out. Clients wait in the
    /// kernel's queue.
    pub fn accepting_paused(&self) -> Option<io::Error> {
        self.shortage.now().map(io::Error::from)
    }

    /// Sends a signal: Node's `worker.kill()`, which does nothing else in the primary. Returns `false` if the
    /// process has exited.
    ///
    /// # Errors [`KillError`] for a signal that does not exist on this system, or if the system refuses.
    pub fn kill(&mut self, worker: WorkerId, signal: Signal) -> Result<bool, KillError> {
        self.trace_tree(worker);
        match self.children.get(&worker).and_then(|c| c.process.as_ref()) {
            Some(process) => process.signal(worker, signal),
            None => Ok(false),
        }
    }

    /// Takes a worker out of rotation: it gets no more connections, but is not told to disconnect. This is
    /// the first step for workers whose programs do more at their end than `disconnect` makes them do;
    /// [`LeaveProgress::OutOfRotation`](crate::LeaveProgress::OutOfRotation) reports that the worker has
    /// answered for all connections in flight to it. [`disconnect_worker`](Self::disconnect_worker) is the
    /// last step. The last worker of a server serves the connections that have come so far, and the server
    /// closes (unless [`Settings::keep_listeners`] keeps it).
    pub fn take_out_of_rotation(&mut self, worker: WorkerId) {
        self.input(Input::TakeOutOfRotation { worker });
    }

    /// Takes all workers out of rotation, as [`take_out_of_rotation`](Self::take_out_of_rotation) does, and
    /// closes every server after the connections that have come so far are served. When all workers have
    /// disconnected, [`Event::Disconnected`] follows.
    pub fn take_all_out_of_rotation(&mut self) {
        self.input(Input::TakeAllOutOfRotation);
        self.end_all_trees();
    }

    /// Asks a worker to finish its HTTP work: its responses now carry `Connection: close`, idle connections
    /// are closed, and HTTP/2 sessions end. [`LeaveProgress::Work`](crate::LeaveProgress::Work) reports what
    /// is left; for a worker without an [agent](crate::agent) that is nothing.
    pub fn finish_work(&mut self, worker: WorkerId) {
        self.input(Input::FinishWork { worker });
    }

    /// Finds out how a worker is to be asked to stop;
    /// [`LeaveProgress::Stop`](crate::LeaveProgress::Stop) answers:
    /// - by `signal`, if its program handles it, or if it has never said anything on its channel, or
    ///   has closed it. A Node program with an [agent](crate::agent) handles a signal if `process` has
    ///   a listener for it; of Python and Bun the system tells. Of others it is not known.
    ///   A Bun or Deno program that has never listened through its channel gets the signal too: what
    ///   it serves (`Bun.serve`, `Deno.serve`) `disconnect` would not close;
    /// - by a message of the user's, if `message` says that there is one;
    /// - else by `disconnect`.
    pub fn ask_stop(&mut self, worker: WorkerId, signal: Option<Signal>, message: bool) {
        self.trace_tree(worker);
        let pid = self.children.get(&worker).and_then(|c| c.process.as_ref()).map(Process::pid);
        let catches = pid.zip(signal).and_then(|(pid, signal)| signals::catches(pid, signal));
        let serves_aside = pid.is_some_and(runtime::serves_aside);
        self.input(Input::AskStop { worker, signal, message, catches, serves_aside });
    }

    /// Tells a worker to close its servers, wait for its connections to end, and exit: Node's
    /// `worker.disconnect()`. It gets no more connections, and is told once it has answered for those in
    /// flight to it.
    pub fn disconnect_worker(&mut self, worker: WorkerId) {
        self.trace_tree(worker);
        self.input(Input::Disconnect { worker });
    }

    /// Closes a worker's channel: Node's `worker.process.disconnect()`. The worker then exits. It gets no
    /// more connections; before the channel closes, queued messages are written, and connections in flight
    /// are answered for.
    pub fn close_channel(&mut self, worker: WorkerId) {
        if let Some(child) = self.children.get_mut(&worker) {
            child.closing = true;
            self.writes.add(worker);
        }
        self.input(Input::CloseChannel { worker });
    }

    /// Disconnects every worker: Node's `cluster.disconnect()`. [`Event::Disconnected`] follows when all have
    /// disconnected and every listening socket is closed. Until then, and after that until a worker is
    /// forked, another call does nothing.
    pub fn disconnect(&mut self) {
        if !self.machine.is_disconnected() {
            self.disconnect_anew();
        }
    }

    /// As [`disconnect`](Self::disconnect), but [`Event::Disconnected`] follows even if nothing is left to
    /// do: Node calls the callback of every `cluster.disconnect()`.
    pub fn disconnect_anew(&mut self) {
        self.input(Input::DisconnectAll);
        self.end_all_trees();
    }

    /// Lends a socket of this program to the workers, which listen on it by the number that is returned:
    /// Node's `listen({fd})`. It stays open until it is [taken back](Self::take_back), or the primary is
    /// dropped.
    ///
    /// Without this call, workers may name only descriptors that this process has inherited, for example from
    /// a service manager. A number of any other descriptor, such as the control socket's, is `EINVAL`.
    /// (Close-on-exec descriptors count as opened here.)
    pub fn lend(&mut self, socket: impl Into<OwnedFd>) -> RawFd {
        let socket = socket.into();
        let number = socket.as_raw_fd();
        self.lent.insert(number, socket);
        number
    }

    /// Takes back a socket that was [lent](Self::lend): later listens do not get it. Servers that use it
    /// already continue.
    pub fn take_back(&mut self, number: RawFd) -> Option<OwnedFd> {
        self.lent.remove(&number)
    }

    /// Closes listening sockets that no worker serves, and that [`Settings::keep_listeners`] has kept open
    /// for future workers.
    pub fn release_unused(&mut self) {
        self.input(Input::ReleaseUnused);
    }

    /// A handle with which other threads call this primary.
    pub fn remote(&self) -> Remote {
        Remote::new(Arc::clone(&self.calls))
    }

    /// Waits for the next event; `None` when nothing more can happen: no worker is left, and no [`Remote`]
    /// that could fork one.
    ///
    /// # Errors If the system's poll fails.
    pub fn next_event(&mut self) -> io::Result<Option<Event>> {
        loop {
            if let Some(event) = self.take_event() {
                return Ok(Some(event));
            }
            if self.is_over() {
                return Ok(None);
            }
            self.turn(None)?;
        }
    }

    /// The next event, if there is one, without waiting, and with a bounded amount of work.
    ///
    /// A program with its own event loop calls it until it returns `None`, but no more often than the rest of
    /// the loop may wait (a worker may send messages without end). Then it waits for the descriptor, for no
    /// longer than [`poll_timeout`](Self::poll_timeout).
    ///
    /// # Errors If the system's poll fails.
    pub fn try_event(&mut self) -> io::Result<Option<Event>> {
        if let Some(event) = self.take_event() {
            return Ok(Some(event));
        }
        self.turn(Some(Duration::ZERO))?;
        Ok(self.take_event())
    }

    fn take_event(&mut self) -> Option<Event> {
        let _bounded = call_timer::bounded();
        // Answers to events are written together, unless that takes long.
        self.settle(Write::Gathered);
        let event = self.told.take();
        if let Some(
            Event::Message { handle: Some(_), .. } | Event::Request { handle: Some(_), .. },
        ) = event
        {
            self.handles.note_event_taken();
        }
        event
    }

    /// The progress of [`disconnect`](Self::disconnect).
    pub fn disconnects(&self) -> Disconnects {
        let (over, pending) = (self.machine.disconnects(), self.machine.is_disconnecting());
        Disconnects { over, told: self.told.disconnects(), pending }
    }

    /// How long a program's own loop may wait at most before it calls [`try_event`](Self::try_event); `None`
    /// means without limit.
    pub fn poll_timeout(&self) -> Option<Duration> {
        let unwritten = !self.writes.is_empty();
        let untold = self.machine.has_output() || !self.told.is_empty();
        if self.full_wake || self.has_pending() || unwritten || untold {
            return Some(Duration::ZERO);
        }
        let paused = self.listeners.values().filter_map(|l| l.paused_until).min();
        let closing = self.closing.values().map(|closing| closing.again).min();
        let trees = self.trees.poll_timeout();
        let (binder, starts) = (self.binder.poll_timeout(), self.starts_due());
        let due = [self.machine.poll_timeout(), paused, closing, self.writes.look_again(), trees];
        let due = due.into_iter().chain([self.stalled.again(), binder, starts]);
        let at = due.flatten().min()?;
        Some(self.clock.until(at))
    }

    /// Whether no worker is left, and only the owner could fork one.
    pub fn is_over(&self) -> bool {
        let over = self.machine.is_empty() && self.closing.is_empty() && self.trees.is_idle();
        let over = over && self.binder.is_idle();
        over && !self.calls.has_remotes()
    }

    /// One wake: waits, then does a bounded amount of work.
    fn turn(&mut self, patience: Option<Duration>) -> io::Result<()> {
        self.writes.begin_turn();
        let timeout = [patience, self.poll_timeout()].into_iter().flatten().min();
        match self.poll.poll(&mut self.ready, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        }
        let _bounded = call_timer::bounded();
        self.full_wake = self.ready.iter().count() == EVENTS;
        for event in &self.ready {
            if let Some(source) = self.tokens.source(event.token()) {
                if let Source::Channel(worker) = source {
                    // To be refused makes it writable, too.
                    if event.is_writable() && !self.stalled.has(worker) {
                        self.writes.add(worker);
                    }
                    if event.is_readable() || event.is_read_closed() || event.is_error() {
                        let closed = event.is_read_closed() || event.is_error();
                        let channel = self.children.get_mut(&worker).and_then(Child::channel);
                        channel.into_iter().for_each(|channel| channel.note_readable(closed));
                    }
                }
                self.pending.insert(source);
            }
        }
        let now = self.clock.now();
        self.writes.end_holds(now);
        let sources = self.pending.take();
        for source in &sources {
            self.service(now, *source);
        }
        self.pending.give_back(sources);
        self.retry_stalled(now);
        self.close_due(now);
        self.end_late_jobs(now);
        self.end_late_starts(now);
        // What has just come is in time.
        self.machine.handle_timeout(self.clock.now());
        self.look_after_agent_folder(now);
        self.look_after_trees(now);
        self.settle(Write::Now);
        self.note_no_longer_stalled();
        self.blocking.note_wake(self.clock.now().saturating_sub(now));
        Ok(())
    }

    /// Whether a source has more that can be taken now.
    fn has_pending(&self) -> bool {
        self.pending.iter().any(|source| match source {
            Source::Listener(server) => self.may_accept(*server),
            _ => true,
        })
    }

    /// Takes what a source has, up to a limit; what is left stays pending.
    fn service(&mut self, now: Duration, source: Source) {
        let more = match source {
            Source::Calls => {
                for call in self.calls.take() {
                    call(self);
                }
                false
            }
            Source::Channel(worker) => self.read_channel(now, worker),
            Source::Process(worker) => {
                self.reap(now, worker);
                false
            }
            Source::Pipe(worker, fd) => self.read_pipe(worker, fd),
            Source::Agent(worker) => self.read_agent(now, worker),
            Source::Listener(server) => self.accept(now, server),
            Source::Start(worker) => {
                self.read_start(worker);
                false
            }
            Source::Binder(id) => {
                self.read_binder(id);
                false
            }
            Source::BinderEnd(id) => {
                self.reap_binder(id);
                false
            }
            Source::Watched(id) => {
                self.watches.note_readable(id);
                false
            }
        };
        if more {
            self.pending.insert(source);
        }
    }

    fn input(&mut self, input: Input) {
        let now = self.clock.now();
        self.machine.handle_input(now, input);
        self.settle(Write::Now);
    }

    /// Does what the machine wants, and writes what waits. No other function takes the machine's outputs, and none that
    /// is called from here calls this one: what is done has inputs as its only consequence.
    fn settle(&mut self, write: Write) {
        let _bounded = call_timer::bounded();
        loop {
            while let Some(output) = self.machine.poll_output() {
                self.apply(output);
            }
            // What fails at once is an input.
            self.begin_delegated();
            if self.machine.has_output() {
                continue;
            }
            if self.writes.is_empty() || !self.is_due(write) {
                return;
            }
            // A channel that closes once it is flushed, or what is said to be written, may have the machine say more.
            self.flush();
        }
    }

    fn is_due(&self, write: Write) -> bool {
        let due = |since| self.clock.now() >= since + send::GATHER_TIME;
        match write {
            Write::Now => true,
            Write::Gathered => {
                self.told.is_empty() || self.writes.gathering_since().is_some_and(due)
            }
            Write::Later => false,
        }
    }
}

/// When what waits for workers is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Write {
    /// At once.
    Now,
    /// When no event is left to be taken, or the first message has waited for long enough.
    Gathered,
    /// Another time.
    Later,
}

impl std::fmt::Debug for Primary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Primary").field("machine", &self.machine).finish_non_exhaustive()
    }
}
