//! The machine: four methods, and what they do to queues, members and pauses.

mod hand_off;
mod placing;
mod state;

pub(crate) use hand_off::PROMPT;

use crate::config::Config;
use crate::conn::{Conn, Conns, State};
use crate::error::InputError;
use crate::event::{Input, Output, ShedReason};
use crate::member::Member;
use crate::mono::Mono;
use crate::parking::Parking;
use crate::policy::{Policy, RoundRobin};
use crate::queue::{Queue, Ticket, WATCH};
use crate::refusals::Refusals;
use crate::stats::Stats;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
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

    /// Takes one input. Any number may follow each other before the outputs are drained.
    ///
    /// # Errors
    ///
    /// An input that does not fit the state is an [`InputError`], and has changed nothing.
    ///
    /// # Panics
    ///
    /// If the policy chooses a worker that is not free, or waits for one that is not busy, which
    /// [`Choice`](crate::Choice) forbids.
    pub fn handle_input(&mut self, now: Mono, input: Input<W, C>) -> Result<(), InputError<W, C>> {
        self.now = now;
        match input {
            Input::Join { worker, slot } => self.join(now, worker, slot),
            Input::Retire { worker } => self.retire(now, worker),
            Input::Leave { worker } => self.leave(now, worker),
            Input::Arrive { conn, client } => {
                self.arrive(conn, client, self.waiting() >= self.max_waiting())
            }
            Input::Accepted { worker, conn } => self.accepted(worker, conn),
            Input::Refused { worker, conn } => self.refused(now, worker, conn),
            Input::TakeBack { worker, conn } => self.take_back(now, worker, conn),
            Input::Window { worker, window } => self.set_window(worker, window, 0),
            Input::Held { worker, held } => self.held(worker, held),
            Input::Close => self.close(),
        }
    }

    /// Offers the connections whose pause is over at `now` to all workers again. Harmless when none
    /// is.
    ///
    /// # Panics
    ///
    /// As [`handle_input`](Self::handle_input).
    pub fn handle_timeout(&mut self, now: Mono) {
        self.now = now;
        while let Some(conn) = self.parking.expire(now) {
            self.refusals.forget_conn(conn);
            let Some(at) = self.conns.find(conn) else { continue };
            match self.conns[at].state {
                State::Parked => self.place_or_wait(now, at),
                // A worker that joined during the pause is to be asked: now the others are too.
                State::Waiting | State::Awaiting { .. } => self.place_from_queue(at),
                State::Kept | State::InFlight { .. } | State::Loose => {}
            }
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

    /// How many connections may arrive before one is shed as [`ShedReason::Full`]: at least this
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
    /// After [`Input::Close`] the server is drained when this becomes true.
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

/// The inputs. Each checks first, and changes nothing if it fails.
impl<W: Copy + Ord, C: Copy + Ord + Hash, P: Policy<W, C>> Scheduler<W, C, P> {
    fn join(&mut self, now: Mono, worker: W, slot: u32) -> Result<(), InputError<W, C>> {
        let window = self.config.window;
        self.join_with(now, worker, slot, |member| member.unwrap_or_else(|| Member::new(window)))
    }

    /// `enter` makes the member of what it was before.
    fn join_with(
        &mut self,
        now: Mono,
        worker: W,
        slot: u32,
        enter: impl FnOnce(Option<Member>) -> Member,
    ) -> Result<(), InputError<W, C>> {
        if self.closed {
            return Err(InputError::Closed);
        }
        if self.members.get(&worker).is_some_and(|member| !member.retired) {
            return Err(InputError::AlreadyJoined { worker });
        }
        let mut member = enter(self.members.remove(&worker));
        member.enter(slot, self.joined);
        let (has_room, load) = (member.has_room(), member.load());
        self.members.insert(worker, member);
        self.present += 1;
        self.joined += 1;
        let undecided = self.call_back_awaiting();
        self.policy.join(worker, slot);
        if load > 0 {
            self.policy.load(worker, load);
        }
        // No connection is refused by all workers any more.
        self.unpark_all();
        if has_room {
            self.policy.ready(worker);
        }
        self.place_again(now, undecided);
        self.offer_queues_to(worker);
        Ok(())
    }

    fn retire(&mut self, now: Mono, worker: W) -> Result<(), InputError<W, C>> {
        let member = self.members.get_mut(&worker).ok_or(InputError::UnknownWorker { worker })?;
        if member.retired {
            return Err(InputError::AlreadyRetired { worker });
        }
        member.retired = true;
        let undecided = self.call_back_awaiting();
        self.forget_member(worker);
        self.place_again(now, undecided);
        self.park_the_refused(now);
        Ok(())
    }

    fn leave(&mut self, now: Mono, worker: W) -> Result<(), InputError<W, C>> {
        let undecided = match self.members.get(&worker) {
            None => return Err(InputError::UnknownWorker { worker }),
            Some(member) if member.retired => Vec::new(),
            Some(_) => self.call_back_awaiting(),
        };
        let Some(mut member) = self.members.remove(&worker) else { return Ok(()) };
        self.in_flight -= member.in_flight;
        self.stats.orphaned += member.in_flight as u64;
        self.stats.taken_back += member.kept() as u64;
        if let Some(deadline) = member.deadline {
            self.deadlines.remove(&(deadline, worker));
        }
        if !member.retired {
            // The policy must not choose it, and its refusals must not count, from here on.
            self.forget_member(worker);
        }
        // They belong before all that waits, so they are looked at first, the oldest first. Those
        // that find no worker enter the queues from the front, the youngest first.
        let mut unplaced = Vec::new();
        while let Some(at) = member.assigned.pop(&mut self.conns) {
            self.unwatch(at);
            if self.closed {
                self.shed(at, ShedReason::Closed);
            } else if self.refused_by_all(at) {
                self.park(now, at);
            } else if let Err(wait) = self.place(at) {
                unplaced.push((at, wait));
            }
        }
        for (at, wait) in unplaced.into_iter().rev() {
            self.wait_in_front(at, wait);
        }
        if !member.retired {
            self.place_again(now, undecided);
            self.park_the_refused(now);
        }
        Ok(())
    }

    fn arrive(&mut self, conn: C, client: Option<u32>, full: bool) -> Result<(), InputError<W, C>> {
        if self.conns.find(conn).is_some() {
            return Err(InputError::AlreadyArrived { conn });
        }
        self.stats.arrived += 1;
        let at = self.conns.insert(conn, Conn::new(client));
        if self.closed {
            self.shed(at, ShedReason::Closed);
        } else if full {
            // Even if a worker is free: it has then refused all that waits, and if it refuses this
            // one too, there must be room for it.
            self.shed(at, ShedReason::Full);
        } else if let Err(wait) = self.place(at) {
            self.wait(at, wait);
        }
        Ok(())
    }

    fn accepted(&mut self, worker: W, conn: C) -> Result<(), InputError<W, C>> {
        let settled = self.settle(worker, conn, true)?;
        self.end_accepted(worker, settled);
        self.go_on(worker, settled);
        Ok(())
    }

    fn refused(&mut self, now: Mono, worker: W, conn: C) -> Result<(), InputError<W, C>> {
        let settled = self.settle(worker, conn, false)?;
        self.place_refused(now, worker, settled);
        self.go_on(worker, settled);
        Ok(())
    }

    fn take_back(&mut self, now: Mono, worker: W, conn: C) -> Result<(), InputError<W, C>> {
        let settled = self.settle(worker, conn, false)?;
        self.place_in_front(now, worker, settled);
        Ok(())
    }

    fn held(&mut self, worker: W, held: u32) -> Result<(), InputError<W, C>> {
        let member = self.members.get_mut(&worker).ok_or(InputError::UnknownWorker { worker })?;
        member.report(held);
        if !member.retired {
            self.policy.load(worker, member.load());
        }
        Ok(())
    }

    /// `window` hand-offs may be in flight to the worker, and `turns` connections assigned to it, of
    /// which those beyond the window are kept back.
    fn set_window(&mut self, worker: W, window: u32, turns: u32) -> Result<(), InputError<W, C>> {
        let member = self.members.get_mut(&worker).ok_or(InputError::UnknownWorker { worker })?;
        let had_room = member.has_room();
        (member.window, member.turns) = (window, turns);
        match (had_room, member.has_room()) {
            (false, true) => {
                self.policy.ready(worker);
                self.offer_queues_to(worker);
            }
            (true, false) => self.policy.busy(worker),
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), InputError<W, C>> {
        if self.closed {
            return Err(InputError::Closed);
        }
        self.closed = true;
        self.unpark_all();
        let mut waiting = self.call_back_awaiting();
        while let Some(at) = self.queue.pop(&mut self.conns) {
            waiting.push(at);
        }
        waiting.sort_unstable_by_key(|&at| self.conns[at].ticket);
        for at in waiting {
            self.shed(at, ShedReason::Closed);
        }
        // What is still in flight will be accepted or shed: no round of it is to come.
        self.parking.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
