//! Reads messages from workers.

use std::time::Duration;

use cluster_ipc::{Received, Recv, RecvError};
use cluster_proto::{ClusterBody, ClusterMessage, Message};

use super::base::Primary;
use super::blocking::Call;
use super::child::Child;
use super::process::Process;
use super::tokens::Source;
use super::{frame_tokens, runtime};
use crate::error::WorkerError;
use crate::id::WorkerId;
use crate::machine::{Handle, Input};

/// Messages, and bytes, read from one worker before the others
/// get a turn: a long message takes several turns.
pub(super) const MESSAGES_PER_WAKE: usize = 256;

pub(super) const BYTES_PER_WAKE: usize = 256 << 10;

/// The `seq` of the hand-off that this message answers, if it answers one.
pub(super) fn answered(message: &Message) -> Option<u64> {
    match message {
        Message::Cluster(ClusterMessage {
            ack,
            body: ClusterBody::Accepted(_) | ClusterBody::Ack,
            ..
        }) => *ack,
        _ => None,
    }
}

impl Primary {
    /// Reads a worker's messages, up to a limit. Returns whether there may be more.
    pub(super) fn read_channel(&mut self, now: Duration, worker: WorkerId) -> bool {
        self.is_held(worker) || self.read_messages(now, worker, MESSAGES_PER_WAKE, BYTES_PER_WAKE)
    }

    /// Whether a worker's messages are not to be read for now.
    pub(super) fn is_held(&self, worker: WorkerId) -> bool {
        self.child(worker).is_some_and(|child| child.held)
    }

    /// The worker has sent a message, so its process has executed its program: identifies the runtime.
    fn recognise(&mut self, now: Duration, worker: WorkerId) {
        let Some(child) = self.child_mut(worker) else { return };
        if std::mem::replace(&mut child.is_recognised, true) {
            return;
        }
        let Some(pid) = child.process.as_ref().map(Process::pid) else { return };
        if let Some(runtime) = runtime::that_cannot_listen(pid, &self.settings) {
            let child = self.child_mut(worker);
            if let Some(channel) = child.and_then(Child::channel) {
                channel.keep_handles_apart();
            }
            let runtime = runtime.to_owned();
            self.tell_at(now, Input::CannotListen { worker, runtime });
        }
        if runtime::answers_probes(pid, &self.settings) {
            self.tell_at(now, Input::AnswersProbes { worker });
        }
    }

    pub(super) fn read_messages(
        &mut self,
        now: Duration,
        worker: WorkerId,
        most: usize,
        bytes: usize,
    ) -> bool {
        let channel = self.channel(worker);
        let sent_unexpected =
            channel.as_ref().is_some_and(|channel| channel.stats().unexpected_handles > 0);
        channel.into_iter().for_each(|channel| channel.allow(bytes));
        if sent_unexpected && self.check_stuck_closes(worker) {
            return false;
        }
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let mut until = None;
        for _ in 0..most {
            let Some(child) = self.children.get_mut(&worker) else { return false };
            let Some(channel) = &mut child.channel else { return false };
            // The user takes these events first; but everything is read from a worker that has ended.
            if bytes != u64::MAX && self.handles.is_full() {
                return true;
            }
            let received = channel.received_bytes();
            if received >= *until.get_or_insert(received.saturating_add(bytes)) {
                return true;
            }
            // Reading may produce an answer, or release what was held back.
            self.writes.add(worker);
            let (received, interrupted) = self.blocking.calls.time(|| channel.recv());
            for handle in channel.take_unexpected() {
                self.closer.close_from(worker, handle);
            }
            while let Some(answer) = channel.poll_answer() {
                match frame_tokens::of(answer.token) {
                    frame_tokens::Token::Probe => {
                        self.machine.handle_input(now, Input::Probed { worker });
                    }
                    frame_tokens::Token::User(id) => {
                        let delivered = answer.delivered;
                        self.machine.handle_input(now, Input::Sent { worker, id, delivered });
                    }
                    frame_tokens::Token::HandOff(seq) if !answer.delivered => {
                        self.machine.handle_input(now, Input::Undelivered { worker, seq });
                    }
                    frame_tokens::Token::HandOff(_) => {}
                }
            }
            let can_send = channel.can_send();
            let is_used_up = channel.is_used_up();
            let arrived = match &received {
                Ok(Recv::Message(Received { message, .. })) => {
                    answered(message).is_none_or(|seq| channel.has_arrived(seq))
                }
                _ => true,
            };
            if interrupted {
                self.blame(worker, Call::Receive);
            }
            if matches!(received, Ok(Recv::Message(_))) {
                self.recognise(now, worker);
            }
            match received {
                Ok(Recv::WouldBlock) if is_used_up => return true,
                // Nothing can be written to it any more, and everything that it sent has been read.
                Ok(Recv::WouldBlock) if !can_send => {
                    self.close_now(now, worker);
                    return false;
                }
                Ok(Recv::WouldBlock) => return false,
                Ok(Recv::Message(received)) => {
                    let handle = received.handle.map(|h| {
                        let id = self.handles.receive(worker, h.handle);
                        Handle { id, kind: h.kind, key: h.key }
                    });
                    let message = received.message;
                    let input = Input::Received { worker, message, handle, arrived };
                    self.tell_at(now, input);
                }
                Ok(Recv::Closed) => {
                    self.close_now(now, worker);
                    return false;
                }
                Err(RecvError::TooDeep) => {
                    self.tell_at(now, Input::TooDeep { worker });
                }
                Err(error) => {
                    self.fail_channel(worker, WorkerError::Channel { what: error.to_string() });
                    return false;
                }
            }
            if interrupted && !self.machine.hears(worker) {
                return false;
            }
        }
        true
    }

    pub(super) fn close_now(&mut self, now: Duration, worker: WorkerId) {
        let Some(child) = self.child_mut(worker) else { return };
        let Some(mut channel) = child.channel.take() else { return };
        let _ = self.registry().deregister(&mut channel);
        self.tokens.forget(Source::Channel(worker));
        self.stalled.forget(worker);
        self.handles.note_unexpected(channel.stats().unexpected_handles);
        // The peer sees the end at once; closing what is still in the channel may take long.
        let _ = rustix::net::shutdown(&channel, rustix::net::Shutdown::Both);
        self.closer.discard_from(worker, channel);
        self.tell_at(now, Input::ChannelClosed { worker });
        self.forget_if_over(worker);
    }

    pub(super) fn forget_if_over(&mut self, worker: WorkerId) {
        if self.child(worker).is_some_and(|c| c.channel.is_none() && c.process.is_none()) {
            if let Some(child) = self.children.remove(&worker) {
                self.told.note_departed(worker, child.serialization);
            }
            self.writes.forget(worker);
            self.stalled.forget(worker);
            self.without_agent.remove(&worker);
        }
    }
}
