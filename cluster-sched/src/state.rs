//! A scheduler, as plain data.

use crate::event::Output;
use crate::mono::Mono;
use crate::policy::PolicyState;
use crate::stats::Stats;
use alloc::vec::Vec;
use core::fmt::{self, Debug, Display};

/// All that a [`Scheduler`](crate::Scheduler) knows, to be taken elsewhere: into another process, say.
///
/// With the feature `serde` it has serde's traits.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct SchedulerState<W, C> {
    /// Workers that have joined and not left, in the order in which they joined.
    pub members: Vec<MemberState<W, C>>,
    /// Connections that wait, the one that is next coming first.
    pub waiting: Vec<WaitingState<W, C>>,
    /// Connections that all refused, and that wait for their pause to end.
    pub parked: Vec<ConnState<C>>,
    /// Which workers have refused which connection since it was last offered to all of them.
    pub refusals: Vec<RefusedState<W, C>>,
    /// Connections that all refused at some time. Of those whose pause runs, the one whose pause ends
    /// first comes first.
    pub pauses: Vec<PauseState<C>>,
    /// Whether the server is closed.
    pub closed: bool,
    /// Outputs that have not been polled yet.
    pub outputs: Vec<Output<W, C>>,
    /// What was counted so far.
    pub stats: Stats,
    /// What the policy has to add.
    pub policy: PolicyState<W>,
}

/// A worker, in a [`SchedulerState`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct MemberState<W, C> {
    /// The worker.
    pub worker: W,
    /// Its place among the workers.
    pub slot: u32,
    /// How many hand-offs it may have in flight.
    pub window: u32,
    /// Whether it gets no more connections.
    pub retired: bool,
    /// How many connections it reported to hold, if it has reported any.
    pub held: Option<u32>,
    /// Its unanswered hand-offs, the oldest first.
    pub in_flight: Vec<ConnState<C>>,
}

/// A connection, in a [`SchedulerState`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ConnState<C> {
    /// The connection.
    pub conn: C,
    /// Where it comes from.
    pub client: Option<u32>,
}

/// A connection that waits, in a [`SchedulerState`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct WaitingState<W, C> {
    /// The connection.
    pub conn: C,
    /// Where it comes from.
    pub client: Option<u32>,
    /// The worker that it waits for; none if any worker will do.
    pub worker: Option<W>,
}

/// A connection that some have refused, in a [`SchedulerState`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct RefusedState<W, C> {
    /// The connection.
    pub conn: C,
    /// The workers that have refused it.
    pub workers: Vec<W>,
}

/// A connection that all have refused at some time, in a [`SchedulerState`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct PauseState<C> {
    /// The connection.
    pub conn: C,
    /// How many rounds of refusals it has been through.
    pub rounds: u32,
    /// How much of its pause is left, while one runs; zero if it is over.
    pub left: Option<Mono>,
}

/// Why a state is not one that a [`Scheduler`](crate::Scheduler) can be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateError<W, C> {
    /// A worker is there twice.
    WorkerTwice {
        /// The worker.
        worker: W,
    },
    /// A worker is named that is not there, or is retired.
    UnknownWorker {
        /// The unknown worker.
        worker: W,
    },
    /// A connection is in two places.
    ConnTwice {
        /// The connection.
        conn: C,
    },
    /// A connection is named that is not held.
    UnknownConn {
        /// The connection.
        conn: C,
    },
    /// A connection is where it cannot be: parked without a pause or without a refusal by every worker,
    /// waiting although all refused it, or waiting for anything in a server that is closed.
    Misplaced {
        /// The connection.
        conn: C,
    },
    /// The counters contradict the connections that are held.
    Miscounted,
}

impl<W: Debug, C: Debug> Display for StateError<W, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WorkerTwice { worker } => write!(f, "worker {worker:?} is there twice"),
            Self::UnknownWorker { worker } => write!(f, "worker {worker:?} is not there"),
            Self::ConnTwice { conn } => write!(f, "connection {conn:?} is in two places"),
            Self::UnknownConn { conn } => write!(f, "connection {conn:?} is not held"),
            Self::Misplaced { conn } => write!(f, "connection {conn:?} is where it cannot be"),
            Self::Miscounted => {
                f.write_str("the counters contradict the connections that are held")
            }
        }
    }
}

impl<W: Debug, C: Debug> core::error::Error for StateError<W, C> {}
