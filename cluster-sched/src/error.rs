//! Errors of inputs.

use core::fmt::{self, Debug, Display};

/// An input that does not fit the scheduler's state. It changed nothing.
///
/// Most of these are ordinary races between a worker's answer and its death: log or count them, and
/// go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InputError<W, C> {
    /// [`Input::Join`](crate::Input::Join) of a worker that is there already.
    AlreadyJoined {
        /// The worker.
        worker: W,
    },
    /// [`Input::Retire`](crate::Input::Retire) of a worker that is retired already.
    AlreadyRetired {
        /// The worker.
        worker: W,
    },
    /// The input names a worker that never joined or has left.
    UnknownWorker {
        /// The worker.
        worker: W,
    },
    /// [`Input::Arrive`](crate::Input::Arrive) of a connection that is still held.
    AlreadyArrived {
        /// The connection.
        conn: C,
    },
    /// An answer for a connection that is not in flight to that worker: answered before, placed
    /// again since, or never assigned.
    NotInFlight {
        /// The worker.
        worker: W,
        /// The connection.
        conn: C,
    },
    /// [`Input::Join`](crate::Input::Join) or [`Input::Close`](crate::Input::Close) after the
    /// server was closed.
    Closed,
}

impl<W: Debug, C: Debug> Display for InputError<W, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyJoined { worker } => write!(f, "worker {worker:?} has joined already"),
            Self::AlreadyRetired { worker } => write!(f, "worker {worker:?} is retired already"),
            Self::UnknownWorker { worker } => write!(f, "worker {worker:?} is not known"),
            Self::AlreadyArrived { conn } => write!(f, "connection {conn:?} has arrived already"),
            Self::NotInFlight { worker, conn } => {
                write!(f, "connection {conn:?} is not in flight to worker {worker:?}")
            }
            Self::Closed => f.write_str("the server is closed"),
        }
    }
}

impl<W: Debug, C: Debug> core::error::Error for InputError<W, C> {}
