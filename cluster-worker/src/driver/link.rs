//! The channel while it is open, and the frames that wait for room in its queue.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;

use cluster_ipc::{Channel, Flush, Outgoing, Pressure};
use cluster_proto::Message;

use crate::error::SendError;
use crate::machine::Mono;

/// The channel while it is open.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) channel: Option<Channel>,
    /// Frames of the protocol's own that found the channel's queue full of the user's.
    pub(super) held: VecDeque<Message>,
    /// It is to be closed when all is written.
    pub(super) closing: bool,
    /// Or when it cannot be, for the time is over.
    pub(super) given_up: bool,
    /// It may have something to read: it reports that once only.
    pub(super) readable: bool,
    /// How often everything was written.
    pub(super) flushes: u64,
    /// The last time it could not be.
    pub(super) blocked: bool,
    /// The system refused to write; when that is tried again.
    pub(super) again_at: Option<Mono>,
    /// How often the system is to refuse, for a test.
    #[cfg(test)]
    pub(super) refusals: u32,
    /// What the channel had counted when it was closed.
    pub(super) unexpected_handles: u64,
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

    pub(super) fn flush(&mut self) -> Option<io::Result<Flush>> {
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

    pub(super) fn refill(&mut self) {
        let Some(channel) = &mut self.channel else { return };
        while let Some(message) = self.held.front() {
            if let Err(cluster_ipc::SendError::QueueFull { .. }) = channel.send(message, None) {
                return;
            }
            self.held.pop_front();
        }
    }
}
