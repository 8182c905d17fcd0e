//! The parts of the bench, and what is measured of them.

use std::fmt;

#[cfg(test)]
use super::effort;
use super::effort::Effort;
use super::programs::Programs;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Part {
    /// The crates' criterion benches
    Micro,
    /// Short connections to whole clusters
    Connections,
    /// Users' messages between primary and worker
    Messages,
    /// How long clusters take to start
    Startup,
    /// Primaries at rest
    Memory,
    /// A lone worker that refuses
    Refusing,
    /// A well-behaved worker beside a hostile one
    Hostile,
    /// Node workers with and without the agent
    Agent,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Micro => "micro",
            Self::Connections => "connections",
            Self::Messages => "messages",
            Self::Startup => "startup",
            Self::Memory => "memory",
            Self::Refusing => "refusing",
            Self::Hostile => "hostile",
            Self::Agent => "agent",
        })
    }
}

/// What rows need to know.
pub(crate) struct Bench {
    pub(crate) programs: Programs,
    pub(crate) effort: Effort,
    /// Parts of the names of the rows that are measured; none: all.
    pub(super) selected: Vec<String>,
}

impl Bench {
    pub(super) fn is_selected(&self, row: &str) -> bool {
        self.selected.is_empty() || self.selected.iter().any(|part| row.contains(part))
    }

    #[cfg(test)]
    pub(super) fn for_tests(rounds: usize) -> Self {
        let effort = Effort { rounds, ..effort::QUICK };
        let programs = Programs::beside_this().expect("this is a program");
        Self { programs, effort, selected: Vec::new() }
    }
}
