//! Whether a worker's event loop answers probes, which is learned once.
//!
//! A probe is a handle frame without a descriptor. Node and Bun answer it; Deno reads it and does
//! nothing. As long as that is not known of a worker, the driver is asked whether the worker has *read*
//! a probe that is unanswered: one that has read it and says nothing for [`LEARN`](super::super::probes::LEARN) is taken not to answer
//! at all. A worker that has not read it is busy, or stuck.
//!
//! That is a guess: Node reads many messages at once, and then handles one after the other, so a worker
//! that is busy with an earlier message has read the probe too. Of a worker that is known to answer, by
//! its runtime or its agent, nothing is guessed; and any other one that answers late is probed again.
//!
//! A worker that does not answer is not probed again: it is not waited for before it is told to
//! disconnect, and is not considered stuck for its silence.

use cluster_sched::Mono;
use serde::{Deserialize, Serialize};

/// What is known of a worker's answers to probes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::machine) enum Probing {
    /// Nothing yet.
    #[default]
    Unknown,
    /// The first one is unanswered; at that time the driver is to look whether it was read. `read`:
    /// whether it was at the last look, if there was one.
    Asked { look_at: Mono, read: Option<bool> },
    /// The driver looks.
    Looking { read: Option<bool> },
    /// It answers, or is known to.
    Answers,
    /// It does not, as it seems: until it answers after all.
    Ignores,
}

impl Probing {
    /// Whether nothing is known yet.
    pub(in crate::machine) fn is_unknown(&self) -> bool {
        *self == Self::Unknown
    }

    /// When the driver is to look whether the unanswered probe was read.
    pub(in crate::machine) fn look_at(self) -> Option<Mono> {
        match self {
            Self::Asked { look_at, .. } => Some(look_at),
            _ => None,
        }
    }

    /// Whether a probe that is unanswered for too long shows that the worker is stuck.
    pub(in crate::machine) fn is_telling(self) -> bool {
        match self {
            Self::Answers => true,
            Self::Asked { read, .. } | Self::Looking { read } => read == Some(false),
            Self::Unknown | Self::Ignores => false,
        }
    }
}
