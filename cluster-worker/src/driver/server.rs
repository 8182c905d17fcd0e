//! A server as the driver sees it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use super::own::OwnFile;
use super::socket::Lent;
use crate::error::ListenError;
use crate::machine::{ListenFailure, Mono};

/// What a server serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Tcp,
    Unix,
    Udp,
}

#[derive(Debug)]
pub(crate) struct Server {
    /// The address as it was asked for.
    pub(crate) name: String,
    pub(crate) kind: Kind,
    /// The most tracked connections that may be open.
    pub(crate) max_connections: Option<usize>,
    pub(crate) stage: Stage,
    /// The application closed it, not a disconnect.
    pub(crate) closed_here: bool,
    pub(crate) local: Option<SocketAddr>,
    /// The socket, if the primary lent one, or it is the worker's own.
    pub(crate) lent: Option<Lent>,
    /// What all users may do with the socket's file (`readableAll`, `writableAll`), as bits of its
    /// mode.
    pub(crate) access: u32,
    /// The file of a socket of the worker's own.
    pub(crate) file: Option<OwnFile>,
    /// Whether the lent socket may have a connection: it reports that once only.
    pub(crate) acceptable: bool,
    /// The last accept failed, because there are no descriptors most likely: when to try again. For the
    /// evented front-end only.
    pub(crate) retry: Option<Mono>,
    /// Connections that the machine holds.
    pub(crate) ready: usize,
    /// Connections that are accepted, but whose frame that says so may not be written yet.
    pub(crate) taken: VecDeque<Taken>,
}

#[derive(Debug)]
pub(crate) enum Stage {
    Asking,
    Open,
    Failed(ListenFailure),
    Closed,
}

#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) fd: OwnedFd,
    pub(crate) tracked: bool,
    /// The frame is written when the channel has been flushed this often.
    pub(crate) flush: u64,
}

impl Server {
    pub(crate) fn new(name: String, kind: Kind, max_connections: Option<usize>) -> Self {
        Self {
            name,
            kind,
            max_connections,
            stage: Stage::Asking,
            closed_here: false,
            local: None,
            lent: None,
            access: 0,
            file: None,
            acceptable: false,
            retry: None,
            ready: 0,
            taken: VecDeque::new(),
        }
    }

    pub(crate) fn listen_error(self, failure: ListenFailure) -> ListenError {
        let address = self.name;
        match failure {
            ListenFailure::Refused { errno } => ListenError::Refused { address, errno },
            ListenFailure::Unusable { errno } => ListenError::Unusable { address, errno },
            ListenFailure::Disconnected => ListenError::Disconnected { address },
            ListenFailure::BadReply => ListenError::BadReply { address },
        }
    }
}
