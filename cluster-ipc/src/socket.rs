//! The Unix stream socket.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

use crate::transport::{RecvMeta, Transport};

/// The most descriptors that Linux lets one write carry (`SCM_MAX_FD`).
const MAX_SENT: usize = 253;
/// Room for the descriptors of one read. A frame of Node's has one; there is room for more so
/// that a peer's superfluous ones are seen and counted. What does not fit the kernel closes.
const MAX_RECEIVED: usize = 4;

/// A non-blocking Unix stream socket that passes descriptors by `SCM_RIGHTS`.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
}

impl Socket {
    /// Takes a connected stream socket: makes it non-blocking and close-on-exec.
    ///
    /// Of a descriptor that was inherited by its number (`NODE_CHANNEL_FD`) the caller makes the
    /// `OwnedFd`, as only the caller knows that nobody else owns it.
    ///
    /// # Errors
    /// `InvalidInput` if it is no stream socket, else what the system says.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        if rustix::net::sockopt::socket_type(&fd)? != SocketType::STREAM {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a stream socket"));
        }
        close_on_exec(&fd)?;
        let flags = rustix::fs::fcntl_getfl(&fd)?;
        rustix::fs::fcntl_setfl(&fd, flags | rustix::fs::OFlags::NONBLOCK)?;
        #[cfg(target_vendor = "apple")]
        rustix::net::sockopt::set_socket_nosigpipe(&fd, true)?;
        Ok(Self { fd })
    }

    /// A connected pair: this end, and a blocking one for a child. Both are close-on-exec.
    ///
    /// # Errors
    /// What the system says, `EMFILE` above all.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        #[cfg(not(target_vendor = "apple"))]
        let flags = SocketFlags::CLOEXEC;
        #[cfg(target_vendor = "apple")]
        let flags = SocketFlags::empty();
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        close_on_exec(&theirs)?;
        Ok((Self::from_fd(ours)?, theirs))
    }
}

fn close_on_exec(fd: &OwnedFd) -> io::Result<()> {
    let flags = rustix::io::fcntl_getfd(fd)?;
    if !flags.contains(rustix::io::FdFlags::CLOEXEC) {
        rustix::io::fcntl_setfd(fd, flags | rustix::io::FdFlags::CLOEXEC)?;
    }
    Ok(())
}

impl Transport for Socket {
    type Handle = OwnedFd;

    fn send(&mut self, bytes: &[u8], handles: &[&OwnedFd]) -> io::Result<usize> {
        #[cfg(not(target_vendor = "apple"))]
        let flags = SendFlags::NOSIGNAL;
        #[cfg(target_vendor = "apple")]
        let flags = SendFlags::empty();
        if handles.is_empty() {
            return Ok(rustix::net::send(&self.fd, bytes, flags)?);
        }
        // All but always it is one.
        let (one, many);
        let fds: &[BorrowedFd<'_>] = if let [handle] = handles {
            one = [handle.as_fd()];
            &one
        } else {
            many = handles.iter().map(|fd| fd.as_fd()).collect::<Vec<_>>();
            &many
        };
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_SENT))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors"));
        }
        Ok(rustix::net::sendmsg(&self.fd, &[IoSlice::new(bytes)], &mut control, flags)?)
    }

    fn recv(&mut self, buf: &mut [u8], handles: &mut Vec<OwnedFd>) -> io::Result<RecvMeta> {
        #[cfg(not(target_vendor = "apple"))]
        let flags = RecvFlags::CMSG_CLOEXEC;
        #[cfg(target_vendor = "apple")]
        let flags = RecvFlags::empty();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_RECEIVED))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received =
            rustix::net::recvmsg(&self.fd, &mut [IoSliceMut::new(buf)], &mut control, flags)?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                for fd in fds {
                    #[cfg(target_vendor = "apple")]
                    close_on_exec(&fd)?;
                    handles.push(fd);
                }
            }
        }
        let truncated = received.flags.contains(ReturnFlags::CTRUNC);
        Ok(RecvMeta { bytes: received.bytes, truncated })
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}
