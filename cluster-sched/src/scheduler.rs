//! The machine: what it holds, and what can be seen of it.

mod hand_off;
mod inputs;
mod placing;
mod state;

pub(crate) use hand_off::PROMPT;

use crate::config::Config;
use crate::conn::Conns;
use crate::event::Output;
use crate::member::Member;
use crate::mono::Mono;
use crate::parking::Parking;
use crate::policy::{Policy, RoundRobin};
use crate::queue::{Queue, Ticket, WATCH};
use crate::refusals::Refusals;
use crate::stats::Stats;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use core::hash::Hash;

/// Decides which worker gets the next connection of one server.
///
/// `W` names a worker, `C` a connection, `P` chooses. See the [crate](crate) for the whole picture.
///
/// As long as no worker refuses, placing a connection takes O(log n) in the number of workers, however many
/// wait; a worker that has refused connections at the head of the queue has to walk past them. Memory is allocated
/// only when there are more connections or workers than ever before.
#[derive(Clone, Debug)]
pub struct Scheduler<W, C, P = RoundRobin<W>> {
    policy: P,
    config: Config,
    members: BTreeMap<W, Member>,
    /// Members that are not retired: those whose refusals count.
    present: usize,
    /// How often a worker joined.
    joined: u64,
    /// Every connection that is held.
    conns: Conns<W, C>,
    /// How many hand-offs are in flight.
    in_flight: usize,
    /// Hand-offs whose workers have not become slow over them.
    watch: Queue<WATCH>,
    /// Members for which connections are kept back, by the time when those go to others.
    deadlines: BTreeSet<(Mono, W)>,
    /// The time of the latest input.
    now: Mono,
    /// How many wait for one worker, and not in `queue`.
    awaiting: usize,
    /// No connection in it is acceptable to a worker that has room, nor is one in a member's own queue
    /// while that member has room: whatever changes either side matches them at once. Hence an
    /// event concerns only what it changed.
    queue: Queue,
    /// The tickets before the first that was given out and after the last. Neither can overflow: they
    /// move by one per connection.
    tickets: (Ticket, Ticket),
    /// Holds only members that are not retired.
    refusals: Refusals<W, C>,
    parking: Parking<C>,
    closed: bool,
    outputs: VecDeque<Output<W, C>>,
    stats: Stats,
}

impl<W: Copy + Ord, C: Copy + Ord + Hash, P: Policy<W, C>> Scheduler<W, C, P> {
    /// A scheduler without workers and connections. `policy` must be new: it is told of all workers
    /// from here on.
    #[must_use]
    pub fn new(policy: P, config: Config) -> Self {
        Self {
            policy,
            config,
            members: BTreeMap::new(),
            present: 0,
            joined: 0,
            conns: Conns::new(),
            in_flight: 0,
            watch: Queue::new(),
            deadlines: BTreeSet::new(),
            now: Mono::ZERO,
            awaiting: 0,
            queue: Queue::new(),
            tickets: (-1, 0),
            refusals: Refusals::new(),
            parking: Parking::new(),
            closed: false,
            outputs: VecDeque::new(),
            stats: Stats::default(),
        }
    }

    /// The next thing to do, in order. How often it is asked changes nothing.
    pub fn poll_output(&mut self) -> Option<Output<W, C>> {
        self.outputs.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout), if ever. It may lie in the past.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Mono> {
        self.parking.next_expiry()
    }

    /// How many connections may arrive before one is shed as [`ShedReason::Full`](crate::ShedReason::Full): at least this
    /// many, since some go straight to a worker. While it is zero, stop accepting: the kernel's
    /// backlog holds the rest.
    ///
    /// Zero once the server is closed.
    #[must_use]
    pub fn room(&self) -> usize {
        if self.closed { 0 } else { self.max_waiting().saturating_sub(self.waiting()) }
    }

    /// Connections that wait for a worker, those that are parked or kept back included.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.conns.len() - self.in_flight
    }

    /// Connections that wait for this worker in particular, and those that wait for any worker,
    /// without those that are parked: what a larger window of this worker could take.
    #[must_use]
    pub fn waiting_for(&self, worker: W) -> usize {
        self.queue.len() + self.members.get(&worker).map_or(0, |member| member.awaiting.len())
    }

    /// This worker's unanswered hand-offs: zero if it is not known.
    #[must_use]
    pub fn in_flight(&self, worker: W) -> usize {
        self.members.get(&worker).map_or(0, |member| member.in_flight)
    }

    /// Workers that may be given connections: joined, neither retired nor gone. Node closes the
    /// listening socket when this comes to zero; here that is the driver's choice, and what waits
    /// goes on waiting.
    #[must_use]
    pub const fn workers(&self) -> usize {
        self.present
    }

    /// Whether no connection is held, neither waiting nor in flight. Outputs may still be undrained.
    ///
    /// After [`Input::Close`](crate::Input::Close) the server is drained when this becomes true.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.conns.len() == 0
    }

    /// What was counted so far.
    #[must_use]
    pub const fn stats(&self) -> Stats {
        self.stats
    }

    fn max_waiting(&self) -> usize {
        self.config.max_waiting.max(1)
    }
}

#[cfg(test)]
mod tests;
