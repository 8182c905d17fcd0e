//! What a [`Handle`](super::Handle)'s calls can fail by.

use std::boxed::Box;
use std::error::Error;
use std::fmt;

use crate::driver::Failure;
use cluster_primary::{Gone, NoAnswer, SendError, TypeError, UserMessage};

/// A reload that has completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reloaded {
    /// The reload's number, from 1.
    pub generation: u64,
    /// How many workers were replaced.
    pub replaced: u32,
}

/// Why a reload has not completed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReloadError {
    /// A new worker failed. Workers that had not been replaced were kept.
    #[non_exhaustive]
    Aborted {
        /// The reload's number.
        generation: u64,
        /// The slot of the worker that failed.
        slot: u32,
        /// Why it failed.
        reason: Failure,
        /// How many workers had been replaced.
        replaced: u32,
        /// How many slots still have a worker from before the reload.
        kept: u32,
    },
    /// The cluster ends or has ended, or it keeps no workers.
    Ended,
}

impl fmt::Display for ReloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aborted { generation, slot, reason, replaced, kept } => write!(
                f,
                "reload {generation} was aborted: the replacement worker for slot {slot} failed: {reason} \
                 ({replaced} replaced, {kept} kept)"
            ),
            Self::Ended => Ended.fmt(f),
        }
    }
}

impl Error for ReloadError {}

impl From<Gone> for ReloadError {
    fn from(_: Gone) -> Self {
        Self::Ended
    }
}

impl From<Ended> for ReloadError {
    fn from(_: Ended) -> Self {
        Self::Ended
    }
}

/// The cluster ends or has ended, or it keeps no workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended;

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the cluster ends or has ended, or it keeps no workers")
    }
}

impl Error for Ended {}

impl From<Gone> for Ended {
    fn from(_: Gone) -> Self {
        Self
    }
}

/// Why a request to a worker has no answer that can be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum RequestError {
    /// The request was not sent.
    Send(SendError),
    /// No answer came, or the worker refused.
    NoAnswer(NoAnswer),
    /// The answer is not of the type that was wanted.
    Type {
        /// What does not fit.
        error: TypeError,
        /// The answer.
        answer: Box<UserMessage>,
    },
    /// The cluster has ended.
    Gone,
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send(error) => write!(f, "the worker was not asked: {error}"),
            Self::NoAnswer(error) => write!(f, "the worker gave no answer: {error}"),
            Self::Type { error, .. } => {
                write!(f, "the worker's answer is not what was expected: {error}")
            }
            Self::Gone => Gone.fmt(f),
        }
    }
}

impl Error for RequestError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Send(error) => Some(error),
            Self::NoAnswer(error) => Some(error),
            Self::Type { error, .. } => Some(error),
            Self::Gone => None,
        }
    }
}

impl From<Gone> for RequestError {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}
