//! What can be seen of a supervisor.

use crate::host::Host;
use crate::mono::Mono;
use serde::{Deserialize, Serialize};

use super::{Phase, Supervisor};
use crate::config::Config;
use crate::io::{Death, Failure, Outcome};
use crate::slot::{Member, Slot, Stage};

/// What was counted so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(default)]
pub struct Counts {
    /// Workers that came to a slot which another had before.
    pub restarts: u64,
    /// Workers that died by accident after they had been ready.
    pub deaths: u64,
    /// Workers that died before they were ready, or could not be forked.
    pub boot_failures: u64,
    /// Reloads that went through.
    pub reloads: u64,
    /// Reloads that were aborted.
    pub reloads_aborted: u64,
    /// Workers that were replaced without a request.
    pub recycled: u64,
}

/// How far the whole is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// Not every worker that is wanted is ready.
    Starting,
    /// All are.
    Running,
    /// All are being replaced.
    Reloading,
    /// It is about to end.
    Draining,
    /// It ends.
    Stopping,
    /// It ends, because too many workers failed.
    GaveUp,
}

impl State {
    /// Its name: `starting`, `running`, `reloading`, `draining`, `stopping` or `gave-up`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Reloading => "reloading",
            Self::Draining => "draining",
            Self::Stopping => "stopping",
            Self::GaveUp => "gave-up",
        }
    }
}

/// What the supervisor knows of one worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemberState {
    /// Its slot.
    pub slot: u32,
    /// The number of the reload whose program and options it runs; 0 for those of the start.
    pub generation: u64,
    /// When it was forked.
    pub born: Mono,
    /// It has become ready.
    pub ready: bool,
    /// It has been asked to leave.
    pub leaving: bool,
    /// It does not answer.
    pub silent: bool,
    /// How many workers came to its slot before it that had been replaced.
    pub restarts: u64,
}

/// A slot that no worker has at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Vacancy<H: Host> {
    /// The slot.
    pub slot: u32,
    /// How many workers came to it that replaced another.
    pub restarts: u64,
    /// How often it failed in a row.
    pub failures: u32,
    /// When the next worker is forked.
    pub due: Option<Mono>,
    /// What went wrong last.
    pub last_failure: Option<Failure<H>>,
}

impl<H: Host> Supervisor<H> {
    /// How workers are kept.
    pub fn config(&self) -> &Config<H> {
        &self.config
    }

    /// How many workers are wanted.
    pub fn wanted(&self) -> u32 {
        self.config.workers
    }

    /// The generation of the running workers: the number of the last reload that completed; 0 before
    /// the first. While a reload is under way, and where one has failed halfway, some workers
    /// [are further](MemberState::generation).
    pub fn generation(&self) -> u64 {
        self.completed.unwrap_or(self.generation)
    }

    /// The number of the last reload that began; 0 before the first.
    #[cfg(feature = "tokio")]
    pub(crate) fn last_reload(&self) -> u64 {
        self.generation
    }

    /// Since when no worker is ready while workers fail, if that is so.
    pub fn outage(&self) -> Option<Mono> {
        self.outage.as_ref().map(|outage| outage.since)
    }

    /// What went wrong last with a worker.
    pub fn last_death(&self) -> Option<&Death<H>> {
        self.deaths.back()
    }

    /// Whether a start, a reload or the end is under way and has not used up its time: for a service
    /// manager that would stop waiting too soon.
    pub fn is_progressing(&self, now: Mono) -> bool {
        match self.phase {
            Phase::New => true,
            Phase::Draining(_) => true,
            // One that survives SIGKILL may do so forever.
            Phase::Ending { outcome, .. } => outcome != Outcome::Killed,
            Phase::Over(_) => false,
            Phase::Running if self.reload.is_some() => true,
            Phase::Running => {
                let in_time = |member: &Member| {
                    member.stage == Stage::Starting
                        && now.saturating_sub(member.born) < self.config.ready_timeout
                };
                let comes = |slot: &Slot<H>| slot.forking || slot.due.is_some();
                self.slots.values().any(comes) || self.members.values().any(in_time)
            }
        }
    }

    /// How far the whole is.
    pub fn state(&self) -> State {
        match &self.phase {
            Phase::Draining(_) => State::Draining,
            Phase::Ending { outcome: Outcome::GaveUp | Outcome::NotStarted, .. }
            | Phase::Over(Outcome::GaveUp | Outcome::NotStarted) => State::GaveUp,
            Phase::Ending { .. } | Phase::Over(_) => State::Stopping,
            Phase::New => State::Starting,
            Phase::Running if self.reload.is_some() => State::Reloading,
            Phase::Running if self.all_ready() => State::Running,
            Phase::Running => State::Starting,
        }
    }

    /// Whether clients should be sent here: a worker is ready, and the cluster is not about to end.
    pub fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Running) && self.any_worker_is_ready()
    }

    /// How it ended, if it has.
    pub fn outcome(&self) -> Option<Outcome> {
        match self.phase {
            Phase::Over(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// What was counted so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// What is known of a worker.
    pub fn member(&self, worker: H::Worker) -> Option<MemberState> {
        let member = self.members.get(&worker)?;
        Some(MemberState {
            slot: member.slot,
            generation: member.generation,
            born: member.born,
            ready: member.ready_at.is_some(),
            leaving: matches!(member.stage, Stage::Leaving { .. }),
            silent: member.silent,
            restarts: self.slots.get(&member.slot).map_or(0, |slot| slot.restarts),
        })
    }

    /// The slots that no worker has at the moment.
    pub fn vacancies(&self) -> impl Iterator<Item = Vacancy<H>> {
        let vacant = |slot: &Slot<H>| slot.worker.is_none() && slot.successor.is_none();
        self.slots.iter().filter(move |(_, slot)| vacant(slot)).map(|(&number, slot)| Vacancy {
            slot: number,
            restarts: slot.restarts,
            failures: slot.failures(),
            due: slot.due,
            last_failure: slot.last_failure.clone(),
        })
    }
}
