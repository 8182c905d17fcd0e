//! The blocking front-end.

use std::io;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use cluster_ipc::{Outgoing, Pressure};
use cluster_proto::{IntoMessage, ListenQuery, NoAnswer, Value};
use serde::de::DeserializeOwned;

use crate::driver::{BACKLOG, Core, Kind, Own, Question, Shared};
use crate::error::{ListenError, RecvError, RequestError, SendError, StartError};
use crate::listener::{Listener, TcpListener, UnixListener};
use crate::machine::{Input, ServerId, State};
use crate::options::{ListenOptions, UdpOptions, UnixOptions};
use crate::received::Received;
use crate::request::Request;
use crate::setup::Options;
use crate::udp::UdpSocket;

/// This process's worker (`cluster.worker`), for programs that wait in threads.
///
/// A handle: clone it and use it from any thread. It has no thread of its own. Whichever thread
/// waits in one of its methods, or in one of its listeners', does the worker's business meanwhile;
/// while none waits nothing arrives, and what the channel's buffer does not hold is not sent.
///
/// When the primary is gone the process exits at once, with 0, as a Node worker does; see
/// [`Options::exit_when_orphaned`].
#[derive(Clone, Debug)]
pub struct Worker {
    shared: Arc<Shared>,
    id: u32,
    slot: Option<u32>,
}

impl Worker {
    /// Starts this process's worker, if its environment says that it is one; a second call fails.
    ///
    /// Takes the channel over and tells the primary `online`. On Linux, `NODE_UNIQUE_ID`, `NODE_CHANNEL_FD` and
    /// `NODE_CHANNEL_SERIALIZATION_MODE` are no longer in the environment then, so that children do not take themselves for
    /// this worker: they were removed before `main` (or are now, if a preloaded library had a thread then and the process has
    /// none but this one now). Elsewhere they stay, and [`scrub`](crate::scrub) removes them from a child's environment.
    ///
    /// # Errors
    /// [`StartError`] if the environment says that this process is a worker, and the rest does not
    /// fit. The process is not connected then.
    pub fn from_env() -> Result<Option<Self>, StartError> {
        Options::new().from_env()
    }

    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let (id, slot) = shared.with(|core| (core.id, core.slot));
        Self { shared, id, slot }
    }

    /// The worker's id (`worker.id`), from 1.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// The worker's place among the workers, from 0, as in `CLUSTER_SLOT`: its replacement has
    /// the same one. `None` under Node's primary, which gives none.
    pub fn slot(&self) -> Option<u32> {
        self.slot
    }

    /// A TCP listener whose connections are shared with the other workers
    /// (`net.Server.listen()`). Waits for the primary's answer.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let worker = cluster_worker::Worker::from_env()?.unwrap();
    /// let listener = worker.listen("127.0.0.1:8080")?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ListenError`] if it cannot be, the primary's reasons included.
    pub fn listen(&self, at: impl Into<ListenOptions>) -> Result<TcpListener, ListenError> {
        let options = at.into();
        let query = options.query()?;
        let server =
            self.open(query, Kind::Tcp, options.max_connections, options.is_exclusive())?;
        Ok(Listener::<TcpStream>::new(Arc::clone(&self.shared), server))
    }

    /// A Unix-domain listener whose connections are shared with the other workers. Waits for the
    /// primary's answer.
    ///
    /// # Errors
    /// [`ListenError`] if it cannot be, the primary's reasons included.
    pub fn listen_unix(&self, at: impl Into<UnixOptions>) -> Result<UnixListener, ListenError> {
        let options = at.into();
        let query = options.query()?;
        let server = self.open(query, Kind::Unix, options.max_connections, options.exclusive)?;
        Ok(Listener::<UnixStream>::new(Arc::clone(&self.shared), server))
    }

    /// A UDP socket that all workers receive from (`dgram.Socket.bind()`). Waits for the primary's
    /// answer.
    ///
    /// # Errors
    /// [`ListenError`] if it cannot be, the primary's reasons included.
    pub fn bind_udp(&self, at: impl Into<UdpOptions>) -> Result<UdpSocket, ListenError> {
        let options = at.into();
        let query = options.query()?;
        let address = query.address.to_string();
        let server = self.open(query, Kind::Udp, None, options.is_exclusive())?;
        // It is gone already if a disconnect came in between.
        UdpSocket::new(Arc::clone(&self.shared), server)
            .ok_or(ListenError::Disconnected { address })
    }

    /// Serves a listener of the application's own (`server.listen(handle)`): the primary is not
    /// asked. It is one of the worker's listeners for the rest: a disconnect closes it, and waits
    /// for its tracked connections. Makes it non-blocking.
    ///
    /// # Errors
    /// [`ListenError`] if it is no listener, or the worker is disconnected.
    pub fn listen_on(&self, listener: std::net::TcpListener) -> Result<TcpListener, ListenError> {
        let name = listener.local_addr().map_or_else(|_| "a socket".into(), |a| a.to_string());
        let server = self.serve_own(name, Kind::Tcp, listener.into())?;
        Ok(Listener::<TcpStream>::new(Arc::clone(&self.shared), server))
    }

    /// As [`listen_on`](Self::listen_on), for a Unix-domain listener. Its file stays.
    ///
    /// # Errors
    /// As [`listen_on`](Self::listen_on).
    pub fn listen_on_unix(
        &self,
        listener: std::os::unix::net::UnixListener,
    ) -> Result<UnixListener, ListenError> {
        let path = listener.local_addr().ok().and_then(|a| Some(a.as_pathname()?.to_owned()));
        let name = path.map_or_else(|| "a socket".into(), |path| path.display().to_string());
        let server = self.serve_own(name, Kind::Unix, listener.into())?;
        Ok(Listener::<UnixStream>::new(Arc::clone(&self.shared), server))
    }

    fn serve_own(&self, name: String, kind: Kind, fd: OwnedFd) -> Result<ServerId, ListenError> {
        let own = Ok(Own { fd, file: None });
        let server = self.shared.with(|core| core.listen_own(name, kind, None, BACKLOG, own));
        self.opened(server)
    }

    fn open(
        &self,
        query: ListenQuery,
        kind: Kind,
        max_connections: Option<usize>,
        exclusive: bool,
    ) -> Result<ServerId, ListenError> {
        let open = |core: &mut Core| core.serve(query, kind, max_connections, exclusive);
        let server = self.shared.with(open);
        self.opened(server)
    }

    /// The server, once it is known whether it listens.
    fn opened(&self, server: ServerId) -> Result<ServerId, ListenError> {
        match self.shared.wait(None, |core| core.opened(server)) {
            Ok(opened) => opened.unwrap_or(Ok(())).map(|()| server),
            // The wait itself failed.
            Err(error) => self.shared.with(|core| {
                let address =
                    core.servers.get(&server).map_or_else(String::new, |s| s.name.clone());
                core.forget(server);
                let errno = error.raw_os_error().unwrap_or_default();
                Err(ListenError::Unusable { address, errno })
            }),
        }
    }

    /// Sends a message to the primary (`process.send()`): a [`Value`], what becomes one by itself, or a
    /// reference to any type that serde writes, which Node sees as `JSON.stringify` would write it.
    ///
    /// `Ok(Pressure::High)` is Node's `false`: the message is queued, and more should wait (see
    /// [`flush`](Self::flush)).
    ///
    /// It is written at once, as far as that goes without waiting, whatever the thread does then.
    /// Who has many to send [corks](Self::cork) the channel before.
    ///
    /// # Errors
    /// [`SendError`] if it is not sent.
    pub fn send(&self, message: impl IntoMessage) -> Result<Pressure, SendError> {
        let message = message.into_message()?;
        self.shared.send(|core| core.send(message, None))
    }

    /// Has messages gathered and written together, up to 16 KiB at a time, as long as what it
    /// returns is held (`writable.cork()` of Node's streams): several times as many a second. The
    /// rest is written when that is dropped, or when any thread calls another method of the worker.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let worker = cluster_worker::Worker::from_env()?.ok_or("not a worker")?;
    /// let corked = worker.cork();
    /// for n in 0..1000 {
    ///     worker.send(n)?;
    /// }
    /// drop(corked);
    /// # Ok(()) }
    /// ```
    pub fn cork(&self) -> Corked<'_> {
        self.shared.with(|core| core.corks += 1);
        Corked { worker: self }
    }

    /// Sends a message and a descriptor with it (`process.send(message, sendHandle)`).
    ///
    /// A listener, stream or UDP socket of the standard library can be given as it is, and so can
    /// an [`Outgoing`] (its `token` is not used). A Node primary gets a `net.Server`, `net.Socket`
    /// or `dgram.Socket`. This process's copy is closed when the primary has acknowledged it, or the
    /// channel closes; to keep the socket open here too, send what `try_clone()` returns, which is
    /// Node's `keepOpen`.
    ///
    /// Messages behind it wait until the primary has acknowledged the descriptor, for which some
    /// thread has to wait in one of the worker's methods.
    ///
    /// # Errors
    /// As [`send`](Self::send); the descriptor is closed then.
    pub fn send_handle(
        &self,
        message: impl IntoMessage,
        handle: impl Into<Outgoing<OwnedFd>>,
    ) -> Result<Pressure, SendError> {
        let (message, handle) = (message.into_message()?, handle.into());
        self.shared.with(|core| core.send(message, Some(handle)))
    }

    /// Asks how many connections are open in the primary of those that were sent to it with that
    /// key ([`Outgoing::key`]), and waits for the answer: what Node's
    /// `server.getConnections()` asks. `None` if the worker is disconnected first.
    ///
    /// A Node primary does not answer for a key that it was never sent.
    ///
    /// # Errors
    /// [`SendError::Disconnected`].
    pub fn count_sockets(&self, key: &str) -> Result<Option<u64>, SendError> {
        self.ask_sockets(key, false)
    }

    /// Waits until the last of the connections is closed that were sent to the primary with that
    /// key: what Node's `server.close()` waits for. False if the worker is disconnected first.
    ///
    /// # Errors
    /// [`SendError::Disconnected`].
    pub fn await_sockets(&self, key: &str) -> Result<bool, SendError> {
        Ok(self.ask_sockets(key, true)?.is_some())
    }

    fn ask_sockets(&self, key: &str, when_closed: bool) -> Result<Option<u64>, SendError> {
        let question = Question::ask(&self.shared, key, when_closed)?;
        let answered = self.shared.wait(None, |core| question.answer(core));
        Ok(answered.ok().flatten().flatten())
    }

    /// Asks the primary, and waits for its answer, for so long at most. Other threads may ask
    /// meanwhile; answers come in any order.
    ///
    /// A primary of `cluster_primary`'s gets an `Event::Request`. One of Node's gets the message
    /// `{cmd: 'CLUSTER_REQUEST', id, body}`, and answers by `worker.send({cmd: 'CLUSTER_RESPONSE', id, body})`,
    /// or with an `error` in place of the body ([`Exchange`](cluster_proto::Exchange)).
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let worker = cluster_worker::Worker::from_env()?.ok_or("not a worker")?;
    /// use std::time::Duration;
    ///
    /// let name: String = worker.request(&("name of", 7), Duration::from_secs(1))?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`RequestError`]; whatever it says the primary may have done what it was asked.
    pub fn request<T: DeserializeOwned>(
        &self,
        body: impl IntoMessage,
        timeout: Duration,
    ) -> Result<T, RequestError> {
        let body = body.into_message().map_err(|error| RequestError::Send(error.into()))?;
        let asked = self.shared.send(|core| core.request(body, timeout));
        let id = asked.map_err(RequestError::Send)?;
        match self.shared.wait(None, |core| core.take_answer(id)) {
            Ok(answer) => RequestError::typed(answer.unwrap_or(Err(NoAnswer::Disconnected))),
            Err(error) => {
                self.shared.with(|core| core.give_up_request(id));
                Err(RequestError::Io(error))
            }
        }
    }

    /// Waits until everything that was sent has been written to the channel.
    ///
    /// # Errors
    /// An [`io::Error`] if the operating system would not wait.
    pub fn flush(&self) -> io::Result<()> {
        self.shared.wait(None, |core| core.is_flushed().then_some(())).map(drop)
    }

    /// Waits for the next message from the primary (`process.on('message')`); `None` when the
    /// worker is disconnected and all have been received. A descriptor that came with it is closed,
    /// and counted, and a request is refused: [`recv_message`](Self::recv_message) has them.
    ///
    /// # Errors
    /// [`RecvError::Lost`] if messages came faster than they were received, and
    /// [`RecvError::Channel`] once if the channel broke.
    pub fn recv(&self) -> Result<Option<Value>, RecvError> {
        self.next_value(None)
    }

    /// As [`recv`](Self::recv), for a type of the application's own: what the primary says with it. See
    /// [`Value::decode`].
    ///
    /// # Errors
    /// As [`recv`](Self::recv), and [`RecvError::Type`] for a message that is something else; the next
    /// call goes on with the next message.
    pub fn recv_as<T: DeserializeOwned>(&self) -> Result<Option<T>, RecvError> {
        self.next_value(None)?.map(RecvError::typed).transpose()
    }

    /// As [`recv`](Self::recv); `Ok(None)` also when no message came in time.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Option<Value>, RecvError> {
        self.next_value(Some(timeout))
    }

    /// As [`recv`](Self::recv), with the descriptor that came beside the message, if one did.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn recv_message(&self) -> Result<Option<Received>, RecvError> {
        self.next_message(None)
    }

    /// As [`recv_message`](Self::recv_message); `Ok(None)` also when no message came in time.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn recv_message_timeout(&self, timeout: Duration) -> Result<Option<Received>, RecvError> {
        self.next_message(Some(timeout))
    }

    fn next_message(&self, timeout: Option<Duration>) -> Result<Option<Received>, RecvError> {
        let inbound = self.shared.wait(timeout, Core::next_inbound).map_err(RecvError::Io)?;
        Ok(inbound.unwrap_or(Ok(None))?.map(|inbound| Received::new(inbound, &self.shared)))
    }

    fn next_value(&self, timeout: Option<Duration>) -> Result<Option<Value>, RecvError> {
        let inbound = self.shared.wait(timeout, Core::next_inbound).map_err(RecvError::Io)?;
        let Some(inbound) = inbound.unwrap_or(Ok(None))? else { return Ok(None) };
        if let Some(request) = inbound.request {
            drop(Request::new(request, &self.shared));
        }
        if inbound.handle.is_some() {
            self.shared.with(|core| core.refuse_handle(inbound.handle));
        }
        Ok(Some(inbound.value))
    }

    /// Disconnects in good order (`worker.disconnect()`) and waits until that is done: closes all
    /// listeners, waits for tracked connections to end, tells the primary and has it acknowledged,
    /// and closes the channel.
    ///
    /// Calling it while holding a [`Tracked`](crate::Tracked) connection waits forever.
    ///
    /// # Errors
    /// An [`io::Error`] if the operating system would not wait.
    pub fn disconnect(&self) -> io::Result<()> {
        self.start_disconnect();
        self.wait_disconnected()
    }

    /// Begins to disconnect, and does not wait. The rest happens while some thread waits in one of
    /// the worker's methods.
    pub fn start_disconnect(&self) {
        self.shared.with(|core| {
            core.input(Input::Disconnect);
            core.changed = true;
        });
    }

    /// Waits until the worker begins to disconnect, or is told to by the primary, or the primary is
    /// gone: the time to end idle connections, for which a disconnect would wait.
    ///
    /// # Errors
    /// An [`io::Error`] if the operating system would not wait.
    pub fn wait_disconnecting(&self) -> io::Result<()> {
        let going =
            |core: &mut Core| core.machine.exited_after_disconnect().is_some().then_some(());
        self.shared.wait(None, going).map(drop)
    }

    /// Waits until the worker is disconnected, by whichever side.
    ///
    /// # Errors
    /// An [`io::Error`] if the operating system would not wait.
    pub fn wait_disconnected(&self) -> io::Result<()> {
        let gone = |core: &mut Core| (core.machine.state() == State::Disconnected).then_some(());
        self.shared.wait(None, gone).map(drop)
    }

    /// Ends the process with 0 (`worker.kill()`), having told the primary that it goes of its own
    /// will. Connections are not waited for.
    pub fn kill(&self) -> ! {
        self.shared.with(|core| {
            core.input(Input::Kill);
            core.changed = true;
        });
        // The process exits when the channel is closed; if it cannot wait for that, now.
        let _ = self.wait_disconnected();
        std::process::exit(0)
    }

    /// Closes the channel when what was sent is written (`process.disconnect()`), and does not wait.
    /// This is not a [`disconnect`](Self::disconnect): no connection is waited for, and the primary
    /// takes it for an accident. The process exits with 0 when the channel is closed, as if the
    /// primary had gone; see [`Options::exit_when_orphaned`].
    pub fn close_channel(&self) {
        self.shared.with(|core| {
            core.input(Input::CloseChannel);
            core.changed = true;
        });
    }

    /// Whether messages can be sent (`worker.isConnected()`).
    pub fn is_connected(&self) -> bool {
        self.shared.with(|core| core.machine.is_connected())
    }

    /// How many descriptors came from the primary beside what has none, or beside messages that
    /// were received without them or not at all, and were closed.
    pub fn unexpected_handles(&self) -> u64 {
        self.shared.with(|core| core.unexpected_handles())
    }

    /// Whether the worker disconnected in good order (`worker.exitedAfterDisconnect`): `None` while
    /// it does not disconnect, `Some(false)` if the primary went first.
    pub fn exited_after_disconnect(&self) -> Option<bool> {
        self.shared.with(|core| core.machine.exited_after_disconnect())
    }
}

/// Keeps a worker's messages together; see [`Worker::cork`].
#[derive(Debug)]
#[must_use = "what is corked is written when this is dropped"]
pub struct Corked<'a> {
    worker: &'a Worker,
}

impl Drop for Corked<'_> {
    fn drop(&mut self) {
        self.worker.shared.with(|core| core.corks -= 1);
    }
}
