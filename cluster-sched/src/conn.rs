//! One connection, as the scheduler sees it.

use crate::mono::Mono;
use crate::queue::{LISTS, Links, Ticket};
use crate::slab::Slab;

/// All connections that are held.
pub(crate) type Conns<W, C> = Slab<C, Conn<W>>;

/// A connection that has arrived, and is neither done nor shed. This is its only record.
#[derive(Clone, Debug)]
pub(crate) struct Conn<W> {
    pub(crate) client: Option<u32>,
    pub(crate) state: State<W>,
    /// Its position among all that wait.
    pub(crate) ticket: Ticket,
    pub(crate) links: [Links; LISTS],
    /// Since when it has been in flight or kept back.
    pub(crate) since: Mono,
    /// The number under which its worker will answer, if the driver has given it one.
    pub(crate) number: Option<u64>,
    /// It is in the list of hand-offs whose worker may become slow.
    pub(crate) watched: bool,
}

/// Where a connection is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum State<W> {
    /// Neither assigned nor in a queue: it is being placed.
    Loose,
    /// In the queue of those that wait for any worker.
    Waiting,
    /// In the queue of those that wait for this worker.
    Awaiting { worker: W },
    /// Refused by all present workers, and in no queue. Its timer runs.
    Parked,
    /// Assigned to a worker, and kept back until the worker has answered others.
    Kept,
    /// On its way to this worker.
    InFlight { worker: W },
}

impl<W> Conn<W> {
    pub(crate) const fn new(client: Option<u32>) -> Self {
        Self {
            client,
            state: State::Loose,
            ticket: 0,
            links: [Links::NEW; LISTS],
            since: Mono::ZERO,
            number: None,
            watched: false,
        }
    }
}
