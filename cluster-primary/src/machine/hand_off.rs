//! Connections on their way to workers.

use cluster_proto::ClusterBody;
use cluster_sched::{Input as Place, Mono, Output as Placed, ShedReason};

use std::ops::Bound;
use std::time::Duration;

use super::Machine;
use super::in_flight::HandOff;
use super::io::{Fate, Output, SendHandle};
use super::server::{Phase, Server};
use super::window::{PROMPT, SLOW};
use super::worker::{Reserved, Worker};
use crate::{ConnId, Event, ServerId, WorkerError, WorkerId};

impl Machine {
    pub(super) fn accepted(&mut self, now: Mono, id: ServerId, conn: ConnId, client: Option<u32>) {
        self.stats.accepted += 1;
        let full = self.room(id) == 0;
        self.held += 1;
        let by_slots = self.servers.get(&id).is_some_and(|server| server.slots.is_some());
        self.stats.rescued += u64::from(by_slots);
        let takes = |s: &Server| matches!(s.phase, Phase::Open { .. } | Phase::Draining { .. });
        if !self.servers.get(&id).is_some_and(takes) {
            self.drop_conn(conn, Fate::Shed(ShedReason::Closed));
            return;
        }
        // What a closing server brings at the last is taken beyond the limit.
        if self.servers.get(&id).is_some_and(Server::is_open) && full {
            self.drop_conn(conn, Fate::Shed(ShedReason::Full));
            return;
        }
        self.place_input(now, id, Place::Arrive { conn, client });
    }

    pub(super) fn answered(
        &mut self,
        now: Mono,
        worker: WorkerId,
        ack: Option<u64>,
        accepted: bool,
    ) {
        let Some(ack) = ack else { return };
        // Only the worker that was asked may answer.
        let Some(HandOff { server: id, conn, at, .. }) = self.take_hand_off(worker, ack) else {
            self.event(Event::Error { worker, error: WorkerError::StrayAck { ack } });
            return;
        };
        let answer = match accepted {
            true => Place::Accepted { worker, conn },
            false => Place::Refused { worker, conn },
        };
        if !accepted {
            self.stats.refused += 1;
        }
        let after = now.saturating_sub(at);
        if let Some(answering) = self.workers.get_mut(&worker) {
            answering.latency.record(after);
        }
        self.adapt_window(now, worker, id, after);
        self.place_input(now, id, answer);
        if after > PROMPT {
            self.expect_nothing_of(now, worker);
        } else {
            self.send_reserve(now, worker);
        }
        self.send_disconnect(now, worker);
    }

    fn take_hand_off(&mut self, worker: WorkerId, seq: u64) -> Option<HandOff> {
        self.workers.get_mut(&worker)?.in_flight.take(seq)
    }

    /// An answer to a connection of that server came after that time.
    fn adapt_window(&mut self, now: Mono, id: WorkerId, server: ServerId, after: Duration) {
        let waiting = self.servers.get(&server).is_some_and(|s| s.sched.waiting_for(id) > 0);
        let limit = self.window_limit();
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let in_line = waiting;
        let waiting = in_line || !worker.reserve.is_empty();
        let overdue = worker.in_flight.oldest().is_some_and(|at| at + SLOW <= now);
        worker.window.answered(after, waiting && !overdue, limit);
        if worker.in_flight.is_empty() {
            worker.window.idle();
            // All that waits would be its own else.
            worker.expected |= after <= PROMPT && !in_line;
        }
        self.set_window(now, id);
    }

    /// There is a worker more: those that are there may have smaller windows from now on.
    pub(super) fn narrow_windows(&mut self, now: Mono) {
        let limit = self.window_limit();
        if limit == self.config.limits.max_window {
            return;
        }
        for id in self.workers.keys().copied().collect::<Vec<_>>() {
            if let Some(worker) = self.workers.get_mut(&id) {
                worker.window.limit(limit);
            }
            self.set_window(now, id);
        }
    }

    /// How large a window may be.
    pub(crate) fn window_limit(&self) -> u32 {
        let share = self.descriptors / self.workers.len().max(1);
        self.config.limits.max_window.min(u32::try_from(share).unwrap_or(u32::MAX)).max(1)
    }

    /// Tells the schedulers of all that the worker serves how many connections each may give it, if that
    /// has changed.
    pub(super) fn set_window(&mut self, now: Mono, id: WorkerId) {
        let limit = self.window_limit();
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let window = worker.turns(limit);
        if std::mem::replace(&mut worker.told_share, window) != window {
            self.tell_schedulers(now, id, Place::Window { worker: id, window });
        }
    }

    /// A worker said how many connections it holds.
    pub(super) fn holds(&mut self, now: Mono, id: WorkerId, held: u32) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.held = Some(held);
        }
        self.tell_schedulers(now, id, Place::Held { worker: id, held });
    }

    fn tell_schedulers(&mut self, now: Mono, id: WorkerId, input: Place<WorkerId, ConnId>) {
        let Some(worker) = self.workers.get(&id) else { return };
        // Most have one, and that need not be copied.
        let mut next = worker.servers.keys().next().copied();
        while let Some(server) = next {
            self.place_input(now, server, input);
            let after = (Bound::Excluded(server), Bound::Unbounded);
            let servers = self.workers.get(&id).map(|worker| &worker.servers);
            next = servers.and_then(|servers| Some(*servers.range(after).next()?.0));
        }
    }

    /// A worker joined a server: what it has shown and said elsewhere counts there too.
    pub(super) fn introduce(&mut self, now: Mono, server: ServerId, id: WorkerId) {
        let Some(worker) = self.workers.get(&id) else { return };
        let (window, held) = (worker.told_share, worker.held);
        if let Some(held) = held {
            self.place_input(now, server, Place::Held { worker: id, held });
        }
        self.place_input(now, server, Place::Window { worker: id, window });
    }

    /// A worker that says how many connections it holds counts those that it accepts itself: so do
    /// we, and at its other servers as well.
    fn holds_one_more(&mut self, now: Mono, id: ServerId, worker: WorkerId) {
        let Some(holder) = self.workers.get_mut(&worker) else { return };
        let Some(held) = &mut holder.held else { return };
        *held = held.saturating_add(1);
        let (held, servers) = (*held, &holder.servers);
        for other in servers.keys().filter(|other| **other != id) {
            if let Some(server) = self.servers.get_mut(other) {
                // It places nothing, and where the worker was never placed it changes nothing.
                let _unfit = server.sched.handle_input(now, Place::Held { worker, held });
            }
        }
    }

    /// Whether a hand-off that was sent then awaits its answer still.
    fn awaits(&self, worker: WorkerId, seq: u64) -> bool {
        self.workers.get(&worker).is_some_and(|worker| worker.in_flight.find(seq).is_some())
    }

    /// Drops what has been answered off the front of those that are watched.
    pub(super) fn forget_answered(&mut self) {
        while let Some(&(_, worker, seq)) = self.watched.front()
            && !self.awaits(worker, seq)
        {
            self.watched.pop_front();
        }
    }

    /// When the next worker will have been slow.
    pub(super) fn next_slow(&self) -> Option<Mono> {
        self.watched.front().map(|(at, ..)| *at + SLOW)
    }

    /// A worker that has not answered for so long gets no more than it has.
    pub(super) fn notice_slow(&mut self, now: Mono) {
        while let Some(&(at, id, seq)) = self.watched.front()
            && (at + SLOW <= now || !self.awaits(id, seq))
        {
            self.watched.pop_front();
            if !self.awaits(id, seq) {
                continue;
            }
            let Some(worker) = self.workers.get_mut(&id) else { continue };
            worker.window.slow();
            self.expect_nothing_of(now, id);
        }
    }

    /// How many connections of that server are kept back.
    pub(super) fn reserved(&self, server: ServerId) -> usize {
        let workers = self.reserving.iter().filter_map(|id| self.workers.get(id));
        let of_it = |worker: &Worker| worker.reserve.iter().filter(|r| r.server == server).count();
        workers.map(of_it).sum()
    }

    /// When a connection will have been kept back for too long, or its worker will not have answered.
    pub(super) fn next_reserve(&self) -> Option<Mono> {
        self.reserving.iter().filter_map(|id| self.gives_up_at(*id)).min()
    }

    fn gives_up_at(&self, id: WorkerId) -> Option<Mono> {
        let worker = self.workers.get(&id).filter(|worker| worker.expected)?;
        let kept = worker.reserve.front()?.at;
        Some(worker.in_flight.oldest().map_or(kept, |sent| sent.min(kept)) + PROMPT)
    }

    /// Workers that have not answered for too long are not expected to do so soon: whoever can have what is kept
    /// back for them gets it.
    pub(super) fn give_up_reserves(&mut self, now: Mono) {
        // What one gives up another may be given. It ends, as nobody is given more of whom nothing is expected.
        let overdue = |machine: &Self| {
            let is_due = |id: &WorkerId| machine.gives_up_at(*id).is_some_and(|at| at <= now);
            machine.reserving.iter().copied().filter(is_due).min()
        };
        while let Some(id) = overdue(self) {
            self.expect_nothing_of(now, id);
        }
    }

    /// A worker is to be given no more than it may have on its way.
    fn expect_nothing_of(&mut self, now: Mono, id: WorkerId) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.expected = false;
        }
        self.set_window(now, id);
        self.send_reserve(now, id);
        self.give_up_reserve(now, id, |_| true);
    }

    /// The worker is given no more connections of that server.
    pub(super) fn place_no_more(&mut self, now: Mono, id: ServerId, worker: WorkerId) {
        self.place_input(now, id, Place::Retire { worker });
        self.give_up_reserve(now, worker, |server| server == id);
    }

    /// What is kept back for a worker by these servers is not for it any more.
    fn give_up_reserve(&mut self, now: Mono, id: WorkerId, of: impl Fn(ServerId) -> bool) {
        // The last one first, as the scheduler wants it. What it gives the worker meanwhile comes behind.
        let kept = self.workers.get(&id).map_or(0, |worker| worker.reserve.len());
        for place in (0..kept).rev() {
            let Some(worker) = self.workers.get_mut(&id) else { return };
            if worker.reserve.get(place).is_some_and(|reserved| of(reserved.server))
                && let Some(Reserved { server, conn, .. }) = worker.reserve.remove(place)
            {
                self.place_input(now, server, Place::TakeBack { worker: id, conn });
            }
        }
        self.note_reserve(id);
    }

    /// Sends a worker what was kept back for it, as far as it may have it now.
    fn send_reserve(&mut self, now: Mono, id: WorkerId) {
        while let Some(worker) = self.workers.get_mut(&id) {
            // Where there is one server the first stands for all.
            let looked_at = if worker.servers.len() > 1 { worker.reserve.len() } else { 1 };
            let mut reserve = worker.reserve.iter().take(looked_at);
            let place = reserve.position(|reserved| worker.has_room(reserved.server));
            let next = place.and_then(|place| worker.reserve.remove(place));
            let Some(Reserved { server, conn, .. }) = next else { break };
            self.hand_off(now, id, server, conn);
            self.note_reserve(id);
            // It may have been the last that a server's last workers are there for.
            self.finish_draining(now, server);
        }
    }

    /// Notes whether anything is kept back for the worker.
    fn note_reserve(&mut self, id: WorkerId) {
        let some = self.workers.get(&id).is_some_and(|worker| !worker.reserve.is_empty());
        match self.reserving.iter().position(|reserving| *reserving == id) {
            Some(place) if !some => drop(self.reserving.swap_remove(place)),
            None if some => self.reserving.push(id),
            _ => {}
        }
    }

    /// A connection is a worker's by turns: it is sent, or kept back.
    fn give(&mut self, now: Mono, worker: WorkerId, server: ServerId, conn: ConnId) {
        let Some(taker) = self.workers.get_mut(&worker) else { return };
        let first = !taker.reserve.iter().any(|reserved| reserved.server == server);
        if first && taker.has_room(server) {
            self.hand_off(now, worker, server, conn);
        } else {
            taker.reserve.push_back(Reserved { server, conn, at: now });
            self.note_reserve(worker);
        }
    }

    fn hand_off(&mut self, now: Mono, worker: WorkerId, id: ServerId, conn: ConnId) {
        let Some(server) = self.servers.get(&id) else { return };
        let (key, under_way) = (server.key.clone(), server.sched.in_flight(worker));
        let handle = Some(SendHandle::Conn { conn });
        let seq = self.say_with(worker, None, ClusterBody::NewConn { key }, handle);
        self.watched.push_back((now, worker, seq));
        if let Some(asked) = self.workers.get_mut(&worker) {
            asked.in_flight.push(HandOff { seq, server: id, conn, at: now });
            // As if its other servers used their shares as well.
            let sent = under_way.min(asked.share() as usize);
            let used = sent.saturating_mul(asked.servers.len().max(1));
            asked.window.sent(u32::try_from(used).unwrap_or(u32::MAX));
        }
    }

    /// The descriptor of a hand-off never reached the worker, so no answer will come.
    pub(super) fn undelivered(&mut self, now: Mono, worker: WorkerId, seq: u64) {
        if let Some(HandOff { server: id, conn, .. }) = self.take_hand_off(worker, seq) {
            self.place_input(now, id, Place::Refused { worker, conn });
            self.send_reserve(now, worker);
            self.send_disconnect(now, worker);
        }
    }

    pub(super) fn place_input(&mut self, now: Mono, id: ServerId, input: Place<WorkerId, ConnId>) {
        let Some(server) = self.servers.get_mut(&id) else { return };
        // An input that does not fit changes nothing: a worker that was never placed leaves, say.
        let _unfit = server.sched.handle_input(now, input);
        self.place(now, id);
    }

    pub(super) fn place(&mut self, now: Mono, id: ServerId) {
        while let Some(server) = self.servers.get_mut(&id) {
            let Some(output) = server.sched.poll_output() else {
                if matches!(server.phase, Phase::Closing) && server.sched.is_idle() {
                    self.servers.remove(&id);
                }
                return self.finish_draining(now, id);
            };
            match output {
                Placed::Assign { conn, worker } => self.give(now, worker, id, conn),
                Placed::Done { conn, worker } => {
                    self.stats.handed_over += 1;
                    if let Some(taker) = self.workers.get_mut(&worker) {
                        taker.connections += 1;
                    }
                    self.holds_one_more(now, id, worker);
                    self.drop_conn(conn, Fate::HandedOver { worker });
                }
                Placed::Shed { conn, reason } => self.drop_conn(conn, Fate::Shed(reason)),
            }
        }
    }

    fn drop_conn(&mut self, conn: ConnId, why: Fate) {
        // Every one that is accepted ends, and once.
        self.held -= 1;
        match why {
            Fate::Shed(reason) => self.stats.count_shed(reason),
            Fate::HandedOver { worker } if self.config.report_connections => {
                self.event(super::Event::Taken { worker, conn });
            }
            Fate::HandedOver { .. } => {}
        }
        self.output.push_back(Output::DropConn { conn, why });
    }
}
