//! The channel on a Unix socket: how it is made, and how one waits for it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use crate::channel::Channel;
use crate::config::ChannelConfig;
use crate::socket::Socket;

impl Channel<Socket> {
    /// A channel on a connected Unix stream socket, which becomes non-blocking and close-on-exec:
    /// what a worker makes of the descriptor that it inherits (`NODE_CHANNEL_FD`).
    ///
    /// # Errors
    /// `InvalidInput` if it is no stream socket, else what the system says.
    pub fn from_fd(fd: OwnedFd, config: ChannelConfig) -> io::Result<Self> {
        Ok(Self::with_transport(Socket::from_fd(fd)?, config))
    }

    /// A channel, and the other end of it for a child (`stdio: ['ipc']`). Both descriptors are
    /// close-on-exec: the process that starts the child duplicates its end, and drops the original then, or
    /// the end of the child will not be seen.
    ///
    /// # Errors
    /// What the system says, `EMFILE` above all.
    pub fn pair(config: ChannelConfig) -> io::Result<(Self, OwnedFd)> {
        let (socket, theirs) = Socket::pair()?;
        Ok((Self::with_transport(socket, config), theirs))
    }
}

impl AsFd for Channel<Socket> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.transport().as_fd()
    }
}

impl AsRawFd for Channel<Socket> {
    fn as_raw_fd(&self) -> RawFd {
        self.transport().as_raw_fd()
    }
}

/// Readiness is edge-triggered: after `READABLE` call [`recv`](Channel::recv) until it says
/// `WouldBlock` or `Closed`; wait for `WRITABLE` only after [`Flush::Blocked`](crate::Flush).
impl Source for Channel<Socket> {
    fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        SourceFd(&self.as_raw_fd()).register(registry, token, interests)
    }

    fn reregister(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        SourceFd(&self.as_raw_fd()).reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.as_raw_fd()).deregister(registry)
    }
}
