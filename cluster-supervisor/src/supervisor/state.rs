//! Whether a supervisor that was written down can be.

use core::fmt;

use crate::host::Host;
use crate::mono::Mono;

use super::{Phase, Supervisor};
use crate::slot::{Leave, Stage};

/// Longer than any system runs, and than any setting is.
const NEVER: Mono = Mono::from_secs(1 << 40);
/// More than was ever counted.
const MAX_COUNT: u64 = 1 << 62;

/// The state of a supervisor that cannot be: it was not written by one, or was changed since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contradiction(&'static str);

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl core::error::Error for Contradiction {}

impl<H: Host> Supervisor<H> {
    /// Whether what was read can be the state of a supervisor: times to which others are added, and
    /// counts, must leave room for that.
    ///
    /// # Errors
    /// [`Contradiction`].
    pub fn check(&self) -> Result<(), Contradiction> {
        if !self.times().all(|at| at < NEVER) || !self.counted().all(|count| count < MAX_COUNT) {
            return Err(Contradiction(
                "a count or a time of the supervisor is one that is never reached",
            ));
        }
        let places = || self.slots.values().flat_map(|place| [place.worker, place.successor]);
        if !places().flatten().all(|worker| self.members.contains_key(&worker)) {
            return Err(Contradiction("a slot has a worker that is not there"));
        }
        if !self.output.is_empty() {
            return Err(Contradiction("something was left to be done"));
        }
        Ok(())
    }

    fn times(&self) -> impl Iterator<Item = Mono> {
        let config = &self.config;
        let settings = [
            config.ready_timeout,
            config.min_ready_time,
            config.drain_timeout(),
            config.grace,
            config.kill_after,
            config.backoff_first,
            config.backoff_max,
            config.failure_period,
            config.stable_after,
            config.recycle.every,
            config.recycle.age.unwrap_or_default(),
            match config.ready {
                crate::config::Ready::Alive(least) => least,
                _ => Mono::ZERO,
            },
        ];
        let phase = match self.phase {
            Phase::Draining(at) => Some(at),
            _ => None,
        };
        let slots = self.slots.values().filter_map(|place| place.due);
        let members = self.members.values().flat_map(|member| {
            let due = match member.stage {
                Stage::Leaving { due, .. } => Some(due),
                Stage::Starting | Stage::Ready => None,
            };
            let (until, streaming, quiet) = match member.leave {
                Leave::Working { until, streaming, quiet } => (Some(until), streaming, quiet),
                Leave::Asking { until } | Leave::Stopping { until } => (Some(until), None, None),
                Leave::OutOfRotation | Leave::Disconnecting => (None, None, None),
            };
            let limits =
                [member.recycle.age, member.over_limit_until, member.ready_at, member.channel_lost];
            let leave = [due, until, streaming, quiet, Some(member.born), Some(member.not_before)];
            leave.into_iter().chain(limits).flatten()
        });
        settings.into_iter().chain(phase).chain(self.measure_at).chain(slots).chain(members)
    }

    fn counted(&self) -> impl Iterator<Item = u64> {
        let counts = self.counts;
        let all = [
            self.generation,
            counts.restarts,
            counts.deaths,
            counts.boot_failures,
            counts.reloads,
            counts.reloads_aborted,
            counts.recycled,
        ];
        // A reload counts as many as there are workers.
        let replaced = self.reload.as_ref().map(|reload| u64::from(reload.replaced) << 31);
        all.into_iter().chain(self.slots.values().map(|place| place.restarts)).chain(replaced)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Config;
    use super::*;

    #[test]
    fn times_that_are_never_reached_are_refused() {
        let supervisor = Supervisor::<()>::new(Config::new(2));
        assert!(supervisor.check().is_ok());
        let longest = Mono::MAX;
        let broken: [fn(&mut Config<()>, Mono); 4] = [
            |config, time| config.grace = time,
            |config, time| config.failure_period = time,
            |config, time| config.recycle.every = time,
            |config, time| config.ready = crate::config::Ready::Alive(time),
        ];
        for change in broken {
            let mut config = Config::new(2);
            change(&mut config, longest);
            let refused = Supervisor::new(config).check();
            assert!(matches!(refused, Err(Contradiction(_))), "{refused:?}");
        }
    }
}
