//! What can be wrong with a message, or with a state.

use alloc::string::String;
use core::fmt;

/// Why a frame is not a message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// The frame is not of the channel's encoding.
    Malformed {
        /// The encoding: `"JSON"`, `"a structured clone"`, `"postcard"`.
        encoding: &'static str,
        /// What is wrong with it, and where.
        what: String,
    },
    /// A member is missing, or of the wrong kind or range.
    Member {
        /// The member's name.
        name: &'static str,
        /// What it should have been.
        expected: &'static str,
    },
    /// A handle in a handle in a handle: Node wraps one twice at most.
    NestedHandle,
    /// A user's message that nests deeper than 127 levels, else as it should be. What follows it can
    /// be read.
    TooDeep,
    /// A message of the protocol's own that is longer than one needs to be. (Users' messages have the
    /// frame's limit.)
    TooLong {
        /// The limit, in bytes.
        limit: usize,
        /// Its length without what its handle goes with, in bytes.
        length: usize,
    },
    /// There are more values in it than were asked for.
    TooManyValues {
        /// The limit.
        limit: usize,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed { encoding, what } => write!(f, "the frame is not {encoding}: {what}"),
            Self::Member { name, expected } => {
                write!(f, "the message's `{name}` should be {expected}")
            }
            Self::NestedHandle => f.write_str("the message wraps a handle too many times"),
            Self::TooDeep => f.write_str("the message nests deeper than 127 levels"),
            Self::TooLong { limit, length } => write!(
                f,
                "a message of the protocol's own has {length} bytes, which is over the limit of {limit}"
            ),
            Self::TooManyValues { limit } => {
                write!(f, "the message holds more than {limit} values")
            }
        }
    }
}

impl core::error::Error for DecodeError {}

/// Why a message cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// It would look like a message of the protocol's own: its `cmd` starts with `NODE_`.
    Reserved,
    /// The encoding cannot hold it.
    Unsupported {
        /// The encoding: `"JSON"`, `"a structured clone"`, `"postcard"`.
        encoding: &'static str,
        /// What it cannot hold.
        what: String,
    },
    /// A handle in a handle in a handle.
    NestedHandle,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reserved => f.write_str(
                "a message whose `cmd` starts with NODE_ is reserved for the protocol: choose another `cmd`",
            ),
            Self::Unsupported { encoding, what } => {
                write!(f, "the message cannot be written as {encoding}: {what}")
            }
            Self::NestedHandle => f.write_str("the message wraps a handle too many times"),
        }
    }
}

impl core::error::Error for EncodeError {}

/// Why a state is none that a [`Deframer`](crate::Deframer) or a [`Gate`](crate::Gate) can be in.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateError {
    /// A number is one that is never reached.
    OutOfRange {
        /// Which.
        what: &'static str,
    },
    /// What it says is not true of one and the same.
    Contradiction {
        /// What cannot be.
        what: &'static str,
    },
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfRange { what } => write!(f, "a number is out of range: {what}"),
            Self::Contradiction { what } => write!(f, "a contradiction: {what}"),
        }
    }
}

impl core::error::Error for StateError {}
