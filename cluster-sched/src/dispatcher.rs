//! Several servers whose workers share their windows.

mod event;
mod lane;
mod state;
mod window;

pub use event::{DispatchError, DispatchInput, DispatchLimits, DispatchOutput};
pub use state::{
    DispatchStateError, DispatcherState, HandOffState, KeptState, LaneState, WindowState,
};

use crate::config::Config;
use crate::event::Output;
use crate::mono::Mono;
use crate::policy::{BoxedPolicy, Policy};
use crate::scheduler::{PROMPT, Scheduler};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::fmt::{self, Debug};
use core::hash::Hash;
use core::ops::Bound;
use lane::Lane;
use window::SLOW;

/// Places the connections of several servers, with as many in flight to each worker as it keeps up
/// with.
///
/// There is one [`Scheduler`] per server, which has the only record of each of its connections. What
/// the servers have in common is here: the *window* of each worker, which its servers share, and
/// the limits of all together. `S` names a server, `W` a worker, `C` a connection.
///
/// A window is one at first. It grows with each answer within 10 ms while other connections wait, and is
/// one again when the worker has left a hand-off unanswered for 50 ms. Beyond its window a worker is
/// assigned connections that are *kept back* for it, so that a burst is dealt evenly, however early one
/// worker answers before the others. They go to other workers as soon as the worker does not answer
/// for 10 ms.
///
/// ```text
///                      ┌──────────── Dispatcher ────────────┐
///  Arrive ──────────►  │ Scheduler: queue ─► policy         │
///                      │    │                               │
///                      │    ▼          kept back            │
///                      │  worker 1:  3 4 5 │ 7 9 11  ───────┼──► HandOff
///  Answered ────────►  │  worker 2:  6     │ 8 10 12        │
///                      │    ▲ window, of all its servers    │
///                      └────────────────────────────────────┘
/// ```
///
/// The cost per connection does not depend on the number of workers, but for the search in maps.
///
/// ```
/// use cluster_sched::{Config, DispatchInput, DispatchLimits, DispatchOutput, Dispatcher, Mono, RoundRobin};
///
/// let mut dispatcher = Dispatcher::new(DispatchLimits::default());
/// let now = Mono::ZERO; // from your clock
/// dispatcher.open("http", RoundRobin::new(), Config::default());
/// for worker in [1, 2] {
///     dispatcher.handle_input(now, DispatchInput::Enter { worker })?;
///     dispatcher.handle_input(now, DispatchInput::Join { server: "http", worker, slot: worker })?;
/// }
/// for conn in ['a', 'b', 'c'] {
///     let arrive = DispatchInput::Arrive { server: "http", conn, client: None, beyond: 0 };
///     dispatcher.handle_input(now, arrive)?;
/// }
/// let mut messages = 0;
/// while let Some(output) = dispatcher.poll_output() {
///     if let DispatchOutput::HandOff { server, conn, .. } = output {
///         messages += 1; // 1: 'a' to worker 1; 2: 'b' to worker 2; 'c' is kept back for worker 1.
///         dispatcher.set_number(server, conn, messages);
///     }
/// }
/// assert_eq!(messages, 2);
/// // Worker 2 answers first, and is not given the connection that is worker 1's by turns.
/// dispatcher.handle_input(now, DispatchInput::Answered { worker: 2, number: 2, accepted: true })?;
/// assert_eq!(dispatcher.in_flight(2), 0);
/// # Ok::<(), cluster_sched::DispatchError<&str, u32, char>>(())
/// ```
#[derive(Clone)]
pub struct Dispatcher<S, W, C, P = BoxedPolicy<W, C>> {
    limits: DispatchLimits,
    servers: BTreeMap<S, Scheduler<W, C, P>>,
    lanes: BTreeMap<W, Lane<S>>,
    /// Connections of all servers.
    held: usize,
    outputs: VecDeque<DispatchOutput<S, W, C>>,
}

impl<S, W, C, P> Dispatcher<S, W, C, P>
where
    S: Copy + Ord,
    W: Copy + Ord,
    C: Copy + Ord + Hash,
    P: Policy<W, C>,
{
    /// Without servers and workers.
    #[must_use]
    pub const fn new(limits: DispatchLimits) -> Self {
        Self {
            limits,
            servers: BTreeMap::new(),
            lanes: BTreeMap::new(),
            held: 0,
            outputs: VecDeque::new(),
        }
    }

    /// A server. `policy` must be new. Of `config`, [`DispatchLimits`] replaces the window and
    /// [`Config::max_waiting`]. One of that name that was there before must have been
    /// [removed](Self::remove).
    pub fn open(&mut self, server: S, policy: P, config: Config) {
        let config = config.window(1).max_waiting(self.limits.waiting);
        self.servers.insert(server, Scheduler::new(policy, config));
    }

    /// Forgets a server that is [idle](Self::is_idle), or never had connections.
    pub fn remove(&mut self, server: S) {
        let Some(removed) = self.servers.remove(&server) else { return };
        for worker in removed.members() {
            if let Some(lane) = self.lanes.get_mut(&worker) {
                lane.forget(server, removed.is_present(worker));
            }
        }
    }

    /// Sets the limits. A window that is larger shrinks when a worker enters, or when its worker answers.
    pub fn set_limits(&mut self, limits: DispatchLimits) {
        if limits.waiting != self.limits.waiting {
            self.servers.values_mut().for_each(|server| server.limit_waiting(limits.waiting));
        }
        self.limits = limits;
    }

    /// The limits.
    #[must_use]
    pub const fn limits(&self) -> DispatchLimits {
        self.limits
    }

    /// Takes one input. Any number may follow each other before the outputs are drained.
    ///
    /// # Errors
    ///
    /// An input that does not fit the state is a [`DispatchError`], and has changed nothing.
    ///
    /// # Panics
    ///
    /// As [`Scheduler::handle_input`].
    pub fn handle_input(
        &mut self,
        now: Mono,
        input: DispatchInput<S, W, C>,
    ) -> Result<(), DispatchError<S, W, C>> {
        match input {
            DispatchInput::Enter { worker } => self.enter(now, worker),
            DispatchInput::Leave { worker } => self.leave(now, worker),
            DispatchInput::Join { server, worker, slot } => self.join(now, server, worker, slot),
            DispatchInput::Retire { server, worker } => self.retire(now, server, worker),
            DispatchInput::Arrive { server, conn, client, beyond } => {
                self.arrive(now, server, conn, client, beyond)
            }
            DispatchInput::Answered { worker, number, accepted } => {
                self.answered(now, worker, number, accepted)
            }
            DispatchInput::Undelivered { worker, number } => self.undelivered(now, worker, number),
            DispatchInput::Held { worker, held } => self.report_held(now, worker, held),
            DispatchInput::Close { server } => {
                let closing = self.servers.get_mut(&server);
                let closing = closing.ok_or(DispatchError::UnknownServer { server })?;
                closing.handle_input(now, crate::event::Input::Close)?;
                self.collect(server);
                Ok(())
            }
        }
    }

    /// Notices workers that have become slow, ends pauses, and gives connections up that were kept
    /// back for too long. Harmless when nothing is due.
    ///
    /// # Panics
    ///
    /// As [`Scheduler::handle_input`].
    pub fn handle_timeout(&mut self, now: Mono) {
        let slow = |server: &Scheduler<W, C, P>| {
            server.watched().filter(|(since, _)| since.saturating_add(SLOW) <= now)
        };
        while let Some((server, (_, worker))) = self.earliest(slow) {
            if let Some(watching) = self.servers.get_mut(&server) {
                watching.unwatch_first();
            }
            if let Some(lane) = self.lanes.get_mut(&worker) {
                lane.window.slow();
            }
            self.expect_nothing(now, worker);
        }
        // Not collected: it is called often, and is to take no memory.
        let mut next = self.servers.keys().next().copied();
        while let Some(server) = next {
            let after = (Bound::Excluded(server), Bound::Unbounded);
            next = self.servers.range(after).next().map(|(server, _)| *server);
            if let Some(due) = self.servers.get_mut(&server)
                && due.poll_timeout().is_some_and(|at| at <= now)
            {
                due.handle_timeout(now);
                self.collect(server);
            }
        }
        // What one gives up another may be given. It ends, as a worker of which nothing is expected
        // is given no more than its window.
        let overdue =
            |server: &Scheduler<W, C, P>| server.next_deadline().filter(|(at, _)| *at <= now);
        while let Some((_, (_, worker))) = self.earliest(overdue) {
            self.expect_nothing(now, worker);
        }
    }

    fn earliest(
        &self,
        of: impl Fn(&Scheduler<W, C, P>) -> Option<(Mono, W)>,
    ) -> Option<(S, (Mono, W))> {
        let due = self.servers.iter().filter_map(|(&server, sched)| Some((server, of(sched)?)));
        due.min_by_key(|&(server, (at, _))| (at, server))
    }

    /// The next thing to do, in order. How often it is asked changes nothing.
    pub fn poll_output(&mut self) -> Option<DispatchOutput<S, W, C>> {
        self.outputs.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), if ever. It may lie in the past.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Mono> {
        let due = |server: &Scheduler<W, C, P>| {
            let slow = server.watched().map(|(since, _)| since.saturating_add(SLOW));
            let kept = server.next_deadline().map(|(at, _)| at);
            [server.poll_timeout(), slow, kept].into_iter().flatten().min()
        };
        self.servers.values().filter_map(due).min()
    }

    /// The worker will answer for this connection, whose hand-off was just [polled](Self::poll_output),
    /// under this number, which no other hand-off in flight to it has.
    pub fn set_number(&mut self, server: S, conn: C, number: u64) {
        if let Some(server) = self.servers.get_mut(&server) {
            server.set_number(conn, number);
        }
    }

    /// The connection that is in flight to a worker under that number.
    #[must_use]
    pub fn hand_off(&self, worker: W, number: u64) -> Option<(S, C)> {
        let lane = self.lanes.get(&worker)?;
        lane.servers.iter().find_map(|server| {
            let sched = self.servers.get(server)?;
            let (at, _) = sched.find_hand_off(worker, number)?;
            Some((*server, sched.conn_at(at)))
        })
    }

    /// How many connections of that server may arrive before one is shed as
    /// [`ShedReason::Full`](crate::ShedReason::Full). While it is zero, stop accepting. Zero once the
    /// server is closed.
    #[must_use]
    pub fn room(&self, server: S) -> usize {
        let Some(sched) = self.servers.get(&server) else { return 0 };
        let free = self.limits.held.saturating_sub(self.held);
        // Each that comes is one more that waits, and one less that is free.
        let fair = free.saturating_sub(sched.waiting()).div_ceil(2);
        sched.room().min(fair)
    }

    /// Connections of that server that wait for a worker: see [`Scheduler::waiting`].
    #[must_use]
    pub fn waiting(&self, server: S) -> usize {
        self.servers.get(&server).map_or(0, Scheduler::waiting)
    }

    /// Connections of all servers that wait for a worker.
    #[must_use]
    pub fn all_waiting(&self) -> usize {
        self.servers.values().map(Scheduler::waiting).sum()
    }

    /// Connections of all servers, whether they wait or are in flight.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.held
    }

    /// Workers that the server may give connections to: see [`Scheduler::workers`].
    #[must_use]
    pub fn workers(&self, server: S) -> usize {
        self.servers.get(&server).map_or(0, Scheduler::workers)
    }

    /// Whether no connection of that server is held: see [`Scheduler::is_idle`].
    #[must_use]
    pub fn is_idle(&self, server: S) -> bool {
        self.servers.get(&server).is_none_or(Scheduler::is_idle)
    }

    /// What was counted at that server.
    #[must_use]
    pub fn stats(&self, server: S) -> crate::stats::Stats {
        self.servers.get(&server).map(Scheduler::stats).unwrap_or_default()
    }

    /// Hand-offs in flight to the worker, of all servers.
    #[must_use]
    pub fn in_flight(&self, worker: W) -> usize {
        self.lanes.get(&worker).map_or(0, |lane| lane.in_flight)
    }

    /// Connections that are kept back for the worker, by all servers.
    #[must_use]
    pub fn kept(&self, worker: W) -> usize {
        let Some(lane) = self.lanes.get(&worker) else { return 0 };
        lane.servers.iter().filter_map(|s| self.servers.get(s)).map(|s| s.kept(worker)).sum()
    }

    /// When the oldest hand-off in flight to the worker began.
    #[must_use]
    pub fn oldest(&self, worker: W) -> Option<Mono> {
        let lane = self.lanes.get(&worker).filter(|lane| lane.in_flight > 0)?;
        lane.servers.iter().filter_map(|s| self.servers.get(s)?.oldest(worker)).min()
    }

    /// How many connections the worker holds, if it [reports](DispatchInput::Held) that: what it
    /// reported last, and what it has accepted since.
    #[must_use]
    pub fn reported(&self, worker: W) -> Option<u32> {
        self.lanes.get(&worker)?.held
    }

    /// The worker reports no more how many connections it holds. Servers go by what they know.
    pub fn forget_reported(&mut self, worker: W) {
        if let Some(lane) = self.lanes.get_mut(&worker) {
            lane.held = None;
        }
    }

    /// How large a window may be: [`DispatchLimits::in_flight`] is shared by all workers.
    #[must_use]
    pub fn window_limit(&self) -> u32 {
        let share = self.limits.in_flight / self.lanes.len().max(1);
        self.limits.window.min(u32::try_from(share).unwrap_or(u32::MAX)).max(1)
    }
}

/// Without the servers: a policy need not be `Debug`.
impl<S: Debug, W: Debug, C: Debug, P> Debug for Dispatcher<S, W, C, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dispatcher")
            .field("limits", &self.limits)
            .field("lanes", &self.lanes)
            .field("held", &self.held)
            .field("outputs", &self.outputs)
            .finish_non_exhaustive()
    }
}

/// The inputs.
impl<S, W, C, P> Dispatcher<S, W, C, P>
where
    S: Copy + Ord,
    W: Copy + Ord,
    C: Copy + Ord + Hash,
    P: Policy<W, C>,
{
    fn enter(&mut self, now: Mono, worker: W) -> Result<(), DispatchError<S, W, C>> {
        if self.lanes.contains_key(&worker) {
            return Err(DispatchError::AlreadyEntered { worker });
        }
        self.lanes.insert(worker, Lane::new());
        // The others' windows may have to shrink.
        let limit = self.window_limit();
        if limit < self.limits.window {
            for id in self.lanes.keys().copied().collect::<Vec<_>>() {
                if let Some(lane) = self.lanes.get_mut(&id) {
                    lane.window.limit(limit);
                }
                self.tell_window(now, id);
            }
        }
        Ok(())
    }

    fn leave(&mut self, now: Mono, worker: W) -> Result<(), DispatchError<S, W, C>> {
        let left = self.lanes.remove(&worker).ok_or(DispatchError::UnknownWorker { worker })?;
        for server in left.servers {
            if let Some(sched) = self.servers.get_mut(&server) {
                sched.handle_input(now, crate::event::Input::Leave { worker })?;
                self.collect(server);
            }
        }
        Ok(())
    }

    fn join(
        &mut self,
        now: Mono,
        server: S,
        worker: W,
        slot: u32,
    ) -> Result<(), DispatchError<S, W, C>> {
        let limit = self.window_limit();
        let lane = self.lanes.get_mut(&worker).ok_or(DispatchError::UnknownWorker { worker })?;
        let sched = self.servers.get_mut(&server);
        let sched = sched.ok_or(DispatchError::UnknownServer { server })?;
        let mut joined = lane.clone();
        joined.enter(server);
        let shares = joined.shares(limit);
        sched.admit(now, worker, slot, shares, lane.held)?;
        *lane = joined;
        self.collect(server);
        // The others' shares of its window are smaller.
        self.tell_window(now, worker);
        Ok(())
    }

    fn retire(&mut self, now: Mono, server: S, worker: W) -> Result<(), DispatchError<S, W, C>> {
        let sched = self.servers.get_mut(&server);
        let sched = sched.ok_or(DispatchError::UnknownServer { server })?;
        sched.handle_input(now, crate::event::Input::Retire { worker })?;
        sched.give_up_kept(now, worker);
        if let Some(lane) = self.lanes.get_mut(&worker) {
            lane.present -= 1;
        }
        self.collect(server);
        // Its other servers' shares grow with its next answer: it may be about to leave them as well.
        Ok(())
    }

    fn arrive(
        &mut self,
        now: Mono,
        server: S,
        conn: C,
        client: Option<u32>,
        beyond: usize,
    ) -> Result<(), DispatchError<S, W, C>> {
        let room = self.room(server);
        let sched = self.servers.get_mut(&server);
        let sched = sched.ok_or(DispatchError::UnknownServer { server })?;
        let full = match beyond {
            0 => room == 0,
            _ => sched.waiting() >= self.limits.waiting.max(1).saturating_add(beyond),
        };
        sched.arrive_beyond(now, conn, client, full)?;
        self.held += 1;
        self.collect(server);
        Ok(())
    }

    fn answered(
        &mut self,
        now: Mono,
        id: W,
        number: u64,
        accepted: bool,
    ) -> Result<(), DispatchError<S, W, C>> {
        let limit = self.window_limit();
        let Self { servers, lanes, outputs, .. } = self;
        let stray = DispatchError::StrayAnswer { worker: id, number };
        let lane = lanes.get_mut(&id).ok_or(stray)?;
        let found = lane.servers.iter().find_map(|server| {
            let (at, since) = servers.get(server)?.find_hand_off(id, number)?;
            Some((*server, at, since))
        });
        let (server, at, since) = found.ok_or(stray)?;
        let Some(sched) = servers.get_mut(&server) else { return Err(stray) };
        let after = now.saturating_sub(since);
        outputs.push_back(DispatchOutput::Answered { worker: id, after, accepted });
        // As it was before the answer: a connection that it refuses does not wait for it.
        let queued = sched.waiting_for(id) > 0;
        let ready = sched.answer(now, id, at, accepted);
        lane.in_flight -= 1;
        let kept = |s: &S| servers.get(s).is_some_and(|server| server.kept(id) > 0);
        let waiting = queued || lane.servers.iter().any(kept);
        let oldest = lane.servers.iter().filter_map(|s| servers.get(s)?.oldest(id)).min();
        let overdue = oldest.is_some_and(|at| at.saturating_add(SLOW) <= now);
        lane.window.answered(after, waiting && !overdue, limit);
        if lane.in_flight == 0 {
            lane.window.idle();
            // Not while connections are queued: otherwise it would be assigned the entire queue.
            lane.expected |= after <= PROMPT && !queued;
        }
        self.tell_window(now, id);
        self.go_on(now, id, server, ready);
        if after > PROMPT {
            self.expect_nothing(now, id);
        }
        Ok(())
    }

    fn undelivered(
        &mut self,
        now: Mono,
        worker: W,
        number: u64,
    ) -> Result<(), DispatchError<S, W, C>> {
        let Self { servers, lanes, .. } = self;
        let stray = DispatchError::StrayAnswer { worker, number };
        let lane = lanes.get_mut(&worker).ok_or(stray)?;
        let found = lane.servers.iter().find_map(|server| {
            let (at, _) = servers.get(server)?.find_hand_off(worker, number)?;
            Some((*server, at))
        });
        let (server, at) = found.ok_or(stray)?;
        let Some(sched) = servers.get_mut(&server) else { return Err(stray) };
        let ready = sched.answer(now, worker, at, false);
        lane.in_flight -= 1;
        self.go_on(now, worker, server, ready);
        Ok(())
    }

    fn report_held(&mut self, now: Mono, id: W, held: u32) -> Result<(), DispatchError<S, W, C>> {
        let Self { servers, lanes, .. } = self;
        let lane = lanes.get_mut(&id).ok_or(DispatchError::UnknownWorker { worker: id })?;
        lane.held = Some(held);
        for server in &lane.servers {
            if let Some(sched) = servers.get_mut(server) {
                sched.handle_input(now, crate::event::Input::Held { worker: id, held })?;
            }
        }
        Ok(())
    }
}

/// What the inputs have in common.
impl<S, W, C, P> Dispatcher<S, W, C, P>
where
    S: Copy + Ord,
    W: Copy + Ord,
    C: Copy + Ord + Hash,
    P: Policy<W, C>,
{
    /// Tells the worker's servers how many connections each may give it, if that has changed.
    fn tell_window(&mut self, now: Mono, id: W) {
        let limit = self.window_limit();
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        let shares = lane.shares(limit);
        if core::mem::replace(&mut lane.told, shares) == shares {
            return;
        }
        let mut next = 0;
        while let Some(server) = self.server_of(id, next) {
            next += 1;
            if let Some(sched) = self.servers.get_mut(&server) {
                sched.change_window(now, id, shares.0, shares.1);
                self.collect(server);
            }
        }
    }

    fn server_of(&self, worker: W, nth: usize) -> Option<S> {
        self.lanes.get(&worker)?.servers.get(nth).copied()
    }

    /// After an answer at that server: the worker may be given more there, and be sent what any
    /// server has kept back for it.
    fn go_on(&mut self, now: Mono, worker: W, server: S, ready: bool) {
        if ready && let Some(sched) = self.servers.get_mut(&server) {
            sched.offer_queues(now, worker);
        }
        self.collect(server);
        self.send_kept(now, worker);
    }

    fn send_kept(&mut self, now: Mono, worker: W) {
        let mut next = 0;
        while let Some(server) = self.server_of(worker, next) {
            next += 1;
            if let Some(sched) = self.servers.get_mut(&server)
                && sched.kept(worker) > 0
            {
                sched.send_kept(now, worker);
                self.collect(server);
            }
        }
    }

    /// The worker is given no more than what may be in flight to it.
    fn expect_nothing(&mut self, now: Mono, worker: W) {
        if let Some(lane) = self.lanes.get_mut(&worker) {
            lane.expected = false;
        }
        self.tell_window(now, worker);
        self.send_kept(now, worker);
        let mut next = 0;
        while let Some(server) = self.server_of(worker, next) {
            next += 1;
            if let Some(sched) = self.servers.get_mut(&server)
                && sched.kept(worker) > 0
            {
                sched.give_up_kept(now, worker);
                self.collect(server);
            }
        }
    }

    /// Takes over what the server has decided.
    fn collect(&mut self, server: S) {
        let Self { servers, lanes, held, outputs, .. } = self;
        let Some(sched) = servers.get_mut(&server) else { return };
        let mut accepted = None;
        while let Some(output) = sched.poll_output() {
            outputs.push_back(match output {
                Output::Assign { conn, worker } => {
                    if let Some(lane) = lanes.get_mut(&worker) {
                        lane.in_flight += 1;
                        // As if its other servers used their shares as well.
                        let used = match lane.present {
                            0 | 1 => lane.in_flight,
                            all => sched.in_flight(worker).saturating_mul(all as usize),
                        };
                        lane.window.sent(u32::try_from(used).unwrap_or(u32::MAX));
                    }
                    DispatchOutput::HandOff { server, worker, conn }
                }
                Output::Done { conn, worker } => {
                    *held -= 1;
                    accepted = Some(worker);
                    DispatchOutput::Done { server, worker, conn }
                }
                Output::Shed { conn, reason } => {
                    *held -= 1;
                    DispatchOutput::Shed { server, conn, reason }
                }
            });
        }
        // One answer at most comes with each input.
        if let Some(worker) = accepted {
            self.holds_one_more(server, worker);
        }
    }

    /// A worker that reports how many connections it holds counts those that it accepts itself: so
    /// does the server, and the worker's other servers are told.
    fn holds_one_more(&mut self, id: S, worker: W) {
        let Self { servers, lanes, .. } = self;
        let Some(lane) = lanes.get_mut(&worker) else { return };
        let Some(held) = &mut lane.held else { return };
        *held = held.saturating_add(1);
        for other in lane.servers.iter().filter(|other| **other != id) {
            if let Some(sched) = servers.get_mut(other) {
                sched.note_held(worker, *held);
            }
        }
    }
}
