//! Reads and writes the channel.

use std::time::Duration;

use cluster_ipc::{Channel, Flush, Received, Recv, RecvError};
use cluster_proto::Message;

use super::base::Core;
use super::front::News;
use crate::machine::{Handle, HandleId, Input};

/// What may be gathered of an evented worker's messages before it is written, in bytes.
const GATHERED: usize = 16 << 10;

/// How long writing rests when the system refuses.
const FLUSH_PAUSE: Duration = Duration::from_millis(10);

impl Core {
    /// Writes what waits, as far as that goes without blocking, and closes a channel that is done.
    pub(crate) fn flush(&mut self) {
        loop {
            if self.link.again_at.is_some_and(|at| self.now() < at) && !self.link.given_up {
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
                    self.note_change();
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
                    self.note_change();
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
        self.note_change();
    }
}
