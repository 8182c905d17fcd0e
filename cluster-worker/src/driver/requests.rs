//! Messages and requests to the primary, and its requests.

use std::os::fd::OwnedFd;
use std::time::Duration;

use cluster_ipc::{Outgoing, Pressure};
use cluster_proto::{EncodeError, Exchange, Message, NoAnswer, Value, is_internal};

use super::asking::Told;
use super::base::Core;
use crate::error::SendError;
use crate::machine::Mono;

/// Why a request of the primary's is refused that finds the inbox full.
const TOO_MANY: &str = "more messages wait for the worker than it takes";

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

    /// Asks the primary.
    pub(crate) fn request(&mut self, body: Value, timeout: Duration) -> Result<u64, SendError> {
        let id = self.asking.requests.begin(self.now(), (), timeout);
        if let Err(error) = self.send(Exchange::Request { id, body }.into_message(), None) {
            self.asking.requests.end(id, ());
            return Err(error);
        }
        // The wait for events has to end no later than that.
        self.note_change();
        Ok(id)
    }

    /// The answer to a request, if it is there.
    pub(crate) fn take_answer(&mut self, id: u64) -> Option<Result<Value, NoAnswer>> {
        self.asking.answers.remove(&id)
    }

    /// What an event loop is told of its requests next, when it has taken the messages that came before.
    pub(crate) fn next_answered(&mut self) -> Option<(u64, Result<Value, NoAnswer>)> {
        let taken = self.delivered - self.inbox.len() as u64;
        self.asking.told.front().filter(|told| told.behind <= taken)?;
        self.asking.told.pop_front().map(|told| (told.id, told.answer))
    }

    /// No caller waits for that request's answer any more.
    pub(crate) fn give_up_request(&mut self, id: u64) {
        self.asking.requests.end(id, ());
        self.asking.answers.remove(&id);
    }

    /// Answers the primary, or says why not.
    pub(crate) fn respond(
        &mut self,
        id: u64,
        answer: Result<Value, String>,
    ) -> Result<Pressure, SendError> {
        self.send(Exchange::Response { id, answer }.into_message(), None)
    }

    /// Sorts out what a message is: none if it is an answer, else its body, and the request's id.
    pub(super) fn sort_out(&mut self, value: Value) -> Option<(Value, Option<u64>)> {
        match Exchange::of(value) {
            Exchange::Message(value) => Some((value, None)),
            Exchange::Request { id, body } => Some((body, Some(id))),
            Exchange::Response { id, answer } => {
                if !self.asking.requests.has_begun(id) {
                    return Some((Exchange::Response { id, answer }.into_message(), None));
                }
                if self.asking.requests.end(id, ()) {
                    let answer = answer.map_err(|reason| NoAnswer::Refused { reason });
                    self.answered(id, answer);
                }
                None
            }
        }
    }

    /// A request finds no room.
    pub(super) fn turn_away(&mut self, request: Option<u64>) {
        if let Some(id) = request {
            // If the primary is gone it waits for nothing.
            let _ = self.respond(id, Err(TOO_MANY.into()));
        }
    }

    /// Those that have waited for long enough.
    pub(super) fn end_overdue_requests(&mut self, now: Mono) {
        while let Some((id, (), reason)) = self.asking.requests.next_overdue(now) {
            self.answered(id, Err(reason));
        }
    }

    /// There will be no answers any more.
    pub(super) fn end_requests(&mut self) {
        for id in self.asking.requests.end_all(()) {
            self.answered(id, Err(NoAnswer::Disconnected));
        }
    }

    fn answered(&mut self, id: u64, answer: Result<Value, NoAnswer>) {
        if self.front.is_told() {
            self.asking.told.push_back(Told { behind: self.delivered, id, answer });
        } else {
            self.asking.answers.insert(id, answer);
        }
        self.note_change();
    }
}
