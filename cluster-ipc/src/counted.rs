//! Connections that their sender counts.

use std::fmt;

/// A connection that came with a message, and that its sender counts for as long as this lives.
///
/// Node's `server.close()` waits for connections that were sent away too, and
/// `server.getConnections()` counts them (`NODE_SOCKET_*`; see
/// [`SocketCounts`](cluster_proto::SocketCounts)). Dropping this has the sender told that the
/// connection is closed; the thread may be any.
#[must_use = "dropping it says that the connection is closed"]
pub struct Counted {
    closed: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl Counted {
    /// One that says so by calling `closed`.
    pub fn new(closed: impl FnOnce() + Send + Sync + 'static) -> Self {
        Self { closed: Some(Box::new(closed)) }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(closed) = self.closed.take() {
            closed();
        }
    }
}

impl fmt::Debug for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Counted")
    }
}
