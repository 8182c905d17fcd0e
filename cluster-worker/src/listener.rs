//! Listeners of the blocking front-end.

use std::io;
use std::marker::PhantomData;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

use cluster_proto::{Value, abstract_name};

use crate::driver::Shared;
use crate::machine::ServerId;
use crate::tracked::Tracked;

/// A listener whose connections are shared with the other workers. Made by
/// [`Worker::listen`](crate::Worker::listen).
pub type TcpListener = Listener<TcpStream>;

/// A Unix-domain listener whose connections are shared with the other workers. Made by
/// [`Worker::listen_unix`](crate::Worker::listen_unix).
pub type UnixListener = Listener<UnixStream>;

/// A listener that yields connections of type `S`. Dropping it closes the server.
///
/// Several threads may accept from one listener.
#[derive(Debug)]
pub struct Listener<S> {
    shared: Arc<Shared>,
    server: ServerId,
    local: Option<SocketAddr>,
    path: String,
    streams: PhantomData<fn() -> S>,
}

impl<S: From<OwnedFd>> Listener<S> {
    pub(crate) fn new(shared: Arc<Shared>, server: ServerId) -> Self {
        let (local, path) = shared.with(|core| {
            core.servers.get(&server).map(|s| (s.local, s.name.clone())).unwrap_or_default()
        });
        Self { shared, server, local, path, streams: PhantomData }
    }

    /// Waits for the next connection; `None` when the listener is closed, by
    /// [`close`](Self::close), or when the worker is disconnected, by whichever side.
    ///
    /// A disconnect closes the listener at once and is done when all tracked connections have
    /// ended; so after `None` the program can end. Who has to end connections for that learns of it
    /// by [`Worker::wait_disconnecting`](crate::Worker::wait_disconnecting). Do not wait here in a
    /// thread that keeps tracked connections that no other thread ends.
    ///
    /// The connection is in blocking mode. The primary has been told that it is taken, and will
    /// not give it to another worker.
    ///
    /// # Errors
    /// An [`io::Error`] if no connection could be accepted from a socket that the primary shares,
    /// most likely because descriptors or memory ran out. What waits there waits on, and the next call
    /// tries again at once: a loop that goes on after an error should pause first, or it spins.
    /// Connections that ended before they were accepted are no errors, and are passed over.
    pub fn accept(&self) -> io::Result<Option<S>> {
        Ok(self.accept_fd(false)?.map(S::from))
    }

    /// As [`accept`](Self::accept), and a disconnect waits until the connection is dropped.
    ///
    /// # Errors
    /// As [`accept`](Self::accept).
    pub fn accept_tracked(&self) -> io::Result<Option<Tracked<S>>> {
        let fd = self.accept_fd(true)?;
        Ok(fd.map(|fd| Tracked::new(S::from(fd), Arc::clone(&self.shared), self.server)))
    }

    fn accept_fd(&self, tracked: bool) -> io::Result<Option<OwnedFd>> {
        self.shared.wait(None, |core| core.try_accept(self.server, tracked))?.unwrap_or(Ok(None))
    }

    /// The connections, one after the other, until the listener is closed.
    pub fn incoming(&self) -> Incoming<'_, S> {
        Incoming { listener: self }
    }

    /// The custom data of the server: what the first worker to listen there gave
    /// ([`ListenOptions::data`](crate::ListenOptions::data)), the same in all of them. Null if
    /// there is none.
    pub fn data(&self) -> Value {
        self.shared.with(|core| core.machine.data(self.server))
    }

    /// Closes the server in this worker (`server.close()`). Connections that wait in it go to other
    /// workers; threads that accept from it are told `None`.
    pub fn close(&self) {
        self.shared.with(|core| core.close(self.server));
    }
}

impl Listener<TcpStream> {
    /// The listening socket itself, for a server that takes a [`std::net::TcpListener`] and accepts from it by itself
    /// (actix-web's `HttpServer::listen`, for example). It does not block, and must stay so, as the workers share it.
    ///
    /// A worker has such a socket only under the placement `shared`, where all workers accept from one socket (Node's
    /// `SCHED_NONE`), or with [`exclusive`](crate::ListenOptions::exclusive) options. (Under `kernel` it has one too, but
    /// cannot take what the primary rescues from the socket of a worker that leaves.)
    ///
    /// The worker counts as listening until it disconnects. Stop the server when [`Worker::wait_disconnecting`](crate::Worker::wait_disconnecting) is over, and disconnect when it has
    /// finished: connections that it has accepted are not [tracked](crate::Tracked).
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`] if the primary hands connections over; the listener is closed then.
    pub fn into_std(self) -> io::Result<std::net::TcpListener> {
        let socket = self.shared.with(|core| core.give_away(self.server))?;
        // Dropped it would close the server.
        std::mem::forget(self);
        Ok(socket.into())
    }

    /// The address that is bound.
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrNotAvailable`] if the primary did not tell it, or none that is one.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.local.ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))
    }
}

impl Listener<UnixStream> {
    /// The absolute path; of a name in Linux's abstract namespace, that with the zero before it.
    pub fn path(&self) -> &Path {
        let name = abstract_name(&self.path).map(str::len);
        Path::new(&self.path[name.map_or(0, |length| self.path.len() - length - 1)..])
    }
}

impl<S> Drop for Listener<S> {
    fn drop(&mut self) {
        self.shared.with(|core| core.forget(self.server));
    }
}

/// The connections of a [`Listener`]; see [`Listener::incoming`].
#[derive(Debug)]
pub struct Incoming<'a, S> {
    listener: &'a Listener<S>,
}

impl<S: From<OwnedFd>> Iterator for Incoming<'_, S> {
    type Item = io::Result<S>;

    fn next(&mut self) -> Option<Self::Item> {
        self.listener.accept().transpose()
    }
}

impl<'a, S: From<OwnedFd>> IntoIterator for &'a Listener<S> {
    type Item = io::Result<S>;
    type IntoIter = Incoming<'a, S>;

    fn into_iter(self) -> Incoming<'a, S> {
        self.incoming()
    }
}
