//! The front-end for programs with an event loop of their own.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use cluster_ipc::{Outgoing, Pressure};
use cluster_proto::{IntoMessage, ListenQuery, NoAnswer, Value};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use crate::driver::{Core, Kind, Lent, News, Shared, Stage};
use crate::error::{ListenError, RecvError, SendError, StartError};
use crate::machine::{Input, ServerId, State};
use crate::options::{ListenOptions, UdpOptions, UnixOptions};
use crate::received::Received;
use crate::setup::Options;
use crate::tracked::Tracked;

/// This process's worker (`cluster.worker`), as a source of events for a [`mio::Poll`].
///
/// Register it for [`Interest::READABLE`]. When it is ready call [`process`](Self::process), then
/// [`next_event`](Self::next_event) until there is none. Nothing here waits, but for the resolution
/// of names (give IP addresses).
///
/// ```no_run
/// use cluster_worker::event::{Event, EventedWorker};
/// use mio::{Events, Interest, Poll, Token};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let Some(mut worker) = EventedWorker::from_env()? else { return Ok(()) };
/// let mut poll = Poll::new()?;
/// poll.registry().register(&mut worker, Token(0), Interest::READABLE)?;
/// worker.listen("127.0.0.1:8080")?;
/// let mut events = Events::with_capacity(64);
/// loop {
///     while let Some(event) = worker.next_event() {
///         match event {
///             Event::Connection { stream, .. } => drop(stream),
///             Event::Message(received) => println!("{:?}", received.message),
///             Event::Disconnected => return Ok(()),
///             _ => {}
///         }
///     }
///     poll.poll(&mut events, worker.timeout())?;
///     worker.process()?;
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct EventedWorker {
    shared: Arc<Shared>,
    /// Where the next search for a connection starts, so that each server has its turn.
    next: ServerId,
    said_disconnected: bool,
}

/// A request to the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(u64);

/// What happened to an [`EventedWorker`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A server listens.
    Listening {
        /// The server.
        server: ServerId,
        /// The bound address, if it has one.
        local: Option<SocketAddr>,
    },
    /// A UDP socket is bound: the same in all workers, and the application's to wait for.
    /// Deregister it before it is dropped: as others hold it too, dropping alone does not.
    Bound {
        /// The server, as [`EventedWorker::close`] wants it.
        server: ServerId,
        /// The socket.
        socket: mio::net::UdpSocket,
    },
    /// A server does not listen, and is gone.
    ListenFailed {
        /// The server.
        server: ServerId,
        /// Why.
        error: ListenError,
    },
    /// A connection, non-blocking. The primary has been told that it is taken. It may have been told
    /// so of up to seven that follow, to whichever servers, in the same write: these are lost with
    /// this process, if it dies before it sees them. All others the primary gives to other workers
    /// then.
    Connection {
        /// The server.
        server: ServerId,
        /// The stream; a disconnect waits until it is dropped.
        stream: Tracked<Stream>,
    },
    /// A server could not accept from a socket that the primary shares, most likely for lack of
    /// descriptors or memory. It tries again when a connection has ended, another one comes, or
    /// after 100 ms (see [`EventedWorker::timeout`]), and says so again if it still cannot.
    /// Connections that ended before they were accepted are passed over.
    AcceptFailed {
        /// The server.
        server: ServerId,
        /// Why.
        error: io::Error,
    },
    /// A server is closed: by [`EventedWorker::close`], or because the worker disconnects.
    Closed {
        /// The server.
        server: ServerId,
    },
    /// A message from the primary, and the descriptor that came with it.
    Message(Received),
    /// All is written that waited when [`EventedWorker::send`] last said [`Pressure::High`]: more
    /// can be sent.
    Drained,
    /// The answer to [`EventedWorker::count_sockets`].
    SocketCount {
        /// The key that the connections were sent with.
        key: String,
        /// How many of them are open in the primary.
        count: u64,
    },
    /// The answer to [`EventedWorker::await_sockets`]: the last of the connections that were sent
    /// with that key has closed.
    SocketsClosed {
        /// The key.
        key: String,
    },
    /// What became of a [request](EventedWorker::request).
    Answered {
        /// Which.
        request: RequestId,
        /// The answer ([`Value::decode`] makes a type of it), or why there is none.
        answer: Result<Value, NoAnswer>,
    },
    /// Messages were not received in time, or the channel broke.
    Failed(RecvError),
    /// The worker is disconnected. The last event.
    Disconnected,
}

impl EventedWorker {
    /// As [`Worker::from_env`](crate::Worker::from_env).
    ///
    /// # Errors
    /// As [`Worker::from_env`](crate::Worker::from_env).
    pub fn from_env() -> Result<Option<Self>, StartError> {
        Options::new().evented_from_env()
    }

    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, next: ServerId(0), said_disconnected: false }
    }

    /// The worker's id (`worker.id`), from 1.
    pub fn id(&self) -> u32 {
        self.shared.with(|core| core.id)
    }

    /// As [`Worker::slot`](crate::Worker::slot).
    pub fn slot(&self) -> Option<u32> {
        self.shared.with(|core| core.slot)
    }

    /// Asks for a TCP server; [`Event::Listening`] or [`Event::ListenFailed`] will tell.
    ///
    /// # Errors
    /// [`ListenError::Address`] if the address cannot be read or resolved.
    pub fn listen(&mut self, at: impl Into<ListenOptions>) -> Result<ServerId, ListenError> {
        let options = at.into();
        Ok(self.open(options.query()?, Kind::Tcp, options.max_connections, options.is_exclusive()))
    }

    /// Asks for a Unix-domain server; [`Event::Listening`] or [`Event::ListenFailed`] will tell.
    ///
    /// # Errors
    /// [`ListenError::Address`] if the path is no UTF-8.
    pub fn listen_unix(&mut self, at: impl Into<UnixOptions>) -> Result<ServerId, ListenError> {
        let options = at.into();
        Ok(self.open(options.query()?, Kind::Unix, options.max_connections, options.exclusive))
    }

    /// Asks for a UDP socket; [`Event::Bound`] or [`Event::ListenFailed`] will tell.
    ///
    /// # Errors
    /// [`ListenError::Address`] if the address cannot be read or resolved.
    pub fn bind_udp(&mut self, at: impl Into<UdpOptions>) -> Result<ServerId, ListenError> {
        let options = at.into();
        Ok(self.open(options.query()?, Kind::Udp, None, options.is_exclusive()))
    }

    fn open(
        &self,
        query: ListenQuery,
        kind: Kind,
        max_connections: Option<usize>,
        exclusive: bool,
    ) -> ServerId {
        self.shared.with(|core| core.serve(query, kind, max_connections, exclusive))
    }

    /// The custom data of a server; see [`Listener::data`](crate::Listener::data).
    pub fn data(&self, server: ServerId) -> Value {
        self.shared.with(|core| core.machine.data(server))
    }

    /// Closes a server in this worker.
    pub fn close(&mut self, server: ServerId) {
        self.shared.with(|core| core.close(server));
    }

    /// Sends a message to the primary (`process.send()`); see
    /// [`Worker::send`](crate::Worker::send).
    ///
    /// The first one is written at once. Those that follow are gathered and written together: when
    /// [`next_event`](Self::next_event) has no more events, or is called more than 100 µs later;
    /// by [`process`](Self::process) and [`timeout`](Self::timeout); when there are 16 KiB of them;
    /// or by [`flush`](Self::flush).
    ///
    /// # Errors
    /// [`SendError`] if it is not sent.
    pub fn send(&mut self, message: impl IntoMessage) -> Result<Pressure, SendError> {
        let message = message.into_message()?;
        self.shared.gather(|core| core.send(message, None))
    }

    /// Writes what was sent, as far as that goes without waiting; whether that is all of it.
    pub fn flush(&mut self) -> bool {
        self.shared.with(|_| ());
        self.is_flushed()
    }

    /// Sends a message and a descriptor with it; see
    /// [`Worker::send_handle`](crate::Worker::send_handle).
    ///
    /// # Errors
    /// [`SendError`] if it is not sent; the descriptor is closed then.
    pub fn send_handle(
        &mut self,
        message: impl IntoMessage,
        handle: impl Into<Outgoing<OwnedFd>>,
    ) -> Result<Pressure, SendError> {
        let (message, handle) = (message.into_message()?, handle.into());
        self.shared.with(|core| core.send(message, Some(handle)))
    }

    /// Asks the primary; [`Event::Answered`] brings its answer, or says that none came in that time. See
    /// [`Worker::request`](crate::Worker::request). Sent as [`send`](Self::send) does it.
    ///
    /// # Errors
    /// [`SendError`] if the request is not sent; no event comes then.
    pub fn request(
        &mut self,
        body: impl IntoMessage,
        timeout: Duration,
    ) -> Result<RequestId, SendError> {
        let body = body.into_message()?;
        self.shared.gather(|core| core.request(body, timeout)).map(RequestId)
    }

    /// Asks how many connections are open in the primary of those that were sent to it with that
    /// key; [`Event::SocketCount`] will tell. See
    /// [`Worker::count_sockets`](crate::Worker::count_sockets).
    ///
    /// # Errors
    /// [`SendError::Disconnected`].
    pub fn count_sockets(&mut self, key: &str) -> Result<(), SendError> {
        self.shared.with(|core| core.ask_sockets(key, false))
    }

    /// Asks to be told when the last of the connections is closed that were sent to the primary
    /// with that key; [`Event::SocketsClosed`] will tell. See
    /// [`Worker::await_sockets`](crate::Worker::await_sockets).
    ///
    /// # Errors
    /// [`SendError::Disconnected`].
    pub fn await_sockets(&mut self, key: &str) -> Result<(), SendError> {
        self.shared.with(|core| core.ask_sockets(key, true))
    }

    /// Closes the channel (`process.disconnect()`); see
    /// [`Worker::close_channel`](crate::Worker::close_channel).
    pub fn close_channel(&mut self) {
        self.shared.with(|core| core.input(Input::CloseChannel));
    }

    /// Whether everything that was sent has been written to the channel.
    pub fn is_flushed(&self) -> bool {
        self.shared.with(|core| core.is_flushed())
    }

    /// Begins to disconnect (`worker.disconnect()`); [`Event::Disconnected`] tells when that is
    /// done.
    pub fn disconnect(&mut self) {
        self.shared.with(|core| core.input(Input::Disconnect));
    }

    /// Begins to end the process with 0 (`worker.kill()`).
    pub fn kill(&mut self) {
        self.shared.with(|core| core.input(Input::Kill));
    }

    /// Whether messages can be sent (`worker.isConnected()`).
    pub fn is_connected(&self) -> bool {
        self.shared.with(|core| core.machine.is_connected())
    }

    /// As [`Worker::exited_after_disconnect`](crate::Worker::exited_after_disconnect).
    pub fn exited_after_disconnect(&self) -> Option<bool> {
        self.shared.with(|core| core.machine.exited_after_disconnect())
    }

    /// As [`Worker::unexpected_handles`](crate::Worker::unexpected_handles).
    pub fn unexpected_handles(&self) -> u64 {
        self.shared.with(|core| core.unexpected_handles())
    }

    /// How long the application may wait before it calls [`process`](Self::process) even if nothing
    /// is ready; `None` forever, which it is unless [`Options::answer_timeout`] is set, a
    /// [request](Self::request) waits for its answer, a server [could not accept](Event::AcceptFailed), or the
    /// system would not write to the channel.
    pub fn timeout(&self) -> Option<Duration> {
        self.shared.with(|core| {
            core.tell_held();
            core.patience(None)
        })
    }

    /// Takes what has come, a bounded amount of it. If more is left the worker is ready again.
    ///
    /// # Errors
    /// An [`io::Error`] if the operating system would not tell what has come.
    pub fn process(&mut self) -> io::Result<()> {
        self.shared.with_quietly(Core::look)
    }

    /// What happened next. Call it until there is nothing more, or events may come late.
    pub fn next_event(&mut self) -> Option<Event> {
        self.shared.take(|core| self.next_news(core)).or_else(|| self.next_connection()).or_else(
            || {
                // The last of all.
                let over =
                    self.shared.with_quietly(|core| core.machine.state() == State::Disconnected);
                (over && !std::mem::replace(&mut self.said_disconnected, over))
                    .then_some(Event::Disconnected)
            },
        )
    }

    fn next_news(&self, core: &mut Core) -> Option<Event> {
        while let Some(news) = core.next_news() {
            let event = match news {
                News::Drained => Some(Event::Drained),
                News::SocketCount(key, count) => {
                    core.sockets.remove(&(key.clone(), false));
                    Some(Event::SocketCount { key, count })
                }
                News::SocketsClosed(key) => {
                    core.sockets.remove(&(key.clone(), true));
                    Some(Event::SocketsClosed { key })
                }
                News::Listening(server) => listening(core, server),
                News::ListenFailed(server) => listen_failed(core, server),
                News::Closed(server) => {
                    let waits = |core: &Core| {
                        core.servers.get(&server).is_some_and(|server| !server.taken.is_empty())
                    };
                    if !waits(core) {
                        core.servers.remove(&server);
                    }
                    Some(Event::Closed { server })
                }
            };
            if event.is_some() {
                return event;
            }
        }
        if core.lost > 0 {
            let messages = std::mem::take(&mut core.lost);
            return Some(Event::Failed(RecvError::Lost { messages }));
        }
        if let Some((id, answer)) = core.next_answered() {
            return Some(Event::Answered { request: RequestId(id), answer });
        }
        if let Some(inbound) = core.take_message() {
            return Some(Event::Message(Received::new(inbound, &self.shared)));
        }
        core.failure.take().map(|failure| Event::Failed(RecvError::Channel(failure)))
    }

    fn next_connection(&mut self) -> Option<Event> {
        let next = self.next;
        let (server, kind, accepted) = self.shared.with_quietly(|core| {
            accept_from(core, next, None).or_else(|| accept_from(core, ServerId(0), Some(next)))
        })?;
        self.next = ServerId(server.0 + 1);
        Some(match accepted {
            Ok(fd) => {
                let stream = Stream::new(fd, kind);
                let stream = Tracked::new(stream, Arc::clone(&self.shared), server);
                Event::Connection { server, stream }
            }
            Err(error) => Event::AcceptFailed { server, error },
        })
    }
}

/// A connection of the first server that has one, from that one on and before the other.
fn accept_from(
    core: &mut Core,
    mut from: ServerId,
    until: Option<ServerId>,
) -> Option<(ServerId, Kind, io::Result<OwnedFd>)> {
    loop {
        let ready = |server: &crate::driver::Server| {
            server.ready > 0 || !server.taken.is_empty() || server.acceptable
        };
        let (&id, server) = core
            .servers
            .range(from..)
            .take_while(|(id, _)| until.is_none_or(|until| **id < until))
            .find(|(_, server)| server.kind != Kind::Udp && ready(server))?;
        let kind = server.kind;
        match core.try_accept(id, true) {
            Some(Ok(Some(fd))) => return Some((id, kind, Ok(fd))),
            Some(Err(error)) => return Some((id, kind, Err(error))),
            Some(Ok(None)) | None => from = ServerId(id.0 + 1),
        }
    }
}

fn listening(core: &mut Core, id: ServerId) -> Option<Event> {
    let server = core.servers.get(&id)?;
    let Some(Lent::Udp(socket)) = &server.lent else {
        return Some(Event::Listening { server: id, local: server.local });
    };
    match socket.try_clone() {
        Ok(socket) => {
            Some(Event::Bound { server: id, socket: mio::net::UdpSocket::from_std(socket) })
        }
        Err(error) => {
            let address = server.name.clone();
            let errno = error.raw_os_error().unwrap_or_default();
            core.forget(id);
            let error = ListenError::Unusable { address, errno };
            Some(Event::ListenFailed { server: id, error })
        }
    }
}

fn listen_failed(core: &mut Core, id: ServerId) -> Option<Event> {
    let server = core.servers.remove(&id)?;
    let Stage::Failed(failure) = server.stage else { return None };
    Some(Event::ListenFailed { server: id, error: server.listen_error(failure) })
}

/// Registers what the worker itself waits with.
impl mio::event::Source for EventedWorker {
    fn register(&mut self, registry: &Registry, token: Token, want: Interest) -> io::Result<()> {
        self.shared.with(|core| match &core.poller {
            Some(poller) => SourceFd(&poller.poll.as_raw_fd()).register(registry, token, want),
            None => Ok(()),
        })
    }

    fn reregister(&mut self, registry: &Registry, token: Token, want: Interest) -> io::Result<()> {
        self.shared.with(|core| match &core.poller {
            Some(poller) => SourceFd(&poller.poll.as_raw_fd()).reregister(registry, token, want),
            None => Ok(()),
        })
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.shared.with(|core| match &core.poller {
            Some(poller) => SourceFd(&poller.poll.as_raw_fd()).deregister(registry),
            None => Ok(()),
        })
    }
}

/// A connection of either kind, for [`mio`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Stream {
    /// TCP.
    Tcp(mio::net::TcpStream),
    /// Unix-domain.
    Unix(mio::net::UnixStream),
}

impl Stream {
    fn new(fd: OwnedFd, kind: Kind) -> Self {
        match kind {
            Kind::Unix => Self::Unix(mio::net::UnixStream::from_std(fd.into())),
            Kind::Tcp | Kind::Udp => Self::Tcp(mio::net::TcpStream::from_std(fd.into())),
        }
    }
}

macro_rules! either {
    ($stream:expr, $inner:ident => $do:expr) => {
        match $stream {
            Stream::Tcp($inner) => $do,
            Stream::Unix($inner) => $do,
        }
    };
}

impl Read for Stream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        either!(self, stream => stream.read(buf))
    }
}

impl Write for Stream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        either!(self, stream => stream.write(buf))
    }

    fn flush(&mut self) -> io::Result<()> {
        either!(self, stream => stream.flush())
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        either!(self, stream => stream.as_fd())
    }
}

impl mio::event::Source for Stream {
    fn register(&mut self, registry: &Registry, token: Token, want: Interest) -> io::Result<()> {
        either!(self, stream => stream.register(registry, token, want))
    }

    fn reregister(&mut self, registry: &Registry, token: Token, want: Interest) -> io::Result<()> {
        either!(self, stream => stream.reregister(registry, token, want))
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        either!(self, stream => stream.deregister(registry))
    }
}
