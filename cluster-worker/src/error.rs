//! What can go wrong, a kind of error for each verb.

use std::{error, fmt, io};

use cluster_proto::env::EnvError;
use cluster_proto::{EncodeError, NoAnswer, TypeError, Value};
use rustix::io::Errno;
use serde::de::DeserializeOwned;

/// Why this process cannot take its place as a worker.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// The environment contradicts itself.
    Environment(EnvError),
    /// The descriptor that the environment names is not the channel's.
    Channel {
        /// The descriptor's number.
        fd: i32,
        /// What it is instead.
        problem: ChannelProblem,
    },
    /// The worker has been started before in this process.
    AlreadyStarted,
    /// The operating system would not set the channel up.
    Io(io::Error),
}

/// What is wrong with the inherited descriptor.
#[derive(Debug)]
#[non_exhaustive]
pub enum ChannelProblem {
    /// It is not open.
    NotOpen,
    /// It is not a socket.
    NotASocket,
    /// It is a socket, but not a Unix stream socket.
    NotUnixStream,
    /// It cannot be looked at.
    Io(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(error) => error.fmt(f),
            Self::Channel { fd, problem } => {
                write!(
                    f,
                    "descriptor {fd} should be the cluster's channel, but {problem} (does something \
                     between the primary and this process close it, or has a worker passed its own \
                     environment on?)"
                )
            }
            Self::AlreadyStarted => {
                f.write_str("this process has its worker already: clone that one")
            }
            Self::Io(error) => write!(f, "cannot set up the cluster's channel: {error}"),
        }
    }
}

impl fmt::Display for ChannelProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOpen => f.write_str("it is not open"),
            Self::NotASocket => f.write_str("it is not a socket"),
            Self::NotUnixStream => f.write_str("it is not a Unix stream socket"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl error::Error for StartError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Environment(error) => Some(error),
            Self::Io(error) | Self::Channel { problem: ChannelProblem::Io(error), .. } => {
                Some(error)
            }
            _ => None,
        }
    }
}

impl From<EnvError> for StartError {
    fn from(error: EnvError) -> Self {
        Self::Environment(error)
    }
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Why a server does not listen, or a socket is not bound.
#[derive(Debug)]
#[non_exhaustive]
pub enum ListenError {
    /// The address cannot be read, or its name cannot be resolved.
    Address {
        /// The address.
        address: String,
        /// What is wrong with it.
        source: io::Error,
    },
    /// The primary could not bind it.
    Refused {
        /// The address.
        address: String,
        /// The primary's `errno`, positive.
        errno: i32,
    },
    /// The socket that the primary lent cannot be used, most likely because the address is in use:
    /// a Node primary that shares its sockets leaves it to the worker to find out.
    Unusable {
        /// The address.
        address: String,
        /// The `errno`, positive.
        errno: i32,
    },
    /// The worker is disconnecting or disconnected.
    Disconnected {
        /// The address.
        address: String,
    },
    /// The primary's answer makes no sense.
    BadReply {
        /// The address.
        address: String,
    },
}

impl ListenError {
    /// The `errno`, positive, if there is one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Refused { errno, .. } | Self::Unusable { errno, .. } => Some(*errno),
            Self::Address { source, .. } => source.raw_os_error(),
            Self::Disconnected { .. } | Self::BadReply { .. } => None,
        }
    }

    /// The kind of the [`io::Error`] that it can become.
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            Self::Refused { errno, .. } | Self::Unusable { errno, .. } => {
                io::Error::from_raw_os_error(*errno).kind()
            }
            Self::Address { source, .. } => source.kind(),
            Self::Disconnected { .. } => io::ErrorKind::NotConnected,
            Self::BadReply { .. } => io::ErrorKind::InvalidData,
        }
    }

    /// The address as it was asked for.
    pub fn address(&self) -> &str {
        match self {
            Self::Address { address, .. }
            | Self::Refused { address, .. }
            | Self::Unusable { address, .. }
            | Self::Disconnected { address }
            | Self::BadReply { address } => address,
        }
    }
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot listen on {}: ", self.address())?;
        match self {
            Self::Address { source, .. } => source.fmt(f),
            Self::Refused { errno, .. } => write!(f, "{} (reported by the primary)", Named(*errno)),
            Self::Unusable { errno, .. } => Named(*errno).fmt(f),
            Self::Disconnected { .. } => f.write_str("the worker is disconnected"),
            Self::BadReply { .. } => {
                f.write_str("the primary's answer makes no sense: is it node:cluster's, or ours?")
            }
        }
    }
}

impl error::Error for ListenError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Address { source, .. } => Some(source),
            _ => None,
        }
    }
}

impl From<ListenError> for io::Error {
    fn from(error: ListenError) -> Self {
        Self::new(error.kind(), error)
    }
}

/// An `errno` in words, with its name.
struct Named(i32);

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (words, name) = match Errno::from_raw_os_error(self.0) {
            Errno::ADDRINUSE => ("address already in use", "EADDRINUSE"),
            Errno::ADDRNOTAVAIL => ("address not available", "EADDRNOTAVAIL"),
            Errno::ACCESS => ("permission denied", "EACCES"),
            Errno::PERM => ("operation not permitted", "EPERM"),
            Errno::AFNOSUPPORT => ("address family not supported", "EAFNOSUPPORT"),
            Errno::INVAL => ("invalid argument", "EINVAL"),
            Errno::NOENT => ("no such file or directory", "ENOENT"),
            Errno::NOTDIR => ("not a directory", "ENOTDIR"),
            Errno::NAMETOOLONG => ("name too long", "ENAMETOOLONG"),
            Errno::MFILE => ("too many open files", "EMFILE"),
            Errno::NFILE => ("too many open files in the system", "ENFILE"),
            Errno::BADF => ("bad file descriptor", "EBADF"),
            Errno::NOTSOCK => ("not a socket", "ENOTSOCK"),
            Errno::PROTOTYPE => ("wrong type of socket", "EPROTOTYPE"),
            other => return io::Error::from(other).fmt(f),
        };
        write!(f, "{words} ({name})")
    }
}

/// Why a message was not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SendError {
    /// The worker is disconnected, or about to be.
    Disconnected,
    /// The message is longer than the channel takes.
    TooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// Too much waits to be written.
    QueueFull {
        /// The limit, in bytes.
        limit: usize,
    },
    /// The message cannot be written, or looks like one of the protocol's own.
    Encode(EncodeError),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disconnected => f.write_str("the worker is disconnected"),
            Self::TooLong { limit } => {
                write!(f, "the message is longer than the limit of {limit} bytes")
            }
            Self::QueueFull { limit } => {
                write!(
                    f,
                    "the primary does not read its messages: over {limit} bytes are queued for it"
                )
            }
            Self::Encode(error) => error.fmt(f),
        }
    }
}

impl From<EncodeError> for SendError {
    fn from(error: EncodeError) -> Self {
        Self::Encode(error)
    }
}

impl error::Error for SendError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Encode(error) => Some(error),
            _ => None,
        }
    }
}

/// Why no message can be received.
#[derive(Debug)]
#[non_exhaustive]
pub enum RecvError {
    /// This many messages are lost: more came than may wait to be received, or they nest deeper than
    /// 127 levels. Said once; what waits can be received after it.
    Lost {
        /// How many.
        messages: u64,
    },
    /// The channel broke: the primary sent what is no message. The worker is disconnected.
    Channel(cluster_ipc::RecvError),
    /// A message is not of the type that was wanted.
    Type {
        /// What does not fit.
        error: TypeError,
        /// The message.
        message: Box<Value>,
    },
    /// The operating system would not wait.
    Io(io::Error),
}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { messages } => {
                write!(
                    f,
                    "{messages} messages were dropped: too many were waiting to be received, or they nest \
                     deeper than 127 levels"
                )
            }
            Self::Channel(error) => write!(f, "the channel broke: {error}"),
            Self::Type { error, .. } => {
                write!(f, "a message of the primary's is not what was expected: {error}")
            }
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl error::Error for RecvError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Lost { .. } => None,
            Self::Channel(error) => Some(error),
            Self::Type { error, .. } => Some(error),
            Self::Io(error) => Some(error),
        }
    }
}

impl RecvError {
    /// A message as the type that was wanted.
    pub(crate) fn typed<T: DeserializeOwned>(message: Value) -> Result<T, RecvError> {
        message.decode().map_err(|error| RecvError::Type { error, message: Box::new(message) })
    }
}

/// Why a request to the primary has no answer that can be used.
#[derive(Debug)]
#[non_exhaustive]
pub enum RequestError {
    /// The request was not sent.
    Send(SendError),
    /// No answer came, or one that says that there is none.
    NoAnswer(NoAnswer),
    /// The answer is not of the type that was wanted.
    Type {
        /// What does not fit.
        error: TypeError,
        /// The answer.
        answer: Box<Value>,
    },
    /// The operating system would not wait.
    Io(io::Error),
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send(error) => write!(f, "the primary was not asked: {error}"),
            Self::NoAnswer(error) => write!(f, "the primary gave no answer: {error}"),
            Self::Type { error, .. } => {
                write!(f, "the primary's answer is not what was expected: {error}")
            }
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl error::Error for RequestError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Send(error) => Some(error),
            Self::NoAnswer(error) => Some(error),
            Self::Type { error, .. } => Some(error),
            Self::Io(error) => Some(error),
        }
    }
}

impl RequestError {
    /// The answer as the type that was wanted.
    pub(crate) fn typed<T: DeserializeOwned>(
        answer: Result<Value, NoAnswer>,
    ) -> Result<T, RequestError> {
        let answer = answer.map_err(RequestError::NoAnswer)?;
        answer.decode().map_err(|error| RequestError::Type { error, answer: Box::new(answer) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listen_error_names_the_address_and_keeps_its_kind() {
        let error = ListenError::Refused {
            address: "127.0.0.1:80".into(),
            errno: Errno::ACCESS.raw_os_error(),
        };
        assert_eq!(
            error.to_string(),
            "cannot listen on 127.0.0.1:80: permission denied (EACCES) (reported by the primary)"
        );
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        let error = io::Error::from(error);
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert!(error.to_string().contains("127.0.0.1:80"));
    }
}
