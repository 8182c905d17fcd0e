//! Gives messages to the channels of workers, and writes them.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use cluster_ipc::{Channel, Flush, Outgoing, Pressure};
use cluster_proto::Message;

use super::base::{Primary, Submitted};
use super::child::Unread;
use super::tokens::Source;
use super::{frame_tokens, unread};
use crate::error::{SendError, WorkerError};
use crate::id::WorkerId;
use crate::machine::{Input, Origin, SendHandle};

/// The `seq` by which the machine knows a hand-off.
pub(super) fn seq_of(message: &Message) -> u64 {
    match message {
        Message::Cluster(message) => message.seq,
        _ => 0,
    }
}

impl Primary {
    /// Writes queued messages to workers.
    pub(super) fn flush(&mut self) {
        let workers = self.writes.take();
        for &worker in &workers {
            if self.stalled.has(worker) || self.holds_back(worker) {
                continue;
            }
            let Some(child) = self.children.get_mut(&worker) else { continue };
            let Some(channel) = &mut child.channel else { continue };
            let (machine, conns) = (&self.machine, &self.conns);
            let lend = |seq| conns.get(machine.handed(worker, seq)?);
            let mut flushed = channel.flush_with(lend);
            while channel.waits_to_be_read() && flushed.is_ok() {
                if unread::is_all_read(&*channel) == Some(false) {
                    let unread = Unread::again(child.unread, self.clock.now());
                    child.unread = Some(unread);
                    self.writes.hold(worker, unread.at);
                    break;
                }
                child.unread = None;
                channel.note_all_read();
                flushed = channel.flush_with(lend);
            }
            child.untaken.note(channel.written());
            while let Some(mark) = channel.poll_mark() {
                let input = match mark {
                    frame_tokens::DRAINED => Input::Drained { worker },
                    mark => match frame_tokens::of(mark) {
                        frame_tokens::Token::User(id) => {
                            Input::Sent { worker, id, delivered: true }
                        }
                        // Nothing else has a mark.
                        _ => continue,
                    },
                };
                self.machine.handle_input(self.clock.now(), input);
            }
            let (can_send, is_idle, closing) =
                (channel.can_send(), channel.is_idle(), child.closing);
            if !can_send {
                // It does not read any more: its channel closes once its last messages are read.
                self.pending.insert(Source::Channel(worker));
            }
            match flushed {
                Ok(Flush::Done) if closing && is_idle && !self.machine.is_serving(worker) => {
                    let now = self.now();
                    self.close_now(now, worker);
                }
                // The rest is written when the channel becomes writable.
                Ok(flushed) => {
                    if let Some(child) = self.child_mut(worker) {
                        child.blocked = flushed == Flush::Blocked;
                    }
                }
                // For example too many descriptors in flight. Nothing is lost.
                Err(error) => self.stall(worker, &error),
            }
        }
        self.writes.give_back(workers);
    }

    pub(super) fn transmit(
        &mut self,
        worker: WorkerId,
        message: Message,
        handle: Option<SendHandle>,
    ) {
        let lent = matches!(handle, Some(SendHandle::Conn { .. })).then(|| seq_of(&message));
        let outgoing = match handle {
            None | Some(SendHandle::Conn { .. }) => None,
            Some(SendHandle::Slot { server, slot, kind }) => {
                let group = self.groups.get(&server);
                match group.and_then(|group| group.socket(Some(slot))) {
                    Some(socket) => Some(Outgoing::new(kind, Arc::clone(socket))),
                    None => return,
                }
            }
            Some(SendHandle::Server { server, kind }) => match self.listeners.get(&server) {
                Some(listener) => Some(Outgoing::new(kind, Arc::clone(&listener.fd))),
                None => return,
            },
        };
        // If the channel is closed, the machine knows, or will be told.
        let Some(child) = self.child_mut(worker) else { return };
        let Some(channel) = child.channel() else { return };
        let sent = match lent {
            Some(number) => channel.send_lent(message, number),
            None => channel.send(&message, outgoing),
        };
        match sent {
            Ok(_) => {
                self.wants_write(worker);
            }
            Err(cluster_ipc::SendError::Closed) => {}
            // It has left megabytes unread, and cannot continue without this message.
            Err(error) => {
                self.fail_channel(worker, WorkerError::Send { what: error.to_string() });
            }
        }
    }

    /// Queues a user's message on its channel.
    pub(super) fn transmit_users(
        &mut self,
        worker: WorkerId,
        message: &Message,
        handle: bool,
        origin: Origin,
    ) {
        let outgoing = self.outgoing.take().filter(|_| handle);
        let sent = self.send_on(worker, message, outgoing, origin);
        let input = match &sent {
            Ok(Pressure::Low) => None,
            Ok(Pressure::High) => Some(Input::HighWater { worker }),
            Err(error) => Some(Input::NotSent { worker, origin, error: error.clone() }),
        };
        if let Some(input) = input {
            self.tell(input);
        }
        // If an answer is refused in the end, the user gets the first error.
        self.submitted.get_or_insert(sent.map(|pressure| Submitted { pressure, origin }));
    }

    fn send_on(
        &mut self,
        worker: WorkerId,
        message: &Message,
        mut outgoing: Option<Outgoing<OwnedFd>>,
        origin: Origin,
    ) -> Result<Pressure, SendError> {
        let closed = SendError::Closed { worker };
        let Some(channel) = self.channel(worker) else {
            return Err(closed);
        };
        let report = match origin {
            Origin::Reported(id) => Some(frame_tokens::user(id)),
            _ => None,
        };
        let answered = outgoing.is_some();
        if let Some(outgoing) = &mut outgoing {
            outgoing.token = report;
        }
        let pressure = channel.send(message, outgoing).map_err(|error| match error {
            cluster_ipc::SendError::Encode(error) => SendError::Encode { error },
            cluster_ipc::SendError::QueueFull { limit } => SendError::QueueFull { worker, limit },
            cluster_ipc::SendError::TooLong { length, limit } => {
                SendError::TooLong { length, limit }
            }
            _ => closed,
        })?;
        if let Some(report) = report.filter(|_| !answered) {
            channel.mark(report);
        }
        self.wants_write(worker);
        Ok(pressure)
    }

    /// Has the channel report when everything queued for a worker has been written.
    pub(super) fn mark_drained(&mut self, worker: WorkerId) {
        if let Some(channel) = self.channel(worker) {
            channel.mark(frame_tokens::DRAINED);
            self.wants_write(worker);
        }
    }

    pub(super) fn negotiate(&mut self, worker: WorkerId, offered: u32) {
        let channel = self.channel(worker);
        match channel.map(|channel| channel.negotiate(offered)) {
            Some(Ok(())) => {
                self.wants_write(worker);
            }
            Some(Err(cluster_ipc::SendError::Closed)) | None => {}
            Some(Err(error)) => {
                self.fail_channel(worker, WorkerError::Send { what: error.to_string() });
            }
        }
    }

    pub(super) fn probe(&mut self, worker: WorkerId) {
        let channel = self.channel(worker);
        match channel.map(|c| c.probe(frame_tokens::PROBE)) {
            Some(Ok(_)) => {
                self.wants_write(worker);
            }
            // The machine learns of a closed channel in another way.
            Some(Err(cluster_ipc::SendError::Closed)) | None => {}
            Some(Err(error)) => {
                self.fail_channel(worker, WorkerError::Send { what: error.to_string() });
            }
        }
    }

    /// Tells the machine whether a worker has read the probe that it has not answered.
    pub(super) fn look_at_probe(&mut self, worker: WorkerId) {
        let channel = self.channel(worker);
        let read = channel.map(|channel| match channel.awaits_probe() {
            true => unread::is_all_read(&*channel),
            // It is not written yet.
            false => Some(false),
        });
        if let Some(read) = read {
            self.tell(Input::ProbeLooked { worker, read });
        }
    }

    pub(super) fn abandon_probe(&mut self, worker: WorkerId) {
        let channel = self.channel(worker);
        if channel.is_some_and(Channel::abandon_probe) {
            self.wants_write(worker);
        }
    }
}
