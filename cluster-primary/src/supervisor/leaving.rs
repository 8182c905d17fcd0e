//! Workers that are to leave: asked, then told, then made to.

use std::time::Duration;

use cluster_sched::Mono;

use super::config::LeaveBy;
use super::io::{Notice, Outcome, Output};
use super::slot::{Stage, Step};
use super::{Phase, Supervisor};
use crate::{Signal, WorkerId};

impl Supervisor {
    /// Asks a worker to finish what it has to do, and to leave.
    pub(super) fn ask_to_leave(&mut self, now: Mono, worker: WorkerId) {
        let Some(member) = self.members.get(&worker) else { return };
        if matches!(member.stage, Stage::Leaving { .. }) {
            return;
        }
        // Who does not hear need not be asked, but may come to itself.
        let grace = if member.silent { self.config.term_grace } else { self.config.grace };
        self.leaves(now, worker, Step::Term, grace);
        self.output.push_back(match self.config.leave_by {
            LeaveBy::Disconnect => Output::Disconnect { worker },
            LeaveBy::Signal(signal) => Output::Kill { worker, signal },
        });
    }

    /// A worker is to leave, and is made to by that step after that time.
    pub(super) fn leaves(&mut self, now: Mono, worker: WorkerId, next: Step, after: Duration) {
        if let Some(member) = self.members.get_mut(&worker) {
            member.stage = Stage::Leaving { due: now + after, next };
        }
    }

    /// Takes the next step with those that are still there when it is due.
    pub(super) fn late_ones(&mut self, now: Mono) {
        let late: Vec<_> = self
            .members
            .iter()
            .filter_map(|(&worker, member)| match member.stage {
                Stage::Leaving { due, next } if due <= now => Some((worker, member.slot, next)),
                _ => None,
            })
            .collect();
        let at_once = matches!(self.phase, Phase::Ending { at_once: true, .. });
        for (worker, slot, step) in late {
            let signal = match step {
                Step::Term => Signal::TERM,
                Step::Kill => Signal::KILL,
            };
            self.leaves(now, worker, Step::Kill, self.config.term_grace);
            self.tell(Notice::Late { worker, slot, signal, at_once });
            self.output.push_back(Output::Kill { worker, signal });
            if let Phase::Ending { outcome: outcome @ Outcome::AsAsked, .. } = &mut self.phase {
                *outcome = Outcome::Killed;
            }
        }
    }

    pub(super) fn drain(&mut self, now: Mono, delay: Duration) {
        if matches!(self.phase, Phase::Running) {
            if delay.is_zero() {
                return self.end(now, Outcome::AsAsked);
            }
            self.phase = Phase::Draining(now + delay);
            self.tell(Notice::Draining { delay });
        }
    }

    /// Everybody is to leave.
    pub(super) fn end(&mut self, now: Mono, outcome: Outcome) {
        if matches!(self.phase, Phase::Ending { .. } | Phase::Over(_)) {
            return;
        }
        self.phase = Phase::Ending { outcome, at_once: false };
        self.reload = None;
        self.todo.clear();
        self.changing.clear();
        self.measure_at = None;
        for place in self.slots.values_mut() {
            place.due = None;
        }
        if !self.members.is_empty() {
            self.tell(Notice::Ending { grace: self.config.grace });
        }
        let staying = |stage: Stage| !matches!(stage, Stage::Leaving { .. });
        let members: Vec<_> =
            self.members.iter().filter(|(_, m)| staying(m.stage)).map(|(&id, _)| id).collect();
        for &worker in &members {
            self.leaves(now, worker, Step::Term, self.config.grace);
        }
        if let LeaveBy::Signal(signal) = self.config.leave_by {
            for worker in members {
                self.output.push_back(Output::Kill { worker, signal });
            }
        }
        // Servers close by that, too.
        self.output.push_back(Output::DisconnectAll);
    }

    /// Nobody is waited for any more.
    pub(super) fn end_now(&mut self, now: Mono) {
        self.end(now, Outcome::AsAsked);
        if let Phase::Ending { at_once, .. } = &mut self.phase {
            *at_once = true;
        }
        for member in self.members.values_mut() {
            member.stage = Stage::Leaving { due: now, next: Step::Kill };
        }
        self.late_ones(now);
    }
}
