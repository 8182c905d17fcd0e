//! Whether a worker's event loop answers probes, which is learned once.
//!
//! A probe is a handle frame without a descriptor. Node and Bun answer it; Deno reads it and does
//! nothing. As long as that is not known of a worker, the driver is asked whether the worker has *read*
//! a probe that is unanswered: one that has read it and says nothing for [`LEARN`] is taken not to answer
//! at all. A worker that has not read it is busy, or stuck.
//!
//! That is a guess: Node reads many messages at once, and then handles one after the other, so a worker
//! that is busy with an earlier message has read the probe too. Of a worker that is known to answer, by
//! its runtime or its agent, nothing is guessed; and any other one that answers late is probed again.
//!
//! A worker that does not answer is not probed again: it is not waited for before it is told to
//! disconnect, and is not considered stuck for its silence.

use std::time::Duration;

use cluster_sched::Mono;
use serde::{Deserialize, Serialize};

use super::Machine;
use super::io::Output;
use super::worker::Probe;
use crate::id::WorkerId;

/// How long a worker that has read a probe may take to answer it before it is looked again. An idle one
/// answers at once.
const LEARN: Duration = Duration::from_millis(250);

/// What is known of a worker's answers to probes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Probing {
    /// Nothing yet.
    #[default]
    Unknown,
    /// The first one is unanswered; at that time the driver is to look whether it was read. `read`:
    /// whether it was at the last look, if there was one.
    Asked { look_at: Mono, read: Option<bool> },
    /// The driver looks.
    Looking { read: Option<bool> },
    /// It answers, or is known to.
    Answers,
    /// It does not, as it seems: until it answers after all.
    Ignores,
}

impl Probing {
    /// Whether nothing is known yet.
    pub(super) fn is_unknown(&self) -> bool {
        *self == Self::Unknown
    }

    fn look_at(self) -> Option<Mono> {
        match self {
            Self::Asked { look_at, .. } => Some(look_at),
            _ => None,
        }
    }

    /// Whether a probe that is unanswered for too long shows that the worker is stuck.
    pub(super) fn is_telling(self) -> bool {
        match self {
            Self::Answers => true,
            Self::Asked { read, .. } | Self::Looking { read } => read == Some(false),
            Self::Unknown | Self::Ignores => false,
        }
    }
}

impl Machine {
    /// Has a worker's event loop answer; false if it is known not to.
    pub(super) fn probe(&mut self, now: Mono, id: WorkerId, why: Probe) -> bool {
        let Some(worker) = self.workers.get_mut(&id) else { return false };
        match worker.probing {
            Probing::Ignores => return false,
            Probing::Unknown => {
                worker.probing = Probing::Asked { look_at: now + LEARN, read: None };
            }
            _ => {}
        }
        worker.probes.push_back(why);
        self.output.push_back(Output::Probe { worker: id });
        true
    }

    /// A worker's event loop has answered the oldest probe.
    pub(super) fn probed(&mut self, now: Mono, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        // If it was taken not to answer, this is the late answer to the probe that was abandoned.
        worker.probing = Probing::Answers;
        if let Some(why) = worker.probes.pop_front() {
            self.has_answered_probe(now, id, why);
        }
        self.heard(now, id);
    }

    /// A worker answers probes, whatever it has done with those that it was sent.
    pub(super) fn answers_probes(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.probing = Probing::Answers;
        }
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
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let Probing::Looking { read: before } = worker.probing else { return };
        let read = read.unwrap_or(true);
        if !(before == Some(true) && read) {
            worker.probing = Probing::Asked { look_at: now + LEARN, read: Some(read) };
            return;
        }
        worker.probing = Probing::Ignores;
        self.output.push_back(Output::AbandonProbe { worker: id });
        // What was asked of it goes on as if it had answered.
        let asked = self.workers.get_mut(&id).map(|worker| std::mem::take(&mut worker.probes));
        for why in asked.into_iter().flatten() {
            self.has_answered_probe(now, id, why);
        }
    }

    pub(super) fn probing_timeout(&self) -> Option<Mono> {
        let open = self.workers.values().filter(|worker| worker.connected);
        open.filter_map(|worker| worker.probing.look_at()).min()
    }

    pub(super) fn probing_due(&mut self, now: Mono) {
        for (&id, worker) in &mut self.workers {
            if let Probing::Asked { look_at, read } = worker.probing
                && look_at <= now
                && worker.connected
            {
                worker.probing = Probing::Looking { read };
                self.output.push_back(Output::LookAtProbe { worker: id });
            }
        }
    }
}
