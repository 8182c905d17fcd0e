//! Sockets that the primary lends, and those that come out of them.

use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::SocketType;

/// A socket that all workers share.
#[derive(Debug)]
pub(crate) enum Lent {
    Listener(OwnedFd),
    /// A listener that the runtime waits for.
    #[cfg(feature = "tokio")]
    Waited(Arc<Waited>),
    /// The application holds it too.
    Udp(Arc<UdpSocket>),
}

/// What the runtime waits with. When the last holder drops it, the socket is closed.
#[cfg(feature = "tokio")]
pub(crate) type Waited = tokio::io::unix::AsyncFd<OwnedFd>;

/// Has the runtime that is entered wait until there is something to read.
#[cfg(feature = "tokio")]
#[allow(deprecated, reason = "its successor is unsafe, for whatever might be exchanged meanwhile")]
pub(crate) fn waited_for(descriptor: OwnedFd) -> std::io::Result<Waited> {
    Waited::with_interest(descriptor, tokio::io::Interest::READABLE)
}

impl AsFd for Lent {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Listener(fd) => fd.as_fd(),
            #[cfg(feature = "tokio")]
            Self::Waited(listener) => listener.get_ref().as_fd(),
            Self::Udp(socket) => socket.as_fd(),
        }
    }
}

impl Lent {
    /// The listener, if it is one.
    pub(super) fn listener(&self) -> Option<&OwnedFd> {
        match self {
            Self::Listener(fd) => Some(fd),
            #[cfg(feature = "tokio")]
            Self::Waited(listener) => Some(listener.get_ref()),
            Self::Udp(_) => None,
        }
    }

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

/// Accepts a connection from a listener that is non-blocking; `None` if none waits.
///
/// # Errors
/// What says that the listener, or this process, cannot accept: `EMFILE`, `ENFILE`, `ENOBUFS`,
/// `ENOMEM`, `EINVAL` of a listener that was shut down, and the like. What waits there still waits.
pub(crate) fn accept(listener: &OwnedFd, blocking: bool) -> Result<Option<OwnedFd>, Errno> {
    // Linux makes the socket first, and then sees that the queue is empty: asking first costs a tenth.
    first_alive(
        || if waits(listener) { accept_once(listener, blocking) } else { Err(Errno::AGAIN) },
    )
}

/// Whether there is a connection to accept, or something wrong, which accepting will tell.
pub(crate) fn waits(listener: &OwnedFd) -> bool {
    let mut listener = [PollFd::new(listener, PollFlags::IN)];
    !matches!(poll(&mut listener, Some(&Timespec::default())), Ok(0))
}

/// Passes over connections that have failed before they were accepted: each attempt takes one, so
/// that this ends. To wait instead would be to wait for an event that is spent.
fn first_alive<T>(mut accept: impl FnMut() -> Result<T, Errno>) -> Result<Option<T>, Errno> {
    loop {
        match accept() {
            Ok(connection) => return Ok(Some(connection)),
            Err(Errno::AGAIN) => return Ok(None),
            Err(Errno::INTR | Errno::CONNABORTED | Errno::PROTO) => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(not(target_vendor = "apple"))]
fn accept_once(listener: &OwnedFd, blocking: bool) -> Result<OwnedFd, Errno> {
    use rustix::net::SocketFlags;

    let mode = if blocking { SocketFlags::empty() } else { SocketFlags::NONBLOCK };
    rustix::net::accept_with(listener, mode | SocketFlags::CLOEXEC)
}

#[cfg(target_vendor = "apple")]
fn accept_once(listener: &OwnedFd, blocking: bool) -> Result<OwnedFd, Errno> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts(results: &[Result<u8, Errno>]) -> (Result<Option<u8>, Errno>, usize) {
        let mut left = results.iter();
        let found = first_alive(|| *left.next().expect("it stops"));
        (found, left.len())
    }

    #[test]
    fn passes_over_connections_that_are_gone() {
        let gone = [Err(Errno::CONNABORTED), Err(Errno::INTR), Err(Errno::CONNABORTED)];
        assert_eq!(attempts(&[&gone[..], &[Ok(7), Ok(8)]].concat()), (Ok(Some(7)), 1));
        assert_eq!(attempts(&[&gone[..], &[Err(Errno::AGAIN), Ok(8)]].concat()), (Ok(None), 1));
    }

    #[test]
    fn tells_of_what_does_not_go_away() {
        for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::INVAL] {
            assert_eq!(attempts(&[Err(Errno::INTR), Err(errno), Ok(8)]), (Err(errno), 1));
        }
    }
}
