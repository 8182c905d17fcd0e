//! The Unix stream socket.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use cluster_proto::native;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};

use crate::transport::{RecvMeta, Transport};

/// The most descriptors that Linux lets one write carry (`SCM_MAX_FD`), and so the most that come
/// with one read.
const MAX_SENT: usize = native::MAX_CONNECTIONS;

/// What may be written before it is read, in bytes, if the system lets us choose.
const SEND_BUFFER: usize = 256 << 10;

/// A non-blocking Unix stream socket that passes descriptors by `SCM_RIGHTS`.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
}

impl Socket {
    /// Takes a connected stream socket: makes it non-blocking and close-on-exec.
    ///
    /// Of a descriptor that was inherited by its number (`NODE_CHANNEL_FD`) the caller makes the
    /// `OwnedFd`, as only the caller knows that nothing else owns it.
    ///
    /// # Errors
    /// `InvalidInput` if it is no stream socket, else what the system says.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        if rustix::net::sockopt::socket_type(&fd)? != SocketType::STREAM {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a stream socket"));
        }
        close_on_exec(&fd)?;
        widen(&fd);
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
        widen(&theirs);
        Ok((Self::from_fd(ours)?, theirs))
    }
}

/// Makes room for more than the system's default, so that fewer parts of a large message have to be
/// waited for; not for so much that it leaves the processor's caches. A wish, no need.
fn widen(fd: &OwnedFd) {
    // Otherwise the system's default stays.
    let _ = rustix::net::sockopt::set_socket_send_buffer_size(fd, SEND_BUFFER);
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
        // Per call: every process that shares the open file description can clear O_NONBLOCK.
        #[cfg(not(target_vendor = "apple"))]
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        #[cfg(target_vendor = "apple")]
        let flags = SendFlags::DONTWAIT;
        let too_many = || io::Error::new(io::ErrorKind::InvalidInput, "too many descriptors");
        let Some(first) = handles.first() else {
            return Ok(rustix::net::send(&self.fd, bytes, flags)?);
        };
        let mut fds = [first.as_fd(); MAX_SENT];
        let fds = fds.get_mut(..handles.len()).ok_or_else(too_many)?;
        for (fd, handle) in fds.iter_mut().zip(handles) {
            *fd = handle.as_fd();
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_SENT))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(too_many());
        }
        Ok(rustix::net::sendmsg(&self.fd, &[IoSlice::new(bytes)], &mut control, flags)?)
    }

    fn recv(&mut self, buf: &mut [u8], handles: &mut Vec<OwnedFd>) -> io::Result<RecvMeta> {
        #[cfg(not(target_vendor = "apple"))]
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        #[cfg(target_vendor = "apple")]
        let flags = RecvFlags::DONTWAIT;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_SENT))];
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

/// It stays non-blocking and close-on-exec.
impl From<Socket> for OwnedFd {
    fn from(socket: Socket) -> Self {
        socket.fd
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use rustix::net::sockopt::socket_send_buffer_size;

    use super::*;

    #[test]
    fn a_socket_that_was_made_blocking_does_not_block() {
        let (mut ours, theirs) = Socket::pair().unwrap();
        rustix::io::ioctl_fionbio(&ours, false).unwrap();
        let would_block = |result: io::Result<usize>| {
            result.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
        };
        let mut handles = Vec::new();
        assert!(would_block(ours.recv(&mut [0; 16], &mut handles).map(|meta| meta.bytes)));
        while ours.send(&[0; 4096], &[]).is_ok() {}
        assert!(would_block(ours.send(&[0; 4096], &[])));
        assert!(would_block(ours.send(&[0; 4096], &[&theirs])));
    }

    #[test]
    fn both_ends_take_more_than_by_default() {
        let (fresh, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
        let by_default = socket_send_buffer_size(&fresh).unwrap();
        let (ours, theirs) = Socket::pair().unwrap();
        for end in [ours.as_fd(), theirs.as_fd()] {
            assert!(socket_send_buffer_size(end).unwrap() > by_default);
        }
    }
}
