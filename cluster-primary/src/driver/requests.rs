//! Requests to workers, and workers' requests.

use std::time::Duration;

use cluster_ipc::Pressure;
use cluster_proto::{IntoMessage, Value};

use super::base::Primary;
use crate::error::SendError;
use crate::id::WorkerId;
use crate::machine::{Input, Origin, Sending};
use crate::request::{Request, RequestId};

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

    /// Asks a worker. [`Event::Answered`](crate::Event::Answered) brings its answer, or says that none came in that time, or
    /// before its channel closed: exactly one of these.
    ///
    /// A worker of `cluster_worker`'s receives a message with a `request` to answer it by. One of Node's gets
    /// `{cmd: 'CLUSTER_REQUEST', id, body}`, and answers by
    /// `process.send({cmd: 'CLUSTER_RESPONSE', id, body})`, or with an `error` in place of the body
    /// ([`Exchange`](cluster_proto::Exchange)).
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
        match self.submit(worker, Sending::Request { body, timeout }, None)?.origin {
            Origin::Request(id) => Ok(id),
            _ => Err(SendError::Closed { worker }),
        }
    }

    /// Answers a worker's [request](crate::Event::Request). One that is not answered makes its worker wait for as
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
        match body.into_message() {
            Ok(body) => self.respond(request, Ok(body)),
            Err(error) => {
                let (worker, origin) = (request.worker(), Origin::Answer(request.id()));
                let error = SendError::from(error);
                self.input(Input::NotSent { worker, origin, error: error.clone() });
                // What was submitted by that is the refusal, whose outcome nothing waits for.
                self.submitted = None;
                Err(error)
            }
        }
    }

    /// Tells a worker why its [request](crate::Event::Request) has no answer.
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
        request: Request,
        answer: Result<Value, String>,
    ) -> Result<Pressure, SendError> {
        let sending = Sending::Answer { id: request.id(), answer };
        Ok(self.submit(request.worker(), sending, None)?.pressure)
    }
}
