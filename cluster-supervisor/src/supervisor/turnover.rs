//! Slots that change hands: all of them at a reload, single ones when a worker is too large, too old
//! or silent. The successor comes first; only when it is ready the predecessor is told to leave.

use crate::host::Host;
use alloc::collections::btree_map::Entry;
use alloc::vec::Vec;
use core::time::Duration;

use crate::mono::Mono;

use super::{Reload, Supervisor};
use crate::io::{Cause, Death, Failure, Notice, Output};
use crate::slot::{Change, Member, Slot, Stage, Step, Why};

impl<H: Host> Supervisor<H> {
    pub(super) fn begin_reload(&mut self, now: Mono) {
        if !self.runs() || !self.config.keep {
            return;
        }
        self.completed.get_or_insert(self.generation);
        self.generation += 1;
        let generation = self.generation;
        let replaced = self.reload.take().map_or(0, |reload| reload.replaced);
        let vacant = |place: &Slot<H>| place.worker.is_none() && place.successor.is_none();
        let vacant = self.slots.iter().filter(|(_, place)| vacant(place)).map(|(&slot, _)| slot);
        self.reload = Some(Reload { generation, replaced, on_trial: vacant.collect() });
        self.unsettled = true;
        self.notify(Notice::ReloadBegan { generation });
        self.todo.retain(|(_, why)| *why != Why::Reload);
        self.todo.extend(self.slots.keys().map(|&slot| (slot, Why::Reload)));
        // An empty slot is tried at once, with what is new.
        self.outage = None;
        for place in self.slots.values_mut() {
            if place.due.is_some() {
                place.due = Some(now);
                place.forgive();
            }
        }
    }

    /// Starts successors, as many at a time as may be.
    pub(super) fn change_hands(&mut self) {
        let mut later = Vec::new();
        while self.changing.len() < self.config.batch.max(1) as usize
            && let Some((slot, why)) = self.todo.pop_front()
        {
            if self.changing.contains_key(&slot) {
                // It changes hands for another reason; a reload wants it to do so once more.
                if why == Why::Reload {
                    later.push((slot, why));
                }
                continue;
            }
            let Some(place) = self.slots.get_mut(&slot) else { continue };
            let Some(worker) = place.worker.filter(|_| !place.forking) else { continue };
            let Some(member) = self.members.get(&worker) else { continue };
            let done = why == Why::Reload && member.generation == self.generation;
            if done || matches!(member.stage, Stage::Leaving { .. }) {
                continue;
            }
            place.forking = true;
            self.changing.insert(slot, Change { why, leaving: None });
            if let Why::Recycle(cause) = why {
                self.notify(Notice::Recycling { slot, worker, cause });
            }
            self.output.push_back(Output::Fork { slot });
        }
        for (slot, why) in later.into_iter().rev() {
            self.todo.push_front((slot, why));
        }
    }

    /// When a worker that is on trial has been ready for long enough: a successor, or a new worker in a
    /// slot that was vacant during a reload.
    pub(super) fn trial_due(&self, worker: H::Worker, member: &Member) -> Option<Mono> {
        let ready_at = member.ready_at.filter(|_| member.stage == Stage::Ready)?;
        // One without a channel fails, unless its process ends before that.
        if member.channel_lost.is_some() {
            return None;
        }
        let place = self.slots.get(&member.slot)?;
        let fills = place.worker == Some(worker) && self.is_on_trial(member.slot);
        let on_trial = fills || place.successor == Some(worker);
        on_trial.then(|| ready_at + self.config.min_ready_time)
    }

    pub(super) fn is_on_trial(&self, slot: u32) -> bool {
        self.reload.as_ref().is_some_and(|reload| reload.on_trial.contains(&slot))
    }

    /// Workers that have been ready for long enough are not on trial any more: successors take over.
    pub(super) fn end_trials(&mut self, now: Mono) {
        self.fail_silent(now);
        let is_over = |worker: H::Worker, member: &Member| {
            self.trial_due(worker, member).is_some_and(|at| at <= now)
        };
        let over = self.members.iter().filter(|(id, member)| is_over(**id, member));
        for (worker, slot) in over.map(|(&id, member)| (id, member.slot)).collect::<Vec<_>>() {
            if self.slots.get(&slot).is_some_and(|place| place.successor == Some(worker)) {
                self.take_over(now, slot);
            } else {
                self.forget_trial(slot);
            }
        }
    }

    /// Replacements that do not answer have failed, and with them the reload that has started them.
    fn fail_silent(&mut self, now: Mono) {
        let silent = |member: &Member| member.silent && member.stage == Stage::Ready;
        let silent = self.members.iter().filter(|(_, member)| silent(member));
        for worker in silent.map(|(&id, _)| id).collect::<Vec<_>>() {
            self.fail_if_replacement(now, worker);
        }
    }

    fn fail_if_replacement(&mut self, now: Mono, worker: H::Worker) {
        let Some(member) = self.members.get(&worker) else { return };
        let Some(place) = self.slots.get(&member.slot) else { return };
        let slot = member.slot;
        let is_new = self.reload.as_ref().is_some_and(|r| r.generation == member.generation);
        let is_successor = place.successor == Some(worker);
        let lived = now.saturating_sub(member.born);
        let failure = Failure::Unresponsive;
        if is_successor && !self.serves_alone(slot) {
            let death = Death { slot, worker: Some(worker), failure, lived, was_ready: true };
            self.dismiss_successor(now, slot);
            self.succession_failed(now, slot, death, is_new);
        }
        // Also where it was to replace its predecessor for another reason, or has replaced it.
        if is_new
            && (is_successor || self.slots.get(&slot).is_some_and(|p| p.worker == Some(worker)))
        {
            self.abort_reload(now, slot, Failure::Unresponsive, true);
        }
    }

    pub(super) fn forget_trial(&mut self, slot: u32) {
        if let Some(reload) = &mut self.reload {
            reload.on_trial.remove(&slot);
        }
    }

    /// A slot's worker has died, or its successor is ready: where both is so, the successor takes over at
    /// once. A reload waits for the end of its trial all the same.
    pub(super) fn succeed_if_vacant(&mut self, now: Mono, slot: u32) {
        let Some(place) = self.slots.get(&slot).filter(|place| place.worker.is_none()) else {
            return;
        };
        let successor = place.successor.and_then(|worker| self.members.get(&worker));
        if successor.is_some_and(|member| member.stage == Stage::Ready) {
            self.take_over(now, slot);
            self.put_on_trial(slot);
        }
    }

    /// A slot is vacant during a reload: it is not done before the slot's next worker has been ready for
    /// long enough.
    pub(super) fn put_on_trial(&mut self, slot: u32) {
        if let Some(reload) = &mut self.reload {
            reload.on_trial.insert(slot);
        }
    }

    fn take_over(&mut self, now: Mono, slot: u32) {
        let Some(place) = self.slots.get_mut(&slot) else { return };
        let Some(worker) = place.successor.take() else { return };
        let predecessor = place.worker.replace(worker);
        self.has_succeeded(now, slot, predecessor);
    }

    /// A successor has taken over.
    fn has_succeeded(&mut self, now: Mono, slot: u32, predecessor: Option<H::Worker>) {
        let Some(place) = self.slots.get_mut(&slot) else { return };
        place.restarts += 1;
        place.forgive();
        self.counts.restarts += 1;
        let why = self.changing.get(&slot).map(|change| change.why);
        match why {
            Some(Why::Reload) => {
                if let Some(reload) = &mut self.reload {
                    reload.replaced += 1;
                }
            }
            Some(Why::Recycle(_)) => self.counts.recycled += 1,
            None => {}
        }
        match predecessor {
            Some(predecessor) => {
                if let Some(change) = self.changing.get_mut(&slot) {
                    change.leaving = Some(predecessor);
                }
                self.ask_to_leave(now, predecessor);
            }
            // It had died meanwhile.
            None => drop(self.changing.remove(&slot)),
        }
    }

    pub(super) fn successor_is_late(&mut self, now: Mono, slot: u32, worker: H::Worker) {
        let reload = self.reload.as_ref().map(|reload| reload.generation);
        let (lived, is_current) = match self.members.get(&worker) {
            Some(member) => (now.saturating_sub(member.born), reload == Some(member.generation)),
            None => (Duration::ZERO, true),
        };
        let failure = Failure::NotReady(self.config.ready_timeout);
        let death = Death { slot, worker: Some(worker), failure, lived, was_ready: false };
        self.dismiss_successor(now, slot);
        self.succession_failed(now, slot, death, is_current);
    }

    /// Sends a successor away.
    fn dismiss_successor(&mut self, now: Mono, slot: u32) {
        let Some(place) = self.slots.get_mut(&slot) else { return };
        let Some(worker) = place.successor.take() else { return };
        let serves = self.members.get(&worker).is_some_and(|member| member.stage == Stage::Ready);
        if serves {
            self.ask_to_leave(now, worker);
        } else {
            self.leaves(now, worker, Step::Kill, self.config.kill_after);
            self.terminate(worker);
        }
    }

    /// A replacement failed; its predecessor is kept. `is_current`: the reload that is under way has started
    /// it, and not an earlier one, whose failures say nothing about the current version.
    pub(super) fn succession_failed(
        &mut self,
        now: Mono,
        slot: u32,
        death: Death<H>,
        is_current: bool,
    ) {
        let change = self.changing.remove(&slot);
        if !self.runs() {
            return;
        }
        self.remember(death.clone());
        if death.was_ready {
            let died = matches!(death.failure, Failure::Died(_) | Failure::ChannelClosed);
            self.counts.deaths += u64::from(died);
        } else {
            self.counts.boot_failures += 1;
        }
        let reason = death.failure.clone();
        match change.map(|change| change.why) {
            Some(Why::Reload) if is_current => {
                self.abort_reload(now, slot, reason, death.was_ready);
            }
            Some(Why::Reload) => {}
            Some(Why::Recycle(_)) => {
                let not_before = now + self.config.backoff_max;
                let place = self.slots.get(&slot);
                let kept = place.and_then(|place| place.worker);
                if let Some(member) = kept.and_then(|kept| self.members.get_mut(&kept)) {
                    member.not_before = not_before;
                }
                self.notify(Notice::NotRecycled { slot, reason });
            }
            None => {}
        }
        // The predecessor may have died while its successor was about to come.
        if self.slots.get(&slot).is_some_and(|place| place.worker.is_none()) {
            self.failed(now, death);
            self.watch_vacant(slot);
        }
    }

    /// The new worker of that slot has failed. `was_ready`: after it had been ready.
    pub(super) fn abort_reload(
        &mut self,
        now: Mono,
        slot: u32,
        reason: Failure<H>,
        was_ready: bool,
    ) {
        let Some(Reload { generation, replaced, .. }) = self.reload.take() else { return };
        self.counts.reloads_aborted += 1;
        self.todo.retain(|(_, why)| *why != Why::Reload);
        let is_starting =
            |change: &Change<H>| change.why == Why::Reload && change.leaving.is_none();
        let starting: Vec<_> =
            self.changing.iter().filter(|(_, c)| is_starting(c)).map(|(&slot, _)| slot).collect();
        for other in starting {
            if self.serves_alone(other) {
                self.take_over(now, other);
                continue;
            }
            self.dismiss_successor(now, other);
            // One that is being forked just now is sent away when it is there.
            if let Some(place) = self.slots.get_mut(&other) {
                let orphaned = place.worker.is_none() && !place.forking;
                place.forking &= place.worker.is_none();
                if orphaned {
                    place.due = Some(now);
                }
            }
            self.changing.remove(&other);
        }
        let is_old = |worker: H::Worker| {
            let member = self.members.get(&worker);
            member.is_some_and(|member| member.generation < generation)
        };
        let kept = self.slots.values().filter(|place| place.worker.is_some_and(is_old)).count();
        let kept = u32::try_from(kept).unwrap_or(u32::MAX);
        self.notify(Notice::ReloadAborted { generation, slot, reason, was_ready, replaced, kept });
    }

    /// Whether a slot's replacement is ready, and its predecessor is not: it has died, or lost its channel, for
    /// example.
    fn serves_alone(&self, slot: u32) -> bool {
        let Some(place) = self.slots.get(&slot) else { return false };
        let is_ready = |worker: Option<H::Worker>| {
            let member = worker.and_then(|worker| self.members.get(&worker));
            member.is_some_and(|it| it.stage == Stage::Ready && it.channel_lost.is_none())
        };
        is_ready(place.successor) && !is_ready(place.worker)
    }

    pub(super) fn finish_reload(&mut self) {
        let is_reload = |why: Why| why == Why::Reload;
        let waits = self.todo.iter().any(|(_, why)| is_reload(*why));
        let goes_on = self.changing.values().any(|change| is_reload(change.why));
        let on_trial = self.reload.as_ref().is_some_and(|reload| !reload.on_trial.is_empty());
        if waits || goes_on || on_trial {
            return;
        }
        if let Some(Reload { generation, replaced, .. }) = self.reload.take() {
            self.counts.reloads += 1;
            self.completed = Some(generation);
            self.notify(Notice::Reloaded { generation, replaced });
        }
    }

    pub(super) fn scale(&mut self, now: Mono, workers: u32) {
        if !self.runs() || !self.config.keep {
            return;
        }
        let workers = workers.max(1);
        let from = core::mem::replace(&mut self.config.workers, workers);
        if from != workers {
            self.notify(Notice::Scaled { from, to: workers });
        }
        let have = |supervisor: &Self| u32::try_from(supervisor.slots.len()).unwrap_or(u32::MAX);
        while have(self) > workers {
            let Some((slot, place)) = self.slots.pop_last() else { break };
            self.changing.remove(&slot);
            self.forget_trial(slot);
            for worker in [place.worker, place.successor].into_iter().flatten() {
                self.ask_to_leave(now, worker);
            }
        }
        for slot in 0.. {
            if have(self) >= workers {
                break;
            }
            if let Entry::Vacant(vacant) = self.slots.entry(slot) {
                vacant.insert(Slot::due_at(now));
                self.put_on_trial(slot);
            }
        }
    }

    pub(super) fn unresponsive(&mut self, now: Mono, worker: H::Worker) {
        let Some(member) = self.members.get_mut(&worker) else { return };
        member.silent = true;
        let slot = member.slot;
        self.fail_silent(now);
        if self.config.replace_unresponsive {
            self.recycle(slot, worker, Cause::Unresponsive);
        }
    }

    pub(super) fn responsive(&mut self, worker: H::Worker) {
        let Some(member) = self.members.get_mut(&worker) else { return };
        member.silent = false;
        let slot = member.slot;
        self.todo.retain(|todo| *todo != (slot, Why::Recycle(Cause::Unresponsive)));
    }

    /// Whether a worker may be replaced: one that goes beyond what is kept has no slot to be replaced in.
    pub(super) fn may_recycle(&self, worker: H::Worker, member: &Member) -> bool {
        let serves = |slot: &Slot<H>| slot.worker == Some(worker);
        self.runs()
            && self.config.keep
            && self.slots.get(&member.slot).is_some_and(serves)
            && !self.changing.contains_key(&member.slot)
            && !self.todo.iter().any(|(slot, _)| *slot == member.slot)
    }

    fn recycle(&mut self, slot: u32, worker: H::Worker, cause: Cause) {
        let Some(member) = self.members.get(&worker) else { return };
        if member.stage == Stage::Ready && self.may_recycle(worker, member) {
            self.todo.push_back((slot, Why::Recycle(cause)));
        }
    }

    pub(super) fn usage(
        &mut self,
        now: Mono,
        worker: H::Worker,
        memory: Option<u64>,
        connections: u64,
    ) {
        let Some(member) = self.members.get(&worker).filter(|m| m.not_before <= now) else {
            return;
        };
        let (slot, limits) = (member.slot, member.recycle);
        let exceeds = |have: u64, limit: Option<u64>| limit.is_some_and(|limit| have >= limit);
        match (memory, limits.memory) {
            (Some(bytes), Some(limit)) if self.is_over_limit(now, worker, bytes, limit) => {
                self.recycle(slot, worker, Cause::Memory(bytes));
            }
            _ if exceeds(connections, limits.connections) => {
                self.recycle(slot, worker, Cause::Connections(connections));
            }
            _ => {}
        }
    }

    /// Whether a worker exceeds its memory limit, and is to be replaced for that now.
    fn is_over_limit(&mut self, now: Mono, worker: H::Worker, bytes: u64, limit: u64) -> bool {
        let Some(member) = self.members.get_mut(&worker) else { return false };
        let Some(ready_at) = member.ready_at.filter(|_| member.stage == Stage::Ready) else {
            return false;
        };
        let place = self.slots.get_mut(&member.slot);
        let Some(place) = place.filter(|place| place.worker == Some(worker)) else { return false };
        let ready_for = now.saturating_sub(ready_at);
        let soon = ready_for < self.config.failure_period;
        if bytes < limit {
            member.fits = true;
            member.over_limit_until = None;
            if !soon {
                place.within_limit();
            }
            return false;
        }
        if let Some(until) = member.over_limit_until {
            return until <= now;
        }
        // One that was over its limit from the start, or that is so within a short time, was not made so
        // by a leak: its successor would be over the limit, too.
        if !soon && member.fits {
            place.within_limit();
            return true;
        }
        let pause = place.over_limit(member.fits, &self.config);
        member.over_limit_until = Some(now + pause);
        if pause.is_zero() {
            return true;
        }
        let slot = member.slot;
        self.notify(Notice::OverMemoryLimit { slot, worker, bytes, limit, ready_for, pause });
        false
    }

    pub(super) fn recycle_the_old(&mut self, now: Mono) {
        let old = |member: &Member| {
            let age = now.saturating_sub(member.born);
            member.not_before <= now && member.recycle.age.is_some_and(|limit| age >= limit)
        };
        let old: Vec<_> = self.members.iter().filter(|(_, member)| old(member)).collect();
        let old = old
            .into_iter()
            .map(|(&worker, member)| (member.slot, worker, now.saturating_sub(member.born)));
        for (slot, worker, age) in old.collect::<Vec<_>>() {
            self.recycle(slot, worker, Cause::Age(age));
        }
        if self.config.replace_unresponsive {
            let silent = |member: &Member| member.silent && member.not_before <= now;
            let silent = self.members.iter().filter(|(_, member)| silent(member));
            let silent: Vec<_> = silent.map(|(&worker, member)| (member.slot, worker)).collect();
            for (slot, worker) in silent {
                self.recycle(slot, worker, Cause::Unresponsive);
            }
        }
    }
}
