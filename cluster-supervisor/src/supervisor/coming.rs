//! Workers that come: forked, taken over, and ready when they say so.

use crate::host::Host;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::mono::Mono;

use super::view::Counts;
use super::{Phase, Supervisor};
use crate::config::{Ready, Recycle};
use crate::io::{Death, Failure, Notice, Outcome};
use crate::slot::{Limits, Member, Slot, Stage};

impl<H: Host> Supervisor<H> {
    pub(super) fn forked(&mut self, now: Mono, slot: u32, worker: H::Worker) {
        let limits = self.draw_limits();
        // Outside a reload it runs what the others run, also after one that failed.
        let generation = if self.reload.is_some() { self.generation } else { self.generation() };
        self.members.insert(worker, Member::new(now, slot, generation, limits));
        let running = self.runs();
        match self.slots.get_mut(&slot).filter(|_| running) {
            Some(place) if place.forking => {
                place.forking = false;
                if place.worker.is_some() {
                    place.successor = Some(worker);
                } else {
                    place.worker = Some(worker);
                    // The worker that was to be replaced has ended.
                    self.changing.remove(&slot);
                    self.put_on_trial(slot);
                }
            }
            // It is not wanted any more.
            _ => self.ask_to_leave(now, worker),
        }
        let recycle = self.config.recycle;
        let looks = recycle.memory.is_some() || recycle.connections.is_some();
        if looks && running && self.measure_at.is_none() {
            self.measure_at = Some(now + recycle.every);
        }
    }

    /// A worker's own limits, each a little lower at random.
    fn draw_limits(&mut self) -> Limits {
        let Recycle { memory, age, connections, jitter, .. } = self.config.recycle;
        let mut less = |limit: u64| {
            let less = u128::from(limit) * u128::from(self.jitter.share(jitter)) / 1000;
            u64::try_from(less).unwrap_or(u64::MAX)
        };
        Limits {
            memory: memory.map(&mut less),
            connections: connections.map(&mut less),
            age: age.map(|age| Duration::from_millis(less(millis(age)))),
        }
    }

    pub(super) fn adopted(&mut self, now: Mono, slot: u32, worker: H::Worker) {
        if self.config.keep && self.runs() {
            let place = self.slots.entry(slot).or_default();
            if place.worker.is_some() || place.successor.is_some() || place.forking {
                // It goes beyond what is kept: it is only seen off in the end.
                self.forked_stranger(now, slot, worker);
                return;
            }
            place.due = None;
            place.forking = true;
            let slots = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
            self.config.workers = self.config.workers.max(slots);
            self.forked(now, slot, worker);
        } else {
            self.forked_stranger(now, slot, worker);
        }
    }

    /// A worker that has no slot of ours.
    fn forked_stranger(&mut self, now: Mono, slot: u32, worker: H::Worker) {
        let leaves = !self.runs() && !matches!(self.phase, Phase::New);
        let generation = self.generation();
        self.members.insert(worker, Member::new(now, slot, generation, Limits::default()));
        if leaves {
            self.ask_to_leave(now, worker);
        }
    }

    pub(super) fn fork_failed(&mut self, now: Mono, slot: u32, reason: String) {
        let Some(place) = self.slots.get_mut(&slot) else { return };
        if !core::mem::take(&mut place.forking) || !self.runs() {
            return;
        }
        let failure = Failure::NotForked(reason);
        let death = Death { slot, worker: None, failure, lived: Duration::ZERO, was_ready: false };
        if self.changing.contains_key(&slot) {
            self.succession_failed(now, slot, death, true);
        } else if self.members.is_empty() && self.counts == Counts::default() {
            // It has never worked: it is the program or the settings.
            self.remember(death.clone());
            self.notify(Notice::GaveUp { deaths: alloc::vec![death] });
            self.end(now, Outcome::NotStarted);
        } else {
            self.failed(now, death);
        }
    }

    /// A worker gave a sign, which may be the one that is waited for.
    pub(super) fn sign(&mut self, now: Mono, worker: H::Worker, sign: Ready) {
        if matches!(sign, Ready::Online | Ready::Listening | Ready::Message) {
            self.uses_channel(worker);
        }
        if self.config.ready == sign {
            self.is_now_ready(now, worker);
        }
    }

    fn is_now_ready(&mut self, now: Mono, worker: H::Worker) {
        let Some(member) = self.members.get_mut(&worker) else { return };
        if member.stage != Stage::Starting {
            return;
        }
        member.stage = Stage::Ready;
        member.ready_at = Some(now);
        let slot = member.slot;
        self.served = true;
        self.outage = None;
        self.notify(Notice::Ready { slot, worker });
        // As long as any worker is ready, there is no timeout.
        self.slots.values_mut().for_each(Slot::be_patient);
        self.succeed_if_vacant(now, slot);
        self.end_trials(now);
    }

    /// Looks at those whose readiness depends on the time.
    pub(super) fn notice_readiness(&mut self, now: Mono) {
        let mut alive = Vec::new();
        let mut slow = Vec::new();
        for (&worker, member) in &self.members {
            if member.stage != Stage::Starting {
                continue;
            }
            let age = now.saturating_sub(member.born);
            match self.config.ready {
                Ready::Alive(least) if age >= least => alive.push(worker),
                _ if age >= self.config.ready_timeout && !member.called_slow => {
                    slow.push((worker, member.slot));
                }
                _ => {}
            }
        }
        for worker in alive {
            self.is_now_ready(now, worker);
        }
        let after = self.config.ready_timeout;
        for (worker, slot) in slow {
            if self.slots.get(&slot).is_some_and(|place| place.successor == Some(worker)) {
                self.successor_is_late(now, slot, worker);
            } else if self.config.keep {
                if let Some(member) = self.members.get_mut(&worker) {
                    member.called_slow = true;
                }
                self.notify(Notice::Slow { slot, worker, after });
                if self.is_on_trial(slot) {
                    let failure = Failure::NotReady(after);
                    self.abort_reload(now, slot, failure, false);
                }
            }
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
