//! A scheduler, as plain data.

use crate::{Mono, Output, PolicyState, Stats};
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
    /// Who has refused what since it was last offered to all.
    pub refusals: Vec<RefusedState<W, C>>,
    /// Connections that all refused at some time. Of those whose pause runs, the one whose pause ends
    /// first comes first.
    pub pauses: Vec<PauseState<C>>,
    /// Whether the server is closed.
    pub closed: bool,
    /// What nobody has polled yet.
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
    /// Who it is.
    pub worker: W,
    /// Its place among the workers.
    pub slot: u32,
    /// How many hand-offs it may have in flight.
    pub window: u32,
    /// Whether it is to be given nothing more.
    pub retired: bool,
    /// How many connections it holds by its own account, once it has given one.
    pub held: Option<u32>,
    /// Its unanswered hand-offs, the oldest first.
    pub in_flight: Vec<ConnState<C>>,
}

/// A connection, in a [`SchedulerState`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ConnState<C> {
    /// Which one.
    pub conn: C,
    /// Where it comes from.
    pub client: Option<u32>,
}

/// A connection that waits, in a [`SchedulerState`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct WaitingState<W, C> {
    /// Which one.
    pub conn: C,
    /// Where it comes from.
    pub client: Option<u32>,
    /// For whom it waits; none for whoever is ready first.
    pub worker: Option<W>,
}

/// A connection that some have refused, in a [`SchedulerState`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct RefusedState<W, C> {
    /// Which one.
    pub conn: C,
    /// By whom.
    pub workers: Vec<W>,
}

/// A connection that all have refused at some time, in a [`SchedulerState`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct PauseState<C> {
    /// Which one.
    pub conn: C,
    /// How often.
    pub rounds: u32,
    /// For how long it is still to be left alone, while its pause runs; zero if it should be over.
    pub left: Option<Mono>,
}

/// Why a state is none that a [`Scheduler`](crate::Scheduler) can be in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateError<W, C> {
    /// A worker is there twice.
    WorkerTwice {
        /// Who.
        worker: W,
    },
    /// A worker is named that is not there, or is retired.
    UnknownWorker {
        /// Who is not known.
        worker: W,
    },
    /// A connection is in two places.
    ConnTwice {
        /// Which one.
        conn: C,
    },
    /// A connection is named that is not held.
    UnknownConn {
        /// Which one.
        conn: C,
    },
    /// A connection is where it cannot be: parked without a pause or without a refusal by everybody,
    /// waiting although all refused it, or waiting for anything in a server that is closed.
    Misplaced {
        /// Which one.
        conn: C,
    },
    /// The counters do not come to what is there.
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
            Self::Miscounted => f.write_str("the counters do not come to what is there"),
        }
    }
}

impl<W: Debug, C: Debug> core::error::Error for StateError<W, C> {}
