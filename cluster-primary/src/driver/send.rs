//! Users' messages to workers, and their outcomes.

use std::os::fd::OwnedFd;

use cluster_ipc::{Outgoing, Pressure};
use cluster_proto::{EncodeError, IntoMessage, Message, UserMessage, Value};

use super::base::{Primary, Submitted, Write};
use super::child::Child;
use crate::error::SendError;
use crate::id::{SendId, WorkerId};
use crate::machine::{Input, Origin, Sending};

/// How many bytes of messages are gathered before they are written.
const GATHERED: usize = 16 << 10;

impl Primary {
    /// Sends a message: Node's `worker.send()`. It is a [`Value`], what becomes one by itself, or a
    /// reference to any type that serde writes, which Node sees as `JSON.stringify` would write it.
    ///
    /// The first one to a worker is written at once. Those that follow are gathered and written
    /// together: when [`next_event`](Self::next_event) or its like has no more events that came with
    /// the last, or is called more than 100 µs later; when there are 16 KiB of them; or by
    /// [`flush_sends`](Self::flush_sends).
    ///
    /// [`Pressure::High`] says that more than the high-water mark waits for the worker (Node
    /// returns `false`); the message is taken all the same. [`Event::Drained`](crate::Event::Drained) tells when to go on.
    ///
    /// # Errors
    /// [`SendError`] if the worker has no open channel, its queue is full, or the message is of a
    /// kind that only the protocol may send. It is not sent then.
    pub fn send(
        &mut self,
        worker: WorkerId,
        message: impl IntoMessage,
    ) -> Result<Pressure, SendError> {
        let sending = Sending::Message(Message::User(message.into_message()?));
        Ok(self.submit(worker, sending, None)?.pressure)
    }

    /// Sends an internal message (`cmd` is `NODE_CLUSTER`) as it is: a Node worker gets exactly these
    /// members. Node's `worker.send()` makes no difference between such messages and others.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn send_cluster_message(
        &mut self,
        worker: WorkerId,
        message: Value,
    ) -> Result<Pressure, SendError> {
        let message = match message {
            // The native wire has its own form for known messages.
            message if self.machine.is_native(worker) => {
                let unreadable = |_| SendError::Encode { error: EncodeError::Reserved };
                Message::from_value(message).map_err(unreadable)?
            }
            Value::Object(object) => Message::Internal(object),
            message => Message::User(message),
        };
        Ok(self.submit(worker, Sending::Message(message), None)?.pressure)
    }

    /// Sends a message and a descriptor with it: Node's `worker.send(message, sendHandle)`.
    ///
    /// A listener, stream or UDP socket of the standard library can be given as it is, and so can
    /// an [`Outgoing`] (its `token` is not used). A Node worker gets a `net.Server`, `net.Socket`
    /// or `dgram.Socket`. The primary's copy is closed when the worker has acknowledged it, or the
    /// channel closes; to keep the socket open here too, send what `try_clone()` returns, which is
    /// Node's `keepOpen`.
    ///
    /// Messages behind it wait until the worker has acknowledged the descriptor.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let mut primary = cluster_primary::Primary::new(cluster_primary::Settings::default())?;
    /// # let worker = primary.fork()?;
    /// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// primary.send_handle(worker, "serve this", listener)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As [`send`](Self::send); the descriptor is closed then.
    pub fn send_handle(
        &mut self,
        worker: WorkerId,
        message: impl IntoMessage,
        handle: impl Into<Outgoing<OwnedFd>>,
    ) -> Result<Pressure, SendError> {
        let sending = Sending::Message(Message::User(message.into_message()?));
        Ok(self.submit(worker, sending, Some(handle.into()))?.pressure)
    }

    /// Passes on a message as it came from someone else, perhaps with a descriptor: a message in the encoding of this
    /// worker's channel is not decoded.
    ///
    /// # Errors
    /// As [`send`](Self::send); the descriptor is closed then.
    pub fn relay(
        &mut self,
        worker: WorkerId,
        message: UserMessage,
        handle: Option<Outgoing<OwnedFd>>,
    ) -> Result<Pressure, SendError> {
        Ok(self.submit(worker, Sending::Message(Message::Encoded(message)), handle)?.pressure)
    }

    /// Sends a message, perhaps with a descriptor, and has [`Event::Sent`](crate::Event::Sent) tell when it is written:
    /// Node's `worker.send(message, sendHandle, callback)`. With a descriptor the event comes when
    /// the worker has answered for it.
    ///
    /// # Errors
    /// As [`send`](Self::send); no event comes then.
    pub fn send_reported(
        &mut self,
        worker: WorkerId,
        message: impl IntoMessage,
        handle: Option<Outgoing<OwnedFd>>,
    ) -> Result<SendId, SendError> {
        let sending = Sending::Reported(Message::User(message.into_message()?));
        match self.submit(worker, sending, handle)?.origin {
            Origin::Reported(id) => Ok(id),
            _ => Err(SendError::Closed { worker }),
        }
    }

    /// Has the machine send the user's message, and returns the result.
    pub(super) fn submit(
        &mut self,
        worker: WorkerId,
        sending: Sending,
        handle: Option<Outgoing<OwnedFd>>,
    ) -> Result<Submitted, SendError> {
        let input = Input::Send { worker, sending, handle: handle.is_some() };
        self.outgoing = handle;
        self.submitted = None;
        self.tell(input);
        self.settle(Write::Later);
        self.outgoing = None;
        // If an answer could not be sent, a refusal may have been queued in its place.
        self.write_or_gather(worker);
        self.submitted.take().unwrap_or(Err(SendError::Closed { worker }))
    }

    /// The first message of a turn is written at once; those that follow it wait for each other, up to a limit, or
    /// until the turn is over.
    fn write_or_gather(&mut self, worker: WorkerId) {
        let Some(child) = self.child_mut(worker) else { return };
        let blocked = child.blocked;
        let gathered = child.channel().map_or(0, |channel| channel.queued_bytes());
        if self.writes.note_sent(worker) || (gathered >= GATHERED && !blocked) {
            self.settle(Write::Now);
        } else {
            self.writes.gather(self.now());
        }
    }

    /// Writes what was sent and not written yet, as far as that goes without waiting. It happens by
    /// itself when events are taken.
    pub fn flush_sends(&mut self) {
        self.settle(Write::Now);
    }

    /// Asks how many connections are open in a worker of those that were sent to it with that key
    /// ([`Outgoing::key`]): what Node's `server.getConnections()` asks of each child.
    /// [`Event::SocketCount`](crate::Event::SocketCount) brings the answer, one for all who have asked before it; none comes if
    /// nothing was ever sent with the key, or the worker disconnects first.
    ///
    /// # Errors
    /// [`SendError::Closed`].
    pub fn count_sockets(
        &mut self,
        worker: WorkerId,
        key: impl Into<String>,
    ) -> Result<(), SendError> {
        self.ask_sockets(worker, key.into(), false)
    }

    /// Asks to be told when the last of the connections is closed that were sent to a worker with
    /// that key: what Node's `server.close()` waits for. [`Event::SocketsClosed`](crate::Event::SocketsClosed) tells; it does not
    /// come if nothing was ever sent with the key, or the worker disconnects first.
    ///
    /// # Errors
    /// [`SendError::Closed`].
    pub fn await_sockets(
        &mut self,
        worker: WorkerId,
        key: impl Into<String>,
    ) -> Result<(), SendError> {
        self.ask_sockets(worker, key.into(), true)
    }

    fn ask_sockets(
        &mut self,
        worker: WorkerId,
        key: String,
        when_closed: bool,
    ) -> Result<(), SendError> {
        let open = self.machine.worker(worker).is_some_and(|w| w.connected);
        if !open || !self.child(worker).is_some_and(Child::has_open_channel) {
            return Err(SendError::Closed { worker });
        }
        self.input(Input::AskSockets { worker, key, when_closed });
        Ok(())
    }
}
