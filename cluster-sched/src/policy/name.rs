//! A policy chosen at run time, by name.

use super::least_connections::LeastConnections;
use super::random::Random;
use super::round_robin::RoundRobin;
use super::sticky::Sticky;
use crate::policy::Policy;
use alloc::boxed::Box;
use alloc::string::String;
use core::fmt::{self, Display};
use core::str::FromStr;

/// A policy of whatever kind, chosen at run time.
pub type BoxedPolicy<W, C> = Box<dyn Policy<W, C> + Send>;

/// The policies of this crate, by the names that people type.
///
/// ```
/// use cluster_sched::{Config, PolicyName, Scheduler};
/// let name: PolicyName = "random".parse()?;
/// let scheduler: Scheduler<u32, u64, _> = Scheduler::new(name.build(42), Config::default());
/// # drop(scheduler);
/// # Ok::<(), cluster_sched::UnknownPolicy>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum PolicyName {
    /// `rr`: [`RoundRobin`], the default, as in Node.
    #[default]
    RoundRobin,
    /// `least-connections`: [`LeastConnections`].
    LeastConnections,
    /// `sticky`: [`Sticky`].
    Sticky,
    /// `random`: [`Random`].
    Random,
}

impl PolicyName {
    /// All of them, the default first.
    pub const ALL: &'static [Self] =
        &[Self::RoundRobin, Self::LeastConnections, Self::Sticky, Self::Random];

    /// The name as it is typed and shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "rr",
            Self::LeastConnections => "least-connections",
            Self::Sticky => "sticky",
            Self::Random => "random",
        }
    }

    /// Makes the policy. Those without randomness ignore `seed`.
    #[must_use]
    pub fn build<W, C>(self, seed: u64) -> BoxedPolicy<W, C>
    where
        W: Copy + Ord + Send + 'static,
    {
        match self {
            Self::RoundRobin => Box::new(RoundRobin::new()),
            Self::LeastConnections => Box::new(LeastConnections::new()),
            Self::Sticky => Box::new(Sticky::new()),
            Self::Random => Box::new(Random::new(seed)),
        }
    }
}

impl Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for PolicyName {
    type Err = UnknownPolicy;

    fn from_str(name: &str) -> Result<Self, UnknownPolicy> {
        let known = Self::ALL.iter().copied().find(|known| known.as_str() == name);
        known.ok_or_else(|| UnknownPolicy { name: name.into() })
    }
}

/// No policy has this name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownPolicy {
    /// What was typed.
    pub name: String,
}

impl Display for UnknownPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no policy is called {:?}; there are", self.name)?;
        for (i, known) in PolicyName::ALL.iter().enumerate() {
            write!(f, "{} {known}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl core::error::Error for UnknownPolicy {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn every_name_parses_back() {
        for &name in PolicyName::ALL {
            assert_eq!(name.to_string().parse(), Ok(name));
        }
        assert_eq!(PolicyName::ALL[0], PolicyName::default());
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let error = "RR".parse::<PolicyName>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "no policy is called \"RR\"; there are rr, least-connections, sticky, random"
        );
    }
}
