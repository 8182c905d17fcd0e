//! A handle on its way out.

use std::sync::Arc;

use cluster_proto::HandleKind;
use serde::{Deserialize, Serialize};

/// A handle to be sent beside a message (`subprocess.send(message, handle, options)`).
///
/// It is shared, so that the sender may keep it until the receiver's application has taken it,
/// without a `dup(2)`. The channel drops its share as soon as the handle is written; that of one
/// which may be sent again, when the peer has answered.
///
/// ```
/// use cluster_ipc::{Outgoing, proto::HandleKind};
/// # let connection = std::fs::File::open("/dev/null")?;
/// let fd: std::os::fd::OwnedFd = connection.into();
/// let outgoing = Outgoing::new(HandleKind::NetNative, fd).token(7);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Outgoing<H> {
    /// What it is, in Node's terms.
    pub kind: HandleKind,
    /// The connection key of the `net.Server` that a `net.Socket` came from. Default: none.
    pub key: Option<String>,
    /// The handle itself.
    pub handle: Arc<H>,
    /// Node's option `keepOpen`. Default: false; a `net.Socket` or `net.BoundSocket` sent so is
    /// sent again, three times at most, when the peer says that it did not arrive.
    pub keep_open: bool,
    /// The name under which [`Channel::poll_answer`](crate::Channel::poll_answer) reports what
    /// the peer answered. Default: none, and no report.
    pub token: Option<u64>,
}

impl<H> Outgoing<H> {
    /// That handle, with the defaults for the rest.
    pub fn new(kind: HandleKind, handle: impl Into<Arc<H>>) -> Self {
        Self { kind, key: None, handle: handle.into(), keep_open: false, token: None }
    }

    /// Sets [`key`](Self::key).
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Sets [`keep_open`](Self::keep_open).
    #[must_use]
    pub fn keep_open(mut self) -> Self {
        self.keep_open = true;
        self
    }

    /// Sets [`token`](Self::token).
    #[must_use]
    pub fn token(mut self, token: u64) -> Self {
        self.token = Some(token);
        self
    }

    /// Whether Node would send it again on a NACK.
    pub(crate) fn resend(&self) -> bool {
        !self.keep_open && matches!(self.kind, HandleKind::NetSocket | HandleKind::NetBoundSocket)
    }
}

impl<H> Clone for Outgoing<H> {
    fn clone(&self) -> Self {
        Self {
            kind: self.kind.clone(),
            key: self.key.clone(),
            handle: Arc::clone(&self.handle),
            keep_open: self.keep_open,
            token: self.token,
        }
    }
}

/// What the peer answered to a handle that was sent with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandleAnswer {
    /// The [`Outgoing::token`], or [`Channel::probe`](crate::Channel::probe)'s.
    pub token: u64,
    /// `NODE_HANDLE_ACK`: the peer has the handle, and its message. Otherwise `NODE_HANDLE_NACK`
    /// for the last time: it has neither.
    pub delivered: bool,
}
