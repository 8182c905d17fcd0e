//! A dispatcher's inputs, outputs, settings and errors.

use crate::error::InputError;
use crate::event::ShedReason;
use crate::mono::Mono;
use core::fmt::{self, Debug, Display};

/// What the driver tells a [`Dispatcher`](crate::Dispatcher). `S` names a server, `W` a worker, `C` a
/// connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DispatchInput<S, W, C> {
    /// A worker was started. It has to be known before it joins servers.
    Enter {
        /// The worker.
        worker: W,
    },
    /// A worker is gone, from all servers: see [`Input::Leave`](crate::Input::Leave).
    Leave {
        /// The worker.
        worker: W,
    },
    /// See [`Input::Join`](crate::Input::Join).
    Join {
        /// The server.
        server: S,
        /// The worker.
        worker: W,
        /// The worker's slot.
        slot: u32,
    },
    /// See [`Input::Retire`](crate::Input::Retire). What is kept back for the worker goes to others.
    Retire {
        /// The server.
        server: S,
        /// The worker.
        worker: W,
    },
    /// A connection was accepted from the server's listener.
    Arrive {
        /// The server.
        server: S,
        /// Its name, which no other connection that is held has.
        conn: C,
        /// Where it comes from: [`sticky::client_of`](crate::sticky::client_of) its peer's address.
        client: Option<u32>,
        /// How many more than [`Config::max_waiting`](crate::Config::max_waiting) may wait. More than
        /// zero for what a listener that is closed had in its queue: then
        /// [`DispatchLimits::held`] does not count either.
        beyond: usize,
    },
    /// A worker has answered the hand-off that [has this number](crate::Dispatcher::set_number).
    Answered {
        /// The worker.
        worker: W,
        /// The number.
        number: u64,
        /// Whether it has accepted the connection.
        accepted: bool,
    },
    /// The hand-off that has this number never reached its worker: no answer will come.
    Undelivered {
        /// The worker.
        worker: W,
        /// The number.
        number: u64,
    },
    /// See [`Input::Held`](crate::Input::Held). It holds for all servers of the worker.
    Held {
        /// The worker.
        worker: W,
        /// Open connections.
        held: u32,
    },
    /// See [`Input::Close`](crate::Input::Close).
    Close {
        /// The server.
        server: S,
    },
}

/// What a [`Dispatcher`](crate::Dispatcher) asks of the driver, in order.
///
/// Exhaustive on purpose: a driver that ignores an output leaks a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DispatchOutput<S, W, C> {
    /// Pass this connection to this worker, and [say](crate::Dispatcher::set_number) under which
    /// number it will answer. Keep a copy until [`Done`](Self::Done) or [`Shed`](Self::Shed).
    HandOff {
        /// The server.
        server: S,
        /// The worker.
        worker: W,
        /// The connection.
        conn: C,
    },
    /// The worker has answered a hand-off. What became of the connection follows.
    Answered {
        /// The worker.
        worker: W,
        /// How long it took.
        after: Mono,
        /// Whether it has accepted the connection.
        accepted: bool,
    },
    /// The worker has accepted it: close the copy. The connection is forgotten.
    Done {
        /// The server.
        server: S,
        /// The worker.
        worker: W,
        /// The connection.
        conn: C,
    },
    /// Close the connection: no worker gets it. The connection is forgotten.
    Shed {
        /// The server.
        server: S,
        /// The connection.
        conn: C,
        /// The reason.
        reason: ShedReason,
    },
}

/// The limits of a [`Dispatcher`](crate::Dispatcher).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DispatchLimits {
    /// The largest window of one worker: hand-offs in flight to it, of all servers. Default 64; zero is
    /// read as one, which is Node's order exactly.
    pub window: u32,
    /// Hand-offs in flight to all workers together; at least one to each all the same. Default: no
    /// limit.
    pub in_flight: usize,
    /// Connections that wait at one server, those that are kept back included
    /// ([`Config::max_waiting`](crate::Config::max_waiting)). Default 512.
    pub waiting: usize,
    /// Connections that are held, of all servers together, whether they wait or are in flight. A server
    /// leaves as many free as wait for its workers, so that others have some. Default: no limit.
    pub held: usize,
}

impl Default for DispatchLimits {
    fn default() -> Self {
        Self { window: 64, in_flight: usize::MAX, waiting: 512, held: usize::MAX }
    }
}

impl DispatchLimits {
    /// Sets [`window`](Self::window).
    #[must_use]
    pub const fn window(mut self, hand_offs: u32) -> Self {
        self.window = hand_offs;
        self
    }

    /// Sets [`in_flight`](Self::in_flight).
    #[must_use]
    pub const fn in_flight(mut self, hand_offs: usize) -> Self {
        self.in_flight = hand_offs;
        self
    }

    /// Sets [`waiting`](Self::waiting).
    #[must_use]
    pub const fn waiting(mut self, connections: usize) -> Self {
        self.waiting = connections;
        self
    }

    /// Sets [`held`](Self::held).
    #[must_use]
    pub const fn held(mut self, connections: usize) -> Self {
        self.held = connections;
        self
    }
}

/// An input that does not fit a [`Dispatcher`](crate::Dispatcher)'s state. It changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DispatchError<S, W, C> {
    /// The server was never opened, or was removed.
    UnknownServer {
        /// The server.
        server: S,
    },
    /// The worker never entered, or has left.
    UnknownWorker {
        /// The worker.
        worker: W,
    },
    /// [`DispatchInput::Enter`] of a worker that has entered already.
    AlreadyEntered {
        /// The worker.
        worker: W,
    },
    /// An answer to no hand-off that is in flight to this worker: answered before, placed again since,
    /// or never made.
    StrayAnswer {
        /// The worker.
        worker: W,
        /// The number.
        number: u64,
    },
    /// It does not fit the server's state.
    Unfit(InputError<W, C>),
}

impl<S, W, C> From<InputError<W, C>> for DispatchError<S, W, C> {
    fn from(error: InputError<W, C>) -> Self {
        Self::Unfit(error)
    }
}

impl<S: Debug, W: Debug, C: Debug> Display for DispatchError<S, W, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownServer { server } => write!(f, "server {server:?} is not known"),
            Self::UnknownWorker { worker } => write!(f, "worker {worker:?} is not known"),
            Self::AlreadyEntered { worker } => {
                write!(f, "worker {worker:?} has entered already")
            }
            Self::StrayAnswer { worker, number } => {
                write!(
                    f,
                    "worker {worker:?} answers hand-off {number}, which is not in flight to it"
                )
            }
            Self::Unfit(error) => Display::fmt(error, f),
        }
    }
}

impl<S: Debug, W: Debug, C: Debug> core::error::Error for DispatchError<S, W, C> {}
