//! Matching connections with workers: what the inputs have in common.

use super::Scheduler;
use super::hand_off::{depart, keep, refresh_deadline};
use crate::conn::{Conn, Conns, State};
use crate::error::InputError;
use crate::event::{Output, ShedReason};
use crate::member::Member;
use crate::mono::Mono;
use crate::parking::Verdict;
use crate::policy::{Choice, Policy, Standing};
use crate::queue::{PLACE, Queue, Ticket};
use crate::slab::At;
use alloc::vec::Vec;
use core::hash::Hash;

/// The worker that a connection waits for; none if any worker will do.
type Wait<W> = Option<W>;

/// What an answer has changed.
#[derive(Clone, Copy)]
pub(super) struct Settled {
    pub(super) at: At,
    /// Whether the worker may still be chosen.
    pub(super) present: bool,
    load: u32,
    /// Whether it has room, and had none.
    ready: bool,
}

impl Settled {
    fn of(member: &Member, at: At, had_room: bool) -> Self {
        let ready = !had_room && member.has_room();
        Self { at, present: !member.retired, load: member.load(), ready }
    }
}

/// A connection looks for a worker.
impl<W: Copy + Ord, C: Copy + Ord + Hash, P: Policy<W, C>> Scheduler<W, C, P> {
    /// Assigns `at`, which is neither assigned nor in a queue, to a worker, if one is found; otherwise
    /// returns the worker that it has to wait for.
    pub(super) fn place(&mut self, at: At) -> Result<(), Wait<W>> {
        let Self { policy, members, refusals, conns, watch, deadlines, now, .. } = self;
        let (conn, client) = (conns.key(at), conns[at].client);
        let mut standing = |worker: W| match members.get(&worker) {
            Some(member) if !member.retired && !refusals.contains(worker, conn) => {
                if member.has_room() { Standing::Free } else { Standing::Busy }
            }
            _ => Standing::Barred,
        };
        conns[at].state = State::Loose;
        let worker = match policy.pick(&conn, client, &mut standing) {
            Choice::Give(worker) => worker,
            Choice::Await(worker) => {
                let busy = standing(worker) == Standing::Busy;
                assert!(busy, "the policy waits for a worker that is not busy");
                return Err(Some(worker));
            }
            Choice::Wait => return Err(None),
        };
        let chosen = members.get_mut(&worker).filter(|member| member.has_room());
        let member = chosen.filter(|_| !refusals.contains(worker, conn));
        let member = member.expect("the policy chose a worker that is not free");
        member.assigned.push_back(conns, at);
        let goes = member.first_kept.is_none() && member.window_is_open();
        if goes {
            depart(member, conns, watch, (worker, at), *now);
        } else {
            keep(member, conns, deadlines, (worker, at), *now);
        }
        policy.load(worker, member.load());
        if !member.has_room() {
            policy.busy(worker);
        }
        if goes {
            self.departed(worker, conn);
        }
        Ok(())
    }

    /// Looks once more for a worker for `at`, which waits.
    pub(super) fn place_from_queue(&mut self, at: At) {
        self.dequeue(at);
        if let Err(wait) = self.place(at) {
            self.enqueue(at, wait, Queue::insert);
        }
    }

    /// Puts `at` at the tail.
    pub(super) fn wait(&mut self, at: At, wait: Wait<W>) {
        self.conns[at].ticket = self.tickets.1;
        self.tickets.1 += 1;
        self.enqueue(at, wait, Queue::push_back);
    }

    /// Puts `at` before all that waits.
    pub(super) fn wait_in_front(&mut self, at: At, wait: Wait<W>) {
        self.conns[at].ticket = self.tickets.0;
        self.tickets.0 -= 1;
        self.enqueue(at, wait, Queue::push_front);
    }

    /// `at` came back, and is not assigned.
    pub(super) fn place_or_wait(&mut self, now: Mono, at: At) {
        if self.refused_by_all(at) {
            self.park(now, at);
        } else if let Err(wait) = self.place(at) {
            self.wait(at, wait);
        }
    }

    fn enqueue(&mut self, at: At, wait: Wait<W>, enter: fn(&mut Queue, &mut Conns<W, C>, At)) {
        match wait.and_then(|worker| Some((worker, self.members.get_mut(&worker)?))) {
            Some((worker, member)) => {
                enter(&mut member.awaiting, &mut self.conns, at);
                self.conns[at].state = State::Awaiting { worker };
                self.awaiting += 1;
            }
            None => {
                enter(&mut self.queue, &mut self.conns, at);
                self.conns[at].state = State::Waiting;
            }
        }
    }

    /// Takes `at` out of the queue in which it stands.
    fn dequeue(&mut self, at: At) {
        match self.conns[at].state {
            State::Waiting => self.queue.remove(&mut self.conns, at),
            State::Awaiting { worker } => {
                if let Some(member) = self.members.get_mut(&worker) {
                    member.awaiting.remove(&mut self.conns, at);
                    self.awaiting -= 1;
                }
            }
            State::Loose | State::Parked | State::Kept | State::InFlight { .. } => {}
        }
        self.conns[at].state = State::Loose;
    }
}

/// A worker looks for connections.
impl<W: Copy + Ord, C: Copy + Ord + Hash, P: Policy<W, C>> Scheduler<W, C, P> {
    /// Takes an answered hand-off off the books.
    pub(super) fn settle(
        &mut self,
        worker: W,
        conn: C,
        accepted: bool,
    ) -> Result<Settled, InputError<W, C>> {
        let asked = |at: &At| matches!(self.conns[*at].state, State::InFlight { worker: asked } if asked == worker);
        let at = self.conns.find(conn).filter(asked);
        let at = at.ok_or(InputError::NotInFlight { worker, conn })?;
        self.settle_at(worker, at, accepted).ok_or(InputError::UnknownWorker { worker })
    }

    /// The same of a hand-off that is known to be in flight to the worker.
    pub(super) fn settle_at(&mut self, worker: W, at: At, accepted: bool) -> Option<Settled> {
        self.unwatch(at);
        let Self { members, conns, deadlines, .. } = self;
        let member = members.get_mut(&worker)?;
        let had_room = member.has_room();
        member.assigned.remove(conns, at);
        member.in_flight -= 1;
        self.in_flight -= 1;
        if accepted {
            member.accept();
        }
        if member.first_kept.is_some() {
            // The oldest hand-off may be another one now.
            refresh_deadline(member, conns, deadlines, worker);
        }
        conns[at].state = State::Loose;
        Some(Settled::of(member, at, had_room))
    }

    /// Takes back the last connection that is kept back for the worker, or the one that was before it.
    pub(super) fn release(&mut self, worker: W, at: At) -> Option<Settled> {
        let Self { members, conns, deadlines, .. } = self;
        let member = members.get_mut(&worker)?;
        let had_room = member.has_room();
        if member.first_kept == Some(at) {
            member.first_kept = Queue::<PLACE>::behind(conns, at);
        }
        member.assigned.remove(conns, at);
        refresh_deadline(member, conns, deadlines, worker);
        conns[at].state = State::Loose;
        Some(Settled::of(member, at, had_room))
    }

    /// The worker has it.
    pub(super) fn end_accepted(&mut self, worker: W, settled: Settled) {
        let conn = self.conns.key(settled.at);
        self.forget(settled.at);
        self.stats.done += 1;
        self.outputs.push_back(Output::Done { conn, worker });
    }

    /// The worker refused it.
    pub(super) fn place_refused(&mut self, now: Mono, worker: W, settled: Settled) {
        self.stats.refusals += 1;
        if self.closed {
            return self.shed(settled.at, ShedReason::Closed);
        }
        if settled.present {
            self.refusals.record(worker, self.conns.key(settled.at));
        }
        // Node's order: the refused connection finds its worker before the refuser looks for
        // its next connection.
        self.place_or_wait(now, settled.at);
    }

    /// The worker never had it: it is placed before all that waits.
    pub(super) fn place_in_front(&mut self, now: Mono, worker: W, settled: Settled) {
        self.stats.taken_back += 1;
        // Its worker may be asked after all.
        let ready = self.notify_policy(worker, settled);
        if self.closed {
            self.shed(settled.at, ShedReason::Closed);
        } else if self.refused_by_all(settled.at) {
            self.park(now, settled.at);
        } else if let Err(wait) = self.place(settled.at) {
            self.wait_in_front(settled.at, wait);
        }
        if ready {
            self.offer_queues_to(worker);
        }
    }

    /// After an answer of the worker's: it may take another.
    pub(super) fn go_on(&mut self, worker: W, settled: Settled) {
        if self.notify_policy(worker, settled) {
            self.offer_queues_to(worker);
        }
    }

    /// Whether the worker has become ready.
    pub(super) fn notify_policy(&mut self, worker: W, settled: Settled) -> bool {
        if settled.present {
            self.policy.load(worker, settled.load);
        }
        if settled.ready {
            self.policy.ready(worker);
        }
        settled.ready
    }

    fn has_room(&self, worker: W) -> bool {
        self.members.get(&worker).is_some_and(Member::has_room)
    }

    /// `worker` has become ready: of the connections that wait for it, and of those that wait for any worker,
    /// it takes the first that it has not refused, and so on while it has room.
    pub(super) fn offer_queues_to(&mut self, worker: W) {
        if self.awaiting == 0 && self.queue.first().is_none() {
            return;
        }
        let mut any = self.queue.first();
        let mut own = self.members.get(&worker).and_then(|member| member.awaiting.first());
        while self.has_room(worker) {
            let ticket = |at: Option<At>| at.map_or(Ticket::MAX, |at| self.conns[at].ticket);
            let next = if ticket(own) < ticket(any) { &mut own } else { &mut any };
            let Some(at) = *next else { break };
            *next = Queue::<PLACE>::behind(&self.conns, at);
            // `place` would find that out too, but only after asking the policy.
            if !self.refusals.contains(worker, self.conns.key(at)) {
                self.place_from_queue(at);
            }
        }
    }
}

/// Workers come and go.
impl<W: Copy + Ord, C: Copy + Ord + Hash, P: Policy<W, C>> Scheduler<W, C, P> {
    /// `worker` is not to be chosen any more.
    pub(super) fn forget_member(&mut self, worker: W) {
        self.present -= 1;
        self.policy.leave(worker);
        self.refusals.forget_worker(worker);
    }

    /// Takes all that wait for one worker out of its queue, in the order of their tickets: with other
    /// workers there, they may have another to wait for.
    pub(super) fn call_back_awaiting(&mut self) -> Vec<At> {
        let mut called_back = Vec::new();
        if self.awaiting == 0 {
            return called_back;
        }
        for member in self.members.values_mut() {
            while let Some(at) = member.awaiting.pop(&mut self.conns) {
                self.conns[at].state = State::Loose;
                called_back.push(at);
            }
        }
        self.awaiting = 0;
        called_back.sort_unstable_by_key(|&at| self.conns[at].ticket);
        called_back
    }

    /// Decides again about those that were called back, which keep their tickets.
    pub(super) fn place_again(&mut self, now: Mono, called_back: Vec<At>) {
        for at in called_back {
            if self.refused_by_all(at) {
                self.park(now, at);
            } else if let Err(wait) = self.place(at) {
                self.enqueue(at, wait, Queue::insert);
            }
        }
    }

    /// One worker fewer is present: what waited for that one alone has been refused by all now.
    pub(super) fn park_the_refused(&mut self, now: Mono) {
        if self.present == 0 {
            // The next worker to join is asked at once.
            self.unpark_all();
            return;
        }
        let refused = self.refusals.refused_by(self.present).into_iter();
        let waiting = refused.filter_map(|conn| self.conns.find(conn));
        let mut waiting: Vec<At> =
            waiting.filter(|&at| matches!(self.conns[at].state, State::Waiting)).collect();
        waiting.sort_unstable_by_key(|&at| self.conns[at].ticket);
        for at in waiting {
            self.dequeue(at);
            self.park(now, at);
        }
    }

    pub(super) fn refused_by_all(&self, at: At) -> bool {
        // Without workers there is no refusal.
        self.present > 0 && self.refusals.count(self.conns.key(at)) == self.present
    }

    /// All present workers refused `at`, and it is in no queue.
    pub(super) fn park(&mut self, now: Mono, at: At) {
        match self.parking.enter(now, self.conns.key(at), &self.config) {
            Verdict::Park => self.conns[at].state = State::Parked,
            Verdict::GiveUp => self.shed(at, ShedReason::Refused),
        }
    }

    /// Puts everything that is parked back into the queue. What was refused stays refused, and the
    /// timers go on.
    pub(super) fn unpark_all(&mut self) {
        let Self { parking, conns, queue, tickets, .. } = self;
        for at in parking.paused().filter_map(|conn| conns.find(conn)).collect::<Vec<_>>() {
            if matches!(conns[at].state, State::Parked) {
                conns[at].state = State::Waiting;
                conns[at].ticket = tickets.1;
                tickets.1 += 1;
                queue.push_back(conns, at);
            }
        }
    }

    /// Sheds `at`, which is neither assigned nor in a queue.
    pub(super) fn shed(&mut self, at: At, reason: ShedReason) {
        let conn = self.conns.key(at);
        self.forget(at);
        self.stats.count_shed(reason);
        self.outputs.push_back(Output::Shed { conn, reason });
    }

    pub(super) fn forget(&mut self, at: At) {
        let conn = self.conns.key(at);
        self.conns.remove(at);
        self.refusals.forget_conn(conn);
        self.parking.forget(conn);
    }
}

/// What inputs and hand-offs have in common: each checks first, and changes nothing if it fails.
impl<W: Copy + Ord, C: Copy + Ord + Hash, P: Policy<W, C>> Scheduler<W, C, P> {
    /// `enter` makes the member of what it was before.
    pub(super) fn join_with(
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

    pub(super) fn arrive(
        &mut self,
        conn: C,
        client: Option<u32>,
        full: bool,
    ) -> Result<(), InputError<W, C>> {
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

    pub(super) fn held(&mut self, worker: W, held: u32) -> Result<(), InputError<W, C>> {
        let member = self.members.get_mut(&worker).ok_or(InputError::UnknownWorker { worker })?;
        member.report(held);
        if !member.retired {
            self.policy.load(worker, member.load());
        }
        Ok(())
    }

    /// `window` hand-offs may be in flight to the worker, and `turns` connections assigned to it, of
    /// which those beyond the window are kept back.
    pub(super) fn set_window(
        &mut self,
        worker: W,
        window: u32,
        turns: u32,
    ) -> Result<(), InputError<W, C>> {
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
}
