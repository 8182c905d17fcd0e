//! The worker, and the task that does its business.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use cluster_ipc::{Outgoing, Pressure};
use cluster_proto::{IntoMessage, ListenQuery};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio::net::{TcpStream, UnixStream};

use super::listener::{Listener, TcpListener, UnixListener};
use super::messages::{Messages, Sender};
use super::opened::Opened;
use super::udp::UdpSocket;
use crate::driver::socket::{self, Waited};
use crate::driver::{Core, Front, Kind, Question, Shared};
use crate::error::{ListenError, RecvError, RequestError, SendError, StartError};
use crate::machine::{Input, State};
use crate::options::{ListenOptions, UdpOptions, UnixOptions};
use crate::received::Received;
use crate::setup::Options;

/// How long the task rests when the system would not tell what has come.
const PAUSE: Duration = Duration::from_millis(100);

/// This process's worker (`cluster.worker`), for programs on tokio. A handle: clone it. The worker stays
/// until it is disconnected, whichever task holds one.
///
/// When the primary is gone the process exits at once, with 0, as a Node worker does; see
/// [`Options::exit_when_orphaned`].
#[derive(Clone, Debug)]
pub struct Worker {
    pub(super) shared: Arc<Shared>,
    id: u32,
    slot: Option<u32>,
    first_word: Duration,
}

impl Worker {
    /// As [`cluster_worker::Worker::from_env`](crate::Worker::from_env).
    ///
    /// Most programs want [`worker()`], which can be called again.
    ///
    /// # Errors
    /// As [`cluster_worker::Worker::from_env`](crate::Worker::from_env).
    ///
    /// # Panics
    /// Outside a runtime, or in one without I/O or time.
    pub fn from_env() -> Result<Option<Self>, StartError> {
        Options::new().tokio_from_env()
    }

    /// What [`worker()`] gives from now on.
    pub(crate) fn known(started: Option<Self>) -> Option<Self> {
        if started.is_some() {
            *WORKER.lock() = Some(started.clone());
        }
        started
    }

    pub(crate) fn start(id: u32, channel: OwnedFd, options: &Options) -> Result<Self, StartError> {
        let shared = Shared::new(Core::new(id, channel, options, Front::Tasks)?);
        let slot = shared.with(|core| core.slot);
        let descriptor = shared.with(|core| core.poll_descriptor())?;
        // Without a timer it would fail later, where the failure is not seen.
        drop(tokio::time::sleep(Duration::ZERO));
        tokio::spawn(drive(socket::waited_for(descriptor)?, Arc::clone(&shared)));
        Ok(Self { shared, id, slot, first_word: options.first_word })
    }

    /// The worker's id (`worker.id`), from 1.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// As [`cluster_worker::Worker::slot`](crate::Worker::slot).
    pub fn slot(&self) -> Option<u32> {
        self.slot
    }

    /// A TCP listener whose connections are shared with the other workers. Give an IP address: a name
    /// is resolved at once, which blocks ([`TcpListener::bind`] does not).
    ///
    /// # Errors
    /// [`ListenError`] if it cannot be, the primary's reasons included.
    pub async fn listen(&self, at: impl Into<ListenOptions>) -> Result<TcpListener, ListenError> {
        let options = at.into();
        let (most, exclusive) = (options.max_connections, options.is_exclusive());
        let opening = self.open(options.query()?, Kind::Tcp, most, exclusive).await?;
        Listener::<TcpStream>::of(opening)
    }

    /// A Unix-domain listener whose connections are shared with the other workers.
    ///
    /// # Errors
    /// [`ListenError`] if it cannot be, the primary's reasons included.
    pub async fn listen_unix(
        &self,
        at: impl Into<UnixOptions>,
    ) -> Result<UnixListener, ListenError> {
        let options = at.into();
        let (most, exclusive) = (options.max_connections, options.exclusive);
        let opening = self.open(options.query()?, Kind::Unix, most, exclusive).await?;
        Listener::<UnixStream>::of(opening)
    }

    /// A UDP socket that all workers receive from: each datagram goes to one of them.
    ///
    /// # Errors
    /// [`ListenError`] if it cannot be, the primary's reasons included.
    pub async fn bind_udp(&self, at: impl Into<UdpOptions>) -> Result<UdpSocket, ListenError> {
        let options = at.into();
        let opening = self.open(options.query()?, Kind::Udp, None, options.is_exclusive()).await?;
        UdpSocket::of(opening)
    }

    async fn open(
        &self,
        query: ListenQuery,
        kind: Kind,
        max_connections: Option<usize>,
        exclusive: bool,
    ) -> Result<Opened, ListenError> {
        let open = |core: &mut Core| core.serve(query, kind, max_connections, exclusive);
        let server = self.shared.with(open);
        // From here on it is closed if no task waits any more.
        let opened = Opened { shared: Arc::clone(&self.shared), server };
        self.shared.when(|core| core.opened(server)).await?;
        Ok(opened)
    }

    /// Sends a message to the primary (`process.send()`), at once, as far as that goes without
    /// waiting; the rest follows by itself.
    ///
    /// `Ok(Pressure::High)` is Node's `false`: the message is queued, and more should wait for
    /// [`flush`](Self::flush).
    ///
    /// # Errors
    /// [`SendError`] if it is not sent.
    pub fn send(&self, message: impl IntoMessage) -> Result<Pressure, SendError> {
        let message = message.into_message()?;
        self.shared.with(|core| core.send(message, None))
    }

    /// Sends a message and a descriptor with it; see
    /// [`cluster_worker::Worker::send_handle`](crate::Worker::send_handle).
    ///
    /// # Errors
    /// [`SendError`] if it is not sent; the descriptor is closed then.
    pub fn send_handle(
        &self,
        message: impl IntoMessage,
        handle: impl Into<Outgoing<OwnedFd>>,
    ) -> Result<Pressure, SendError> {
        let (message, handle) = (message.into_message()?, handle.into());
        self.shared.with(|core| core.send(message, Some(handle)))
    }

    /// Asks the primary, and waits for its answer, for so long at most; see
    /// [`cluster_worker::Worker::request`](crate::Worker::request). If the future is dropped, an answer that
    /// comes later is passed over.
    ///
    /// ```no_run
    /// # async fn ask(worker: cluster_worker::tokio::Worker) -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    ///
    /// let name: String = worker.request(&("name of", 7), Duration::from_secs(1)).await?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`RequestError`]; whatever it says the primary may have done what it was asked.
    pub async fn request<T: DeserializeOwned>(
        &self,
        body: impl IntoMessage,
        timeout: Duration,
    ) -> Result<T, RequestError> {
        let body = body.into_message().map_err(|error| RequestError::Send(error.into()))?;
        let asked = self.shared.with(|core| core.request(body, timeout));
        let asked = Asked { id: asked.map_err(RequestError::Send)?, shared: &self.shared };
        RequestError::typed(self.shared.when(|core| core.take_answer(asked.id)).await)
    }

    /// Asks how many connections are open in the primary of those that were sent to it with that key; see
    /// [`cluster_worker::Worker::count_sockets`](crate::Worker::count_sockets). `None` if the worker is
    /// disconnected first.
    ///
    /// # Errors
    /// [`SendError::Disconnected`].
    pub async fn count_sockets(&self, key: &str) -> Result<Option<u64>, SendError> {
        let question = Question::ask(&self.shared, key, false)?;
        Ok(self.shared.when(|core| question.answer(core)).await)
    }

    /// Waits until the last of the connections is closed that were sent to the primary with that key. False
    /// if the worker is disconnected first.
    ///
    /// # Errors
    /// [`SendError::Disconnected`].
    pub async fn await_sockets(&self, key: &str) -> Result<bool, SendError> {
        let question = Question::ask(&self.shared, key, true)?;
        Ok(self.shared.when(|core| question.answer(core)).await.is_some())
    }

    /// Waits until everything that was sent has been written to the channel, or never will be.
    pub async fn flush(&self) {
        self.shared.when(|core| core.is_flushed().then_some(())).await;
    }

    /// The next message from the primary, with the descriptor that came beside it; `None` when the
    /// worker is disconnected and all have been received. Several tasks may receive: each message goes
    /// to one of them.
    ///
    /// # Errors
    /// [`RecvError::Lost`] if messages came faster than they were received, and
    /// [`RecvError::Channel`] once if the channel broke.
    pub async fn recv(&self) -> Result<Option<Received>, RecvError> {
        // A runtime has other tasks, however fast messages come.
        tokio::task::consume_budget().await;
        let inbound = self.shared.when(Core::next_inbound).await?;
        Ok(inbound.map(|inbound| Received::new(inbound, &self.shared)))
    }

    /// As [`recv`](Self::recv), for a type of the application's own: what the primary says with it. A
    /// descriptor beside it is closed, and a request is refused.
    ///
    /// # Errors
    /// As [`recv`](Self::recv), and [`RecvError::Type`] for a message that is something else; the next
    /// call goes on with the next message.
    pub async fn recv_as<T: DeserializeOwned>(&self) -> Result<Option<T>, RecvError> {
        let received = self.recv().await?;
        received.map(|received| RecvError::typed(received.message)).transpose()
    }

    /// The messages from the primary, as a stream.
    pub fn messages(&self) -> Messages {
        Messages::new(Arc::clone(&self.shared))
    }

    /// Messages to the primary, as a sink, which gathers what it is fed and writes it together.
    pub fn sender(&self) -> Sender {
        Sender::new(Arc::clone(&self.shared))
    }

    /// Waits until this worker is to go: it begins to disconnect, or is told to by the primary, or the
    /// primary is gone. It is the future that a graceful shutdown waits for.
    ///
    /// A server that is shut down closes connections on which it has read nothing, though a request may be on
    /// its way. So this goes on to wait, for a second at most ([`Options::first_word`]), until something was read and written on every
    /// connection that was accepted: meanwhile accept as before (there is nothing more to come usually). It counts what goes through the connection's
    /// own [`AsyncRead`](tokio::io::AsyncRead) and [`AsyncWrite`](tokio::io::AsyncWrite), and not what goes through the stream in it.
    pub async fn shutdown(&self) {
        let going = |core: &mut Core| {
            let told = core.machine.exited_after_disconnect().is_some();
            (told || core.machine.state() == State::Disconnected).then_some(())
        };
        self.shared.when_going(going).await;
        self.shared.begun(self.first_word).await;
    }

    /// Disconnects in good order (`worker.disconnect()`), or goes on with it if that has begun, and
    /// waits until it is done: closes all listeners, whose [`accept`](Listener::accept) ends, waits for
    /// tracked connections to end, tells the primary and has it acknowledged, and closes the channel.
    ///
    /// Awaiting it while holding a [`Tracked`](crate::Tracked) connection waits forever. If the
    /// future is dropped, the disconnect goes on.
    pub async fn disconnect(&self) {
        self.start_disconnect();
        self.disconnected().await;
    }

    /// Ends the process with 0 (`worker.kill()`), having told the primary that it goes voluntarily.
    /// Connections are not waited for.
    pub async fn kill(&self) -> ! {
        self.shared.with(|core| {
            core.input(Input::Kill);
            core.changed = true;
        });
        // The process exits when the channel is closed.
        self.disconnected().await;
        std::process::exit(0)
    }

    /// Closes the channel when what was sent is written (`process.disconnect()`); see
    /// [`cluster_worker::Worker::close_channel`](crate::Worker::close_channel).
    pub fn close_channel(&self) {
        self.shared.with(|core| {
            core.input(Input::CloseChannel);
            core.changed = true;
        });
    }

    /// Begins to disconnect, and does not wait.
    pub fn start_disconnect(&self) {
        self.shared.with(|core| {
            core.input(Input::Disconnect);
            core.changed = true;
        });
    }

    /// Waits until the worker is disconnected, by whichever side.
    pub async fn disconnected(&self) {
        let gone = |core: &mut Core| (core.machine.state() == State::Disconnected).then_some(());
        self.shared.when_going(gone).await;
    }

    /// Whether messages can be sent (`worker.isConnected()`).
    pub fn is_connected(&self) -> bool {
        self.shared.with(|core| core.machine.is_connected())
    }

    /// As [`cluster_worker::Worker::exited_after_disconnect`](crate::Worker::exited_after_disconnect).
    pub fn exited_after_disconnect(&self) -> Option<bool> {
        self.shared.with(|core| core.machine.exited_after_disconnect())
    }
}

/// A request whose answer a task waits for.
struct Asked<'a> {
    id: u64,
    shared: &'a Shared,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.shared.with(|core| core.give_up_request(self.id));
    }
}

/// Takes what comes, until nothing will any more.
async fn drive(source: Waited, shared: Arc<Shared>) {
    loop {
        let patience = match shared.turn() {
            Ok(Some(patience)) => patience,
            Ok(None) => return,
            Err(_) => Some(PAUSE),
        };
        // What comes from here on is seen by the next turn.
        let readable = async {
            match source.readable().await {
                Ok(mut guard) => guard.clear_ready(),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        };
        match patience {
            // Others have their turn, though there is more to do.
            Some(Duration::ZERO) => tokio::task::yield_now().await,
            Some(patience) => {
                let _ = tokio::time::timeout(patience, readable).await;
            }
            None => readable.await,
        }
    }
}

/// The worker of [`worker`], once it has been asked for.
static WORKER: Mutex<Option<Option<Worker>>> = Mutex::new(None);

/// This process's worker, if a primary has started it. The first call starts it, on the runtime that
/// is entered then; later ones give the same.
///
/// # Errors
/// [`StartError`] if the environment says that this process is a worker, and the rest does not fit.
///
/// # Panics
/// The first time outside a runtime, or in one without I/O or time.
pub fn worker() -> Result<Option<Worker>, StartError> {
    let mut started = WORKER.lock();
    match &*started {
        Some(worker) => Ok(worker.clone()),
        None => {
            let worker = Options::new().tokio_without_telling()?;
            *started = Some(worker.clone());
            Ok(worker)
        }
    }
}

/// Waits until this process's [`worker`] is to go (see [`Worker::shutdown`]): what a server's graceful
/// shutdown waits for. For ever if this process is no worker.
pub async fn shutdown() {
    match worker() {
        Ok(Some(worker)) => worker.shutdown().await,
        _ => std::future::pending().await,
    }
}

/// Disconnects this process's [`worker`], if it is one, and waits until that is done (see
/// [`Worker::disconnect`]): the last thing in `main`, lest the process go while the primary speaks to
/// it.
pub async fn disconnect() {
    if let Ok(Some(worker)) = worker() {
        worker.disconnect().await;
    }
}
