//! Connections that are assigned to a worker: in flight to it, or kept back until it has answered others.
//!
//! A worker's queue has both, in the order in which they were assigned:
//!
//! ```text
//!            in flight, up to the window    kept back, up to the turns
//!  answer ◄── 3 ── 4 ── 5 ── 6              │ 7 ── 8 ── 9 ◄── assigned
//!             the oldest                      first_kept
//! ```
//!
//! What is kept back belongs to the worker as long as it answers promptly. Its *deadline* is the moment
//! when the oldest hand-off has been unanswered, or the oldest connection has been kept back, for
//! [`PROMPT`].

use super::Scheduler;
use crate::conn::{Conns, State};
use crate::error::InputError;
use crate::event::Output;
use crate::member::Member;
use crate::mono::Mono;
use crate::policy::Policy;
use crate::queue::{PLACE, Queue, WATCH};
use crate::slab::At;
use alloc::collections::BTreeSet;
use core::hash::Hash;

/// A worker that answers within this keeps up.
pub(crate) const PROMPT: Mono = Mono::from_millis(10);

/// `at`, which is in the worker's queue, goes to it.
pub(super) fn depart<W: Copy, C>(
    member: &mut Member,
    conns: &mut Conns<W, C>,
    watch: &mut Queue<WATCH>,
    (worker, at): (W, At),
    now: Mono,
) {
    let conn = &mut conns[at];
    conn.state = State::InFlight { worker };
    (conn.since, conn.number, conn.watched) = (now, None, true);
    member.in_flight += 1;
    watch.push_back(conns, at);
}

/// `at`, which is the last in the worker's queue, is kept back.
pub(super) fn keep<W: Copy + Ord, C>(
    member: &mut Member,
    conns: &mut Conns<W, C>,
    deadlines: &mut BTreeSet<(Mono, W)>,
    (worker, at): (W, At),
    now: Mono,
) {
    let conn = &mut conns[at];
    conn.state = State::Kept;
    (conn.since, conn.number) = (now, None);
    if member.first_kept.is_none() {
        member.first_kept = Some(at);
        refresh_deadline(member, conns, deadlines, worker);
    }
}

/// The oldest hand-off, or the oldest connection that is kept back, may be another one now.
pub(super) fn refresh_deadline<W: Copy + Ord, C>(
    member: &mut Member,
    conns: &Conns<W, C>,
    deadlines: &mut BTreeSet<(Mono, W)>,
    worker: W,
) {
    let oldest = member.assigned.first();
    let since =
        member.first_kept.and_then(|kept| Some(conns[kept].since.min(conns[oldest?].since)));
    let deadline = since.map(|since| since.saturating_add(PROMPT));
    if deadline == member.deadline {
        return;
    }
    if let Some(before) = core::mem::replace(&mut member.deadline, deadline) {
        deadlines.remove(&(before, worker));
    }
    if let Some(deadline) = deadline {
        deadlines.insert((deadline, worker));
    }
}

impl<W: Copy + Ord, C: Copy + Ord + Hash, P: Policy<W, C>> Scheduler<W, C, P> {
    /// A hand-off has begun.
    pub(super) fn departed(&mut self, worker: W, conn: C) {
        self.in_flight += 1;
        self.stats.assigned += 1;
        self.outputs.push_back(Output::Assign { conn, worker });
    }

    /// Its worker cannot become slow over `at` any more.
    pub(super) fn unwatch(&mut self, at: At) {
        if core::mem::replace(&mut self.conns[at].watched, false) {
            self.watch.remove(&mut self.conns, at);
        }
    }

    /// Sends the worker what is kept back for it, as far as its window is open.
    pub(crate) fn send_kept(&mut self, now: Mono, worker: W) {
        self.now = now;
        let Self { members, conns, watch, deadlines, in_flight, stats, outputs, .. } = self;
        let Some(member) = members.get_mut(&worker) else { return };
        while member.window_is_open()
            && let Some(at) = member.first_kept
        {
            member.first_kept = Queue::<PLACE>::behind(conns, at);
            depart(member, conns, watch, (worker, at), now);
            *in_flight += 1;
            stats.assigned += 1;
            outputs.push_back(Output::Assign { conn: conns.key(at), worker });
        }
        refresh_deadline(member, conns, deadlines, worker);
    }

    /// What is kept back for the worker goes to others, the last one first, each before all that
    /// waits: so they stay in order.
    pub(crate) fn give_up_kept(&mut self, now: Mono, worker: W) {
        self.now = now;
        let Some(member) = self.members.get(&worker) else { return };
        let (mut kept, mut next) = (member.kept(), member.assigned.last());
        while kept > 0
            && let Some(at) = next
        {
            kept -= 1;
            // What the worker is given meanwhile comes behind.
            next = Queue::<PLACE>::before(&self.conns, at);
            let Some(released) = self.release(worker, at) else { return };
            self.place_in_front(now, worker, released);
        }
    }

    /// As [`Input::Join`](crate::Input::Join), with that window and those turns.
    pub(crate) fn admit(
        &mut self,
        now: Mono,
        worker: W,
        slot: u32,
        (window, turns): (u32, u32),
        held: Option<u32>,
    ) -> Result<(), InputError<W, C>> {
        self.now = now;
        self.join_with(now, worker, slot, |member| {
            let mut member = member.unwrap_or_else(|| Member::new(window));
            (member.window, member.turns) = (window, turns);
            if let Some(held) = held {
                member.report(held);
            }
            member
        })
    }

    /// See [`set_window`](Self::set_window). What is kept back is sent as far as it may be.
    pub(crate) fn change_window(&mut self, now: Mono, worker: W, window: u32, turns: u32) {
        self.now = now;
        // Of a worker that is not known it changes nothing.
        let _ = self.set_window(worker, window, turns);
    }

    /// A connection arrives, where so many more than the limit may wait.
    pub(crate) fn arrive_beyond(
        &mut self,
        now: Mono,
        conn: C,
        client: Option<u32>,
        full: bool,
    ) -> Result<(), InputError<W, C>> {
        self.now = now;
        self.arrive(conn, client, full)
    }

    /// The worker has answered for `at`: whether it has become ready by that. It is given nothing
    /// more before [`offer_queues_to`](Self::offer_queues_to).
    pub(crate) fn answer(&mut self, now: Mono, worker: W, at: At, accepted: bool) -> bool {
        self.now = now;
        let Some(settled) = self.settle_at(worker, at, accepted) else { return false };
        if accepted {
            self.end_accepted(worker, settled);
        } else {
            self.place_refused(now, worker, settled);
        }
        self.notify_policy(worker, settled)
    }

    /// The hand-off to that worker which has that number, and since when it is in flight. Found at
    /// once if it is one of the oldest or one of the youngest.
    pub(crate) fn find_hand_off(&self, worker: W, number: u64) -> Option<(At, Mono)> {
        let member = self.members.get(&worker)?;
        let youngest = match member.first_kept {
            Some(kept) => Queue::<PLACE>::before(&self.conns, kept),
            None => member.assigned.last(),
        };
        let (mut old, mut young) = (member.assigned.first(), youngest);
        for _ in 0..member.in_flight.div_ceil(2) {
            for at in [old?, young?] {
                if self.conns[at].number == Some(number) {
                    return Some((at, self.conns[at].since));
                }
            }
            old = Queue::<PLACE>::behind(&self.conns, old?);
            young = Queue::<PLACE>::before(&self.conns, young?);
        }
        None
    }

    /// The connection at that place.
    pub(crate) fn conn_at(&self, at: At) -> C {
        self.conns.key(at)
    }

    /// The worker will answer for that connection under that number.
    pub(crate) fn set_number(&mut self, conn: C, number: u64) {
        if let Some(at) = self.conns.find(conn) {
            self.conns[at].number = Some(number);
        }
    }

    /// When the oldest hand-off in flight to the worker began.
    pub(crate) fn oldest(&self, worker: W) -> Option<Mono> {
        let member = self.members.get(&worker).filter(|member| member.in_flight > 0)?;
        Some(self.conns[member.assigned.first()?].since)
    }

    /// How many connections are kept back for the worker.
    pub(crate) fn kept(&self, worker: W) -> usize {
        self.members.get(&worker).map_or(0, Member::kept)
    }

    /// The oldest hand-off whose worker has not become slow over it.
    pub(crate) fn watched(&self) -> Option<(Mono, W)> {
        let at = self.watch.first()?;
        let State::InFlight { worker } = self.conns[at].state else { return None };
        Some((self.conns[at].since, worker))
    }

    /// That worker has become slow over it.
    pub(crate) fn unwatch_first(&mut self) {
        if let Some(at) = self.watch.first() {
            self.unwatch(at);
        }
    }

    /// The next worker that what is kept back for it is taken from, and when.
    pub(crate) fn next_deadline(&self) -> Option<(Mono, W)> {
        self.deadlines.first().copied()
    }

    /// All workers that joined and have not left.
    pub(crate) fn members(&self) -> impl Iterator<Item = W> {
        self.members.keys().copied()
    }

    /// Whether the worker may be given connections.
    pub(crate) fn is_present(&self, worker: W) -> bool {
        self.members.get(&worker).is_some_and(|member| !member.retired)
    }

    /// How many connections may wait from now on.
    pub(crate) fn limit_waiting(&mut self, connections: usize) {
        self.config.max_waiting = connections;
    }

    /// The worker has become ready.
    pub(crate) fn offer_queues(&mut self, now: Mono, worker: W) {
        self.now = now;
        self.offer_queues_to(worker);
    }

    /// The worker holds so many connections. Nothing is placed by that.
    pub(crate) fn note_held(&mut self, worker: W, held: u32) {
        // Of a worker that is not known it changes nothing.
        let _ = self.held(worker, held);
    }
}

/// For the dispatcher's state.
impl<W: Copy + Ord, C: Copy + Ord + Hash, P: Policy<W, C>> Scheduler<W, C, P> {
    /// All hand-offs that are watched, the oldest first: since when, the worker, and the number.
    pub(crate) fn all_watched(&self) -> impl Iterator<Item = (Mono, W, u64)> {
        let watched = core::iter::successors(self.watch.first(), |&at| {
            Queue::<WATCH>::behind(&self.conns, at)
        });
        watched.filter_map(|at| match self.conns[at].state {
            State::InFlight { worker } => {
                Some((self.conns[at].since, worker, self.conns[at].number?))
            }
            _ => None,
        })
    }

    /// What is assigned to the worker, and since when; with a number if it is in flight.
    pub(crate) fn assigned(&self, worker: W) -> impl Iterator<Item = (C, Mono, Option<u64>)> {
        let first = self.members.get(&worker).and_then(|member| member.assigned.first());
        let assigned = core::iter::successors(first, |&at| Queue::<PLACE>::behind(&self.conns, at));
        assigned.map(|at| (self.conns.key(at), self.conns[at].since, self.conns[at].number))
    }

    /// A connection that is assigned to the worker is in flight to it, behind those of which this was
    /// said before. False if it is not assigned to the worker, or this was said before.
    pub(crate) fn take_hand_off(&mut self, worker: W, conn: C, since: Mono, number: u64) -> bool {
        let Some(at) = self.in_flight_to(worker, conn) else { return false };
        let Some(member) = self.members.get_mut(&worker) else { return false };
        member.assigned.remove(&mut self.conns, at);
        member.assigned.push_back(&mut self.conns, at);
        (self.conns[at].since, self.conns[at].number) = (since, Some(number));
        true
    }

    /// A connection that is assigned to the worker is kept back for it, behind those of which this was
    /// said before, and behind all that is in flight. False if it is not assigned to the worker, or
    /// this was said before.
    pub(crate) fn take_kept(&mut self, worker: W, conn: C, since: Mono) -> bool {
        let Some(at) = self.in_flight_to(worker, conn) else { return false };
        let Self { members, conns, deadlines, .. } = self;
        let Some(member) = members.get_mut(&worker) else { return false };
        member.assigned.remove(conns, at);
        member.assigned.push_back(conns, at);
        member.in_flight -= 1;
        self.in_flight -= 1;
        keep(member, conns, deadlines, (worker, at), since);
        true
    }

    /// The connection, if it is in flight to the worker and has no number yet.
    fn in_flight_to(&self, worker: W, conn: C) -> Option<At> {
        let at = self.conns.find(conn).filter(|&at| self.conns[at].number.is_none())?;
        matches!(self.conns[at].state, State::InFlight { worker: to } if to == worker).then_some(at)
    }

    /// So many hand-offs may be in flight to the worker, and so many connections assigned to it. How many are.
    pub(crate) fn restore_window(&mut self, worker: W, window: u32, turns: u32) -> usize {
        let Self { members, conns, deadlines, .. } = self;
        let Some(member) = members.get_mut(&worker) else { return 0 };
        (member.window, member.turns) = (member.window.min(window), turns);
        // Now that all are in their places.
        refresh_deadline(member, conns, deadlines, worker);
        member.assigned.len()
    }

    /// The worker may become slow over that hand-off.
    pub(crate) fn watch_again(&mut self, conn: C) {
        let Some(at) = self.conns.find(conn) else { return };
        if !core::mem::replace(&mut self.conns[at].watched, true) {
            self.watch.push_back(&mut self.conns, at);
        }
    }

    /// How many connections there are.
    pub(crate) fn held_conns(&self) -> usize {
        self.conns.len()
    }
}
