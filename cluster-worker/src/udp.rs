//! UDP sockets of the blocking front-end.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, poll};

use crate::driver::{Lent, Shared, Stage};
use crate::machine::ServerId;

/// A UDP socket that all workers receive from: each datagram goes to one of them. Made by
/// [`Worker::bind_udp`](crate::Worker::bind_udp); dropping it closes it in this worker.
///
/// The socket is the same in all workers, and non-blocking in all, so it must not be set to block;
/// the methods here wait by other means.
#[derive(Debug)]
pub struct UdpSocket {
    shared: Arc<Shared>,
    server: ServerId,
    socket: Arc<std::net::UdpSocket>,
}

impl UdpSocket {
    pub(crate) fn new(shared: Arc<Shared>, server: ServerId) -> Option<Self> {
        let socket = shared.with(|core| match &core.servers.get(&server)?.lent {
            Some(Lent::Udp(socket)) => Some(Arc::clone(socket)),
            _ => None,
        })?;
        Some(Self { shared, server, socket })
    }

    /// Waits for the next datagram; `None` when the socket is closed in this worker, by
    /// [`close`](Self::close), or when the worker is disconnected, by whichever side.
    ///
    /// # Errors
    /// An [`io::Error`] as [`std::net::UdpSocket::recv_from`] has it.
    pub fn recv_from(&self, buf: &mut [u8]) -> io::Result<Option<(usize, SocketAddr)>> {
        let received = self.shared.wait(None, |core| {
            match core.servers.get(&self.server).map(|server| &server.stage) {
                Some(Stage::Open) => {}
                _ => return core.has_ended(self.server).then_some(Ok(None)),
            }
            match self.socket.recv_from(buf) {
                Ok(received) => Some(Ok(Some(received))),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
                Err(error) => Some(Err(error)),
            }
        })?;
        received.unwrap_or(Ok(None))
    }

    /// Sends a datagram, and waits if there is no room for it.
    ///
    /// # Errors
    /// An [`io::Error`] as [`std::net::UdpSocket::send_to`] has it.
    pub fn send_to(&self, datagram: &[u8], to: impl ToSocketAddrs) -> io::Result<usize> {
        loop {
            match self.socket.send_to(datagram, &to) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let writable = PollFd::new(&*self.socket, PollFlags::OUT);
                    match poll(&mut [writable], None) {
                        Ok(_) | Err(rustix::io::Errno::INTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                done => return done,
            }
        }
    }

    /// The address that is bound.
    ///
    /// # Errors
    /// An [`io::Error`] if the operating system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Closes the socket in this worker (`socket.close()`). Threads that receive from it are told
    /// `None`.
    pub fn close(&self) {
        self.shared.with(|core| core.close(self.server));
    }
}

/// For options and the like; it stays non-blocking.
impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for UdpSocket {
    fn drop(&mut self) {
        self.shared.with(|core| core.forget(self.server));
    }
}
