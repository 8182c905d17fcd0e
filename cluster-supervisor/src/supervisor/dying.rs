//! Workers that die, and what comes of it.

use crate::host::Host;
use alloc::vec::Vec;
use core::time::Duration;

use crate::mono::Mono;

use super::{Outage, Supervisor};
use crate::config::Config;
use crate::io::{Death, Failure, Notice, Outcome};
use crate::slot::{Leave, Member, Slot, Stage, Step};

/// Deaths that are remembered, to be told when all is given up.
const DEATHS: usize = 8;

/// How long a worker whose channel has closed by accident has to end by itself. (The channel of one that
/// dies closes before its end is known.)
const CHANNEL_LOST: Duration = Duration::from_secs(1);

impl<H: Host> Supervisor<H> {
    pub(super) fn exited(&mut self, now: Mono, worker: H::Worker, status: H::Exit, meant: bool) {
        let Some(member) = self.members.remove(&worker) else { return };
        let (slot, runs) = (member.slot, self.runs());
        if let Some(change) = self.changing.get(&slot)
            && change.leaving == Some(worker)
        {
            self.changing.remove(&slot);
        }
        if meant && runs && self.config.keep && !self.config.replace_disconnected {
            self.give_up_slot(slot, worker);
        }
        let failure = if meant { Failure::Disconnected } else { Failure::Died(status) };
        self.lost(now, worker, &member, failure);
    }

    /// A worker's channel has closed. One that disconnected voluntarily serves no more: it is replaced
    /// without waiting for its process to end.
    pub(super) fn disconnected(&mut self, now: Mono, worker: H::Worker, meant: bool) {
        if meant {
            if self.config.replace_disconnected {
                self.replace_without_waiting(now, worker, Failure::Disconnected);
            }
        } else if let Some(member) = self.members.get_mut(&worker)
            && (member.uses_channel || member.listens)
        {
            member.channel_lost = Some(now);
        }
    }

    pub(super) fn uses_channel(&mut self, worker: H::Worker) {
        if let Some(member) = self.members.get_mut(&worker) {
            member.uses_channel = true;
        }
    }

    /// When a worker whose channel has closed by accident is replaced, if its process has not ended.
    pub(super) fn channel_due(&self, worker: H::Worker, member: &Member) -> Option<Mono> {
        let lost = member.channel_lost.filter(|_| self.may_be_replaced(worker, member))?;
        Some(lost + CHANNEL_LOST)
    }

    pub(super) fn replace_without_channel(&mut self, now: Mono) {
        let due = |(&id, member): (&H::Worker, &Member)| {
            self.channel_due(id, member).is_some_and(|at| at <= now).then_some(id)
        };
        for worker in self.members.iter().filter_map(due).collect::<Vec<_>>() {
            self.replace_without_waiting(now, worker, Failure::ChannelClosed);
        }
    }

    /// Whether a worker is one of those that are kept, and has not been told to leave.
    fn may_be_replaced(&self, worker: H::Worker, member: &Member) -> bool {
        let place = self.slots.get(&member.slot);
        let has_place =
            place.is_some_and(|it| it.worker == Some(worker) || it.successor == Some(worker));
        let leaves = matches!(member.stage, Stage::Leaving { .. });
        self.runs() && self.config.keep && has_place && !leaves
    }

    /// A worker without a channel is replaced although its process has not ended.
    fn replace_without_waiting(&mut self, now: Mono, worker: H::Worker, failure: Failure<H>) {
        let Some(member) = self.members.get(&worker) else { return };
        if !self.may_be_replaced(worker, member) {
            return;
        }
        // The member as it was when its channel closed.
        let before = member.clone();
        self.leaves(now, worker, Step::Term, self.config.grace);
        if let Some(member) = self.members.get_mut(&worker) {
            member.leave = Leave::Disconnecting;
        }
        self.lost(now, worker, &before, failure);
    }

    /// A worker that disconnected is not replaced, and its slot is given up.
    fn give_up_slot(&mut self, slot: u32, worker: H::Worker) {
        let Some(place) = self.slots.get_mut(&slot).filter(|place| place.worker == Some(worker))
        else {
            return;
        };
        place.worker = None;
        if place.successor.is_none() && !place.forking {
            self.slots.remove(&slot);
            self.changing.remove(&slot);
            self.forget_trial(slot);
            self.config.workers = self.config.workers.saturating_sub(1);
            self.notify(Notice::Left { slot, worker });
        }
    }

    /// A worker has ended or disconnected. If it had a slot, another is to come.
    fn lost(&mut self, now: Mono, worker: H::Worker, member: &Member, failure: Failure<H>) {
        let slot = member.slot;
        let keeps = self.runs() && self.config.keep;
        let is_new = self.reload.as_ref().is_some_and(|r| r.generation == member.generation);
        let on_trial = self.is_on_trial(slot);
        let Some(place) = self.slots.get_mut(&slot) else { return };
        let died = matches!(failure, Failure::Died(_) | Failure::ChannelClosed);
        let death = Death {
            slot,
            worker: Some(worker),
            failure,
            lived: now.saturating_sub(member.born),
            was_ready: member.ready_at.is_some(),
        };
        if place.successor == Some(worker) {
            place.successor = None;
            let (reason, was_ready) = (death.failure.clone(), death.was_ready);
            self.succession_failed(now, slot, death, is_new);
            // Also where it was to succeed its predecessor for another reason.
            if is_new {
                self.abort_reload(now, slot, reason, was_ready);
            }
            return;
        }
        if place.worker != Some(worker) {
            return;
        }
        place.worker = None;
        if !keeps {
            return;
        }
        if member.ready_at.is_some() && died {
            self.counts.deaths += 1;
        }
        let (reason, was_ready) = (death.failure.clone(), death.was_ready);
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
        // One that disconnects voluntarily after its trial may do so by design.
        if is_new && (died || on_trial) {
            self.abort_reload(now, slot, reason, was_ready);
        }
        if self.runs() {
            self.succeed_if_vacant(now, slot);
            self.watch_vacant(slot);
        }
    }

    /// A slot has become vacant. If a reload is under way, it starts the slot's next worker, and is not done
    /// before that one has been ready for long enough.
    pub(super) fn watch_vacant(&mut self, slot: u32) {
        let vacant = |place: &Slot<H>| place.worker.is_none() && place.successor.is_none();
        if self.slots.get(&slot).is_some_and(vacant) {
            self.put_on_trial(slot);
        }
    }

    pub(super) fn remember(&mut self, death: Death<H>) {
        if self.deaths.len() == DEATHS {
            self.deaths.pop_front();
        }
        self.deaths.push_back(death);
    }

    /// A slot's worker failed.
    pub(super) fn failed(&mut self, now: Mono, death: Death<H>) {
        self.remember(death.clone());
        if !death.was_ready {
            self.counts.boot_failures += 1;
        }
        let any_ready = self.any_worker_is_ready();
        let Some(place) = self.slots.get_mut(&death.slot) else { return };
        place.last_failure = Some(death.failure.clone());
        // A cluster that has served rides out an outage: all of its failures count, however long ago.
        let within = (!self.served).then_some(self.config.failure_period);
        let too_many = place.failed(now, &self.config, !any_ready, within);
        if !any_ready {
            self.outage.get_or_insert(Outage { since: now, reported: false });
        }
        if too_many && self.gives_up(now) {
            let deaths = self.deaths.iter().cloned().collect();
            self.notify(Notice::GaveUp { deaths });
            self.end(now, Outcome::GaveUp);
            return;
        }
        if too_many {
            self.report_outage(now, &death);
        }
        let Some(place) = self.slots.get_mut(&death.slot) else { return };
        let pause = place.pause(death.was_ready, &self.config);
        let pause = if pause.is_zero() { pause } else { self.jitter.about(pause) };
        let (slot, reason, was_ready) = (death.slot, death.failure.clone(), death.was_ready);
        self.fork_again(now, death, pause);
        if self.is_on_trial(slot) {
            self.abort_reload(now, slot, reason, was_ready);
        }
    }

    /// Whether it is time to give up, if workers have failed more often than is tolerated.
    fn gives_up(&self, now: Mono) -> bool {
        let lasted = self.outage.as_ref().map(|outage| now.saturating_sub(outage.since));
        let lasts = lasted.is_some_and(|lasted| lasted >= self.config.failure_period);
        self.config.max_failures > 0 && (!self.served || lasts)
    }

    fn report_outage(&mut self, now: Mono, death: &Death<H>) {
        let Config { max_failures, failure_period, backoff_max: pause, .. } = self.config;
        let Some(outage) = self.outage.as_mut().filter(|outage| !outage.reported) else { return };
        outage.reported = true;
        let left = failure_period.saturating_sub(now.saturating_sub(outage.since));
        let gives_up_in = (max_failures > 0).then_some(left);
        self.notify(Notice::NoneReady { death: death.clone(), pause, gives_up_in });
    }

    fn fork_again(&mut self, now: Mono, death: Death<H>, pause: Duration) {
        let Some(place) = self.slots.get_mut(&death.slot) else { return };
        // Its successor starts at once, and needs no successor of its own.
        if place.successor.is_none() && !place.forking {
            place.due = Some(now + pause);
        }
        self.notify(Notice::Replacing { death, pause });
    }
}
