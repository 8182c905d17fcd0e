//! Who is chosen: the one question that a scheduler leaves to others.

mod name;
mod random;
mod round_robin;

pub use name::{BoxedPolicy, PolicyName, UnknownPolicy};
pub use random::Random;
pub use round_robin::RoundRobin;

use alloc::boxed::Box;

/// Chooses a worker for a connection. `W` names a worker, `C` a connection.
///
/// A policy keeps whatever it needs to know of the workers from what it is told, in this order for
/// each worker: [`join`](Self::join), then [`ready`](Self::ready) and [`busy`](Self::busy) in turns,
/// then [`leave`](Self::leave) from either state. The scheduler alone keeps the windows, the
/// refusals and the waiting line, so a policy is about choice and nothing else.
///
/// What a policy knows beyond that, it brings along: a seed or a table at its making, and a client's
/// address as a part of `C`, which is the driver's own type. More to be told (a worker's load, say)
/// will come as methods with an empty default body, so that neither policies nor drivers change.
///
/// ```
/// use cluster_sched::Policy;
///
/// /// Always the lowest worker that can take it.
/// #[derive(Default)]
/// struct Lowest(std::collections::BTreeSet<u32>);
///
/// impl<C> Policy<u32, C> for Lowest {
///     fn join(&mut self, _: u32) {}
///     fn leave(&mut self, worker: u32) { self.0.remove(&worker); }
///     fn ready(&mut self, worker: u32) { self.0.insert(worker); }
///     fn busy(&mut self, worker: u32) { self.0.remove(&worker); }
///     fn pick(&mut self, _: &C, eligible: &mut dyn FnMut(u32) -> bool) -> Option<u32> {
///         self.0.iter().copied().find(|&worker| eligible(worker))
///     }
/// }
/// ```
pub trait Policy<W, C> {
    /// A worker is there. It counts as busy until [`ready`](Self::ready).
    fn join(&mut self, worker: W);

    /// A worker is not to be chosen any more: it retired or left. It may join again.
    fn leave(&mut self, worker: W);

    /// A worker that was busy has room in its window again.
    fn ready(&mut self, worker: W);

    /// A worker that was ready has no room in its window any more.
    fn busy(&mut self, worker: W);

    /// Chooses a worker for `conn`, or nobody: then the connection waits, and is offered again when
    /// a worker becomes ready.
    ///
    /// `eligible` says whether a worker has room and has not refused this connection; only one for
    /// which it said yes may be chosen. It costs O(log n), and of a worker that is ready it says no
    /// only if that one refused. The choice is final: the connection *is* handed to that worker,
    /// and [`busy`](Self::busy) follows if that was its last room.
    ///
    /// A policy that answers "nobody" while an eligible worker exists makes the connection wait
    /// for a particular worker. It then looks at each waiting connection whenever a worker becomes
    /// ready, so such answers should be cheap.
    fn pick(&mut self, conn: &C, eligible: &mut dyn FnMut(W) -> bool) -> Option<W>;
}

impl<W, C, P: Policy<W, C> + ?Sized> Policy<W, C> for Box<P> {
    fn join(&mut self, worker: W) {
        (**self).join(worker);
    }

    fn leave(&mut self, worker: W) {
        (**self).leave(worker);
    }

    fn ready(&mut self, worker: W) {
        (**self).ready(worker);
    }

    fn busy(&mut self, worker: W) {
        (**self).busy(worker);
    }

    fn pick(&mut self, conn: &C, eligible: &mut dyn FnMut(W) -> bool) -> Option<W> {
        (**self).pick(conn, eligible)
    }
}
