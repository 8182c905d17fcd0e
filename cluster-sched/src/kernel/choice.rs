//! Which policies the kernel can follow.

use crate::policy::PolicyName;
use core::fmt;

/// A policy that can be a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Choice {
    /// `rr`: in rotation.
    RoundRobin,
    /// `random`: at random.
    Random,
    /// `sticky`: by the client's address.
    Sticky,
}

impl Choice {
    /// All of them, the default first.
    pub const ALL: &'static [Self] = &[Self::RoundRobin, Self::Random, Self::Sticky];

    /// The name of the policy.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "rr",
            Self::Random => "random",
            Self::Sticky => "sticky",
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl TryFrom<PolicyName> for Choice {
    type Error = NotInKernel;

    fn try_from(policy: PolicyName) -> Result<Self, NotInKernel> {
        let known = Self::ALL.iter().copied().find(|known| known.as_str() == policy.as_str());
        known.ok_or(NotInKernel { policy })
    }
}

/// The kernel cannot follow this policy: what it would have to know is not known there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotInKernel {
    /// The policy.
    pub policy: PolicyName,
}

impl fmt::Display for NotInKernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the placement kernel does not support the policy {}; it supports", self.policy)?;
        for (i, known) in Choice::ALL.iter().enumerate() {
            write!(f, "{} {known}", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl core::error::Error for NotInKernel {}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn the_policies_that_the_kernel_can_follow_are_named() {
        for &policy in PolicyName::ALL {
            match Choice::try_from(policy) {
                Ok(choice) => assert_eq!(choice.as_str(), policy.as_str()),
                Err(error) => {
                    assert_eq!(policy, PolicyName::LeastConnections);
                    let error = error.to_string();
                    assert!(error.ends_with("it supports rr, random, sticky"), "{error}");
                }
            }
        }
    }
}
