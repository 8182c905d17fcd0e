//! A process goes on as another program: what a primary, its supervisor and its control server hold
//! is written down, and taken up by the image that `execve(2)` puts in the place of this one.
//!
//! The process id stays, so workers keep their parent; descriptors stay, so neither they nor clients
//! notice. What is written down is text, in a [format](FORMAT) with a number, and the descriptors that
//! it refers to by their places in a list. How both get to the next image is the program's affair.
//!
//! ```text
//!   this image                                            the next one
//!   ──────────                                            ────────────
//!   ready() until it says None
//!   state() ──► Frozen { text, fds }
//!                 │    │  duplicates: nothing is disturbed,
//!                 │    │  and this image can go on
//!                 │    └─► (a child of the new program loads a copy, and
//!                 │         abandon()s it: it can be done)
//!                 ▼
//!               execve(2), descriptors not close-on-exec ──► from_state(text, fds)
//!                                                              opens a poll, watches all again,
//!   messages half read, half written,                          takes every source for ready,
//!   connections on their way, deadlines,                       goes on by the same clock
//!   answers that are awaited ════════════════════════════════► next() …
//! ```
//!
//! # What goes over
//! Everything that workers and clients could miss: settings and counters, processes that are not
//! waited for yet (also those that have ended meanwhile), channels with their half-read and
//! half-written frames, pipes, listeners and the files of Unix-domain sockets, the groups of
//! [`Placement::Kernel`](crate::Placement::Kernel) with their maps, connections that wait or are on
//! their way, and every deadline.
//!
//! # What does not
//! - What is in the program's own hands: events that were taken, descriptors that came with them
//!   (they are close-on-exec, and so a worker that [counts](crate::EventHandle::counted) a connection is told that
//!   it is closed), a [`Remote`](crate::Remote), what it [watches](crate::Primary::watch).
//! - [`InspectPort::With`](crate::InspectPort::With): a function cannot be written down. It is an
//!   [error](StateError::InspectPort).
//!
//! A worker with [`Settings::die_with_primary`](crate::Settings::die_with_primary) dies with the *thread* that forked it: the one that executes
//! the next image must be the same (the main thread, best).

pub(crate) mod text;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::id::WorkerId;

/// The number of the format that is written.
///
/// | format | what is new |
/// | --- | --- |
/// | 1 | |
/// | 2 | what is known of workers' health and of the times that they take to answer, reports of connections taken, kept listeners |
/// | 3 | how workers leave, step by step; Node workers' agents |
pub const FORMAT: u32 = 3;

/// The oldest that is read.
pub const OLDEST_FORMAT: u32 = 1;

/// The first descriptor that may be used for something: lower ones are the standard streams.
const FIRST: RawFd = 3;

/// All that something holds: a primary, say.
#[derive(Debug)]
pub struct Frozen {
    /// What it knows, as one line of JSON.
    pub text: String,
    /// The descriptors that the text refers to, by their places. They are duplicates, and
    /// close-on-exec: dropping them disturbs nothing.
    pub fds: Vec<OwnedFd>,
}

/// Why a state could not be written down, or was not taken up. Nothing is left half done.
#[derive(Debug)]
#[non_exhaustive]
pub enum StateError {
    /// Events wait to be taken.
    EventsWait,
    /// The settings say by a function which port a worker's inspector has.
    InspectPort,
    /// The settings have a policy of the program's own, of which nothing can be written down.
    CustomPolicy {
        /// Its name.
        name: String,
    },
    /// It is no text of ours.
    Text {
        /// What is wrong with it.
        what: String,
    },
    /// It is the state of something else.
    OtherKind {
        /// What was expected.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// It is of a format that is not known yet: a later version wrote it.
    Newer {
        /// Its format.
        format: u32,
        /// The newest that is known.
        newest: u32,
    },
    /// It is of a format that is not read any more.
    Older {
        /// Its format.
        format: u32,
        /// The oldest that is read.
        oldest: u32,
    },
    /// It speaks of a descriptor that is not there, or of one twice that can have one owner only.
    Descriptor {
        /// Its place in the list.
        place: usize,
    },
    /// What it says of a worker's channel cannot be.
    Channel {
        /// The worker.
        worker: WorkerId,
        /// Why.
        error: cluster_ipc::StateError,
    },
    /// What it says cannot be.
    Contradiction {
        /// What cannot be.
        what: String,
    },
    /// The system refuses an operation that it requires.
    System {
        /// What was asked for.
        what: &'static str,
        /// Why there was none.
        error: io::Error,
    },
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EventsWait => f.write_str("events wait that must be taken first"),
            Self::InspectPort => {
                f.write_str("a function that chooses inspectors' ports cannot be handed over")
            }
            Self::CustomPolicy { name } => write!(
                f,
                "a primary with the custom policy {name:?} cannot be handed over: only the policies \
                 with a name of their own can (rr, least-connections, sticky, random)"
            ),
            Self::Text { what } => write!(f, "the state cannot be read: {what}"),
            Self::OtherKind { expected, found } => {
                write!(f, "this is the state of a {found:?}, and that of a {expected:?} is wanted")
            }
            Self::Newer { format, newest } => {
                write!(
                    f,
                    "the state is of format {format}; this version knows those up to {newest}"
                )
            }
            Self::Older { format, oldest } => {
                write!(f, "the state is of format {format}; this version knows those from {oldest}")
            }
            Self::Descriptor { place } => {
                write!(f, "descriptor {place} of the state is not there, or has another owner")
            }
            Self::Channel { worker, error } => {
                write!(f, "the channel of worker {worker} cannot be put together: {error}")
            }
            Self::Contradiction { what } => write!(f, "the state cannot be: {what}"),
            Self::System { what, error } => write!(f, "no {what}: {error}"),
        }
    }
}

impl std::error::Error for StateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Channel { error, .. } => Some(error),
            Self::System { error, .. } => Some(error),
            _ => None,
        }
    }
}

impl StateError {
    /// [`StateError::Contradiction`].
    pub fn contradiction(what: impl fmt::Display) -> Self {
        Self::Contradiction { what: what.to_string() }
    }

    /// Makes [`StateError::System`] of an I/O error.
    pub fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::System { what, error }
    }
}

/// The first look: by what it is, and in which format.
#[derive(Deserialize)]
struct Head {
    format: u32,
    of: String,
}

#[derive(Serialize)]
struct Written<'a, T> {
    format: u32,
    of: &'static str,
    state: &'a T,
}

#[derive(Deserialize)]
struct Read<T> {
    state: T,
}

/// Writes the state of a component as text, with its kind and the [format](FORMAT).
///
/// # Errors
/// [`StateError::Text`] if it cannot be written as JSON.
pub fn write<T: Serialize>(of: &'static str, state: &T) -> Result<String, StateError> {
    let written = Written { format: FORMAT, of, state };
    serde_json::to_string(&written).map_err(|error| StateError::Text { what: error.to_string() })
}

/// Reads a state of that kind, in any format from [`OLDEST_FORMAT`] on.
///
/// # Errors
/// [`StateError`]: the text is no state, of another kind, or of a format that this version does not know.
pub fn read<T: DeserializeOwned>(of: &'static str, text: &str) -> Result<T, StateError> {
    let unreadable = |error: serde_json::Error| StateError::Text { what: error.to_string() };
    let Head { format, of: found } = serde_json::from_str(text).map_err(unreadable)?;
    if format > FORMAT {
        return Err(StateError::Newer { format, newest: FORMAT });
    }
    if format < OLDEST_FORMAT {
        return Err(StateError::Older { format, oldest: OLDEST_FORMAT });
    }
    if found != of {
        return Err(StateError::OtherKind { expected: of, found });
    }
    let Read { state } = serde_json::from_str(text).map_err(unreadable)?;
    Ok(state)
}

/// Descriptors that are handed to the next image of the process.
#[derive(Debug, Default)]
pub struct Leaving {
    fds: Vec<OwnedFd>,
    places: HashMap<RawFd, usize>,
}

impl Leaving {
    /// The place of a descriptor in the list. One that is in the list already keeps its place.
    ///
    /// # Errors
    /// [`StateError::System`] if it cannot be duplicated.
    pub fn place(&mut self, fd: impl AsFd) -> Result<usize, StateError> {
        let fd = fd.as_fd();
        if let Some(place) = self.places.get(&fd.as_raw_fd()) {
            return Ok(*place);
        }
        let duplicate = fcntl_dupfd_cloexec(fd, FIRST);
        let duplicate = duplicate
            .map_err(|errno| StateError::system("duplicate of a descriptor")(errno.into()))?;
        self.fds.push(duplicate);
        self.places.insert(fd.as_raw_fd(), self.fds.len() - 1);
        Ok(self.fds.len() - 1)
    }

    /// The descriptors, in the order of their places.
    pub fn into_fds(self) -> Vec<OwnedFd> {
        self.fds
    }
}

/// Descriptors that the previous image of the process has handed over.
#[derive(Debug)]
pub struct Arriving {
    fds: Vec<Option<Arc<OwnedFd>>>,
}

impl Arriving {
    /// Takes the descriptors, and makes them close-on-exec.
    ///
    /// # Errors
    /// [`StateError::System`] if one is not open.
    pub fn new(fds: Vec<OwnedFd>) -> Result<Self, StateError> {
        for fd in &fds {
            let set = fcntl_setfd(fd, FdFlags::CLOEXEC);
            set.map_err(|errno| StateError::system("close-on-exec descriptor")(errno.into()))?;
        }
        Ok(Self { fds: fds.into_iter().map(|fd| Some(Arc::new(fd))).collect() })
    }

    /// The descriptor at that place, to be shared with other owners.
    ///
    /// # Errors
    /// [`StateError::Descriptor`] if there is none, or it was [taken](Self::take).
    pub fn share(&self, place: usize) -> Result<Arc<OwnedFd>, StateError> {
        let fd = self.fds.get(place).and_then(Option::as_ref);
        fd.map(Arc::clone).ok_or(StateError::Descriptor { place })
    }

    /// The descriptor at that place, which must have no other owner.
    ///
    /// # Errors
    /// [`StateError::Descriptor`] if there is none, or it has another owner.
    pub fn take(&mut self, place: usize) -> Result<OwnedFd, StateError> {
        let fd = self.fds.get_mut(place).and_then(Option::take);
        fd.and_then(Arc::into_inner).ok_or(StateError::Descriptor { place })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_that_is_not_known_is_refused_by_its_number() {
        let read = |text: &str| read::<u32>("primary", text);
        assert!(matches!(read(r#"{"format":2,"of":"primary","state":7}"#), Ok(7)));
        assert!(matches!(read(r#"{"format":1,"of":"primary","state":7}"#), Ok(7)));
        let newer = read(r#"{"format":4,"of":"primary","state":{"what":"unknown"}}"#);
        assert!(matches!(newer, Err(StateError::Newer { format: 4, newest: 3 })), "{newer:?}");
        let older = read(r#"{"format":0,"of":"primary","state":7}"#);
        assert!(matches!(older, Err(StateError::Older { format: 0, oldest: 1 })), "{older:?}");
        let other = read(r#"{"format":2,"of":"control","state":7}"#);
        assert!(matches!(other, Err(StateError::OtherKind { .. })), "{other:?}");
        for garbage in ["", "{}", "null", r#"{"format":2,"of":"primary","state":"x"}"#] {
            assert!(matches!(read(garbage), Err(StateError::Text { .. })), "{garbage}");
        }
    }

    #[test]
    fn a_descriptor_has_one_place_and_one_owner() {
        let null = std::fs::File::open("/dev/null").unwrap();
        let mut leaving = Leaving::default();
        let places = [leaving.place(&null).unwrap(), leaving.place(&null).unwrap()];
        assert_eq!(places, [0, 0]);
        let mut arriving = Arriving::new(leaving.into_fds()).unwrap();
        let shared = arriving.share(0).unwrap();
        assert!(matches!(arriving.take(0), Err(StateError::Descriptor { place: 0 })));
        drop(shared);
        assert!(matches!(arriving.share(0), Err(StateError::Descriptor { place: 0 })));
        assert!(matches!(arriving.take(1), Err(StateError::Descriptor { place: 1 })));
    }
}
