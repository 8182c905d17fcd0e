//! A scheduler is taken apart, and put together again.

use super::Scheduler;
use crate::config::Config;
use crate::conn::{Conn, State};
use crate::member::Member;
use crate::mono::Mono;
use crate::policy::Policy;
use crate::queue::{PLACE, Queue};
use crate::slab::At;
use crate::state::{
    ConnState, MemberState, PauseState, RefusedState, SchedulerState, StateError, WaitingState,
};
use alloc::vec::Vec;
use core::hash::Hash;

/// More than a counter ever reaches.
const MAX_COUNT: u64 = 1 << 62;

impl<W: Copy + Ord, C: Copy + Ord + Hash, P: Policy<W, C>> Scheduler<W, C, P> {
    /// What it knows, `now`: one that is made [from it](Self::from_state) does the same from here on.
    #[must_use]
    pub fn state(&self, now: Mono) -> SchedulerState<W, C> {
        let mut members: Vec<_> = self.members.iter().collect();
        members.sort_unstable_by_key(|(_, member)| member.joined);
        let members = members.into_iter().map(|(&worker, member)| MemberState {
            worker,
            slot: member.slot,
            window: member.capacity(),
            retired: member.retired,
            held: member.held(),
            in_flight: self.walk(&member.assigned).map(|at| self.conn_state(at)).collect(),
        });
        let queues = self.members.values().map(|member| &member.awaiting).chain([&self.queue]);
        let mut waiting: Vec<At> = queues.flat_map(|queue| self.walk(queue)).collect();
        waiting.sort_unstable_by_key(|&at| self.conns[at].ticket);
        let waiting = waiting.into_iter().map(|at| WaitingState {
            conn: self.conns.key(at),
            client: self.conns[at].client,
            worker: match self.conns[at].state {
                State::Awaiting { worker } => Some(worker),
                _ => None,
            },
        });
        let paused = self.parking.paused().filter_map(|conn| self.conns.find(conn));
        let parked = paused.filter(|&at| matches!(self.conns[at].state, State::Parked));
        let refusals = self.refusals.iter().map(|(conn, workers)| RefusedState {
            conn,
            workers: workers.iter().copied().collect(),
        });
        SchedulerState {
            members: members.collect(),
            waiting: waiting.collect(),
            parked: parked.map(|at| self.conn_state(at)).collect(),
            refusals: refusals.collect(),
            pauses: self.parking.state(now),
            closed: self.closed,
            outputs: self.outputs.iter().copied().collect(),
            stats: self.stats,
            policy: self.policy.state(),
        }
    }

    /// A scheduler in that state, `now`, by whatever clock: it does what the one that the state was
    /// [taken](Self::state) from would have done.
    ///
    /// `policy` must be new, and of the same kind as the other's. If its make or `config` have changed
    /// meanwhile, that holds for what is decided from here on: windows, and which connection waits for which worker, stay
    /// as they are.
    ///
    /// ```
    /// use cluster_sched::{Config, Input, Mono, Output, RoundRobin, Scheduler};
    ///
    /// let mut scheduler = Scheduler::new(RoundRobin::new(), Config::default());
    /// let now = Mono::from_secs(1000);
    /// scheduler.handle_input(now, Input::Join { worker: 1, slot: 0 })?;
    /// scheduler.handle_input(now, Input::Arrive { conn: 'a', client: None })?;
    /// scheduler.handle_input(now, Input::Arrive { conn: 'b', client: None })?;
    /// let state = scheduler.state(now);
    /// drop(scheduler);
    ///
    /// // In another process, with another clock:
    /// let now = Mono::ZERO;
    /// let mut scheduler = Scheduler::from_state(now, RoundRobin::new(), Config::default(), state)?;
    /// assert_eq!(scheduler.poll_output(), Some(Output::Assign { conn: 'a', worker: 1 }));
    /// scheduler.handle_input(now, Input::Accepted { worker: 1, conn: 'a' })?;
    /// assert_eq!(scheduler.poll_output(), Some(Output::Done { conn: 'a', worker: 1 }));
    /// assert_eq!(scheduler.poll_output(), Some(Output::Assign { conn: 'b', worker: 1 }));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`StateError`] if there is no such state. (Not everything that cannot have come about is found
    /// out, but everything that would make the books wrong.)
    pub fn from_state(
        now: Mono,
        policy: P,
        config: Config,
        state: SchedulerState<W, C>,
    ) -> Result<Self, StateError<W, C>> {
        let mut scheduler = Self::new(policy, config);
        scheduler.closed = state.closed;
        scheduler.outputs = state.outputs.into();
        scheduler.stats = state.stats;
        for member in state.members {
            scheduler.take_member(member)?;
        }
        for WaitingState { conn, client, worker } in state.waiting {
            if let Some(worker) = worker {
                scheduler.must_be_present(worker)?;
            }
            let at = scheduler.take_conn(ConnState { conn, client }, State::Loose)?;
            scheduler.wait(at, worker);
        }
        for conn in state.parked {
            scheduler.take_conn(conn, State::Parked)?;
        }
        for refused in state.refusals {
            scheduler.take_refusals(refused)?;
        }
        for PauseState { conn, rounds, left } in state.pauses {
            scheduler.must_be_held(conn)?;
            let until = left.map(|left| now.saturating_add(left));
            if !scheduler.parking.resume(conn, rounds, until) {
                return Err(StateError::ConnTwice { conn });
            }
        }
        scheduler.check_places()?;
        scheduler.check_counters()?;
        scheduler.tell_policy();
        scheduler.policy.resume(&state.policy);
        Ok(scheduler)
    }

    fn walk(&self, queue: &Queue) -> impl Iterator<Item = At> {
        core::iter::successors(queue.first(), |&at| Queue::<PLACE>::behind(&self.conns, at))
    }

    fn conn_state(&self, at: At) -> ConnState<C> {
        ConnState { conn: self.conns.key(at), client: self.conns[at].client }
    }

    fn take_member(&mut self, state: MemberState<W, C>) -> Result<(), StateError<W, C>> {
        let MemberState { worker, slot, window, retired, held, in_flight } = state;
        if self.members.contains_key(&worker) {
            return Err(StateError::WorkerTwice { worker });
        }
        let mut member = Member::new(window);
        member.enter(slot, self.joined);
        member.retired = retired;
        self.joined += 1;
        if let Some(held) = held {
            member.report(held);
        }
        for conn in in_flight {
            let at = self.take_conn(conn, State::InFlight { worker })?;
            member.assigned.push_back(&mut self.conns, at);
            member.in_flight += 1;
            self.in_flight += 1;
        }
        self.present += usize::from(!retired);
        self.members.insert(worker, member);
        Ok(())
    }

    fn take_conn(&mut self, conn: ConnState<C>, state: State<W>) -> Result<At, StateError<W, C>> {
        let ConnState { conn, client } = conn;
        if self.conns.find(conn).is_some() {
            return Err(StateError::ConnTwice { conn });
        }
        let at = self.conns.insert(conn, Conn::new(client));
        self.conns[at].state = state;
        Ok(at)
    }

    fn take_refusals(&mut self, refused: RefusedState<W, C>) -> Result<(), StateError<W, C>> {
        let RefusedState { conn, workers } = refused;
        self.must_be_held(conn)?;
        if self.refusals.count(conn) > 0 {
            return Err(StateError::ConnTwice { conn });
        }
        for worker in workers {
            self.must_be_present(worker)?;
            if self.refusals.contains(worker, conn) {
                return Err(StateError::WorkerTwice { worker });
            }
            self.refusals.record(worker, conn);
        }
        Ok(())
    }

    fn must_be_held(&self, conn: C) -> Result<At, StateError<W, C>> {
        self.conns.find(conn).ok_or(StateError::UnknownConn { conn })
    }

    fn must_be_present(&self, worker: W) -> Result<(), StateError<W, C>> {
        let present = self.members.get(&worker).is_some_and(|member| !member.retired);
        if present { Ok(()) } else { Err(StateError::UnknownWorker { worker }) }
    }

    /// Every waiting connection can be placed some time.
    fn check_places(&self) -> Result<(), StateError<W, C>> {
        for (conn, at) in self.conns.iter() {
            let right = match self.conns[at].state {
                State::InFlight { .. } | State::Kept => true,
                // At the end of its pause it is looked at again.
                State::Parked => self.parking.is_paused(conn) && self.refused_by_all(at),
                State::Waiting | State::Awaiting { .. } | State::Loose => !self.refused_by_all(at),
            };
            let in_flight = matches!(self.conns[at].state, State::InFlight { .. });
            let over = self.closed && (!in_flight || self.parking.knows(conn));
            if !right || over {
                return Err(StateError::Misplaced { conn });
            }
        }
        Ok(())
    }

    fn check_counters(&self) -> Result<(), StateError<W, C>> {
        let stats = self.stats;
        let held = self.conns.len() as u64;
        let ended = [stats.done, stats.shed_full, stats.shed_refused, stats.shed_closed];
        let sum = ended.iter().try_fold(held, |sum, &count| sum.checked_add(count));
        let counted =
            [stats.arrived, stats.assigned, stats.refusals, stats.orphaned, stats.taken_back];
        let possible = counted.iter().all(|&count| count < MAX_COUNT);
        if possible && sum == Some(stats.arrived) { Ok(()) } else { Err(StateError::Miscounted) }
    }

    /// Tells a new policy of all workers, in the order in which they joined.
    fn tell_policy(&mut self) {
        let Self { members, policy, .. } = self;
        let mut present: Vec<_> = members.iter().filter(|(_, member)| !member.retired).collect();
        present.sort_unstable_by_key(|(_, member)| member.joined);
        for (&worker, member) in present {
            policy.join(worker, member.slot);
            if member.load() > 0 {
                policy.load(worker, member.load());
            }
            if member.has_room() {
                policy.ready(worker);
            }
        }
    }
}
