//! The machine: four verbs, and what they do to the line, the members and the pauses.

use crate::line::{Line, Ticket};
use crate::member::Member;
use crate::parking::{Parking, Verdict};
use crate::refusals::Refusals;
use crate::{Config, Input, InputError, Mono, Output, Policy, RoundRobin, ShedReason, Stats};
use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

/// Decides which worker gets the next connection of one server.
///
/// `W` names a worker, `C` a connection, `P` chooses. See the [crate](crate) for the whole picture.
///
/// Each operation takes O(log n) in the number of workers and of connections as long as nobody
/// refuses; a worker that has refused what waits in front of it walks past it.
#[derive(Clone, Debug)]
pub struct Scheduler<W, C, P = RoundRobin<W>> {
    policy: P,
    config: Config,
    members: BTreeMap<W, Member<C>>,
    /// Members that are not retired: those whose refusals count.
    present: usize,
    /// Every connection that is held. Each one is either waiting, parked or in flight.
    conns: BTreeMap<C, State<W>>,
    in_flight: usize,
    next_serial: u64,
    /// No connection in it is acceptable to a worker that has room: whatever changes either side
    /// matches them at once. Hence an event concerns only what it changed.
    line: Line<C>,
    /// Holds only members that are not retired.
    refusals: Refusals<W, C>,
    parking: Parking<C>,
    closed: bool,
    outputs: VecDeque<Output<W, C>>,
    stats: Stats,
}

#[derive(Clone, Copy, Debug)]
enum State<W> {
    Waiting {
        ticket: Ticket,
    },
    /// Refused by all who are present, and not in the line. Its timer runs.
    Parked,
    InFlight {
        worker: W,
        serial: u64,
    },
}

impl<W: Copy + Ord, C: Copy + Ord, P: Policy<W, C>> Scheduler<W, C, P> {
    /// A scheduler without workers and connections. `policy` must be new: it is told of all workers
    /// from here on.
    #[must_use]
    pub fn new(policy: P, config: Config) -> Self {
        Self {
            policy,
            config,
            members: BTreeMap::new(),
            present: 0,
            conns: BTreeMap::new(),
            in_flight: 0,
            next_serial: 0,
            line: Line::new(),
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
    /// If the policy chooses a worker that was not eligible, which [`Policy::pick`] forbids.
    pub fn handle_input(&mut self, now: Mono, input: Input<W, C>) -> Result<(), InputError<W, C>> {
        match input {
            Input::Join { worker } => self.join(worker),
            Input::Retire { worker } => self.retire(now, worker),
            Input::Leave { worker } => self.leave(now, worker),
            Input::Arrive { conn } => self.arrive(conn),
            Input::Accepted { worker, conn } => self.accepted(worker, conn),
            Input::Refused { worker, conn } => self.refused(now, worker, conn),
            Input::Window { worker, window } => self.window(worker, window),
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
        while let Some(conn) = self.parking.expire(now) {
            self.refusals.forget_conn(conn);
            match self.conns.get(&conn) {
                Some(State::Parked) => self.place_or_wait(now, conn),
                // A worker that joined during the pause is to be asked: now the others are too.
                Some(&State::Waiting { ticket }) => {
                    if self.place(conn) {
                        self.line.remove(ticket);
                    }
                }
                Some(State::InFlight { .. }) | None => {}
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

    /// Connections that wait for a worker, parked ones included.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.conns.len() - self.in_flight
    }

    /// This worker's unanswered hand-offs: zero if it is not known.
    #[must_use]
    pub fn in_flight(&self, worker: W) -> usize {
        self.members.get(&worker).map_or(0, Member::in_flight)
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
        self.conns.is_empty()
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
impl<W: Copy + Ord, C: Copy + Ord, P: Policy<W, C>> Scheduler<W, C, P> {
    fn join(&mut self, worker: W) -> Result<(), InputError<W, C>> {
        if self.closed {
            return Err(InputError::Closed);
        }
        let window = self.config.window;
        let member = match self.members.get_mut(&worker) {
            Some(member) if !member.retired => return Err(InputError::AlreadyJoined { worker }),
            Some(member) => member,
            None => self.members.entry(worker).or_insert_with(|| Member::new(window)),
        };
        member.retired = false;
        let has_room = member.has_room();
        self.present += 1;
        self.policy.join(worker);
        // Nobody's refusal is everybody's any more.
        self.unpark_all();
        if has_room {
            self.policy.ready(worker);
            self.offer_line_to(worker);
        }
        Ok(())
    }

    fn retire(&mut self, now: Mono, worker: W) -> Result<(), InputError<W, C>> {
        let member = self.members.get_mut(&worker).ok_or(InputError::UnknownWorker { worker })?;
        if member.retired {
            return Err(InputError::AlreadyRetired { worker });
        }
        member.retired = true;
        self.withdraw(now, worker);
        Ok(())
    }

    fn leave(&mut self, now: Mono, worker: W) -> Result<(), InputError<W, C>> {
        let member = self.members.remove(&worker).ok_or(InputError::UnknownWorker { worker })?;
        let orphans = member.in_flight();
        self.in_flight -= orphans;
        self.stats.orphaned += orphans as u64;
        // They belong before all that waits, so they are looked at first. Those that find nobody
        // enter the line from the front, youngest first.
        let retired = member.retired;
        let mut unplaced = Vec::new();
        if !retired {
            // The policy must not choose it, and its refusals must not count, from here on.
            self.forget_member(worker);
        }
        for conn in member.into_orphans() {
            if self.closed {
                self.shed(conn, ShedReason::Closed);
            } else if self.refused_by_all(conn) {
                self.park(now, conn);
            } else if !self.place(conn) {
                unplaced.push(conn);
            }
        }
        for conn in unplaced.into_iter().rev() {
            let ticket = self.line.push_front(conn);
            self.conns.insert(conn, State::Waiting { ticket });
        }
        if !retired {
            self.park_the_refused(now);
        }
        Ok(())
    }

    fn arrive(&mut self, conn: C) -> Result<(), InputError<W, C>> {
        if self.conns.contains_key(&conn) {
            return Err(InputError::AlreadyArrived { conn });
        }
        self.stats.arrived += 1;
        if self.closed {
            self.shed(conn, ShedReason::Closed);
        } else if self.waiting() >= self.max_waiting() {
            // Even if a worker is free: it has then refused all that waits, and if it refuses this
            // one too, there must be room for it.
            self.shed(conn, ShedReason::Full);
        } else if !self.place(conn) {
            self.wait(conn);
        }
        Ok(())
    }

    fn accepted(&mut self, worker: W, conn: C) -> Result<(), InputError<W, C>> {
        let had_room = self.settle(worker, conn)?;
        self.conns.remove(&conn);
        self.refusals.forget_conn(conn);
        self.parking.forget(conn);
        self.stats.done += 1;
        self.outputs.push_back(Output::Done { conn, worker });
        self.room_may_have_changed(worker, had_room);
        Ok(())
    }

    fn refused(&mut self, now: Mono, worker: W, conn: C) -> Result<(), InputError<W, C>> {
        let had_room = self.settle(worker, conn)?;
        self.stats.refusals += 1;
        if self.closed {
            self.shed(conn, ShedReason::Closed);
        } else {
            if self.members.get(&worker).is_some_and(|member| !member.retired) {
                self.refusals.record(worker, conn);
            }
            // Node's order: the refused connection finds its worker before the refuser looks for
            // its next connection.
            self.place_or_wait(now, conn);
        }
        self.room_may_have_changed(worker, had_room);
        Ok(())
    }

    fn window(&mut self, worker: W, window: u32) -> Result<(), InputError<W, C>> {
        let member = self.members.get_mut(&worker).ok_or(InputError::UnknownWorker { worker })?;
        let had_room = member.has_room();
        member.window = window;
        self.room_may_have_changed(worker, had_room);
        Ok(())
    }

    fn close(&mut self) -> Result<(), InputError<W, C>> {
        if self.closed {
            return Err(InputError::Closed);
        }
        self.closed = true;
        self.unpark_all();
        while let Some(conn) = self.line.pop() {
            self.shed(conn, ShedReason::Closed);
        }
        // What is still in flight will be accepted or shed: no round of it is to come.
        self.parking.clear();
        Ok(())
    }
}

/// What the inputs have in common.
impl<W: Copy + Ord, C: Copy + Ord, P: Policy<W, C>> Scheduler<W, C, P> {
    /// Hands `conn`, which is in nobody's hands, to a worker, if one is found.
    fn place(&mut self, conn: C) -> bool {
        let Self { policy, members, refusals, .. } = self;
        let mut eligible = |worker: W| {
            members.get(&worker).is_some_and(Member::has_room) && !refusals.contains(worker, conn)
        };
        let Some(worker) = policy.pick(&conn, &mut eligible) else {
            return false;
        };
        assert!(eligible(worker), "the policy chose a worker that is not eligible");
        let member = members.get_mut(&worker).expect("who is eligible is a member");
        let serial = self.next_serial;
        self.next_serial += 1;
        member.assign(serial, conn);
        if !member.has_room() {
            policy.busy(worker);
        }
        self.conns.insert(conn, State::InFlight { worker, serial });
        self.in_flight += 1;
        self.stats.assigned += 1;
        self.outputs.push_back(Output::Assign { conn, worker });
        true
    }

    /// Puts `conn` at the tail of the line.
    fn wait(&mut self, conn: C) {
        let ticket = self.line.push_back(conn);
        self.conns.insert(conn, State::Waiting { ticket });
    }

    /// `conn` came back, and is in nobody's hands.
    fn place_or_wait(&mut self, now: Mono, conn: C) {
        if self.refused_by_all(conn) {
            self.park(now, conn);
        } else if !self.place(conn) {
            self.wait(conn);
        }
    }

    fn refused_by_all(&self, conn: C) -> bool {
        // Without workers nobody has refused it.
        self.present > 0 && self.refusals.count(conn) == self.present
    }

    /// All who are present refused `conn`, and it is not in the line.
    fn park(&mut self, now: Mono, conn: C) {
        match self.parking.enter(now, conn, &self.config) {
            Verdict::Park => {
                self.conns.insert(conn, State::Parked);
            }
            Verdict::GiveUp => self.shed(conn, ShedReason::Refused),
        }
    }

    /// Puts everything that is parked back into the line. What was refused stays refused, and the
    /// timers go on.
    fn unpark_all(&mut self) {
        let Self { parking, conns, line, .. } = self;
        for conn in parking.paused() {
            if let Some(state @ State::Parked) = conns.get_mut(&conn) {
                *state = State::Waiting { ticket: line.push_back(conn) };
            }
        }
    }

    /// Forgets `conn`, which is not in the line.
    fn shed(&mut self, conn: C, reason: ShedReason) {
        self.conns.remove(&conn);
        self.refusals.forget_conn(conn);
        self.parking.forget(conn);
        self.stats.count_shed(reason);
        self.outputs.push_back(Output::Shed { conn, reason });
    }

    /// Takes an answered hand-off off the books, and says whether the worker had room before.
    fn settle(&mut self, worker: W, conn: C) -> Result<bool, InputError<W, C>> {
        let serial = match self.conns.get(&conn) {
            Some(&State::InFlight { worker: asked, serial }) if asked == worker => serial,
            _ => return Err(InputError::NotInFlight { worker, conn }),
        };
        let member = self.members.get_mut(&worker).ok_or(InputError::UnknownWorker { worker })?;
        let had_room = member.has_room();
        member.settle(serial);
        self.in_flight -= 1;
        Ok(had_room)
    }

    /// After a change of the worker's window or of what it has in flight.
    fn room_may_have_changed(&mut self, worker: W, had_room: bool) {
        let has_room = self.members.get(&worker).is_some_and(Member::has_room);
        match (had_room, has_room) {
            (false, true) => {
                self.policy.ready(worker);
                self.offer_line_to(worker);
            }
            (true, false) => self.policy.busy(worker),
            _ => {}
        }
    }

    /// `worker` has become ready: it takes the first in line that it has not refused, and so on
    /// while it has room.
    fn offer_line_to(&mut self, worker: W) {
        let mut from = Ticket::MIN;
        while let Some((ticket, conn)) = self.line.first_from(from) {
            if !self.members.get(&worker).is_some_and(Member::has_room) {
                break;
            }
            // `place` would find that out too, but only after asking the policy.
            if !self.refusals.contains(worker, conn) && self.place(conn) {
                self.line.remove(ticket);
            }
            from = ticket + 1;
        }
    }

    /// `worker` is not to be chosen any more.
    fn withdraw(&mut self, now: Mono, worker: W) {
        self.forget_member(worker);
        self.park_the_refused(now);
    }

    fn forget_member(&mut self, worker: W) {
        self.present -= 1;
        self.policy.leave(worker);
        self.refusals.forget_worker(worker);
    }

    /// One worker fewer is present: what waited for that one alone has been refused by all now.
    fn park_the_refused(&mut self, now: Mono) {
        if self.present == 0 {
            // Whoever comes next is asked at once.
            self.unpark_all();
            return;
        }
        let refused = self.refusals.refused_by(self.present).into_iter();
        let mut waiting: Vec<(Ticket, C)> = refused
            .filter_map(|conn| match self.conns.get(&conn) {
                Some(&State::Waiting { ticket }) => Some((ticket, conn)),
                _ => None,
            })
            .collect();
        waiting.sort_unstable();
        for (ticket, conn) in waiting {
            self.line.remove(ticket);
            self.park(now, conn);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Input::{Accepted, Arrive, Close, Join, Leave, Refused, Retire, Window};
    use Output::{Assign, Done, Shed};

    type Rr = Scheduler<u8, char>;

    const fn ms(millis: u64) -> Mono {
        Mono::from_millis(millis)
    }

    fn rr(config: Config, workers: core::ops::Range<u8>) -> Rr {
        let mut scheduler = Rr::new(RoundRobin::new(), config);
        feed(&mut scheduler, workers.map(|worker| Join { worker }));
        scheduler
    }

    fn feed(scheduler: &mut Rr, inputs: impl IntoIterator<Item = Input<u8, char>>) {
        for input in inputs {
            scheduler.handle_input(Mono::ZERO, input).unwrap();
        }
    }

    fn arrive(scheduler: &mut Rr, conns: &str) {
        feed(scheduler, conns.chars().map(|conn| Arrive { conn }));
    }

    fn drain(scheduler: &mut Rr) -> Vec<Output<u8, char>> {
        core::iter::from_fn(|| scheduler.poll_output()).collect()
    }

    #[test]
    fn an_answer_brings_the_next_in_line() {
        let mut s = rr(Config::default(), 0..2);
        arrive(&mut s, "abc");
        assert_eq!(s.waiting(), 1);
        feed(&mut s, [Accepted { worker: 1, conn: 'b' }]);
        assert_eq!(
            drain(&mut s),
            [
                Assign { conn: 'a', worker: 0 },
                Assign { conn: 'b', worker: 1 },
                Done { conn: 'b', worker: 1 },
                Assign { conn: 'c', worker: 1 },
            ]
        );
        assert_eq!((s.waiting(), s.in_flight(0), s.in_flight(1)), (0, 1, 1));
    }

    #[test]
    fn what_a_dead_worker_had_goes_before_all_that_waits_oldest_first() {
        let mut s = rr(Config::default().with_window(2), 0..2);
        arrive(&mut s, "abcdef");
        drain(&mut s);
        feed(&mut s, [Leave { worker: 0 }, Join { worker: 9 }]);
        feed(&mut s, [Window { worker: 9, window: 9 }]);
        let order = [('a', 9), ('c', 9), ('e', 9), ('f', 9)];
        assert_eq!(drain(&mut s), order.map(|(conn, worker)| Assign { conn, worker }));
        assert_eq!(s.stats().orphaned, 2);
    }

    #[test]
    fn orphans_are_never_shed_for_want_of_room() {
        let mut s = rr(Config::default().with_max_waiting(1).with_window(3), 0..1);
        arrive(&mut s, "abcdx");
        assert_eq!(s.room(), 0);
        feed(&mut s, [Leave { worker: 0 }]);
        assert_eq!((s.waiting(), s.room(), s.stats().shed()), (4, 0, 1));
        drain(&mut s);
        feed(&mut s, [Join { worker: 1 }]);
        assert_eq!(drain(&mut s), ['a', 'b', 'c'].map(|conn| Assign { conn, worker: 1 }));
    }

    #[test]
    fn a_refused_connection_is_not_offered_to_the_same_worker_before_all_refused() {
        let mut s = rr(Config::default(), 0..2);
        arrive(&mut s, "ab");
        feed(&mut s, [Refused { worker: 0, conn: 'a' }]);
        drain(&mut s);
        assert_eq!((s.waiting(), s.poll_timeout()), (1, None));
        // The refuser is free, and takes what it has not refused.
        arrive(&mut s, "c");
        assert_eq!(drain(&mut s), [Assign { conn: 'c', worker: 0 }]);
        feed(&mut s, [Accepted { worker: 1, conn: 'b' }, Refused { worker: 1, conn: 'a' }]);
        assert_eq!(s.poll_timeout(), Some(ms(50)));
        feed(&mut s, [Accepted { worker: 0, conn: 'c' }]);
        drain(&mut s);
        s.handle_timeout(ms(49));
        assert_eq!(drain(&mut s), []);
        s.handle_timeout(ms(50));
        assert_eq!(drain(&mut s), [Assign { conn: 'a', worker: 1 }]);
    }

    #[test]
    fn a_refused_connection_goes_to_the_tail() {
        let mut s = rr(Config::default(), 0..2);
        arrive(&mut s, "abcd");
        feed(&mut s, [Refused { worker: 0, conn: 'a' }]);
        drain(&mut s);
        feed(&mut s, [Accepted { worker: 1, conn: 'b' }, Accepted { worker: 1, conn: 'd' }]);
        let order = [
            Done { conn: 'b', worker: 1 },
            Assign { conn: 'd', worker: 1 },
            Done { conn: 'd', worker: 1 },
            Assign { conn: 'a', worker: 1 },
        ];
        assert_eq!(drain(&mut s), order);
    }

    #[test]
    fn a_joiner_takes_what_is_parked_and_the_pause_goes_on() {
        let mut s = rr(Config::default(), 0..1);
        arrive(&mut s, "a");
        feed(&mut s, [Refused { worker: 0, conn: 'a' }]);
        assert_eq!(s.poll_timeout(), Some(ms(50)));
        drain(&mut s);
        feed(&mut s, [Join { worker: 1 }]);
        assert_eq!(drain(&mut s), [Assign { conn: 'a', worker: 1 }]);
        s.handle_input(ms(10), Refused { worker: 1, conn: 'a' }).unwrap();
        assert_eq!((drain(&mut s), s.poll_timeout()), (Vec::new(), Some(ms(50))));
    }

    #[test]
    fn when_the_pause_ends_a_connection_does_not_wait_for_the_joiner_alone() {
        let mut s = rr(Config::default(), 0..1);
        arrive(&mut s, "a");
        feed(&mut s, [Refused { worker: 0, conn: 'a' }, Join { worker: 1 }]);
        feed(&mut s, [Window { worker: 1, window: 0 }, Leave { worker: 1 }, Join { worker: 2 }]);
        feed(&mut s, [Refused { worker: 2, conn: 'a' }, Join { worker: 3 }]);
        // In flight to the last joiner when the pause ends: its refusal leaves one to ask.
        s.handle_timeout(ms(50));
        drain(&mut s);
        s.handle_input(ms(51), Refused { worker: 3, conn: 'a' }).unwrap();
        assert_eq!(drain(&mut s), [Assign { conn: 'a', worker: 0 }]);
    }

    #[test]
    fn when_the_last_who_had_not_refused_goes_the_connection_is_parked() {
        for gone in [Retire { worker: 1 }, Leave { worker: 1 }] {
            let mut s = rr(Config::default(), 0..2);
            arrive(&mut s, "ab");
            feed(&mut s, [Refused { worker: 0, conn: 'a' }]);
            assert_eq!(s.poll_timeout(), None);
            feed(&mut s, [gone]);
            assert_eq!(s.poll_timeout(), Some(ms(50)), "{gone:?}");
        }
    }

    #[test]
    fn without_workers_everything_waits_for_the_next() {
        let mut s = rr(Config::default(), 0..1);
        arrive(&mut s, "ab");
        feed(&mut s, [Refused { worker: 0, conn: 'a' }, Leave { worker: 0 }]);
        assert_eq!((s.waiting(), s.workers()), (2, 0));
        drain(&mut s);
        feed(&mut s, [Join { worker: 0 }, Accepted { worker: 0, conn: 'b' }]);
        let order = [
            Assign { conn: 'b', worker: 0 },
            Done { conn: 'b', worker: 0 },
            Assign { conn: 'a', worker: 0 },
        ];
        assert_eq!(drain(&mut s), order);
    }

    #[test]
    fn a_retired_worker_is_awaited_and_may_come_back() {
        let mut s = rr(Config::default(), 0..1);
        arrive(&mut s, "ab");
        feed(&mut s, [Retire { worker: 0 }]);
        assert_eq!((s.workers(), s.in_flight(0)), (0, 1));
        feed(&mut s, [Join { worker: 0 }]);
        drain(&mut s);
        assert_eq!(s.in_flight(0), 1, "the window is still used up");
        feed(&mut s, [Accepted { worker: 0, conn: 'a' }]);
        assert_eq!(drain(&mut s), [Done { conn: 'a', worker: 0 }, Assign { conn: 'b', worker: 0 }]);
    }

    #[test]
    fn a_retired_workers_refusal_does_not_count() {
        let mut s = rr(Config::default(), 0..2);
        arrive(&mut s, "ab");
        feed(&mut s, [Retire { worker: 0 }, Refused { worker: 0, conn: 'a' }]);
        assert_eq!((s.waiting(), s.poll_timeout()), (1, None));
        feed(&mut s, [Accepted { worker: 1, conn: 'b' }]);
        assert_eq!(drain(&mut s).last(), Some(&Assign { conn: 'a', worker: 1 }));
    }

    #[test]
    fn close_sheds_what_waits_and_awaits_what_is_in_flight() {
        let mut s = rr(Config::default(), 0..3);
        arrive(&mut s, "abcd");
        drain(&mut s);
        feed(&mut s, [Close, Accepted { worker: 0, conn: 'a' }]);
        feed(&mut s, [Refused { worker: 1, conn: 'b' }, Leave { worker: 2 }]);
        arrive(&mut s, "e");
        let closed = |conn| Shed { conn, reason: ShedReason::Closed };
        let order =
            [closed('d'), Done { conn: 'a', worker: 0 }, closed('b'), closed('c'), closed('e')];
        assert_eq!(drain(&mut s), order);
        assert!(s.is_idle());
        assert_eq!((s.room(), s.stats().shed_closed), (0, 4));
    }

    #[test]
    fn close_stops_all_timers() {
        let mut s = rr(Config::default(), 0..1);
        arrive(&mut s, "a");
        feed(&mut s, [Refused { worker: 0, conn: 'a' }, Join { worker: 1 }, Close]);
        assert_eq!(s.poll_timeout(), None);
        feed(&mut s, [Refused { worker: 1, conn: 'a' }]);
        assert!(s.is_idle());
    }

    #[test]
    fn a_window_is_filled_when_it_grows_and_respected_when_it_shrinks() {
        let mut s = rr(Config::default(), 0..1);
        arrive(&mut s, "abcde");
        drain(&mut s);
        feed(&mut s, [Window { worker: 0, window: 3 }]);
        assert_eq!(drain(&mut s), ['b', 'c'].map(|conn| Assign { conn, worker: 0 }));
        feed(&mut s, [Window { worker: 0, window: 1 }]);
        feed(&mut s, ['a', 'b'].map(|conn| Accepted { worker: 0, conn }));
        assert_eq!((s.in_flight(0), s.waiting()), (1, 2));
        feed(&mut s, [Window { worker: 0, window: 0 }, Accepted { worker: 0, conn: 'c' }]);
        assert_eq!((s.in_flight(0), s.waiting(), s.workers()), (0, 2, 1));
    }

    #[test]
    fn a_full_line_sheds_by_name() {
        let mut s = rr(Config::default().with_max_waiting(2), 0..1);
        arrive(&mut s, "abcd");
        assert_eq!(drain(&mut s).last(), Some(&Shed { conn: 'd', reason: ShedReason::Full }));
        assert_eq!((s.room(), s.stats().shed_full), (0, 1));
    }

    #[test]
    #[should_panic(expected = "not eligible")]
    fn a_policy_that_breaks_its_promise_is_found_out() {
        struct Wrong;
        impl Policy<u8, char> for Wrong {
            fn join(&mut self, _: u8) {}
            fn leave(&mut self, _: u8) {}
            fn ready(&mut self, _: u8) {}
            fn busy(&mut self, _: u8) {}
            fn pick(&mut self, _: &char, _: &mut dyn FnMut(u8) -> bool) -> Option<u8> {
                Some(7)
            }
        }
        let mut s = Scheduler::new(Wrong, Config::default());
        let _ = s.handle_input(Mono::ZERO, Arrive { conn: 'a' });
    }
}
