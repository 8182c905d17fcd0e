//! One connection, as the scheduler sees it.

use crate::queue::Links;
use crate::slab::Slab;

/// All connections that are held.
pub(crate) type Conns<W, C> = Slab<C, Conn<W>>;

/// A connection that has arrived, and is neither done nor shed.
#[derive(Clone, Debug)]
pub(crate) struct Conn<W> {
    pub(crate) client: Option<u32>,
    pub(crate) state: State<W>,
    pub(crate) links: Links,
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
    /// On its way to this worker.
    InFlight { worker: W },
}

impl<W> Conn<W> {
    pub(crate) const fn new(client: Option<u32>) -> Self {
        Self { client, state: State::Loose, links: Links::NEW }
    }
}
