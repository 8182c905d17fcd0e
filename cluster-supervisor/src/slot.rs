//! One slot: its workers, and what became of earlier ones.

use crate::host::Host;
use alloc::collections::VecDeque;
use core::time::Duration;

use crate::mono::Mono;

use crate::config::Config;
use crate::io::{Cause, Failure};
use serde::{Deserialize, Serialize};

/// So many failures are reported as an outage where the supervisor never gives up.
const FAILURES_REPORTED: usize = 5;

/// The longest time that a worker over its memory limit is left alone, unless
/// [`Config::failure_period`] is longer.
const LONGEST_OVER_LIMIT: Duration = Duration::from_secs(60 * 60);

/// A place for one worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct Slot<H: Host> {
    /// Who works there, ready or not.
    pub(crate) worker: Option<H::Worker>,
    /// Who is to take over as soon as it is ready.
    pub(crate) successor: Option<H::Worker>,
    /// A fork was asked for, and has not been answered.
    pub(crate) forking: bool,
    /// When one is to be asked for, the slot being empty.
    pub(crate) due: Option<Mono>,
    /// Failures in a row, for the pause.
    pub(crate) streak: u32,
    /// When failures were, for the end of patience.
    failures: VecDeque<Mono>,
    /// How often another worker came here.
    pub(crate) restarts: u64,
    pub(crate) last_failure: Option<Failure<H>>,
    /// Workers in a row that exceeded their memory limit soon after they became ready.
    #[serde(default, skip_serializing_if = "is_none")]
    over_limit: u32,
}

impl<H: Host> Default for Slot<H> {
    fn default() -> Self {
        Self {
            worker: None,
            successor: None,
            forking: false,
            due: None,
            streak: 0,
            failures: VecDeque::new(),
            restarts: 0,
            last_failure: None,
            over_limit: 0,
        }
    }
}

impl<H: Host> Slot<H> {
    /// An empty one, for which a worker is to be forked then.
    pub(crate) fn due_at(due: Mono) -> Self {
        Self { due: Some(due), ..Self::default() }
    }

    /// Another failure; whether there were more than are tolerated. `counts`: no worker is ready.
    /// `within`: failures that are older do not count.
    pub(crate) fn failed(
        &mut self,
        now: Mono,
        config: &Config<H>,
        counts: bool,
        within: Option<Duration>,
    ) -> bool {
        self.streak = self.streak.saturating_add(1);
        let most = match config.max_failures {
            0 => FAILURES_REPORTED,
            most => most as usize,
        };
        if counts {
            self.failures.push_back(now);
        }
        let old = |at: &Mono| within.is_some_and(|within| now.saturating_sub(*at) > within);
        while self.failures.len() > most + 1 || self.failures.front().is_some_and(old) {
            self.failures.pop_front();
        }
        counts && self.failures.len() > most
    }

    /// Nothing is wrong here (any more).
    pub(crate) fn forgive(&mut self) {
        self.streak = 0;
        self.be_patient();
    }

    /// What went wrong so far is not a reason to give up.
    pub(crate) fn be_patient(&mut self) {
        self.failures.clear();
    }

    /// The pause before the next worker, without the lot. One that had been ready is replaced at
    /// once the first time.
    pub(crate) fn pause(&self, was_ready: bool, config: &Config<H>) -> Duration {
        let Some(doublings) = self.streak.checked_sub(1 + u32::from(was_ready)) else {
            return Duration::ZERO;
        };
        let pause = config.backoff_first.saturating_mul(2u32.saturating_pow(doublings));
        pause.min(config.backoff_max)
    }

    /// A worker exceeds its memory limit soon after it became ready: how long it is left alone. One that
    /// had been below the limit is replaced at once the first time.
    pub(crate) fn over_limit(&mut self, had_fit: bool, config: &Config<H>) -> Duration {
        let streak = self.over_limit;
        self.over_limit = streak.saturating_add(1);
        let Some(doublings) = streak.checked_sub(u32::from(had_fit)) else {
            return Duration::ZERO;
        };
        let pause = config.failure_period.saturating_mul(2u32.saturating_pow(doublings));
        pause.min(LONGEST_OVER_LIMIT.max(config.failure_period))
    }

    /// Its worker stayed below the memory limit for long enough.
    pub(crate) fn within_limit(&mut self) {
        self.over_limit = 0;
    }

    pub(crate) fn failures(&self) -> u32 {
        self.streak
    }
}

/// A worker that is watched over.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Member {
    pub(crate) slot: u32,
    pub(crate) generation: u64,
    pub(crate) born: Mono,
    pub(crate) ready_at: Option<Mono>,
    pub(crate) stage: Stage,
    pub(crate) silent: bool,
    /// It has said where it listens.
    #[serde(default)]
    pub(crate) listens: bool,
    /// It has used its channel. (Programs without cluster support may close it and be well.)
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) uses_channel: bool,
    /// When its channel closed by accident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) channel_lost: Option<Mono>,
    /// That it is slow has been said.
    pub(crate) called_slow: bool,
    /// Its own limits.
    pub(crate) recycle: Limits,
    /// Before that it is not recycled: the last attempt failed.
    pub(crate) not_before: Mono,
    /// It has been below its memory limit since it was ready.
    #[serde(default = "had_fit", skip_serializing_if = "is_fitting")]
    pub(crate) fits: bool,
    /// It exceeded its memory limit soon after it became ready, and is not recycled for that before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) over_limit_until: Option<Mono>,
    /// How far it is with leaving, if it is to. (One of before leaving had steps was told to
    /// disconnect.)
    #[serde(default)]
    pub(crate) leave: Leave,
    /// It has been sent `SIGTERM`.
    #[serde(default)]
    pub(crate) terminated: bool,
}

impl Member {
    pub(crate) fn new(born: Mono, slot: u32, generation: u64, recycle: Limits) -> Self {
        Self {
            slot,
            generation,
            born,
            ready_at: None,
            stage: Stage::Starting,
            silent: false,
            listens: false,
            uses_channel: false,
            channel_lost: None,
            called_slow: false,
            recycle,
            not_before: born,
            fits: false,
            over_limit_until: None,
            leave: Leave::default(),
            terminated: false,
        }
    }
}

/// Of a worker that was handed over by a version that did not record it.
fn had_fit() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_fitting(fits: &bool) -> bool {
    *fits
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_false(value: &bool) -> bool {
    !*value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_none(count: &u32) -> bool {
    *count == 0
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Limits {
    pub(crate) memory: Option<u64>,
    pub(crate) age: Option<Duration>,
    pub(crate) connections: Option<u64>,
}

/// How far a worker's life is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Stage {
    /// Not ready yet.
    Starting,
    Ready,
    /// It was asked to leave, and is sent `next` when that is due.
    Leaving {
        due: Mono,
        next: Step,
    },
}

/// How far a worker is that was asked to leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Leave {
    /// It gets no more connections, and answers for those that are on their way to it.
    OutOfRotation,
    /// It finishes its HTTP work, until then at the latest.
    Working {
        until: Mono,
        /// Since when all that is left are responses whose headers have been sent, which may never
        /// end.
        streaming: Option<Mono>,
        /// Since when no request is in progress, though connections are open.
        #[serde(default)]
        quiet: Option<Mono>,
    },
    /// How it is to be asked to stop is being found out, until then at the latest.
    Asking { until: Mono },
    /// It was sent the stop signal or message, and is told to disconnect when its servers have
    /// closed, or then.
    Stopping { until: Mono },
    /// It was told to disconnect, or has nothing more to wait for.
    #[default]
    Disconnecting,
}

/// What is done with a worker that does not leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Step {
    Term,
    Kill,
}

/// Why a slot changes hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Why {
    Reload,
    Recycle(Cause),
}

/// A slot that is changing hands.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct Change<H: Host> {
    pub(crate) why: Why,
    /// The predecessor, once it has been told to leave.
    pub(crate) leaving: Option<H::Worker>,
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    const fn at(seconds: u64) -> Mono {
        Mono::from_secs(seconds)
    }

    #[test]
    fn pauses_double_up_to_the_longest() {
        let config = Config::<()>::default();
        let mut slot = Slot::<()>::default();
        let pauses = |slot: &mut Slot<()>, was_ready| -> Vec<u128> {
            let pauses = (0..9).map(|n| {
                slot.failed(at(n), &config, true, Some(config.failure_period));
                slot.pause(was_ready, &config).as_millis()
            });
            pauses.collect()
        };
        assert_eq!(
            pauses(&mut slot, false),
            [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]
        );
        slot.forgive();
        assert_eq!(pauses(&mut slot, true), [0, 100, 200, 400, 800, 1600, 3200, 6400, 10_000]);
    }

    #[test]
    fn patience_is_for_a_period() {
        let config = Config::<()> { max_failures: 2, ..Config::default() };
        let mut slot = Slot::<()>::default();
        let within = Some(config.failure_period);
        assert!(!slot.failed(at(0), &config, true, within));
        assert!(!slot.failed(at(30), &config, true, within));
        assert!(!slot.failed(at(61), &config, true, within), "the first is forgotten");
        assert!(slot.failed(at(62), &config, true, within));
        slot.forgive();
        assert!(!slot.failed(at(63), &config, true, within));
    }

    #[test]
    fn a_worker_over_its_memory_limit_is_left_alone_for_longer_each_time() {
        let config = Config::<()>::default();
        let mut slot = Slot::<()>::default();
        let minutes: Vec<_> =
            (0..8).map(|_| slot.over_limit(false, &config).as_secs() / 60).collect();
        assert_eq!(minutes, [1, 2, 4, 8, 16, 32, 60, 60]);
        slot.within_limit();
        let minutes: Vec<_> =
            (0..4).map(|_| slot.over_limit(true, &config).as_secs() / 60).collect();
        assert_eq!(minutes, [0, 1, 2, 4]);
    }
}
