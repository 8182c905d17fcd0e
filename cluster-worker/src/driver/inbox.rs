//! What the application is given of messages.

use super::base::Core;
use super::inbound::Inbound;
use crate::error::{RecvError, SendError};
use crate::machine::{Input, State};

impl Core {
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
}
