//! Listeners.

use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cluster_proto::Value;
use rustix::io::Errno;
use tokio::net::{TcpStream, ToSocketAddrs, UnixStream};

use super::opened::Opened;
use super::worker::worker;
use crate::driver::{Core, socket};
use crate::error::ListenError;
use crate::options::UnixOptions;
use crate::tracked::Tracked;

/// As [`tokio::net::TcpListener`], shared with the other workers.
pub type TcpListener = Listener<TcpStream>;

/// As [`tokio::net::UnixListener`], shared with the other workers.
pub type UnixListener = Listener<UnixStream>;

/// A listener. Dropping it closes it in this worker: connections that wait in it go to other workers.
///
/// Several tasks may accept from one.
#[derive(Debug)]
pub struct Listener<S> {
    from: From,
    streams: PhantomData<fn() -> S>,
}

#[derive(Debug)]
enum From {
    Cluster(Shares),
    /// This process is no worker.
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

/// A server of the worker's.
#[derive(Debug)]
struct Shares {
    local: Option<SocketAddr>,
    path: String,
    opened: Opened,
}

/// What a task that waits for a connection learns.
enum News {
    Accepted(io::Result<Option<OwnedFd>>),
    /// It is to look again what it waits for.
    Changed,
}

impl Shares {
    fn new(opened: Opened) -> Result<Self, ListenError> {
        let (shared, server) = (&opened.shared, opened.server);
        let waits = shared.with(|core| core.wait_by_runtime(server));
        waits.map_err(|error| opened.unusable(&error))?;
        let (local, path) = shared.with(|core| {
            core.servers.get(&server).map(|s| (s.local, s.name.clone())).unwrap_or_default()
        });
        Ok(Self { local, path, opened })
    }

    /// The next connection. Dropping this future before it is done takes none.
    async fn accept(&self) -> io::Result<Tracked<OwnedFd>> {
        let Opened { shared, server } = &self.opened;
        let server = *server;
        // A runtime has other tasks, however fast connections come.
        tokio::task::consume_budget().await;
        let fd = loop {
            let lent = shared.with(|core| core.waited(server).cloned());
            let Some(lent) = lent else {
                break shared.when(|core| core.try_accept(server, true)).await?;
            };
            // As long as it is open: the primary, or a disconnect, may close it meanwhile.
            let accepted = |core: &mut Core| match core.try_accept(server, true) {
                Some(accepted) => Some(News::Accepted(accepted)),
                None => core.waited(server).is_none().then_some(News::Changed),
            };
            let news = tokio::select! {
                biased;
                news = shared.when(accepted) => news,
                guard = lent.readable() => {
                    let mut guard = guard?;
                    if !socket::waits(lent.get_ref()) {
                        guard.clear_ready();
                        continue;
                    }
                    drop(guard);
                    // It may have as many as it may have: then others accept, until one of them ends.
                    let room = |core: &mut Core| {
                        let room = |core: &Core| (!core.is_full(server)).then_some(News::Changed);
                        accepted(core).or_else(|| room(core))
                    };
                    shared.when(room).await
                }
            };
            if let News::Accepted(accepted) = news {
                break accepted?;
            }
        };
        let fd = fd.ok_or_else(closed)?;
        Ok(Tracked::unbegun(fd, Arc::clone(shared), server))
    }
}

/// What `accept` ends with.
fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the listener is closed: the worker disconnects")
}

/// Connections whose clients have gone meanwhile are passed over, as the system does.
fn has_gone(error: &io::Error) -> bool {
    let gone = [Errno::NOTCONN, Errno::CONNRESET, Errno::INVAL];
    error.raw_os_error().is_some_and(|errno| gone.iter().any(|gone| gone.raw_os_error() == errno))
}

impl Listener<TcpStream> {
    pub(super) fn of(opened: Opened) -> Result<Self, ListenError> {
        Ok(Self { from: From::Cluster(Shares::new(opened)?), streams: PhantomData })
    }

    /// As [`tokio::net::TcpListener::bind`]; if this process is a [`worker`](super::worker()), the
    /// listener is shared with the other workers. Port 0 is then any free one, but the same for all.
    /// Options are to be had by [`Worker::listen`](super::Worker::listen).
    ///
    /// # Errors
    /// If the address cannot be resolved or listened on, or the worker cannot be started.
    ///
    /// # Panics
    /// Outside a runtime, or in one without I/O or time.
    pub async fn bind(address: impl ToSocketAddrs) -> io::Result<Self> {
        let Some(worker) = worker().map_err(io::Error::other)? else {
            let from = From::Tcp(tokio::net::TcpListener::bind(address).await?);
            return Ok(Self { from, streams: PhantomData });
        };
        let mut failure = None;
        for address in tokio::net::lookup_host(address).await? {
            match worker.listen(address).await {
                Ok(listener) => return Ok(listener),
                Err(error) => failure = Some(io::Error::from(error)),
            }
        }
        let none = || io::Error::new(io::ErrorKind::InvalidInput, "there is no such address");
        Err(failure.unwrap_or_else(none))
    }

    /// As [`tokio::net::TcpListener::accept`]: waits for the next connection. A disconnect waits until
    /// the connection is dropped.
    ///
    /// The primary has been told that it is taken, and will not give it to another worker.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotConnected`] once the worker is disconnected, whose connections have ended
    /// then; or what the system says that has no descriptor or memory for a connection of a socket that
    /// is shared: pause before going on after that.
    pub async fn accept(&self) -> io::Result<(Tracked<TcpStream>, SocketAddr)> {
        loop {
            let shares = match &self.from {
                From::Cluster(shares) => shares,
                From::Tcp(listener) => {
                    let (stream, client) = listener.accept().await?;
                    return Ok((Tracked::alone(stream), client));
                }
                From::Unix(_) => return Err(closed()),
            };
            let stream = shares.accept().await?;
            let stream = stream.try_map(|fd| Ok::<_, io::Error>(std::net::TcpStream::from(fd)))?;
            match stream.peer_addr() {
                Ok(client) => return Ok((stream.try_map(TcpStream::from_std)?, client)),
                Err(error) if has_gone(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The listening socket itself, for a server that takes a [`std::net::TcpListener`] and accepts from it by itself
    /// (actix-web's `HttpServer::listen`, for example). It does not block, and must stay so, as the workers share it.
    ///
    /// A worker has such a socket only under the placement `shared`, where all workers accept from one socket (Node's
    /// `SCHED_NONE`), or with [`exclusive`](crate::ListenOptions::exclusive) options. (Under `kernel` it has one too, but
    /// cannot take what the primary rescues from the socket of a worker that leaves.)
    ///
    /// The worker counts as listening until it disconnects. Stop the server when [`shutdown`](super::shutdown) is over, and disconnect when it has
    /// finished: connections that it has accepted are not [tracked](crate::Tracked).
    ///
    /// # Errors
    /// [`io::ErrorKind::Unsupported`] if the primary hands connections over; the listener is closed then.
    pub fn into_std(self) -> io::Result<std::net::TcpListener> {
        match self.from {
            From::Cluster(Shares { opened, .. }) => {
                let socket = opened.shared.with(|core| core.give_away(opened.server))?;
                // Dropped it would close the server.
                std::mem::forget(opened);
                Ok(socket.into())
            }
            From::Tcp(listener) => listener.into_std(),
            From::Unix(_) => Err(closed()),
        }
    }

    /// The address that is bound.
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrNotAvailable`] if the primary did not tell it.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.from {
            From::Cluster(shares) => {
                shares.local.ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))
            }
            From::Tcp(listener) => listener.local_addr(),
            From::Unix(_) => Err(closed()),
        }
    }
}

impl Listener<UnixStream> {
    pub(super) fn of(opened: Opened) -> Result<Self, ListenError> {
        Ok(Self { from: From::Cluster(Shares::new(opened)?), streams: PhantomData })
    }

    /// As [`tokio::net::UnixListener::bind`], but that it may have to wait; if this process is a
    /// [`worker`](super::worker()), the listener is shared with the other workers.
    ///
    /// # Errors
    /// If the path cannot be listened on, or the worker cannot be started.
    ///
    /// # Panics
    /// Outside a runtime, or in one without I/O or time.
    pub async fn bind(path: impl AsRef<Path>) -> io::Result<Self> {
        let Some(worker) = worker().map_err(io::Error::other)? else {
            let from = From::Unix(tokio::net::UnixListener::bind(path)?);
            return Ok(Self { from, streams: PhantomData });
        };
        Ok(worker.listen_unix(UnixOptions::new(path.as_ref())).await?)
    }

    /// As [`accept`](TcpListener::accept) of a TCP listener. (Unix-domain clients have no address, as
    /// a rule.)
    ///
    /// # Errors
    /// As that.
    pub async fn accept(&self) -> io::Result<Tracked<UnixStream>> {
        match &self.from {
            From::Cluster(shares) => {
                let make = |fd| UnixStream::from_std(std::os::unix::net::UnixStream::from(fd));
                shares.accept().await?.try_map(make)
            }
            From::Unix(listener) => Ok(Tracked::alone(listener.accept().await?.0)),
            From::Tcp(_) => Err(closed()),
        }
    }

    /// The path, absolute if this process is a worker.
    pub fn path(&self) -> PathBuf {
        match &self.from {
            From::Cluster(shares) => shares.path.clone().into(),
            From::Unix(listener) => {
                let address = listener.local_addr().ok();
                address.and_then(|at| at.as_pathname().map(Path::to_owned)).unwrap_or_default()
            }
            From::Tcp(_) => PathBuf::new(),
        }
    }
}

impl<S> Listener<S> {
    /// The custom data of the server; see [`Listener::data`](crate::Listener::data).
    pub fn data(&self) -> Value {
        match &self.from {
            From::Cluster(shares) => {
                let Opened { shared, server } = &shares.opened;
                shared.with(|core| core.machine.data(*server))
            }
            From::Tcp(_) | From::Unix(_) => Value::Null,
        }
    }
}
