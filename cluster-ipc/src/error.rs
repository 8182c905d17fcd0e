//! What can go wrong on a channel.

use std::{error, fmt, io};

use cluster_proto::{self as proto, DecodeError, EncodeError, FrameError};

/// Why a message was not queued.
#[derive(Debug)]
#[non_exhaustive]
pub enum SendError {
    /// It cannot be written in the channel's encoding, or is the channel's own to send
    /// (a handle's wrapping, an acknowledgement).
    Encode(EncodeError),
    /// Its frame is longer than [`max_frame`](crate::ChannelConfig::max_frame).
    TooLong {
        /// The limit, in bytes.
        limit: usize,
        /// The frame's length, in bytes.
        length: usize,
    },
    /// The queue has no room for it: the peer does not read, or too slowly.
    QueueFull {
        /// The [`queue_limit`](crate::ChannelConfig::queue_limit), in bytes.
        limit: usize,
    },
    /// The peer is gone, or a [`RecvError`] ended the channel.
    Closed,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Encode(error) => error.fmt(f),
            Self::TooLong { limit, length } => {
                write!(f, "a message of {length} bytes is over the limit of {limit}")
            }
            Self::QueueFull { limit } => {
                write!(
                    f,
                    "the peer does not read: the channel's queue has no room left of its {limit} bytes"
                )
            }
            Self::Closed => f.write_str("the channel is closed"),
        }
    }
}

impl error::Error for SendError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Encode(error) => Some(error),
            Self::TooLong { .. } | Self::QueueFull { .. } | Self::Closed => None,
        }
    }
}

impl From<EncodeError> for SendError {
    fn from(error: EncodeError) -> Self {
        Self::Encode(error)
    }
}

/// Why a message cannot be received. The channel is dead after any of them but
/// [`TooDeep`](Self::TooDeep).
#[derive(Debug)]
#[non_exhaustive]
pub enum RecvError {
    /// A frame is longer than [`max_frame`](crate::ChannelConfig::max_frame).
    Frame(FrameError),
    /// A frame is no message.
    Decode(DecodeError),
    /// A user's message nests too deep, and is passed over; what follows it can be received.
    TooDeep,
    /// The peer answered for a handle that it was not sent.
    UnexpectedAnswer,
    /// The peer sends handles and does not read what they are answered.
    TooManyAnswers {
        /// How many answers may wait to be written.
        limit: usize,
    },
    /// The peer sent more handles than may wait for their frame.
    TooManyHandles {
        /// The [`max_handles`](crate::ChannelConfig::max_handles).
        limit: usize,
    },
    /// The peer sent more handles that came with no message than it [may
    /// have](crate::Channel::keep_unexpected).
    TooManyUnexpected {
        /// How many it may send.
        limit: u64,
    },
    /// The peer changed to a version of the native wire that this crate does not speak, and that
    /// it was not told to.
    UnknownVersion {
        /// That version.
        version: u32,
    },
    /// The stream ended within a frame.
    ClosedInFrame {
        /// How many bytes of it had come.
        bytes: usize,
    },
    /// The transport failed.
    Io(io::Error),
}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Frame(error) => error.fmt(f),
            Self::Decode(error) => error.fmt(f),
            Self::TooDeep => DecodeError::TooDeep.fmt(f),
            Self::UnexpectedAnswer => cluster_proto::UnexpectedAnswer.fmt(f),
            Self::TooManyAnswers { limit } => {
                write!(f, "the peer leaves more than {limit} handle answers unread")
            }
            Self::TooManyHandles { limit } => {
                write!(f, "the peer sent more than {limit} handles without their frame")
            }
            Self::TooManyUnexpected { limit } => {
                write!(f, "the peer sent more than {limit} descriptors that belong to no message")
            }
            Self::UnknownVersion { version } => {
                let newest = cluster_proto::native::VERSION;
                write!(
                    f,
                    "the peer speaks version {version} of the native wire; 1 to {newest} are known"
                )
            }
            Self::ClosedInFrame { bytes } => {
                write!(f, "the channel was closed {bytes} bytes into a frame")
            }
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl error::Error for RecvError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Frame(error) => Some(error),
            Self::Decode(error) => Some(error),
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<FrameError> for RecvError {
    fn from(error: FrameError) -> Self {
        Self::Frame(error)
    }
}

impl From<DecodeError> for RecvError {
    fn from(error: DecodeError) -> Self {
        match error {
            DecodeError::TooDeep => Self::TooDeep,
            error => Self::Decode(error),
        }
    }
}

/// Why a [`ChannelState`](crate::ChannelState) is none that a channel can be in, or does not belong
/// to the handles that are there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StateError {
    /// A number is one that is never reached.
    OutOfRange {
        /// Which.
        what: &'static str,
    },
    /// What it says is not true of one and the same channel.
    Contradiction {
        /// What cannot be, or which two do not agree.
        what: &'static str,
    },
    /// There are more handles than it speaks of, or fewer.
    HandleCount {
        /// Of how many it speaks.
        expected: usize,
        /// How many there are.
        given: usize,
    },
    /// A handle that the channel received has another owner too.
    HandleShared {
        /// Its number.
        number: usize,
    },
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfRange { what } => write!(f, "a number is out of range: {what}"),
            Self::Contradiction { what } => write!(f, "a contradiction: {what}"),
            Self::HandleCount { expected, given } => {
                write!(f, "the state speaks of {expected} handles, and there are {given}")
            }
            Self::HandleShared { number } => {
                write!(f, "handle {number} was received, and has another owner")
            }
        }
    }
}

impl error::Error for StateError {}

impl From<proto::StateError> for StateError {
    fn from(error: proto::StateError) -> Self {
        match error {
            proto::StateError::OutOfRange { what } => Self::OutOfRange { what },
            proto::StateError::Contradiction { what } => Self::Contradiction { what },
            _ => Self::Contradiction { what: "a deframer or a gate" },
        }
    }
}
