//! A client's connection, of whatever protocol.

use std::io;
use std::sync::atomic::AtomicBool;

/// A connection of some protocol.
pub(super) trait Connection: Send {
    /// Sends a request and reads the whole response; `last` tells the server that no other follows.
    /// Whether the connection stays open.
    fn ask(&mut self, last: bool) -> Result<bool, Failure>;

    /// Waits for the server to close the connection, until `over` is set and nothing comes any more.
    /// Whether the server closed it as the protocol wants it.
    fn wait_for_close(&mut self, over: &AtomicBool) -> bool;
}

/// Why there is no response.
#[derive(Debug)]
pub(super) enum Failure {
    /// The connection was closed before the server took the request, as any server may do with one
    /// that it keeps: proxies send such a request again.
    Closed,
    Lost(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Lost(error.to_string())
    }
}
