//! Workers that are to leave, step by step; see [`Leave`].

use crate::host::Host;
use crate::progress::{LeaveProgress, StopBy, Work};
use alloc::vec::Vec;
use core::time::Duration;

use crate::mono::Mono;

use super::{Phase, Supervisor};
use crate::io::{Notice, Outcome, Output};
use crate::slot::{Leave, Member, Stage, Step};

/// How long a program that was asked to stop has for closing its servers before it is told to
/// disconnect, how long responses may go on that have no end in sight, and how long a question may
/// await its answer.
const MOMENT: Duration = Duration::from_secs(1);

/// How long after `SIGKILL` a worker that is still there is sent it again, at the least.
const KILLED_AGAIN: Duration = Duration::from_secs(1);

/// How long no request may have come on the open connections before a program is asked to stop. Agents
/// close connections that have been idle for half of that; a client that uses its connection without a
/// pause gets one more response, which has it close the connection.
const QUIET: Duration = Duration::from_millis(200);

impl<H: Host> Supervisor<H> {
    /// Asks a worker to finish what it has to do, and to leave.
    pub(super) fn ask_to_leave(&mut self, now: Mono, worker: H::Worker) {
        if self.begin_to_leave(now, worker) {
            self.output.push_back(Output::TakeOutOfRotation { worker });
        }
    }

    /// The clock of a worker that leaves begins to run; `false` if it has begun before.
    fn begin_to_leave(&mut self, now: Mono, worker: H::Worker) -> bool {
        let Some(member) = self.members.get_mut(&worker) else { return false };
        if matches!(member.stage, Stage::Leaving { .. }) {
            return false;
        }
        member.leave = Leave::OutOfRotation;
        // A worker that does not answer cannot be asked, but it may come to.
        let grace = if member.silent { self.config.kill_after } else { self.config.grace };
        self.leaves(now, worker, Step::Term, grace);
        true
    }

    /// A worker is to leave, and is made to by that step after that time.
    pub(super) fn leaves(&mut self, now: Mono, worker: H::Worker, next: Step, after: Duration) {
        if let Some(member) = self.members.get_mut(&worker) {
            member.stage = Stage::Leaving { due: now + after, next };
        }
    }

    /// A worker that leaves has come a step further.
    pub(super) fn leaving(&mut self, now: Mono, worker: H::Worker, progress: LeaveProgress) {
        let Some(member) = self.members.get_mut(&worker) else { return };
        if !matches!(member.stage, Stage::Leaving { .. }) {
            return;
        }
        match (member.leave, progress) {
            (Leave::OutOfRotation, LeaveProgress::OutOfRotation) => {
                let until = now + self.config.drain_timeout();
                member.leave = Leave::Working { until, streaming: None, quiet: None };
                self.output.push_back(Output::FinishWork { worker });
            }
            (
                Leave::Working { .. },
                LeaveProgress::Work(Work { requests: 0, connections: 0, .. }),
            ) => {
                self.ask_stop(now, worker);
            }
            (Leave::Working { until, streaming, .. }, LeaveProgress::Work(work)) => {
                let since =
                    |holds: bool, before: Option<Mono>| holds.then(|| before.unwrap_or(now));
                let only_started = work.requests > 0 && work.requests == work.started;
                let streaming = since(only_started, streaming);
                // From the last change on: requests may have come and gone since the one before.
                let quiet = (work.requests == 0).then_some(now);
                member.leave = Leave::Working { until, streaming, quiet };
            }
            (Leave::Asking { .. }, LeaveProgress::Stop(by)) => self.stop(now, worker, by),
            (Leave::Stopping { .. }, LeaveProgress::ServersClosed) => {
                self.disconnect(worker);
            }
            _ => {}
        }
    }

    fn ask_stop(&mut self, now: Mono, worker: H::Worker) {
        let Some(member) = self.members.get_mut(&worker) else { return };
        // A busy event loop answers between two pieces of its work.
        member.leave = Leave::Asking { until: now + self.config.drain_timeout().max(MOMENT) };
        let (signal, message) = (self.config.stop_signal, self.config.stop_message.is_some());
        self.output.push_back(Output::AskStop { worker, signal, message });
    }

    /// Asks a program to stop.
    fn stop(&mut self, now: Mono, worker: H::Worker, by: StopBy) {
        let config = &self.config;
        let Some(member) = self.members.get_mut(&worker) else { return };
        member.leave = Leave::Stopping { until: now + MOMENT };
        match (by, config.stop_signal, &config.stop_message) {
            (StopBy::Signal, Some(signal), _) => {
                member.terminated |= signal == H::TERM;
                self.output.push_back(Output::Kill { worker, signal });
            }
            (StopBy::Message, _, Some(message)) => {
                let message = message.clone();
                self.output.push_back(Output::SendStop { worker, message });
            }
            // By `disconnect`, or what was in force when it was asked about is so no more.
            _ => self.disconnect(worker),
        }
    }

    fn disconnect(&mut self, worker: H::Worker) {
        if let Some(member) = self.members.get_mut(&worker) {
            member.leave = Leave::Disconnecting;
            self.output.push_back(Output::Disconnect { worker });
        }
    }

    /// When the step that a leaving worker is at has taken long enough.
    pub(super) fn leave_due(&self, member: &Member) -> Option<Mono> {
        match member.leave {
            Leave::Working { until, streaming, quiet } => {
                let streamed = streaming.map(|since| since + MOMENT);
                let rested = quiet.map(|since| since + QUIET);
                streamed.into_iter().chain(rested).chain([until]).min()
            }
            Leave::Asking { until } | Leave::Stopping { until } => Some(until),
            Leave::OutOfRotation | Leave::Disconnecting => None,
        }
    }

    /// Goes on with those whose step has taken long enough.
    pub(super) fn leave_timeouts(&mut self, now: Mono) {
        let due = |member: &Member| {
            matches!(member.stage, Stage::Leaving { .. })
                && self.leave_due(member).is_some_and(|at| at <= now)
        };
        let due = self.members.iter().filter(|(_, member)| due(member));
        for (worker, leave) in due.map(|(&id, member)| (id, member.leave)).collect::<Vec<_>>() {
            match leave {
                Leave::Working { .. } => self.ask_stop(now, worker),
                _ => self.disconnect(worker),
            }
        }
    }

    /// Takes the next step with those that are still there when it is due.
    pub(super) fn escalate_overdue(&mut self, now: Mono) {
        let overdue: Vec<_> = self
            .members
            .iter()
            .filter_map(|(&worker, member)| match member.stage {
                Stage::Leaving { due, next } if due <= now => Some((worker, member.slot, next)),
                _ => None,
            })
            .collect();
        let at_once = matches!(self.phase, Phase::Ending { at_once: true, .. });
        for (worker, slot, step) in overdue {
            let kill_after = self.config.kill_after;
            let next = if step == Step::Kill { kill_after.max(KILLED_AGAIN) } else { kill_after };
            self.leaves(now, worker, Step::Kill, next);
            let Some(member) = self.members.get_mut(&worker) else { continue };
            member.leave = Leave::Disconnecting;
            let signal = match step {
                // It has had it, and may be about to end.
                Step::Term if member.terminated => continue,
                Step::Term => H::TERM,
                Step::Kill => H::KILL,
            };
            self.notify(Notice::Late { worker, slot, signal, at_once });
            if step == Step::Term {
                self.terminate(worker);
                continue;
            }
            self.output.push_back(Output::Kill { worker, signal });
            if let Phase::Ending { outcome: outcome @ Outcome::AsAsked, .. } = &mut self.phase {
                *outcome = Outcome::Killed;
            }
        }
    }

    /// Sends a worker `SIGTERM`.
    pub(super) fn terminate(&mut self, worker: H::Worker) {
        if let Some(member) = self.members.get_mut(&worker) {
            member.terminated = true;
            member.leave = Leave::Disconnecting;
        }
        self.output.push_back(Output::Kill { worker, signal: H::TERM });
    }

    pub(super) fn drain(&mut self, now: Mono, delay: Duration) {
        if matches!(self.phase, Phase::Running) {
            if delay.is_zero() {
                return self.end(now, Outcome::AsAsked);
            }
            self.phase = Phase::Draining(now + delay);
            self.notify(Notice::Draining { delay });
        }
    }

    /// All workers are to leave.
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
            self.notify(Notice::Ending { grace: self.config.grace });
        }
        for worker in self.members.keys().copied().collect::<Vec<_>>() {
            self.begin_to_leave(now, worker);
        }
        // Servers close by that, too.
        self.output.push_back(Output::TakeAllOutOfRotation);
    }

    /// Kills the workers that are still there.
    pub(super) fn end_now(&mut self, now: Mono) {
        self.end(now, Outcome::AsAsked);
        if let Phase::Ending { at_once, .. } = &mut self.phase {
            *at_once = true;
        }
        for member in self.members.values_mut() {
            member.stage = Stage::Leaving { due: now, next: Step::Kill };
        }
        self.escalate_overdue(now);
    }
}
