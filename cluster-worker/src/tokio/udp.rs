//! UDP sockets.

use std::ops::Deref;

use super::opened::Opened;
use crate::driver::Lent;
use crate::error::ListenError;

/// A [`tokio::net::UdpSocket`] that all workers receive from: each datagram goes to one of them.
/// Dropping it closes it in this worker. A disconnect does not, and a task that waits for datagrams is not notified:
/// wait for [`shutdown`](super::shutdown) too, and drop it then, lest it take what is for the successor.
#[derive(Debug)]
pub struct UdpSocket {
    socket: tokio::net::UdpSocket,
    /// It goes after the socket.
    _opened: Opened,
}

impl UdpSocket {
    pub(super) fn of(opened: Opened) -> Result<Self, ListenError> {
        let socket = opened.shared.with(|core| {
            match core.servers.get(&opened.server).and_then(|server| server.lent.as_ref()) {
                Some(Lent::Udp(socket)) => Some(socket.try_clone()),
                _ => None,
            }
        });
        // It is gone already if a disconnect came in between.
        let Some(socket) = socket else {
            return Err(ListenError::Disconnected { address: String::new() });
        };
        let socket = socket.and_then(tokio::net::UdpSocket::from_std);
        let socket = socket.map_err(|error| opened.unusable(&error))?;
        Ok(Self { socket, _opened: opened })
    }
}

impl Deref for UdpSocket {
    type Target = tokio::net::UdpSocket;

    fn deref(&self) -> &tokio::net::UdpSocket {
        &self.socket
    }
}
