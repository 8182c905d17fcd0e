//! Probes of workers' event loops; [`Probing`](super::worker::Probing) says what is learned from them.

use std::time::Duration;

use cluster_sched::Mono;

use super::base::Machine;
use super::io::Output;
use super::worker::{Probe, Probing};
use crate::id::WorkerId;

/// How long a worker that has read a probe may take to answer it before it is looked again. An idle one
/// answers at once.
pub(super) const LEARN: Duration = Duration::from_millis(250);

impl Machine {
    /// Has a worker's event loop answer; false if it is known not to.
    pub(super) fn probe(&mut self, now: Mono, id: WorkerId, why: Probe) -> bool {
        let Some(worker) = self.known_mut(id) else { return false };
        match worker.probing {
            Probing::Ignores => return false,
            Probing::Unknown => {
                worker.probing = Probing::Asked { look_at: now + LEARN, read: None };
            }
            _ => {}
        }
        worker.probes.push_back(why);
        self.put(Output::Probe { worker: id });
        true
    }

    /// A worker answers probes, whatever it has done with those that it was sent.
    pub(super) fn answers_probes(&mut self, id: WorkerId) {
        if let Some(worker) = self.known_mut(id) {
            worker.probing = Probing::Answers;
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
