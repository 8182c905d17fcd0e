//! What a descriptor is, asked of the kernel and not of its sender.

use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};

use cluster_proto::{DgramType, HandleKind};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType, getpeername, getsockname, sockopt};

use crate::outgoing::Outgoing;

/// A descriptor, as the kernel knows it: the way from a received handle to a socket of the standard
/// library. A peer can call a descriptor what it likes, and send any.
///
/// ```
/// use cluster_ipc::AnySocket;
/// # let received: std::os::fd::OwnedFd = std::net::TcpListener::bind("127.0.0.1:0")?.into();
/// match AnySocket::from(received) {
///     AnySocket::TcpListener(listener) => drop(listener.accept_later()),
///     other => println!("not what was agreed on: {other:?}"),
/// }
/// # trait Later { fn accept_later(&self) {} }
/// # impl Later for std::net::TcpListener {}
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// The socket is in the state its sender left it, which with Node is non-blocking; think before you
/// [change](Self::set_nonblocking) that.
#[derive(Debug)]
#[non_exhaustive]
pub enum AnySocket {
    /// A listening TCP socket.
    TcpListener(TcpListener),
    /// A TCP socket that does not listen: connected, or only bound. (Where the kernel does not say whether a
    /// socket listens, which is on macOS and on OpenBSD, one that is only bound counts as listening.)
    TcpStream(TcpStream),
    /// A listening Unix-domain stream socket.
    UnixListener(UnixListener),
    /// A Unix-domain stream socket that does not listen.
    UnixStream(UnixStream),
    /// A UDP socket.
    UdpSocket(UdpSocket),
    /// A Unix-domain datagram socket.
    UnixDatagram(UnixDatagram),
    /// Something else: a file, a pipe, a socket of another kind.
    Other(OwnedFd),
}

impl From<OwnedFd> for AnySocket {
    fn from(fd: OwnedFd) -> Self {
        let Some((family, kind)) = family_and_type(fd.as_fd()) else { return Self::Other(fd) };
        let listens = kind == SocketType::STREAM && listens(fd.as_fd());
        match (family, kind) {
            (AddressFamily::INET | AddressFamily::INET6, SocketType::STREAM) if listens => {
                Self::TcpListener(fd.into())
            }
            (AddressFamily::INET | AddressFamily::INET6, SocketType::STREAM) => {
                Self::TcpStream(fd.into())
            }
            (AddressFamily::INET | AddressFamily::INET6, SocketType::DGRAM) => {
                Self::UdpSocket(fd.into())
            }
            (AddressFamily::UNIX, SocketType::STREAM) if listens => Self::UnixListener(fd.into()),
            (AddressFamily::UNIX, SocketType::STREAM) => Self::UnixStream(fd.into()),
            (AddressFamily::UNIX, SocketType::DGRAM) => Self::UnixDatagram(fd.into()),
            _ => Self::Other(fd),
        }
    }
}

/// Whether a stream socket listens.
fn listens(fd: BorrowedFd<'_>) -> bool {
    #[cfg(not(target_vendor = "apple"))]
    if let Ok(listens) = sockopt::socket_acceptconn(fd) {
        return listens;
    }
    // Apple's kernels and OpenBSD's do not say (`SO_ACCEPTCONN`).
    never_connected(fd)
}

/// Whether it has no peer and had none: then it listens, or is only bound. One whose peer has gone is told from
/// these by another error.
fn never_connected(fd: BorrowedFd<'_>) -> bool {
    matches!(getpeername(fd), Err(Errno::NOTCONN))
}

fn family_and_type(fd: BorrowedFd<'_>) -> Option<(AddressFamily, SocketType)> {
    let kind = sockopt::socket_type(fd).ok()?;
    Some((getsockname(fd).ok()?.address_family(), kind))
}

impl AnySocket {
    /// Makes calls on it wait, or not.
    ///
    /// The mode belongs to the socket and not to the descriptor: as long as the sender holds it too
    /// (it lets go when it has read the acknowledgement, unless it keeps it open), its calls wait as
    /// well. A Node process whose socket is made to wait stands still.
    ///
    /// # Errors
    /// What the system says.
    pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
        Ok(rustix::io::ioctl_fionbio(self, nonblocking)?)
    }
}

impl AsFd for AnySocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::TcpListener(socket) => socket.as_fd(),
            Self::TcpStream(socket) => socket.as_fd(),
            Self::UnixListener(socket) => socket.as_fd(),
            Self::UnixStream(socket) => socket.as_fd(),
            Self::UdpSocket(socket) => socket.as_fd(),
            Self::UnixDatagram(socket) => socket.as_fd(),
            Self::Other(fd) => fd.as_fd(),
        }
    }
}

impl From<AnySocket> for OwnedFd {
    fn from(socket: AnySocket) -> Self {
        match socket {
            AnySocket::TcpListener(socket) => socket.into(),
            AnySocket::TcpStream(socket) => socket.into(),
            AnySocket::UnixListener(socket) => socket.into(),
            AnySocket::UnixStream(socket) => socket.into(),
            AnySocket::UdpSocket(socket) => socket.into(),
            AnySocket::UnixDatagram(socket) => socket.into(),
            AnySocket::Other(fd) => fd,
        }
    }
}

macro_rules! outgoing_from {
    ($($socket:ty => $kind:ident),* $(,)?) => {$(
        /// Node's receiver gets an object of that class.
        impl From<$socket> for Outgoing<OwnedFd> {
            fn from(socket: $socket) -> Self {
                Self::new(HandleKind::$kind, OwnedFd::from(socket))
            }
        }
    )*};
}

outgoing_from! {
    TcpListener => NetServer,
    UnixListener => NetServer,
    TcpStream => NetSocket,
    UnixStream => NetSocket,
}

/// Node's receiver gets a `dgram.Socket` of the socket's family.
impl From<UdpSocket> for Outgoing<OwnedFd> {
    fn from(socket: UdpSocket) -> Self {
        let family = match socket.local_addr() {
            Ok(address) if address.is_ipv6() => DgramType::Udp6,
            _ => DgramType::Udp4,
        };
        Self::new(HandleKind::DgramSocket(family), OwnedFd::from(socket))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_says_what_a_descriptor_is() -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let stream = TcpStream::connect(listener.local_addr()?)?;
        let udp = UdpSocket::bind("[::1]:0").or_else(|_| UdpSocket::bind("127.0.0.1:0"))?;
        let (near, _far) = UnixStream::pair()?;
        let file = std::fs::File::open("/dev/null")?;
        // As it is told where `SO_ACCEPTCONN` is not.
        assert!(never_connected(listener.as_fd()));
        assert!(!never_connected(stream.as_fd()));
        assert!(!never_connected(near.as_fd()));
        assert!(matches!(AnySocket::from(OwnedFd::from(listener)), AnySocket::TcpListener(_)));
        assert!(matches!(AnySocket::from(OwnedFd::from(stream)), AnySocket::TcpStream(_)));
        assert!(matches!(AnySocket::from(OwnedFd::from(udp)), AnySocket::UdpSocket(_)));
        assert!(matches!(AnySocket::from(OwnedFd::from(near)), AnySocket::UnixStream(_)));
        assert!(matches!(AnySocket::from(OwnedFd::from(file)), AnySocket::Other(_)));
        Ok(())
    }

    #[test]
    fn sockets_go_out_as_what_node_calls_them() -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let stream = TcpStream::connect(listener.local_addr()?)?;
        assert_eq!(Outgoing::from(listener).kind, HandleKind::NetServer);
        assert_eq!(Outgoing::from(stream).kind, HandleKind::NetSocket);
        let udp = Outgoing::from(UdpSocket::bind("127.0.0.1:0")?);
        assert_eq!(udp.kind, HandleKind::DgramSocket(DgramType::Udp4));
        Ok(())
    }
}
