//! Workers that die, and what comes of it.

use std::time::Duration;

use cluster_sched::Mono;

use super::Supervisor;
use super::io::{Death, Failure, Notice, Outcome};
use crate::{ExitStatus, WorkerId};

/// Deaths that are remembered, to be told when all is given up.
const DEATHS: usize = 8;

impl Supervisor {
    pub(super) fn exited(&mut self, now: Mono, worker: WorkerId, status: ExitStatus, meant: bool) {
        let Some(member) = self.members.remove(&worker) else { return };
        let (slot, runs) = (member.slot, self.runs());
        if let Some(change) = self.changing.get(&slot)
            && change.leaving == Some(worker)
        {
            self.changing.remove(&slot);
        }
        let Some(place) = self.slots.get_mut(&slot) else { return };
        let death = Death {
            slot,
            worker: Some(worker),
            failure: Failure::Died(status),
            lived: now.saturating_sub(member.born),
            was_ready: member.ready_at.is_some(),
        };
        if place.successor == Some(worker) {
            place.successor = None;
            self.succession_failed(now, slot, death);
            return;
        }
        if place.worker != Some(worker) {
            return;
        }
        place.worker = None;
        if !runs || !self.config.keep {
            return;
        }
        if meant {
            if place.successor.is_none() && !place.forking {
                self.slots.remove(&slot);
                self.changing.remove(&slot);
                self.config.workers = self.config.workers.saturating_sub(1);
                self.tell(Notice::Left { slot, worker });
            }
            return;
        }
        if member.ready_at.is_some() {
            self.counts.deaths += 1;
        }
        let since = |at: Mono| now.saturating_sub(at);
        let stable = match member.ready_at {
            Some(at) => since(at) >= self.config.stable_after,
            // It never said that it was ready, and did well without.
            None => since(member.born) >= self.config.ready_timeout,
        };
        if stable {
            place.forgive();
            place.last_failure = Some(death.failure.clone());
            self.remember(death.clone());
            self.fork_again(now, death, Duration::ZERO);
        } else {
            self.failed(now, death);
        }
    }

    pub(super) fn remember(&mut self, death: Death) {
        if self.deaths.len() == DEATHS {
            self.deaths.pop_front();
        }
        self.deaths.push_back(death);
    }

    /// A slot's worker failed.
    pub(super) fn failed(&mut self, now: Mono, death: Death) {
        self.remember(death.clone());
        if !death.was_ready {
            self.counts.boot_failures += 1;
        }
        let somebody = self.somebody_is_ready();
        let Some(place) = self.slots.get_mut(&death.slot) else { return };
        place.last_failure = Some(death.failure.clone());
        if place.failed(now, &self.config, !somebody) {
            let deaths = self.deaths.iter().cloned().collect();
            self.tell(Notice::GaveUp { deaths });
            self.end(now, Outcome::GaveUp);
            return;
        }
        let pause = place.pause(death.was_ready, &self.config);
        let pause = if pause.is_zero() { pause } else { self.lots.about(pause) };
        let (slot, reason) = (death.slot, death.failure.clone());
        self.fork_again(now, death, pause);
        if self.reload.as_ref().is_some_and(|reload| reload.empty.contains(&slot)) {
            self.abort_reload(now, slot, reason);
        }
    }

    fn fork_again(&mut self, now: Mono, death: Death, pause: Duration) {
        let Some(place) = self.slots.get_mut(&death.slot) else { return };
        // Whoever is to succeed it comes at once, and needs no successor of its own.
        if place.successor.is_none() && !place.forking {
            place.due = Some(now + pause);
        }
        self.tell(Notice::Replacing { death, pause });
    }
}
