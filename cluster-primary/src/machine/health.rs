//! Workers that do not answer.
//!
//! A worker that has not been heard of for a while is asked for a sign of life, by the probe that any
//! event loop answers, its application unaware. One that leaves that, or a connection, unanswered for
//! [`Limits::unresponsive_after`](crate::Limits::unresponsive_after), and says nothing else either, is
//! out of rotation until it does. A busy worker answers between two pieces of its work. One that answers
//! no probe at all ([`Probing`](super::worker::Probing)) is judged by connections alone.

use std::time::Duration;

use cluster_sched::Mono;

use super::base::Machine;
use super::io::Output;
use super::probes::LEARN;
use super::worker::{Disconnect, Probe, Probing, Worker};
use crate::event::Event;
use crate::id::WorkerId;

/// Within the time that a worker has to answer it is looked after so often.
const LOOKS: u32 = 4;
/// But no more often than this.
const SHORTEST_LOOK: Duration = Duration::from_millis(25);

impl Machine {
    /// A worker gave a sign of life.
    pub(super) fn heard(&mut self, now: Mono, id: WorkerId) {
        let Some(worker) = self.known_mut(id) else { return };
        if !worker.health.hear(now) {
            return;
        }
        self.event(Event::Responsive { worker: id });
        let Some(worker) = self.known(id) else { return };
        for server in worker.servers.keys().copied().collect::<Vec<_>>() {
            self.readmit(now, server, id);
            self.eject_silent(now, server);
        }
    }

    /// The worker answered what it was asked.
    pub(super) fn is_well(&mut self, id: WorkerId) {
        if let Some(worker) = self.known_mut(id) {
            worker.health.answer();
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
            let Some(heard_at) = worker.health.heard_at().filter(|_| is_asked(worker)) else {
                continue;
            };
            let asked_at = worker.health.asked_at().filter(|_| worker.probing.is_telling());
            let unanswered = [asked_at, self.dispatcher.oldest(id)];
            let since = unanswered.into_iter().flatten().min();
            let late = |at: Mono| now.saturating_sub(at) >= limit;
            if since.is_some_and(late) && late(heard_at) && !worker.health.is_silent() {
                silent.push((id, now.saturating_sub(heard_at)));
            } else if worker.health.asked_at().is_none() && now.saturating_sub(heard_at) >= pause {
                to_ask.push(id);
            }
        }
        for id in to_ask {
            if self.probe(now, id, Probe::Health)
                && let Some(worker) = self.known_mut(id)
            {
                worker.health.ask(now);
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
            worker.health.restart(now);
            if let Some(asked_at) = &mut worker.asked_at {
                *asked_at = now;
            }
        }
    }

    fn fell_silent(&mut self, now: Mono, id: WorkerId, silent_for: Duration) {
        let Some(worker) = self.known_mut(id) else { return };
        worker.health.fall_silent();
        let servers: Vec<_> = worker.servers.keys().copied().collect();
        self.event(Event::Unresponsive { worker: id, silent_for });
        for server in servers {
            self.eject(now, server, id);
        }
    }

    /// A worker's event loop has answered the oldest probe.
    pub(super) fn probed(&mut self, now: Mono, id: WorkerId) {
        let Some(worker) = self.known_mut(id) else { return };
        // If it was taken not to answer, this is the late answer to the probe that was abandoned.
        worker.probing = Probing::Answers;
        if let Some(why) = worker.probes.pop_front() {
            self.has_answered_probe(now, id, why);
        }
        self.heard(now, id);
    }

    fn has_answered_probe(&mut self, now: Mono, id: WorkerId, why: Probe) {
        match why {
            Probe::Leaving => self.has_heard(id),
            Probe::Queue => self.slots_answered(now, id),
            Probe::Health => self.is_well(id),
        }
    }

    /// The driver looked whether a worker has read the probe that it has not answered; `None` if that
    /// cannot be known.
    pub(super) fn probe_looked(&mut self, now: Mono, id: WorkerId, read: Option<bool>) {
        if read == Some(true) {
            // Its event loop turns. What is on its way to it may have waited behind the probe.
            self.heard(now, id);
        }
        let Some(worker) = self.known_mut(id) else { return };
        let Probing::Looking { read: before } = worker.probing else { return };
        let read = read.unwrap_or(true);
        if !(before == Some(true) && read) {
            worker.probing = Probing::Asked { look_at: now + LEARN, read: Some(read) };
            return;
        }
        worker.probing = Probing::Ignores;
        self.put(Output::AbandonProbe { worker: id });
        // What was asked of it goes on as if it had answered.
        let asked = self.known_mut(id).map(|worker| std::mem::take(&mut worker.probes));
        for why in asked.into_iter().flatten() {
            self.has_answered_probe(now, id, why);
        }
    }
}

/// Whether it matters that the worker answers: for a leaving worker other time limits apply.
fn is_asked(worker: &Worker) -> bool {
    worker.connected && worker.status.is_none() && worker.disconnect == Disconnect::No
}
