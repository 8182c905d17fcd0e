//! Workers that do not answer.
//!
//! A worker that has not been heard of for a while is asked for a sign of life, by the probe that any
//! event loop answers, its application unaware. One that leaves that, or a connection, unanswered for
//! [`Limits::unresponsive_after`](crate::Limits::unresponsive_after), and says nothing else either, is
//! out of rotation until it does. A busy worker answers between two pieces of its work. One that answers
//! no probe at all ([`probing`](super::probing)) is judged by connections alone.

use std::time::Duration;

use cluster_sched::Mono;

use super::Machine;
use super::server::Server;
use super::worker::{Disconnect, Probe, Worker};
use crate::event::Event;
use crate::id::{ServerId, WorkerId};
use serde::{Deserialize, Serialize};

/// Within the time that a worker has to answer it is looked after so often.
const LOOKS: u32 = 4;
/// But no more often than this.
const SHORTEST_LOOK: Duration = Duration::from_millis(25);

impl Health {
    /// Whether the worker has ever given a sign of life.
    pub(super) fn has_been_heard(&self) -> bool {
        self.heard_at.is_some()
    }
}

/// What is known of a worker's health.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Health {
    /// The last sign of life; none before the first.
    heard_at: Option<Mono>,
    /// Since when it has not answered a probe.
    asked_at: Option<Mono>,
    /// It is out of rotation.
    pub(super) silent: bool,
}

impl Machine {
    /// A worker gave a sign of life.
    pub(super) fn heard(&mut self, now: Mono, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.health.heard_at = Some(now);
        if !std::mem::take(&mut worker.health.silent) {
            return;
        }
        self.event(Event::Responsive { worker: id });
        let Some(worker) = self.workers.get(&id) else { return };
        for server in worker.servers.keys().copied().collect::<Vec<_>>() {
            self.readmit(now, server, id);
            self.eject_silent(now, server);
        }
    }

    /// The worker answered what it was asked.
    pub(super) fn is_well(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.health.asked_at = None;
        }
    }

    /// When workers are to be looked after.
    pub(super) fn health_timeout(&self) -> Option<Mono> {
        self.config.limits.unresponsive_after?;
        // It is due at once if it never was.
        (!self.workers.is_empty()).then(|| self.look_after.unwrap_or_default())
    }

    pub(super) fn look_after_workers(&mut self, now: Mono) {
        let Some(limit) = self.config.limits.unresponsive_after else { return };
        if self.hand_offs_paused {
            self.look_after = Some(now + (limit / LOOKS).max(SHORTEST_LOOK));
            return;
        }
        if self.look_after.is_some_and(|at| now < at) {
            return;
        }
        let pause = (limit / LOOKS).max(SHORTEST_LOOK);
        self.look_after = Some(now + pause);
        let (mut silent, mut to_ask) = (Vec::new(), Vec::new());
        for (&id, worker) in &self.workers {
            let Some(heard_at) = worker.health.heard_at.filter(|_| is_asked(worker)) else {
                continue;
            };
            let asked_at = worker.health.asked_at.filter(|_| worker.probing.is_telling());
            let unanswered = [asked_at, self.dispatcher.oldest(id)];
            let since = unanswered.into_iter().flatten().min();
            let late = |at: Mono| now.saturating_sub(at) >= limit;
            if since.is_some_and(late) && late(heard_at) && !worker.health.silent {
                silent.push((id, now.saturating_sub(heard_at)));
            } else if worker.health.asked_at.is_none() && now.saturating_sub(heard_at) >= pause {
                to_ask.push(id);
            }
        }
        for id in to_ask {
            if self.probe(now, id, Probe::Health)
                && let Some(worker) = self.workers.get_mut(&id)
            {
                worker.health.asked_at = Some(now);
            }
        }
        for (worker, silent_for) in silent {
            self.fell_silent(now, worker, silent_for);
        }
    }

    /// See [`Input::HandOffsPaused`](super::Input::HandOffsPaused). Afterwards each worker has its whole time again.
    pub(super) fn pause_hand_offs(&mut self, now: Mono, paused: bool) {
        self.hand_offs_paused = paused;
        for worker in self.workers.values_mut() {
            if let Some(heard_at) = &mut worker.health.heard_at {
                *heard_at = now;
            }
            if let Some(asked_at) = &mut worker.asked_at {
                *asked_at = now;
            }
        }
    }

    fn fell_silent(&mut self, now: Mono, id: WorkerId, silent_for: Duration) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.health.silent = true;
        let servers: Vec<_> = worker.servers.keys().copied().collect();
        self.event(Event::Unresponsive { worker: id, silent_for });
        for server in servers {
            self.eject(now, server, id);
        }
    }

    /// A worker has joined that server: those that do not answer need not stand in any more.
    pub(super) fn eject_silent(&mut self, now: Mono, id: ServerId) {
        let Some(server) = self.servers.get(&id) else { return };
        let silent = |worker: &&WorkerId| self.workers.get(worker).is_some_and(|w| w.health.silent);
        for worker in server.workers.iter().filter(silent).copied().collect::<Vec<_>>() {
            self.eject(now, id, worker);
        }
    }

    fn eject(&mut self, now: Mono, id: ServerId, worker: WorkerId) {
        // A server needs a worker, and one that does not answer may answer yet.
        if self.dispatcher.workers(id) <= 1 {
            return;
        }
        if self.servers.get(&id).is_some_and(|server| server.slots.is_some()) {
            self.silence_slot(now, id, worker);
        } else {
            self.place_no_more(now, id, worker);
        }
    }

    /// A worker that was out of rotation at that server is in it again.
    fn readmit(&mut self, now: Mono, id: ServerId, worker: WorkerId) {
        let Some(slot) = self.workers.get(&worker).map(|worker| worker.slot) else { return };
        let serves = |s: &Server| s.serves(worker) && !s.shared;
        let Some(server) = self.servers.get(&id).filter(|server| serves(server)) else { return };
        if server.slots.is_some() {
            self.slots_answered(now, worker);
        } else {
            // Of one that was never left out it changes nothing.
            self.dispatch_to(now, id, worker, slot);
        }
    }

    /// Those that are to serve what is left of a server are asked, whether they answer or not.
    pub(super) fn readmit_all(&mut self, now: Mono, id: ServerId) {
        let Some(server) = self.servers.get(&id) else { return };
        let silent = |worker: &&WorkerId| self.workers.get(worker).is_some_and(|w| w.health.silent);
        for worker in server.workers.iter().filter(silent).copied().collect::<Vec<_>>() {
            if self.servers.get(&id).is_some_and(|server| server.slots.is_none()) {
                self.readmit(now, id, worker);
            }
        }
    }
}

/// Whether it matters that the worker answers: for a leaving worker other time limits apply.
fn is_asked(worker: &Worker) -> bool {
    worker.connected && worker.status.is_none() && worker.disconnect == Disconnect::No
}
