//! The messages of users: sent, and waiting for the application.

use std::os::fd::OwnedFd;

use cluster_ipc::{Outgoing, Pressure};
use cluster_proto::{EncodeError, HandleKind, Message, Value, is_internal};

use super::Core;
use super::front::News;
use crate::error::{RecvError, SendError};
use crate::machine::{Input, State};

/// A message from the primary that the application has not received.
#[derive(Debug)]
pub(crate) struct Inbound {
    pub(crate) value: Value,
    pub(crate) handle: Option<InboundHandle>,
    /// The primary's number of it, if it waits for an answer.
    pub(crate) request: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct InboundHandle {
    pub(crate) kind: HandleKind,
    pub(crate) fd: OwnedFd,
    pub(crate) key: Option<String>,
}

/// A question about connections, whose answer a thread waits for.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) waiting: usize,
    /// How many answers came since a thread began to wait.
    pub(crate) answers: u64,
    /// The last answer.
    pub(crate) count: u64,
}

impl Core {
    pub(crate) fn send(
        &mut self,
        value: Value,
        handle: Option<Outgoing<OwnedFd>>,
    ) -> Result<Pressure, SendError> {
        if !self.machine.is_connected() || self.link.is_closed() {
            return Err(SendError::Disconnected);
        }
        if is_internal(&value) {
            return Err(SendError::Encode(EncodeError::Reserved));
        }
        // No report was asked for.
        let handle = handle.map(|mut handle| {
            handle.token = None;
            handle
        });
        let sent = self.link.send_user(&Message::User(value), handle);
        self.draining |= sent == Ok(Pressure::High);
        sent
    }

    pub(super) fn deliver(&mut self, value: Value, handle: Option<InboundHandle>) {
        self.changed = true;
        let Some((value, request)) = self.sort_out(value) else {
            return self.refuse_handle(handle);
        };
        let room = handle.is_none() || self.inbox_handles < self.handle_limit;
        if self.inbox.len() < self.inbox_limit && room {
            self.inbox_handles += usize::from(handle.is_some());
            self.delivered += 1;
            self.inbox.push_back(Inbound { value, handle, request });
        } else {
            self.lost += 1;
            // Descriptors that wait to be received are bounded too: a flood must not take all that
            // this process may have.
            self.refuse_handle(handle);
            self.turn_away(request);
        }
    }

    /// What threads and tasks are told of messages from the primary: the next one, what went wrong,
    /// or that there will be no more.
    pub(crate) fn next_inbound(&mut self) -> Option<Result<Option<Inbound>, RecvError>> {
        if self.lost > 0 {
            return Some(Err(RecvError::Lost { messages: std::mem::take(&mut self.lost) }));
        }
        if let Some(message) = self.take_message() {
            return Some(Ok(Some(message)));
        }
        if let Some(failure) = self.failure.take() {
            return Some(Err(RecvError::Channel(failure)));
        }
        (self.machine.state() == State::Disconnected).then_some(Ok(None))
    }

    /// The next message for the application.
    pub(crate) fn take_message(&mut self) -> Option<Inbound> {
        let inbound = self.inbox.pop_front()?;
        self.inbox_handles -= usize::from(inbound.handle.is_some());
        Some(inbound)
    }

    /// A descriptor without a use.
    pub(crate) fn refuse_handle(&mut self, handle: Option<InboundHandle>) {
        let Some(InboundHandle { fd, key, .. }) = handle else { return };
        self.unexpected += 1;
        drop(fd);
        if let Some(key) = key {
            self.input(Input::SocketClosed(key));
        }
    }

    /// Descriptors that came beside what has none, and were closed.
    pub(crate) fn unexpected_handles(&self) -> u64 {
        self.machine.unexpected_handles() + self.unexpected + self.link.unexpected_handles()
    }

    /// Asks the primary about connections that were sent away with that key.
    pub(crate) fn ask_sockets(&mut self, key: &str, when_closed: bool) -> Result<(), SendError> {
        if !self.machine.is_connected() || self.link.is_closed() {
            return Err(SendError::Disconnected);
        }
        self.input(Input::AskSockets { key: key.into(), when_closed });
        Ok(())
    }

    pub(super) fn sockets_answered(&mut self, key: String, when_closed: bool, count: u64) {
        if let Some(asked) = self.sockets.get_mut(&(key.clone(), when_closed)) {
            asked.answers += 1;
            asked.count = count;
        }
        self.notify(if when_closed {
            News::SocketsClosed(key)
        } else {
            News::SocketCount(key, count)
        });
    }
}
