//! Which worker is chosen: the one question that a scheduler leaves to a policy.

mod least_connections;
mod name;
mod random;
mod roster;
mod round_robin;
mod state;
mod sticky;

pub use least_connections::LeastConnections;
pub use name::{BoxedPolicy, PolicyName, UnknownPolicy};
pub use random::Random;
pub use round_robin::RoundRobin;
pub use state::PolicyState;
pub use sticky::Sticky;

use alloc::boxed::Box;

/// Chooses a worker for a connection. `W` names a worker, `C` a connection.
///
/// A policy keeps whatever it needs to know of the workers from what it is told, in this order for
/// each worker: [`join`](Self::join), then [`ready`](Self::ready) and [`busy`](Self::busy) in turns,
/// then [`leave`](Self::leave) from either state; and in between, [`load`](Self::load). The
/// scheduler alone keeps the windows, the refusals and the queues, so a policy is about
/// choice and nothing else.
///
/// What a policy knows beyond that, it brings along: a seed or a table at its making. More to be
/// told will come as methods with an empty default body, so that neither policies nor drivers
/// change.
///
/// ```
/// use cluster_sched::{Choice, Policy, Standing};
///
/// /// Always the lowest worker that can take it.
/// #[derive(Default)]
/// struct Lowest(std::collections::BTreeSet<u32>);
///
/// impl<C> Policy<u32, C> for Lowest {
///     fn join(&mut self, _: u32, _slot: u32) {}
///     fn leave(&mut self, worker: u32) { self.0.remove(&worker); }
///     fn ready(&mut self, worker: u32) { self.0.insert(worker); }
///     fn busy(&mut self, worker: u32) { self.0.remove(&worker); }
///     fn pick(
///         &mut self,
///         _conn: &C,
///         _client: Option<u32>,
///         standing: &mut dyn FnMut(u32) -> Standing,
///     ) -> Choice<u32> {
///         let free = |worker: &u32| standing(*worker) == Standing::Free;
///         self.0.iter().copied().find(free).map_or(Choice::Wait, Choice::Give)
///     }
/// }
/// ```
pub trait Policy<W, C> {
    /// A worker is there, at this place among the workers. It counts as busy until
    /// [`ready`](Self::ready).
    ///
    /// A worker's place is the one that its predecessor had. Two workers may be at one place for a
    /// while, when the successor comes before the other leaves.
    fn join(&mut self, worker: W, slot: u32);

    /// A worker is not to be chosen any more: it retired or left. It may join again.
    fn leave(&mut self, worker: W);

    /// A worker that was busy has room in its window again.
    fn ready(&mut self, worker: W);

    /// A worker that was ready has no room in its window any more.
    fn busy(&mut self, worker: W);

    /// A worker that is there has so many connections now: its unanswered hand-offs and, if it
    /// reports them ([`Input::Held`](crate::Input::Held)), those that it holds. Said whenever that
    /// changes, between `join` and `leave`; zero until it is said.
    fn load(&mut self, worker: W, connections: u32) {
        let _ = (worker, connections);
    }

    /// Chooses a worker for `conn`, which comes from `client`
    /// ([`Input::Arrive`](crate::Input::Arrive)).
    ///
    /// `standing` says how a worker stands to this connection, in O(log n). Of a worker that is
    /// ready it is never [`Standing::Busy`].
    ///
    /// A policy that answers [`Choice::Wait`] while a free worker exists makes the connection wait
    /// in the common queue; it is then asked for each such connection whenever a worker becomes
    /// ready. [`Choice::Await`] waits for a particular worker, and costs nothing until that worker
    /// is ready.
    fn pick(
        &mut self,
        conn: &C,
        client: Option<u32>,
        standing: &mut dyn FnMut(W) -> Standing,
    ) -> Choice<W>;

    /// What it knows that it could not be told again, for
    /// [`Scheduler::state`](crate::Scheduler::state): nothing, unless it says so.
    fn state(&self) -> PolicyState<W> {
        PolicyState::default()
    }

    /// What another of its kind [knew](Self::state). It is new itself, and has been told of all
    /// workers that are there, in the order in which they joined: which are ready, and how many
    /// connections each has.
    ///
    /// The state may name workers that are not there, and miss some that are: it is a hint, of which
    /// is taken what fits.
    fn resume(&mut self, state: &PolicyState<W>) {
        let _ = state;
    }
}

/// How a worker stands to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It can be given the connection.
    Free,
    /// It has no room in its window, and has not refused the connection: it can be waited for.
    Busy,
    /// It refused the connection since that was last offered to all, or is not there.
    Barred,
}

/// What a policy says of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice<W> {
    /// This worker, which is [`Standing::Free`], gets it. That is final: the connection *is* handed
    /// to it, and [`Policy::busy`] follows if that was its last room.
    Give(W),
    /// It waits for this worker, which is [`Standing::Busy`], however many others are free. The
    /// policy is asked again when that worker is ready, and when any worker joins, retires or
    /// leaves.
    Await(W),
    /// It waits until a worker is ready.
    Wait,
}

impl<W, C, P: Policy<W, C> + ?Sized> Policy<W, C> for Box<P> {
    fn join(&mut self, worker: W, slot: u32) {
        (**self).join(worker, slot);
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

    fn load(&mut self, worker: W, connections: u32) {
        (**self).load(worker, connections);
    }

    fn pick(
        &mut self,
        conn: &C,
        client: Option<u32>,
        standing: &mut dyn FnMut(W) -> Standing,
    ) -> Choice<W> {
        (**self).pick(conn, client, standing)
    }

    fn state(&self) -> PolicyState<W> {
        (**self).state()
    }

    fn resume(&mut self, state: &PolicyState<W>) {
        (**self).resume(state);
    }
}
