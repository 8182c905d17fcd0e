//! Users' messages to workers, and what becomes of them.

mod state;

use std::collections::{BTreeSet, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use cluster_ipc::{Outgoing, Pressure};
use cluster_proto::{EncodeError, IntoMessage, Message, Value};

use super::Primary;
use super::child::Child;
use crate::machine::Input;
use crate::{Counted, Event, SendError, SendId, WorkerId};

pub(super) use state::SendsState;

/// The names under which a channel reports what became of descriptors and marks.
pub(super) mod tokens {
    use crate::SendId;

    /// A probe, among hand-offs and users' descriptors.
    pub(in crate::driver) const PROBE: u64 = u64::MAX;
    /// The mark behind what waits when the pressure is high.
    pub(super) const DRAINED: u64 = u64::MAX;
    /// A user's; hand-offs have the `seq` of their message, which counts from 0.
    const USER: u64 = 1 << 63;

    pub(in crate::driver) enum Token {
        Probe,
        User(SendId),
        HandOff(u64),
    }

    pub(super) fn user(id: SendId) -> u64 {
        USER | id.0
    }

    pub(in crate::driver) fn of(token: u64) -> Token {
        match token {
            PROBE => Token::Probe,
            token if token & USER != 0 => Token::User(SendId(token & !USER)),
            seq => Token::HandOff(seq),
        }
    }
}

/// What may be gathered of a user's messages before it is written, in bytes.
const GATHERED: usize = 16 << 10;

/// How long the first of them waits for others while there are events to take.
pub(super) const GATHER_TIME: Duration = Duration::from_micros(100);

/// What is to be reported of one worker's messages.
#[derive(Default)]
pub(super) struct Sends {
    open: BTreeSet<SendId>,
    /// A mark stands behind what waited when the pressure was high.
    draining: bool,
    /// Events that are to be told when the machine has had its say.
    news: VecDeque<Event>,
}

impl Sends {
    /// The worker has answered for a descriptor.
    pub(super) fn answered(&mut self, worker: WorkerId, id: SendId, delivered: bool) {
        if self.open.remove(&id) {
            let error = (!delivered).then_some(SendError::Undelivered { worker });
            self.news.push_back(Event::Sent { worker, id, error });
        }
    }

    /// What stands before a mark is written.
    pub(super) fn reached(&mut self, worker: WorkerId, mark: u64) {
        if mark == tokens::DRAINED {
            self.draining = false;
            self.news.push_back(Event::Drained { worker });
        } else if let tokens::Token::User(id) = tokens::of(mark) {
            self.answered(worker, id, true);
        }
    }

    /// Nothing more will be written.
    fn end(&mut self, worker: WorkerId) {
        for id in std::mem::take(&mut self.open) {
            let error = Some(SendError::Closed { worker });
            self.news.push_back(Event::Sent { worker, id, error });
        }
    }

    pub(super) fn has_news(&self) -> bool {
        !self.news.is_empty()
    }
}

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
    /// returns `false`); the message is taken all the same. [`Event::Drained`] tells when to go on.
    ///
    /// # Errors
    /// [`SendError`] if the worker has no open channel, its queue is full, or the message is of a
    /// kind that only the protocol may send. It is not sent then.
    pub fn send(
        &mut self,
        worker: WorkerId,
        message: impl IntoMessage,
    ) -> Result<Pressure, SendError> {
        self.submit(worker, Message::User(message.into_message()?), None, None)
    }

    /// Sends a message of the cluster's own (`cmd` is `NODE_CLUSTER`) as it is: to a Node worker just these
    /// members. Node's `worker.send()` does not tell it from others.
    pub(crate) fn send_cluster_message(
        &mut self,
        worker: WorkerId,
        message: Value,
    ) -> Result<Pressure, SendError> {
        let message = match message {
            // The native wire has a form of its own for what it knows.
            message if self.machine.is_native(worker) => {
                let unreadable = |_| SendError::Encode { error: EncodeError::Reserved };
                Message::from_value(message).map_err(unreadable)?
            }
            Value::Object(object) => Message::Internal(object),
            message => Message::User(message),
        };
        self.submit(worker, message, None, None)
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
        self.submit(worker, Message::User(message.into_message()?), Some(handle.into()), None)
    }

    /// Sends a message, perhaps with a descriptor, and has [`Event::Sent`] tell when it is written:
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
        let message = Message::User(message.into_message()?);
        self.last_send += 1;
        let id = SendId(self.last_send);
        self.submit(worker, message, handle, Some(id))?;
        Ok(id)
    }

    fn submit(
        &mut self,
        worker: WorkerId,
        message: Message,
        handle: Option<Outgoing<OwnedFd>>,
        report: Option<SendId>,
    ) -> Result<Pressure, SendError> {
        // What the machine said before goes first.
        self.drain_machine();
        let open = self.machine.worker(worker).is_some_and(|w| w.connected);
        let child = self.children.get_mut(&worker).filter(|_| open);
        let child = child.ok_or(SendError::Closed { worker })?;
        let channel = child.open_channel().ok_or(SendError::Closed { worker })?;
        let handle = handle.map(|mut handle| {
            handle.token = report.map(tokens::user);
            handle
        });
        let answered = handle.is_some();
        let sent = channel.send(&message, handle);
        let pressure = sent.map_err(|error| match error {
            cluster_ipc::SendError::Encode(error) => SendError::Encode { error },
            cluster_ipc::SendError::QueueFull { limit } => SendError::QueueFull { worker, limit },
            cluster_ipc::SendError::TooLong { length, limit } => {
                SendError::TooLong { length, limit }
            }
            _ => SendError::Closed { worker },
        })?;
        if let Some(id) = report {
            if !answered {
                channel.mark(tokens::user(id));
            }
            child.sends.open.insert(id);
        }
        if pressure == Pressure::High && !std::mem::replace(&mut child.sends.draining, true) {
            // The channel was there a moment ago.
            if let Some(channel) = child.channel() {
                channel.mark(tokens::DRAINED);
            }
        }
        // The first message of a turn is written at once; those that follow it wait for each other,
        // up to a limit, or until the turn is over.
        let gathered = child.channel().map_or(0, |channel| channel.queued_bytes());
        let blocked = child.blocked;
        self.unflushed.insert(worker);
        if self.sent_to.insert(worker) || (gathered >= GATHERED && !blocked) {
            self.flush();
        } else if self.gathering_since.is_none() {
            self.gathering_since = Some(self.clock.now());
        }
        self.tell_sends(worker);
        Ok(pressure)
    }

    /// Writes what was sent and not written yet, as far as that goes without waiting. It happens by
    /// itself when events are taken.
    pub fn flush_sends(&mut self) {
        self.settle();
    }

    /// Asks how many connections are open in a worker of those that were sent to it with that key
    /// ([`Outgoing::key`]): what Node's `server.getConnections()` asks of each child.
    /// [`Event::SocketCount`] brings the answer, one for all who have asked before it; none comes if
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
    /// that key: what Node's `server.close()` waits for. [`Event::SocketsClosed`] tells; it does not
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
        if !open || self.children.get_mut(&worker).and_then(Child::open_channel).is_none() {
            return Err(SendError::Closed { worker });
        }
        self.input(Input::AskSockets { worker, key, when_closed });
        Ok(())
    }

    /// What tells a worker that a connection of its is closed.
    pub(super) fn counted(&self, worker: WorkerId, key: String) -> Counted {
        let calls = Arc::clone(&self.calls);
        Counted::new(move || {
            calls.push(Box::new(move |primary| {
                primary.input(Input::SocketClosed { worker, key });
            }));
        })
    }

    /// The worker's channel is gone.
    pub(super) fn end_sends(&mut self, worker: WorkerId) {
        // An answer may have been read already.
        self.drain_machine();
        let requests = self.lost_requests(worker);
        if let Some(child) = self.children.get_mut(&worker) {
            child.sends.end(worker);
            child.sends.news.extend(requests);
        }
        self.tell_sends(worker);
    }

    /// Tells what became of messages, behind what the machine has seen so far.
    pub(super) fn tell_sends(&mut self, worker: WorkerId) {
        if !self.children.get(&worker).is_some_and(|child| child.sends.has_news()) {
            return;
        }
        self.drain_machine();
        if let Some(child) = self.children.get_mut(&worker) {
            self.events.append(&mut child.sends.news);
        }
    }
}
