//! What can stand in a placement's way.

use std::fmt;

use cluster_sched::kernel::{Choice, NotInKernel};

use crate::settings::{Placement, Settings};

/// Connections cannot be placed as the settings want it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlacementError {
    /// [`Placement::Kernel`], elsewhere than on Linux.
    NotLinux,
    /// [`Placement::Kernel`], with a policy that the kernel cannot follow.
    Policy(NotInKernel),
    /// A [policy of the program's own](Settings::custom_policy) with a placement under which the primary
    /// does not choose workers.
    CustomPolicy {
        /// The placement.
        placement: Placement,
    },
}

impl fmt::Display for PlacementError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLinux => f.write_str(
                "the placement kernel needs Linux; handoff and shared work on every system",
            ),
            Self::Policy(error) => {
                write!(f, "{error}; the placement handoff supports all policies")
            }
            Self::CustomPolicy { placement } => write!(
                f,
                "a custom policy cannot place connections under the placement {}, where the primary \
                 does not accept them; use the placement handoff",
                placement.as_str()
            ),
        }
    }
}

impl std::error::Error for PlacementError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotLinux | Self::CustomPolicy { .. } => None,
            Self::Policy(error) => Some(error),
        }
    }
}

impl Settings {
    /// Whether connections can be placed so on this system. [`Primary::fork`](crate::Primary::fork)
    /// asks too.
    ///
    /// # Errors
    /// Why they cannot.
    pub fn check_placement(&self) -> Result<(), PlacementError> {
        if self.custom_policy.is_some() && self.placement != Placement::Handoff {
            return Err(PlacementError::CustomPolicy { placement: self.placement });
        }
        if self.placement != Placement::Kernel {
            return Ok(());
        }
        if !cfg!(target_os = "linux") {
            return Err(PlacementError::NotLinux);
        }
        Choice::try_from(self.policy).map(drop).map_err(PlacementError::Policy)
    }
}

/// What is done under [`Placement::Kernel`] where the system does not take the program that was
/// wanted: because of the missing capability `CAP_BPF` most likely, or before Linux 5.12.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fallback {
    /// A classic program chooses at random: in the long run, and among many connections, nearly evenly.
    Random,
    /// A classic program chooses by the client's address: a client keeps its worker, though not the
    /// one of [`Placement::Handoff`].
    Sticky,
    /// The primary accepts, and hands each connection to a worker.
    Handoff,
}

impl Fallback {
    pub(crate) const fn of(choice: Choice) -> Self {
        match choice {
            Choice::Sticky => Self::Sticky,
            _ => Self::Random,
        }
    }

    /// Its name in the control API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Sticky => "sticky",
            Self::Handoff => "handoff",
        }
    }
}

/// A sentence: what is done.
impl fmt::Display for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Random => "a classic program chooses workers at random",
            Self::Sticky => "a classic program chooses workers by their clients' addresses",
            Self::Handoff => "the primary accepts, and hands connections over",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CustomPolicy, PolicyName};
    use cluster_sched::RoundRobin;

    #[test]
    fn the_other_placements_are_never_refused() {
        for &placement in Placement::ALL {
            for &policy in PolicyName::ALL {
                let settings = Settings::new("app").placement(placement).policy(policy);
                let fits = placement != Placement::Kernel || Choice::try_from(policy).is_ok();
                let here = placement != Placement::Kernel || cfg!(target_os = "linux");
                assert_eq!(settings.check_placement().is_ok(), fits && here);
                let custom = CustomPolicy::new("own", |_| RoundRobin::new());
                let settings = settings.custom_policy(custom);
                let handed_over = placement == Placement::Handoff;
                assert_eq!(settings.check_placement().is_ok(), handed_over);
            }
        }
    }
}
