//! When a worker is told to disconnect: after it has answered for every connection, and its slots have settled.

use std::time::Duration;

use cluster_proto::ClusterBody;
use cluster_sched::Mono;

use super::base::Machine;
use super::worker::{Disconnect, Probe, Worker};
use crate::event::LeaveProgress;
use crate::id::{ServerId, WorkerId};

/// How long a slot that was switched off is left to finish the handshakes that were under way, with
/// clients nearby, and its worker to hear from the connections that it accepted at the last, before
/// the worker is told to disconnect. What comes later still is rescued.
pub(super) const SETTLE: Duration = Duration::from_millis(10);

impl Machine {
    /// Goes on with a worker that leaves, once it has answered for all that is on its way to it: a
    /// connection that it accepts after it was told to disconnect could be lost.
    pub(super) fn send_disconnect(&mut self, now: Mono, id: WorkerId) {
        let Some(worker) = self.known(id) else { return };
        let waits = worker.connected && worker.disconnect == Disconnect::WhenAnswered;
        if !waits || self.is_serving(id) || self.is_settling(id) {
            return;
        }
        let may_hold_unread = worker.connections > 0 || worker.had_slot;
        if may_hold_unread && self.probe(now, id, Probe::Leaving) {
            if let Some(worker) = self.known_mut(id) {
                worker.disconnect = Disconnect::Probing;
            }
        } else {
            self.has_answered(id);
        }
    }

    /// Nothing is on its way any more to a worker that leaves.
    fn has_answered(&mut self, id: WorkerId) {
        let Some(worker) = self.known_mut(id) else { return };
        if worker.retire_only {
            worker.disconnect = Disconnect::Retired;
            self.progress(id, LeaveProgress::OutOfRotation);
        } else {
            self.tell_disconnect(id);
        }
    }

    /// Every connection that the worker took before it answered has been read from once: a server
    /// of Node's that closes drops those from which it has heard nothing.
    pub(super) fn has_heard(&mut self, id: WorkerId) {
        let probing = |w: &Worker| w.connected && w.disconnect == Disconnect::Probing;
        if self.known(id).is_some_and(probing) {
            self.has_answered(id);
        }
    }

    pub(super) fn tell_disconnect(&mut self, id: WorkerId) {
        if let Some(worker) = self.known_mut(id) {
            worker.disconnect = Disconnect::Told;
            self.send_internal(id, None, ClusterBody::Disconnect);
        }
    }

    /// All workers of a server are about to disconnect: each is given time to settle.
    pub(super) fn settle_all(&mut self, now: Mono, id: ServerId) {
        let Some(server) = self.server(id) else { return };
        let Some(slots) = &server.slots else { return };
        let had: Vec<_> =
            slots.slots.iter().filter_map(|(&n, slot)| Some((slot.worker?, n))).collect();
        for (worker, number) in had {
            self.settling.insert((worker, id), (number, now + SETTLE));
        }
    }

    pub(super) fn settle(&mut self, now: Mono, id: ServerId, worker: WorkerId, number: u32) {
        let leaves = |w: &Worker| w.connected && w.disconnect != Disconnect::No;
        if self.known(worker).is_some_and(leaves) {
            self.settling.insert((worker, id), (number, now + SETTLE));
        }
    }

    /// Whether connections may still come to the worker by itself.
    pub(super) fn is_settling(&self, worker: WorkerId) -> bool {
        self.settling.range((worker, ServerId(0))..=(worker, ServerId(u32::MAX))).next().is_some()
    }

    pub(super) fn have_settled(&mut self, now: Mono, settled: Vec<(WorkerId, ServerId)>) {
        for (worker, id) in settled {
            self.settling.remove(&(worker, id));
            self.send_disconnect(now, worker);
        }
    }
}
