//! The blocking front-end.

use std::io;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use cluster_ipc::Pressure;
use cluster_proto::{ListenQuery, Value};

use crate::driver::{Core, Kind, Shared, Stage};
use crate::error::{ListenError, RecvError, SendError, StartError};
use crate::listener::{Listener, TcpListener, UnixListener};
use crate::machine::{Input, ServerId, State};
use crate::options::{ListenOptions, UdpOptions, UnixOptions};
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
}

impl Worker {
    /// Starts this process's worker, if its environment says that it is one; a second call fails.
    ///
    /// Takes the channel over, tells the primary `online`, and removes `NODE_UNIQUE_ID`,
    /// `NODE_CHANNEL_FD` and `NODE_CHANNEL_SERIALIZATION_MODE` from the environment, lest children
    /// take themselves for this worker. That can only be done soundly while the process has one
    /// thread, and only Linux can tell: call this first in `main`. Elsewhere the variables stay, and
    /// [`scrub`](crate::scrub) takes them from a child's environment.
    ///
    /// # Errors
    /// [`StartError`] if the environment says that this process is a worker, and the rest does not
    /// fit. The process is not connected then, and the variables stay.
    pub fn from_env() -> Result<Option<Self>, StartError> {
        Options::new().from_env()
    }

    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let id = shared.with(|core| core.id);
        Self { shared, id }
    }

    /// The worker's id (`worker.id`), from 1.
    pub fn id(&self) -> u32 {
        self.id
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
        let server = self.open(options.query()?, Kind::Tcp, options.max_connections)?;
        Ok(Listener::<TcpStream>::new(Arc::clone(&self.shared), server))
    }

    /// A Unix-domain listener whose connections are shared with the other workers. Waits for the
    /// primary's answer.
    ///
    /// # Errors
    /// [`ListenError`] if it cannot be, the primary's reasons included.
    pub fn listen_unix(&self, at: impl Into<UnixOptions>) -> Result<UnixListener, ListenError> {
        let options = at.into();
        let server = self.open(options.query()?, Kind::Unix, options.max_connections)?;
        Ok(Listener::<UnixStream>::new(Arc::clone(&self.shared), server))
    }

    /// A UDP socket that all workers receive from (`dgram.Socket.bind()`). Waits for the primary's
    /// answer.
    ///
    /// # Errors
    /// [`ListenError`] if it cannot be, the primary's reasons included.
    pub fn bind_udp(&self, at: impl Into<UdpOptions>) -> Result<UdpSocket, ListenError> {
        let query = at.into().query()?;
        let address = query.address.to_string();
        let server = self.open(query, Kind::Udp, None)?;
        // It is gone already if a disconnect came in between.
        UdpSocket::new(Arc::clone(&self.shared), server)
            .ok_or(ListenError::Disconnected { address })
    }

    fn open(
        &self,
        query: ListenQuery,
        kind: Kind,
        max_connections: Option<usize>,
    ) -> Result<ServerId, ListenError> {
        let server = self.shared.with(|core| core.listen(query, kind, max_connections));
        let answered = self.shared.wait(None, |core| {
            let stage = core.servers.get(&server).map(|server| &server.stage);
            (!matches!(stage, Some(Stage::Asking))).then_some(())
        });
        self.shared.with(|core| {
            let failure = match core.servers.get(&server).map(|server| &server.stage) {
                Some(Stage::Failed(failure)) => *failure,
                // The wait itself failed.
                Some(Stage::Asking) => {
                    let address = core.servers[&server].name.clone();
                    core.forget(server);
                    let errno = answered.err().and_then(|error| error.raw_os_error());
                    let errno = errno.unwrap_or_default();
                    return Err(ListenError::Unusable { address, errno });
                }
                _ => return Ok(server),
            };
            let gone = core.servers.remove(&server).map(|server| server.listen_error(failure));
            Err(gone.unwrap_or(ListenError::Disconnected { address: String::new() }))
        })
    }

    /// Sends a message to the primary (`process.send()`).
    ///
    /// `Ok(Pressure::High)` is Node's `false`: the message is queued, and more should wait (see
    /// [`flush`](Self::flush)).
    ///
    /// # Errors
    /// [`SendError`] if it is not sent.
    pub fn send(&self, message: impl Into<Value>) -> Result<Pressure, SendError> {
        let message = message.into();
        self.shared.with(|core| core.send(message))
    }

    /// Waits until everything that was sent has been written to the channel.
    ///
    /// # Errors
    /// An [`io::Error`] if the operating system would not wait.
    pub fn flush(&self) -> io::Result<()> {
        self.shared.wait(None, |core| core.is_flushed().then_some(())).map(drop)
    }

    /// Waits for the next message from the primary (`process.on('message')`); `None` when the
    /// worker is disconnected and all have been received.
    ///
    /// # Errors
    /// [`RecvError::Lost`] if messages came faster than they were received, and
    /// [`RecvError::Channel`] once if the channel broke.
    pub fn recv(&self) -> Result<Option<Value>, RecvError> {
        let received = self.shared.wait(None, next_message).map_err(RecvError::Io)?;
        received.unwrap_or(Ok(None))
    }

    /// As [`recv`](Self::recv); `Ok(None)` also when no message came in time.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Option<Value>, RecvError> {
        let received = self.shared.wait(Some(timeout), next_message).map_err(RecvError::Io)?;
        received.unwrap_or(Ok(None))
    }

    /// Disconnects in good order (`worker.disconnect()`) and waits until that is done: closes all
    /// listeners, waits for tracked connections to end, tells the primary and has it acknowledged,
    /// and closes the channel.
    ///
    /// Whoever calls it while holding a [`Tracked`](crate::Tracked) connection waits for ever.
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

    /// Whether messages can be sent (`worker.isConnected()`).
    pub fn is_connected(&self) -> bool {
        self.shared.with(|core| core.machine.is_connected())
    }

    /// How many descriptors came from the primary beside what has none, a user's message for one,
    /// and were closed: they have nowhere to go.
    pub fn unexpected_handles(&self) -> u64 {
        self.shared.with(|core| core.unexpected_handles())
    }

    /// Whether the worker disconnected in good order (`worker.exitedAfterDisconnect`): `None` while
    /// it does not disconnect, `Some(false)` if the primary went first.
    pub fn exited_after_disconnect(&self) -> Option<bool> {
        self.shared.with(|core| core.machine.exited_after_disconnect())
    }
}

fn next_message(core: &mut Core) -> Option<Result<Option<Value>, RecvError>> {
    if core.lost > 0 {
        return Some(Err(RecvError::Lost { messages: std::mem::take(&mut core.lost) }));
    }
    if let Some(message) = core.inbox.pop_front() {
        return Some(Ok(Some(message)));
    }
    if let Some(failure) = core.failure.take() {
        return Some(Err(RecvError::Channel(failure)));
    }
    (core.machine.state() == State::Disconnected).then_some(Ok(None))
}
