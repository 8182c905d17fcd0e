//! A scheduler's inputs and outputs.

/// What the driver tells a [`Scheduler`](crate::Scheduler). `W` names a worker, `C` a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Input<W, C> {
    /// A worker listens on this server. It is ready at once and goes to the tail of the free list,
    /// as in Node's `RoundRobinHandle.add`.
    ///
    /// A worker that was retired may join again: what it still has in flight goes on counting
    /// against its window, and the window is the one that it had.
    Join {
        /// The worker.
        worker: W,
        /// Its slot, which a replacement inherits: for policies that go by slots
        /// ([`Sticky`](crate::Sticky)). Usually counted from 0; any numbers will do.
        slot: u32,
    },
    /// A worker closed this server but lives on: it gets no new connections, and the answers to its
    /// hand-offs in flight are still awaited. Node's `RoundRobinHandle.remove`.
    ///
    /// It remains known until [`Input::Leave`].
    Retire {
        /// The worker.
        worker: W,
    },
    /// A worker is gone. Its hand-offs in flight are placed again, oldest first, before everything
    /// that waits. (Node loses them.)
    ///
    /// Send this only once the worker can no longer accept them: its process has exited, or its
    /// channel is closed. Worker ids should not be used again, since a late answer of the dead
    /// worker cannot be told from one of its successor.
    Leave {
        /// The worker.
        worker: W,
    },
    /// A connection was accepted from the listener.
    Arrive {
        /// Its name, not in use for another connection that is still held.
        conn: C,
        /// Where it comes from: [`sticky::client_of`](crate::sticky::client_of) its peer's address.
        /// None if there is no address, or if no policy uses it.
        client: Option<u32>,
    },
    /// A worker accepted a hand-off: Node's `{ack, accepted: true}`.
    Accepted {
        /// The worker.
        worker: W,
        /// The connection.
        conn: C,
    },
    /// A worker refused a hand-off: Node's `{ack, accepted: false}`.
    Refused {
        /// The worker.
        worker: W,
        /// The connection.
        conn: C,
    },
    /// A hand-off was never made: its worker does not know of it, and will not answer. The connection is
    /// placed again, before everything that waits.
    ///
    /// For drivers that keep hand-offs back until a worker has answered others. To take several back,
    /// begin with the one that was assigned last, and make the worker's window smaller before.
    TakeBack {
        /// The worker.
        worker: W,
        /// The connection.
        conn: C,
    },
    /// From now on this worker may have `window` hand-offs in flight. What is already in flight
    /// beyond that stays. Zero pauses the worker.
    Window {
        /// The worker.
        worker: W,
        /// Hand-offs in flight.
        window: u32,
    },
    /// A worker says how many connections it holds, without those for which it has not answered: for
    /// policies that go by loads ([`LeastConnections`](crate::LeastConnections)). What it accepts
    /// from here on is counted on top, until it says so again.
    ///
    /// Of a worker that never says, only the hand-offs in flight are counted.
    Held {
        /// The worker.
        worker: W,
        /// Open connections.
        held: u32,
    },
    /// The server closes. What waits is shed, hand-offs in flight are still awaited, and those that
    /// come back are shed too, all as [`ShedReason::Closed`].
    Close,
}

/// What a [`Scheduler`](crate::Scheduler) asks of the driver, in order.
///
/// Exhaustive on purpose: a driver that ignores an output leaks a connection, so a new kind of
/// output must not compile unseen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Output<W, C> {
    /// Pass this connection to this worker, and report its answer as [`Input::Accepted`] or
    /// [`Input::Refused`]. Keep a copy until [`Output::Done`] or [`Output::Shed`].
    ///
    /// An assignment that is drained after its worker left is stale: the connection has been
    /// placed again further down the queue, and an answer to this one is an
    /// [`InputError`](crate::InputError).
    Assign {
        /// The connection.
        conn: C,
        /// The worker.
        worker: W,
    },
    /// The worker has accepted it: close the copy. The connection is forgotten.
    Done {
        /// The connection.
        conn: C,
        /// The worker.
        worker: W,
    },
    /// Close the connection: no worker gets it. The connection is forgotten.
    Shed {
        /// The connection.
        conn: C,
        /// The reason.
        reason: ShedReason,
    },
}

/// Why a connection was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum ShedReason {
    /// It arrived when [`Config::max_waiting`](crate::Config::max_waiting) already waited. A driver
    /// that stops accepting while [`room`](crate::Scheduler::room) is zero never sees this.
    Full,
    /// All workers refused it, [`Config::max_refusal_rounds`](crate::Config::max_refusal_rounds)
    /// times over.
    Refused,
    /// The server was closed before a worker accepted it.
    Closed,
}

impl core::fmt::Display for ShedReason {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Full => "full",
            Self::Refused => "refused",
            Self::Closed => "closed",
        })
    }
}
