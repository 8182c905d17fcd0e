//! What each input changes, what the time does, and what is done thereupon.

use crate::config::{Config, Ready};
use crate::host::Host;
use crate::io::{Input, Notice, Outcome, Output};
use crate::mono::Mono;
use crate::slot::{Member, Stage};

use super::{Phase, Supervisor};

impl<H: Host> Supervisor<H> {
    /// Takes one input.
    pub fn handle_input(&mut self, now: Mono, input: Input<H>) {
        match input {
            Input::Start => self.start(now),
            Input::Forked { slot, worker } => self.forked(now, slot, worker),
            Input::ForkFailed { slot, reason } => self.fork_failed(now, slot, reason),
            Input::Adopted { slot, worker } => self.adopted(now, slot, worker),
            Input::Online { worker } => self.sign(now, worker, Ready::Online),
            Input::Listening { worker } => {
                if let Some(member) = self.members.get_mut(&worker) {
                    member.listens = true;
                }
                self.sign(now, worker, Ready::Listening);
            }
            Input::SaidReady { worker } => self.sign(now, worker, Ready::Message),
            Input::Notified { worker } => self.sign(now, worker, Ready::Notify),
            Input::Unresponsive { worker } => self.unresponsive(now, worker),
            Input::Responsive { worker } => self.responsive(worker),
            Input::Leaving { worker, progress } => self.leaving(now, worker, progress),
            Input::ChannelFailed { worker } => self.uses_channel(worker),
            Input::Disconnected { worker, meant } => self.disconnected(now, worker, meant),
            Input::Exited { worker, status, meant } => self.exited(now, worker, status, meant),
            Input::Usage { worker, memory, connections } => {
                self.usage(now, worker, memory, connections);
            }
            Input::Reload => self.begin_reload(now),
            Input::Scale { workers } => self.scale(now, workers),
            Input::Drain { delay } => self.drain(now, delay),
            Input::End => self.end(now, Outcome::AsAsked),
            Input::EndNow => self.end_now(now),
        }
        self.go_on(now);
    }

    /// Takes notice of the time.
    pub fn handle_timeout(&mut self, now: Mono) {
        if matches!(self.phase, Phase::Draining(at) if at <= now) {
            self.end(now, Outcome::AsAsked);
        }
        self.replace_without_channel(now);
        self.notice_readiness(now);
        self.end_trials(now);
        self.recycle_the_old(now);
        self.leave_timeouts(now);
        self.escalate_overdue(now);
        if self.measure_at.is_some_and(|at| at <= now) {
            self.measure_at = Some(now + self.config.recycle.every);
            self.output.push_back(Output::Measure);
        }
        self.go_on(now);
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<Output<H>> {
        self.output.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is wanted.
    pub fn poll_timeout(&self) -> Option<Mono> {
        let drained = match self.phase {
            Phase::Draining(at) => Some(at),
            _ => None,
        };
        let forks = self.slots.values().filter_map(|slot| slot.due);
        let members = self.members.iter().filter_map(|(&id, member)| self.member_due(id, member));
        forks.chain(members).chain(drained).chain(self.measure_at).min()
    }

    /// Changes how workers are kept from now on, but for how many
    /// ([`Input::Scale`] does that) and whether.
    pub fn configure(&mut self, config: Config<H>) {
        let (workers, keep) = (self.config.workers, self.config.keep);
        self.config = Config { workers, keep, ..config };
    }

    /// Whether every worker has said where it listens: until then it is unknown which servers are still
    /// wanted. (Of those that never do, all are kept.)
    fn all_listen(&self) -> bool {
        let listens =
            |worker: H::Worker| self.members.get(&worker).is_some_and(|member| member.listens);
        self.slots.values().all(|slot| slot.worker.is_some_and(listens))
    }

    fn start(&mut self, now: Mono) {
        if !matches!(self.phase, Phase::New) {
            return;
        }
        self.phase = Phase::Running;
        if self.config.keep {
            for slot in 0..self.config.workers {
                self.slots.entry(slot).or_default().due = Some(now);
            }
        }
    }

    /// When a worker's life wants the time.
    fn member_due(&self, worker: H::Worker, member: &Member) -> Option<Mono> {
        let replaced = self.channel_due(worker, member);
        replaced.into_iter().chain(self.stage_due(worker, member)).min()
    }

    fn stage_due(&self, worker: H::Worker, member: &Member) -> Option<Mono> {
        match member.stage {
            Stage::Leaving { due, .. } => self.leave_due(member).into_iter().chain([due]).min(),
            Stage::Starting => {
                let alive = match self.config.ready {
                    Ready::Alive(least) => Some(member.born + least),
                    _ => None,
                };
                let kept = self.config.keep && !member.called_slow && self.runs();
                let late = kept.then(|| member.born + self.config.ready_timeout);
                alive.into_iter().chain(late).min()
            }
            Stage::Ready => {
                let recycled =
                    self.recycle_due(member).filter(|_| self.may_recycle(worker, member));
                self.trial_due(worker, member).into_iter().chain(recycled).min()
            }
        }
    }

    /// When a worker is to be recycled, if nothing else happens.
    fn recycle_due(&self, member: &Member) -> Option<Mono> {
        if member.silent && self.config.replace_unresponsive {
            return Some(member.not_before);
        }
        let age = member.recycle.age?;
        Some((member.born + age).max(member.not_before))
    }

    /// Does whatever can be done now.
    fn go_on(&mut self, now: Mono) {
        if self.runs() {
            self.change_hands();
            for (&slot, place) in &mut self.slots {
                if place.due.take_if(|due| *due <= now).is_some() {
                    place.forking = true;
                    self.output.push_back(Output::Fork { slot });
                    let another = place.last_failure.is_some();
                    place.restarts += u64::from(another);
                    self.counts.restarts += u64::from(another);
                }
            }
            self.finish_reload();
            if self.unsettled
                && self.todo.is_empty()
                && self.changing.is_empty()
                && self.all_ready()
                && self.all_listen()
            {
                self.unsettled = false;
                self.output.push_back(Output::ReleaseUnused);
            }
            if self.config.keep && self.slots.is_empty() && self.members.is_empty() {
                self.notify(Notice::NoWorkerLeft);
                // Servers that were kept open close by that.
                self.output.push_back(Output::DisconnectAll);
                self.over(Outcome::NoWorkerLeft);
            }
        } else if let Phase::Ending { outcome, .. } = self.phase
            && self.members.is_empty()
        {
            self.over(outcome);
        }
    }

    fn over(&mut self, outcome: Outcome) {
        self.phase = Phase::Over(outcome);
        self.measure_at = None;
        self.output.push_back(Output::Over(outcome));
    }
}
