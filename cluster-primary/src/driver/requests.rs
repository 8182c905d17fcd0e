//! Requests to workers, and workers' requests.

use std::fmt;
use std::time::Duration;

use cluster_ipc::Pressure;
use cluster_proto::{Exchange, IntoMessage, NoAnswer, UserMessage, Value};
use serde::{Deserialize, Serialize};

use super::Primary;
use crate::event::EventHandle;
use crate::{Event, Mono, SendError, WorkerId};

/// A request to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId(u64);

/// A worker's request, by which it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Request {
    worker: WorkerId,
    id: u64,
}

impl Request {
    /// Who asks.
    pub fn worker(&self) -> WorkerId {
        self.worker
    }

    /// Its number, which the worker that asks has given it.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The message as the worker wrote it, with that body: for whoever hands it on as it is.
    pub fn as_message(&self, body: Value) -> Value {
        Exchange::Request { id: self.id, body }.into_message()
    }
}

/// As in an error: `request 7 of worker 1`.
impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "request {} of worker {}", self.id, self.worker)
    }
}

/// What became of a message to all workers.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Broadcast {
    /// To whom it was sent, and whether more should wait there.
    pub sent: Vec<(WorkerId, Pressure)>,
    /// To whom it was not, and why.
    pub failed: Vec<(WorkerId, SendError)>,
}

impl Primary {
    /// Sends a message to every worker whose channel is open, also to those that are about to leave:
    /// what Node's programs do in a loop over `cluster.workers`. Workers that are forked later do not
    /// get it. What one of them cannot take does not concern the others.
    ///
    /// # Errors
    /// [`SendError::Encode`] if there are workers, and none of their channels can carry it.
    pub fn broadcast(&mut self, message: impl IntoMessage) -> Result<Broadcast, SendError> {
        let message = message.into_message()?;
        let mut broadcast = Broadcast::default();
        for worker in self.all_workers() {
            if self.worker_state(worker).is_none_or(|state| !state.connected) {
                continue;
            }
            match self.send(worker, message.clone()) {
                Ok(pressure) => broadcast.sent.push((worker, pressure)),
                // It has gone this moment.
                Err(SendError::Closed { .. }) => {}
                Err(error) => broadcast.failed.push((worker, error)),
            }
        }
        // One that no channel carries is the caller's mistake.
        let unsaid = |(_, error): &(_, SendError)| matches!(error, SendError::Encode { .. });
        if broadcast.sent.is_empty()
            && broadcast.failed.iter().all(unsaid)
            && let Some((_, error)) = broadcast.failed.pop()
        {
            return Err(error);
        }
        Ok(broadcast)
    }

    /// Asks a worker. [`Event::Answered`] brings its answer, or says that none came in that time, or
    /// before its channel closed: exactly one of these.
    ///
    /// A worker of `cluster_worker`'s receives a message with a `request` to answer it by. One of Node's gets
    /// `{cmd: 'CLUSTER_REQUEST', id, body}`, and answers by
    /// `process.send({cmd: 'CLUSTER_RESPONSE', id, body})`, or with an `error` in place of the body
    /// ([`Exchange`]).
    ///
    /// # Errors
    /// As [`send`](Self::send); no event comes then.
    pub fn request(
        &mut self,
        worker: WorkerId,
        body: impl IntoMessage,
        timeout: Duration,
    ) -> Result<RequestId, SendError> {
        let body = body.into_message()?;
        let id = self.requests.begin(self.clock.now(), worker, timeout);
        if let Err(error) = self.send(worker, Exchange::Request { id, body }.into_message()) {
            self.requests.end(id, worker);
            return Err(error);
        }
        Ok(RequestId(id))
    }

    /// Answers a worker's [request](Event::Request). One that is not answered makes its worker wait for as
    /// long as it waits.
    ///
    /// # Errors
    /// As [`send`](Self::send). If the answer cannot be written, or is too long, the request is refused; if
    /// too much waits for the worker ([`SendError::QueueFull`]) it hears nothing.
    pub fn answer(
        &mut self,
        request: Request,
        body: impl IntoMessage,
    ) -> Result<Pressure, SendError> {
        let sent = body.into_message().map_err(SendError::from);
        let sent = sent.and_then(|body| self.respond(request, Ok(body)));
        if let Err(error @ (SendError::Encode { .. } | SendError::TooLong { .. })) = &sent {
            // What the worker hears must be short enough, and is a text.
            let _ = self.refuse(request, format!("the answer could not be sent: {error}"));
        }
        sent
    }

    /// Tells a worker why its [request](Event::Request) has no answer.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn refuse(
        &mut self,
        request: Request,
        reason: impl Into<String>,
    ) -> Result<Pressure, SendError> {
        self.respond(request, Err(reason.into()))
    }

    fn respond(
        &mut self,
        Request { worker, id }: Request,
        answer: Result<Value, String>,
    ) -> Result<Pressure, SendError> {
        self.send(worker, Exchange::Response { id, answer }.into_message())
    }

    /// A worker's message is told: as what it is.
    pub(super) fn hear(
        &mut self,
        worker: WorkerId,
        message: UserMessage,
        handle: Option<EventHandle>,
    ) {
        // Somebody else has asked, by a message.
        let is_strange = |(id, asks): (u64, bool)| !asks && !self.requests.has_begun(id);
        if message.exchange_id().is_none_or(is_strange) {
            return self.push_counted(Event::Message { worker, message, handle });
        }
        let event = match message.into_exchange() {
            Exchange::Message(message) => Event::Message { worker, message, handle },
            Exchange::Request { id, body } => {
                Event::Request { worker, request: Request { worker, id }, body, handle }
            }
            Exchange::Response { id, answer } => {
                // An answer is a message alone.
                if let Some(handle) = handle {
                    self.discard_handle(worker, handle.handle);
                }
                // Else it comes too late, or from somebody who was not asked.
                if !self.requests.end(id, worker) {
                    return;
                }
                let answer = answer.map_err(|reason| NoAnswer::Refused { reason });
                Event::Answered { worker, request: RequestId(id), answer }
            }
        };
        self.push_counted(event);
    }

    /// Queues an event, and counts its descriptor, if it has one, until it is taken.
    fn push_counted(&mut self, event: Event) {
        if let Event::Message { handle: Some(_), .. } | Event::Request { handle: Some(_), .. } =
            event
        {
            self.handles_waiting += 1;
        }
        self.events.push_back(event);
    }

    /// Those that have waited for long enough.
    pub(super) fn end_overdue_requests(&mut self, now: Mono) {
        if self.requests.poll_timeout().is_none_or(|due| due > now) {
            return;
        }
        // An answer may have been read already.
        self.drain_machine();
        while let Some((id, worker, reason)) = self.requests.next_overdue(now) {
            let answer = Err(reason);
            self.events.push_back(Event::Answered { worker, request: RequestId(id), answer });
        }
    }

    /// What was asked of a worker whose channel is gone.
    pub(super) fn lost_requests(
        &mut self,
        worker: WorkerId,
    ) -> impl Iterator<Item = Event> + use<> {
        let ids = self.requests.end_all(worker).into_iter();
        let answer = || Err(NoAnswer::Disconnected);
        ids.map(move |id| Event::Answered { worker, request: RequestId(id), answer: answer() })
    }
}
