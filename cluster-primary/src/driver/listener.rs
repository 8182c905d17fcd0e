//! Servers' sockets.

mod state;

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use cluster_sched::Mono;
use serde::{Deserialize, Serialize};

use super::rights::Rights;
use super::socket_file::SocketFile;

pub(super) use state::ListenerState;

/// How long a closing server waits for free descriptors, to accept what clients already consider
/// connected; and the pause between attempts.
pub(super) const CLOSE_PATIENCE: Duration = Duration::from_secs(5);
pub(super) const CLOSE_PAUSE: Duration = Duration::from_millis(10);

/// A server whose socket is about to be closed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Closing {
    /// How many connections may still be accepted first.
    pub(super) most: usize,
    /// When to try again.
    pub(super) again: Mono,
    pub(super) until: Mono,
}

/// A server's socket.
pub(super) struct Listener {
    pub(super) fd: Arc<OwnedFd>,
    /// Workers accept from it themselves.
    pub(super) shared: bool,
    pub(super) file: Option<SocketFile>,
    /// The rights with which it was created and its file will be removed, unless they are the primary's.
    pub(super) rights: Option<Rights>,
    /// Until when accepting pauses because the system was out of descriptors or memory.
    pub(super) paused_until: Option<Mono>,
}
