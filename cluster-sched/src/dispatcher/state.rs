//! A dispatcher is taken apart, and put together again.

use super::Dispatcher;
use super::event::DispatchLimits;
use super::lane::Lane;
use super::window::Window;
use crate::config::Config;
use crate::mono::Mono;
use crate::policy::Policy;
use crate::scheduler::Scheduler;
use crate::state::{SchedulerState, StateError};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::fmt::{self, Debug, Display};
use core::hash::Hash;

/// All that a [`Dispatcher`] knows, but for its limits. Outputs that were not polled are no part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DispatcherState<S, W, C> {
    /// The servers. Of a member, what is kept back is listed with what is in flight.
    pub servers: Vec<(S, SchedulerState<W, C>)>,
    /// The workers.
    pub workers: Vec<(W, LaneState<S, C>)>,
    /// When each hand-off began over which its worker may become slow, its worker and its number; the
    /// oldest first.
    pub watched: Vec<(Mono, W, u64)>,
}

impl<S, W, C> DispatcherState<S, W, C> {
    /// Of these servers and workers.
    #[must_use]
    pub const fn new(
        servers: Vec<(S, SchedulerState<W, C>)>,
        workers: Vec<(W, LaneState<S, C>)>,
        watched: Vec<(Mono, W, u64)>,
    ) -> Self {
        Self { servers, workers, watched }
    }
}

/// A worker, in a [`DispatcherState`]: what its servers have in common. The times are those of the
/// dispatcher's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(bound(deserialize = "S: serde::Deserialize<'de>, C: serde::Deserialize<'de>"))
)]
#[non_exhaustive]
pub struct LaneState<S, C> {
    /// Its unanswered hand-offs by their numbers, which ascend. (Some versions have gaps where a hand-off
    /// was answered.)
    pub in_flight: Vec<(u64, Option<HandOffState<S, C>>)>,
    /// What is kept back for it, the oldest first.
    #[cfg_attr(feature = "serde", serde(rename = "reserve", default))]
    pub kept: Vec<KeptState<S, C>>,
    /// Whether connections may be kept back for it.
    #[cfg_attr(feature = "serde", serde(default))]
    pub expected: bool,
    /// How many connections it holds, if it reports that.
    pub held: Option<u32>,
    /// How many hand-offs may be in flight.
    pub window: WindowState,
    /// How many connections each of its servers was told that it may assign.
    #[cfg_attr(feature = "serde", serde(rename = "told_share", default = "one"))]
    pub turns: u32,
    /// How many hand-offs each of them was told that it may have in flight, if that does not follow from
    /// the window.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub share: Option<u32>,
}

/// What versions had that did not note it.
#[cfg(feature = "serde")]
const fn one() -> u32 {
    1
}

/// Of a worker that was just started.
impl<S, C> Default for LaneState<S, C> {
    fn default() -> Self {
        Self {
            in_flight: Vec::new(),
            kept: Vec::new(),
            expected: true,
            held: None,
            window: WindowState(Window::new()),
            turns: 1,
            share: None,
        }
    }
}

impl<S, C> LaneState<S, C> {
    /// The hand-offs that are unanswered.
    pub fn hand_offs(&self) -> impl Iterator<Item = &HandOffState<S, C>> {
        self.in_flight.iter().filter_map(|(_, hand_off)| hand_off.as_ref())
    }

    /// All times in it.
    pub fn times(&self) -> impl Iterator<Item = Mono> {
        let hand_offs = self.hand_offs().map(|hand_off| hand_off.since);
        hand_offs.chain(self.kept.iter().map(|kept| kept.since))
    }
}

/// How many connections may be in flight to a worker, in a [`LaneState`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct WindowState(Window);

/// An unanswered hand-off, in a [`LaneState`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct HandOffState<S, C> {
    /// Its number.
    #[cfg_attr(feature = "serde", serde(rename = "seq"))]
    pub number: u64,
    /// The server.
    pub server: S,
    /// The connection.
    pub conn: C,
    /// When it began.
    #[cfg_attr(feature = "serde", serde(rename = "at"))]
    pub since: Mono,
}

/// A connection that is kept back, in a [`LaneState`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct KeptState<S, C> {
    /// The server.
    pub server: S,
    /// The connection.
    pub conn: C,
    /// Since when.
    #[cfg_attr(feature = "serde", serde(rename = "at"))]
    pub since: Mono,
}

/// Why a state is not one that a [`Dispatcher`] can be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DispatchStateError<S, W, C> {
    /// No scheduler can be in the state of this server's.
    Server {
        /// The server.
        server: S,
        /// Why.
        error: StateError<W, C>,
    },
    /// A server has a worker that did not enter, or two have one name.
    Worker {
        /// The worker.
        worker: W,
    },
    /// The numbers of the worker's hand-offs do not ascend.
    OutOfOrder {
        /// The worker.
        worker: W,
    },
    /// A connection is said to be in flight to the worker, or kept back for it, and its server does not
    /// have it so; or the other way around.
    Assigned {
        /// The worker.
        worker: W,
    },
    /// Connections are kept back for a worker that has none in flight, and so could have them.
    KeptWithoutReason {
        /// The worker.
        worker: W,
    },
}

impl<S: Debug, W: Debug, C: Debug> Display for DispatchStateError<S, W, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server { server, error } => write!(f, "server {server:?}: {error}"),
            Self::Worker { worker } => {
                write!(f, "worker {worker:?} is unknown to the dispatcher, or known twice")
            }
            Self::OutOfOrder { worker } => {
                write!(f, "the hand-offs of worker {worker:?} are out of order")
            }
            Self::Assigned { worker } => write!(
                f,
                "what is in flight to worker {worker:?} or kept back for it is not what its \
                 servers have assigned to it"
            ),
            Self::KeptWithoutReason { worker } => write!(
                f,
                "connections are kept back for worker {worker:?}, which has none in flight"
            ),
        }
    }
}

impl<S: Debug, W: Debug, C: Debug> core::error::Error for DispatchStateError<S, W, C> {}

impl<S, W, C, P> Dispatcher<S, W, C, P>
where
    S: Copy + Ord,
    W: Copy + Ord,
    C: Copy + Ord + Hash,
    P: Policy<W, C>,
{
    /// What it knows, `now`, once all outputs are polled and every hand-off has its
    /// [number](Self::set_number): one that is made [from it](Self::from_state) does the same from
    /// here on.
    #[must_use]
    pub fn state(&self, now: Mono) -> DispatcherState<S, W, C> {
        let servers = self.servers.iter().map(|(server, sched)| (*server, sched.state(now)));
        let workers = self.lanes.iter().map(|(worker, lane)| (*worker, self.lane(*worker, lane)));
        let watched = self.servers.values().flat_map(Scheduler::all_watched);
        let mut watched: Vec<_> = watched.collect();
        watched.sort_unstable_by_key(|&(since, _, number)| (since, number));
        DispatcherState { servers: servers.collect(), workers: workers.collect(), watched }
    }

    fn lane(&self, worker: W, lane: &Lane<S>) -> LaneState<S, C> {
        let (mut in_flight, mut kept) = (Vec::new(), Vec::new());
        for &server in &lane.servers {
            let Some(sched) = self.servers.get(&server) else { continue };
            for (conn, since, number) in sched.assigned(worker) {
                match number {
                    Some(number) => {
                        let hand_off = HandOffState { number, server, conn, since };
                        in_flight.push((number, Some(hand_off)));
                    }
                    None => kept.push(KeptState { server, conn, since }),
                }
            }
        }
        in_flight.sort_by_key(|(number, _)| *number);
        kept.sort_by_key(|kept| kept.since);
        LaneState {
            in_flight,
            kept,
            expected: lane.expected,
            held: lane.held,
            window: WindowState(lane.window),
            turns: lane.told.1,
            share: Some(lane.told.0).filter(|share| *share != lane.shares(1).0),
        }
    }

    /// A dispatcher in that state, `now`, by the same clock: it does what the one that the state was
    /// [taken](Self::state) from would have done. `policy` makes a new policy for each server, of the
    /// kind that it had, with its settings.
    ///
    /// # Errors
    ///
    /// [`DispatchStateError`] if there is no such state.
    pub fn from_state(
        now: Mono,
        limits: DispatchLimits,
        mut policy: impl FnMut(S) -> (P, Config),
        state: DispatcherState<S, W, C>,
    ) -> Result<Self, DispatchStateError<S, W, C>> {
        let mut servers = BTreeMap::new();
        for (server, state) in state.servers {
            let (policy, config) = policy(server);
            let config = config.window(1).max_waiting(limits.waiting);
            let sched = Scheduler::from_state(now, policy, config, state)
                .map_err(|error| DispatchStateError::Server { server, error })?;
            servers.insert(server, sched);
        }
        let mut dispatcher = Self { servers, ..Self::new(limits) };
        for (worker, lane) in state.workers {
            dispatcher.take_lane(worker, &lane)?;
        }
        for sched in dispatcher.servers.values() {
            if let Some(worker) = sched.members().find(|id| !dispatcher.lanes.contains_key(id)) {
                return Err(DispatchStateError::Worker { worker });
            }
        }
        for (_, worker, number) in state.watched {
            // One that is not there any more was answered.
            if let Some((server, conn)) = dispatcher.hand_off(worker, number)
                && let Some(sched) = dispatcher.servers.get_mut(&server)
            {
                sched.watch_again(conn);
            }
        }
        dispatcher.held = dispatcher.servers.values().map(Scheduler::held_conns).sum();
        Ok(dispatcher)
    }

    fn take_lane(
        &mut self,
        worker: W,
        state: &LaneState<S, C>,
    ) -> Result<(), DispatchStateError<S, W, C>> {
        let wrong = DispatchStateError::Assigned { worker };
        let mut lane = Lane::new();
        for (&server, sched) in &self.servers {
            if sched.members().any(|member| member == worker) {
                lane.servers.push(server);
                lane.present += u32::from(sched.is_present(worker));
            }
        }
        (lane.expected, lane.held, lane.window) = (state.expected, state.held, state.window.0);
        lane.told = (state.share.unwrap_or(lane.shares(1).0), state.turns);
        if !state.in_flight.is_sorted_by(|(a, _), (b, _)| a < b) {
            return Err(DispatchStateError::OutOfOrder { worker });
        }
        for (number, hand_off) in &state.in_flight {
            let Some(hand_off) = hand_off else { continue };
            if hand_off.number != *number {
                return Err(DispatchStateError::OutOfOrder { worker });
            }
            let sched = self.servers.get_mut(&hand_off.server).ok_or(wrong)?;
            if !sched.take_hand_off(worker, hand_off.conn, hand_off.since, *number) {
                return Err(wrong);
            }
            lane.in_flight += 1;
        }
        if lane.in_flight == 0 && !state.kept.is_empty() {
            return Err(DispatchStateError::KeptWithoutReason { worker });
        }
        for kept in &state.kept {
            let sched = self.servers.get_mut(&kept.server).ok_or(wrong)?;
            if !sched.take_kept(worker, kept.conn, kept.since) {
                return Err(wrong);
            }
        }
        let mut listed = 0;
        for server in &lane.servers {
            let Some(sched) = self.servers.get_mut(server) else { continue };
            listed += sched.restore_window(worker, lane.told.0, lane.told.1);
        }
        if listed != lane.in_flight + state.kept.len() {
            return Err(wrong);
        }
        match self.lanes.insert(worker, lane) {
            None => Ok(()),
            Some(_) => Err(DispatchStateError::Worker { worker }),
        }
    }
}
