//! Which workers have something queued, and when it is written.

use cluster_sched::Mono;

use super::sorted::Sorted;
use crate::id::WorkerId;

#[derive(Debug, Default)]
pub(super) struct Writes {
    /// Workers for whom something waits to be written.
    waiting: Sorted<WorkerId>,
    /// Since when a message waits for others to be written with it.
    gathering_since: Option<Mono>,
    /// Workers to whom the user has sent something since the last turn: what follows may wait for more.
    sent_to: Sorted<WorkerId>,
    /// Workers to whom nothing is written before they have read what they have, and when that is looked at again.
    held: Sorted<WorkerId>,
    look_again: Option<Mono>,
}

impl Writes {
    /// Something waits to be written to that worker, or may be.
    pub(super) fn add(&mut self, worker: WorkerId) {
        self.waiting.insert(worker);
    }

    pub(super) fn forget(&mut self, worker: WorkerId) {
        self.waiting.remove(&worker);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// All for whom something waits; [give the list back](Self::give_back).
    pub(super) fn take(&mut self) -> Vec<WorkerId> {
        self.gathering_since = None;
        self.waiting.take()
    }

    pub(super) fn give_back(&mut self, workers: Vec<WorkerId>) {
        self.waiting.give_back(workers);
    }

    /// Nothing is written to that worker before then.
    pub(super) fn hold(&mut self, worker: WorkerId, until: Mono) {
        self.held.insert(worker);
        self.look_again = Some(self.look_again.map_or(until, |other| other.min(until)));
    }

    /// When workers that are held back are looked at again.
    pub(super) fn look_again(&self) -> Option<Mono> {
        self.look_again
    }

    /// Those for whom it is time.
    pub(super) fn end_holds(&mut self, now: Mono) {
        if self.look_again.is_some_and(|at| at <= now) {
            self.look_again = None;
            self.waiting.append(&mut self.held);
        }
    }

    pub(super) fn begin_turn(&mut self) {
        self.sent_to.clear();
    }

    /// The user has sent something to that worker; whether that is the first since the turn began.
    pub(super) fn note_sent(&mut self, worker: WorkerId) -> bool {
        self.sent_to.insert(worker)
    }

    /// A message waits for others.
    pub(super) fn gather(&mut self, now: Mono) {
        self.gathering_since.get_or_insert(now);
    }

    pub(super) fn gathering_since(&self) -> Option<Mono> {
        self.gathering_since
    }
}
