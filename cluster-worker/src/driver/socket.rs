//! Sockets that the primary lends, and those that come out of them.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{SocketFlags, SocketType};

/// A socket that all workers share.
#[derive(Debug)]
pub(crate) enum Lent {
    Listener(OwnedFd),
    /// The application holds it too.
    Udp(Arc<UdpSocket>),
}

impl AsFd for Lent {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Listener(fd) => fd.as_fd(),
            Self::Udp(socket) => socket.as_fd(),
        }
    }
}

impl Lent {
    /// Checks a socket that was bound by the primary, and listens on it.
    ///
    /// `port` is the one that was asked for: libuv keeps it to itself when a port is in use, and a
    /// bare `listen()` would take a random one.
    pub(crate) fn prepare(
        fd: OwnedFd,
        port: Option<u16>,
        backlog: i32,
        udp: bool,
    ) -> Result<(Self, Option<SocketAddr>), Errno> {
        let kind = if udp { SocketType::DGRAM } else { SocketType::STREAM };
        if rustix::net::sockopt::socket_type(&fd)? != kind {
            return Err(Errno::PROTOTYPE);
        }
        let local = SocketAddr::try_from(rustix::net::getsockname(&fd)?).ok();
        if let (Some(asked), Some(bound)) = (port, local.map(|local| local.port()))
            && (bound == 0 || (asked != 0 && asked != bound))
        {
            return Err(Errno::ADDRINUSE);
        }
        // The mode belongs to the socket, which other processes use too: all of Node's are
        // non-blocking, and so this one stays.
        rustix::io::ioctl_fionbio(&fd, true)?;
        if udp {
            return Ok((Self::Udp(Arc::new(UdpSocket::from(fd))), local));
        }
        rustix::net::listen(&fd, backlog)?;
        Ok((Self::Listener(fd), local))
    }
}

/// Accepts a connection from a listener that is non-blocking.
#[cfg(not(target_vendor = "apple"))]
pub(crate) fn accept(listener: &OwnedFd, blocking: bool) -> Result<OwnedFd, Errno> {
    let mode = if blocking { SocketFlags::empty() } else { SocketFlags::NONBLOCK };
    rustix::net::accept_with(listener, mode | SocketFlags::CLOEXEC)
}

/// Accepts a connection from a listener that is non-blocking.
#[cfg(target_vendor = "apple")]
pub(crate) fn accept(listener: &OwnedFd, blocking: bool) -> Result<OwnedFd, Errno> {
    let fd = rustix::net::accept(listener)?;
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&fd, !blocking)?;
    Ok(fd)
}

/// Gives a connection that was handed over the mode that the application expects: it comes in
/// whatever mode the primary left it.
pub(crate) fn set_mode(connection: &OwnedFd, blocking: bool) -> Result<(), Errno> {
    rustix::io::ioctl_fionbio(connection, !blocking)
}
