//! What each input and a timeout change.

use super::Scheduler;
use crate::conn::State;
use crate::error::InputError;
use crate::event::{Input, ShedReason};
use crate::member::Member;
use crate::mono::Mono;
use crate::policy::Policy;
use alloc::vec::Vec;
use core::hash::Hash;

/// Each input checks first, and changes nothing if it fails.
impl<W: Copy + Ord, C: Copy + Ord + Hash, P: Policy<W, C>> Scheduler<W, C, P> {
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

    fn join(&mut self, now: Mono, worker: W, slot: u32) -> Result<(), InputError<W, C>> {
        let window = self.config.window;
        self.join_with(now, worker, slot, |member| member.unwrap_or_else(|| Member::new(window)))
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
