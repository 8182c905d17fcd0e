//! The channel between the script and the primary for one worker.

use std::io;
use std::os::fd::OwnedFd;

use cluster_ipc::{Channel, ChannelConfig, Outgoing, Pressure, Recv, Wire};
use cluster_primary::proto::{ClusterBody, ClusterMessage, Message, SocketList};
use cluster_primary::{Primary, SendError, Serialization, UserMessage, Value, WorkerId};
use mio::{Interest, Registry, Token};
use rustix::net::{Shutdown, shutdown};
use tracing::error;

/// Messages that are read from one link before the others get a turn.
const MESSAGES_PER_TURN: usize = 256;

/// The longest message, in bytes: Node has no limit, and the longest string has half of that.
pub(crate) const LONGEST_MESSAGE: usize = 1 << 30;

/// The script's end of a worker's channel leads here.
pub(super) struct Link {
    worker: WorkerId,
    channel: Channel,
    /// The worker's queue is full: the script's messages are not read until it has drained.
    full: bool,
    /// The script reads more slowly than the worker writes: the worker's messages are not read.
    behind: bool,
    /// It closes once everything is written.
    closing: bool,
    /// Nothing more is written.
    shut: bool,
    closed: bool,
}

/// What is left to do for a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// Nothing before it becomes ready again.
    Nothing,
    /// There may be more to read.
    More,
    /// It is closed.
    Closed,
}

impl Link {
    pub(super) fn new(
        worker: WorkerId,
        fd: OwnedFd,
        serialization: Serialization,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Self> {
        let wire = match serialization {
            Serialization::Advanced => Wire::Advanced,
            _ => Wire::Json,
        };
        let config = ChannelConfig::default().wire(wire).encoded(true);
        // A worker is not read while much waits here, so little more comes than one message.
        let config = config.max_frame(LONGEST_MESSAGE).queue_limit(usize::MAX);
        let mut channel = Channel::from_fd(fd, config)?;
        registry.register(&mut channel, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self {
            worker,
            channel,
            full: false,
            behind: false,
            closing: false,
            shut: false,
            closed: false,
        })
    }

    /// Passes on what the script has sent, and writes what waits for it.
    pub(super) fn turn(&mut self, primary: &mut Primary) -> Left {
        let more = self.read(primary);
        self.flush(primary);
        match (self.closed, more) {
            (true, _) => Left::Closed,
            (false, true) => Left::More,
            (false, false) => Left::Nothing,
        }
    }

    /// Whether there may be more to read now.
    fn read(&mut self, primary: &mut Primary) -> bool {
        for _ in 0..MESSAGES_PER_TURN {
            if (self.full && !self.closing) || self.closed {
                return false;
            }
            match self.channel.recv() {
                // It may answer the last message.
                Ok(Recv::Message(_)) if self.closing => {}
                Ok(Recv::Message(received)) => {
                    let handle = received.handle.map(|received| {
                        let outgoing = Outgoing::new(received.kind, received.handle);
                        match received.key {
                            Some(key) => outgoing.key(key),
                            None => outgoing,
                        }
                    });
                    self.pass_on(primary, received.message, handle);
                }
                Ok(Recv::WouldBlock) => return false,
                // The script has disconnected the worker's channel, or has sent what is no message.
                Ok(Recv::Closed) | Err(_) => {
                    self.end(primary);
                    return false;
                }
            }
        }
        true
    }

    fn pass_on(
        &mut self,
        primary: &mut Primary,
        message: Message,
        handle: Option<Outgoing<OwnedFd>>,
    ) {
        let worker = self.worker;
        // Of a worker that has gone the script hears by the end of this channel.
        let sent = match message {
            Message::Encoded(message) => primary.relay(worker, message, handle),
            Message::User(message) => primary.relay(worker, UserMessage::from(message), handle),
            Message::Cluster(ClusterMessage { body: ClusterBody::Disconnect, .. }) => {
                primary.disconnect_worker(worker);
                return;
            }
            // Node's primary half answers what only this primary serves.
            Message::Cluster(_) => return,
            Message::SocketList(SocketList::GetCount { key }) => {
                let _ = primary.count_sockets(worker, key);
                return;
            }
            Message::SocketList(SocketList::NotifyClose { key }) => {
                let _ = primary.await_sockets(worker, key);
                return;
            }
            Message::Internal(object) => {
                primary.send_cluster_message(worker, Value::Object(object))
            }
            _ => return,
        };
        match sent {
            Ok(pressure) => self.full = pressure == Pressure::High,
            Err(SendError::Closed { .. }) => {}
            Err(error) => {
                error!("a message of the program to worker {worker} was not sent: {error}");
            }
        }
    }

    /// The worker's queue is empty again.
    pub(super) fn drained(&mut self) {
        self.full = false;
    }

    /// Sends the script something that the worker has said, or that the primary says of it.
    pub(super) fn send(
        &mut self,
        primary: &mut Primary,
        message: &Message,
        handle: Option<Outgoing<OwnedFd>>,
    ) {
        match self.channel.send(message, handle) {
            Ok(Pressure::High) => {
                self.behind = true;
                primary.hold_messages(self.worker, true);
            }
            // The script has closed its end.
            Ok(Pressure::Low) | Err(cluster_ipc::SendError::Closed) => {}
            Err(error) => {
                error!("a message of worker {} did not reach the program: {error}", self.worker);
            }
        }
    }

    /// The worker's channel is closed: so is this one, once everything is written.
    pub(super) fn close(&mut self) {
        self.closing = true;
    }

    pub(super) fn flush(&mut self, primary: &mut Primary) {
        if self.channel.flush().is_err() {
            self.end(primary);
        }
        if self.behind && self.channel.queued_bytes() == 0 {
            self.behind = false;
            primary.hold_messages(self.worker, false);
        }
        if self.closing && !self.shut && (self.channel.is_idle() || !self.channel.can_send()) {
            self.shut = true;
            // The script sees the end, and closes its own.
            if shutdown(&self.channel, Shutdown::Write).is_err() {
                self.closed = true;
            }
        }
    }

    fn end(&mut self, primary: &mut Primary) {
        self.closed = true;
        if !self.closing {
            primary.close_channel(self.worker);
        }
    }
}
