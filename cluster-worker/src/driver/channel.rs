//! The channel, and what waits on either side of it.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use cluster_ipc::{Channel, Flush, Outgoing, Pressure, Received, Recv, RecvError};
use cluster_proto::Message;

use super::Core;
use super::front::News;
use crate::error::SendError;
use crate::machine::{Handle, HandleId, Input, Mono};

/// What may be gathered of an evented worker's messages before it is written, in bytes.
const GATHERED: usize = 16 << 10;

/// How long writing rests when the system refuses.
const FLUSH_PAUSE: Duration = Duration::from_millis(10);

/// The channel while it is open.
#[derive(Debug)]
pub(super) struct Link {
    channel: Option<Channel>,
    /// Frames of the protocol's own that found the channel's queue full of the user's.
    held: VecDeque<Message>,
    /// It is to be closed when all is written.
    closing: bool,
    /// Or when it cannot be, for the time is over.
    given_up: bool,
    /// It may have something to read: it reports that once only.
    readable: bool,
    /// How often everything was written.
    flushes: u64,
    /// The last time it could not be.
    blocked: bool,
    /// The system refused to write; when that is tried again.
    again_at: Option<Mono>,
    /// How often the system is to refuse, for a test.
    #[cfg(test)]
    pub(super) refusals: u32,
    /// What the channel had counted when it was closed.
    unexpected_handles: u64,
}

impl Link {
    pub(super) fn new(channel: Channel) -> Self {
        Self {
            channel: Some(channel),
            held: VecDeque::new(),
            closing: false,
            given_up: false,
            readable: true,
            flushes: 0,
            blocked: false,
            again_at: None,
            #[cfg(test)]
            refusals: 0,
            unexpected_handles: 0,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.channel.is_none()
    }

    pub(super) fn is_readable(&self) -> bool {
        self.readable && self.channel.is_some()
    }

    /// The channel may have something to read, or the primary has closed it.
    pub(super) fn note_event(&mut self, closed: bool) {
        self.readable = true;
        if let Some(channel) = &mut self.channel {
            channel.note_readable(closed);
        }
    }

    /// When writing is tried again.
    pub(super) fn again_at(&self) -> Option<Mono> {
        self.again_at
    }

    fn flush(&mut self) -> Option<io::Result<Flush>> {
        let channel = self.channel.as_mut()?;
        #[cfg(test)]
        if self.refusals > 0 {
            self.refusals -= 1;
            return Some(Err(rustix::io::Errno::NOBUFS.into()));
        }
        Some(channel.flush())
    }

    pub(super) fn flushes(&self) -> u64 {
        self.flushes
    }

    /// What [`flushes`](Self::flushes) will be when what is queued now has been written.
    pub(super) fn next_flush(&self) -> u64 {
        self.flushes + 1
    }

    pub(super) fn close(&mut self) {
        self.closing = true;
    }

    /// What cannot be written at once need not be, if it is to be closed.
    pub(super) fn give_up(&mut self) {
        self.given_up = self.closing;
    }

    /// Descriptors that came with no message that has one.
    pub(super) fn unexpected_handles(&self) -> u64 {
        let channel = self.channel.as_ref();
        channel.map_or(self.unexpected_handles, |channel| channel.stats().unexpected_handles)
    }

    pub(super) fn send_user(
        &mut self,
        message: &Message,
        handle: Option<Outgoing<OwnedFd>>,
    ) -> Result<Pressure, SendError> {
        let Some(channel) = &mut self.channel else { return Err(SendError::Disconnected) };
        if !self.held.is_empty() {
            return Err(SendError::QueueFull { limit: channel.queued_bytes() });
        }
        channel.send(message, handle).map_err(|error| match error {
            cluster_ipc::SendError::Encode(error) => SendError::Encode(error),
            cluster_ipc::SendError::TooLong { limit, .. } => SendError::TooLong { limit },
            cluster_ipc::SendError::QueueFull { limit } => SendError::QueueFull { limit },
            _ => SendError::Disconnected,
        })
    }

    /// Sends what must not get lost for a user's messages.
    pub(super) fn send_own(&mut self, message: Message) {
        self.held.push_back(message);
        self.refill();
    }

    fn refill(&mut self) {
        let Some(channel) = &mut self.channel else { return };
        while let Some(message) = self.held.front() {
            if let Err(cluster_ipc::SendError::QueueFull { .. }) = channel.send(message, None) {
                return;
            }
            self.held.pop_front();
        }
    }
}

impl Core {
    /// Writes what waits, as far as that goes without blocking, and closes a channel that is done.
    pub(crate) fn flush(&mut self) {
        loop {
            if self.link.again_at.is_some_and(|at| self.clock.mono() < at) && !self.link.given_up {
                return;
            }
            self.link.again_at = None;
            let Some(flushed) = self.link.flush() else { return };
            match flushed {
                Ok(Flush::Done) => self.link.refill(),
                _ if self.link.given_up => return self.close_channel(None),
                Ok(_) => {
                    self.link.blocked = true;
                    return;
                }
                // It is out of memory, or has too many descriptors in flight: nothing is lost. Of a
                // peer that is gone the channel makes no error.
                Err(_) => {
                    self.link.blocked = true;
                    self.link.again_at = self.clock.deadline(FLUSH_PAUSE);
                    // The wait for events ends no later than that.
                    self.changed = true;
                    return;
                }
            }
            let Some(channel) = &mut self.link.channel else { return };
            if !channel.can_send() {
                // The peer is gone, and what was queued with it. What it wrote is still to be read.
                return self.read_out();
            }
            if channel.wants_write() {
                continue;
            }
            // What is held, here or behind a descriptor that is not acknowledged yet, is not
            // written: threads that wait for it may not go on.
            if !self.link.held.is_empty() || channel.queued_bytes() > 0 {
                self.link.blocked = true;
                if self.link.given_up {
                    self.close_channel(None);
                }
                return;
            }
            self.link.flushes += 1;
            if std::mem::take(&mut self.draining) {
                self.front.notify(News::Drained);
                self.changed = true;
            }
            // Threads that wait for acknowledgements to be written can go on.
            self.changed |= std::mem::take(&mut self.link.blocked);
            // All is written: what the closing still waits for is the peer's answers.
            if !self.link.closing {
                return;
            }
            if !channel.is_idle() {
                if self.link.given_up {
                    self.close_channel(None);
                }
                return;
            }
            // A connection that came in the meantime is refused rather than lost.
            self.link.note_event(true);
            if self.read(1, u64::MAX) == 0 {
                return self.close_channel(None);
            }
        }
    }

    /// Whether enough waits to be written that it should not wait for more, and could be.
    pub(crate) fn is_gathered(&self) -> bool {
        let queued = self.link.channel.as_ref().map_or(0, Channel::queued_bytes);
        queued >= GATHERED && !self.link.blocked
    }

    /// Whether everything has been written.
    pub(crate) fn is_flushed(&self) -> bool {
        self.link.held.is_empty()
            && self.link.channel.as_ref().is_none_or(|channel| channel.queued_bytes() == 0)
    }

    /// Reads up to so many messages, and no more once there are so many bytes of them; says how
    /// many there were.
    pub(super) fn read(&mut self, most: usize, bytes: u64) -> usize {
        let mut until = None;
        for count in 0..most {
            if !self.link.is_readable() {
                return count;
            }
            let Some(channel) = &mut self.link.channel else { return count };
            let read = channel.received_bytes();
            if read >= *until.get_or_insert(read.saturating_add(bytes)) {
                return count;
            }
            match channel.recv() {
                Ok(Recv::Message(received)) => self.receive(received),
                Ok(Recv::WouldBlock) => {
                    self.link.readable = false;
                    return count;
                }
                Ok(_) => {
                    self.close_channel(None);
                    return count;
                }
                Err(RecvError::TooDeep) => {
                    self.lost += 1;
                    self.changed = true;
                }
                Err(error) => {
                    self.close_channel(Some(error));
                    return count;
                }
            }
        }
        most
    }

    fn receive(&mut self, received: Received<std::os::fd::OwnedFd>) {
        let (message, handle) = match (received.message, received.handle) {
            // Not the machine's business.
            (Message::User(value), None) => return self.deliver(value, None),
            received => received,
        };
        let handle = handle.map(|received| {
            self.last_handle += 1;
            let id = HandleId(self.last_handle);
            self.handles.insert(id, received.handle);
            Handle { id, kind: received.kind, key: received.key }
        });
        self.input(Input::Received { message, handle });
    }

    /// Nothing can be written any more: reads what there is, and closes.
    fn read_out(&mut self) {
        self.link.note_event(true);
        // A peer that writes forever and never reads has had its chance.
        self.read(1 << 16, u64::MAX);
        self.close_channel(None);
    }

    fn close_channel(&mut self, failure: Option<RecvError>) {
        let Some(mut channel) = self.link.channel.take() else { return };
        let _ = self.registry.deregister(&mut channel);
        self.link.unexpected_handles = channel.stats().unexpected_handles;
        drop(channel);
        self.failure = failure;
        self.link.held.clear();
        // The primary has not heard that these were accepted, and places them again.
        let flushes = self.link.flushes;
        let mut unwritten = Vec::new();
        for (id, server) in &mut self.servers {
            let written = server.taken.iter().filter(|taken| taken.flush <= flushes).count();
            for taken in server.taken.drain(written..) {
                unwritten.extend(taken.tracked.then_some(*id));
            }
        }
        self.end_requests();
        self.input(Input::ChannelClosed);
        for server in unwritten {
            self.input(Input::Ended(server));
        }
        self.changed = true;
    }
}
