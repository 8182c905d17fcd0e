//! Requests of the primary's that this worker answers.

use std::fmt;
use std::sync::Arc;

use cluster_ipc::Pressure;
use cluster_proto::IntoMessage;

use crate::driver::Shared;
use crate::error::SendError;

/// What is said for a program that says nothing.
const UNANSWERED: &str = "the worker's program gave no answer";

/// A request of the primary's, which waits for its answer.
///
/// Dropped without one it is refused, so that the primary does not wait in vain.
pub struct Request {
    shared: Arc<Shared>,
    id: Option<u64>,
}

impl Request {
    pub(crate) fn new(id: u64, shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared), id: Some(id) }
    }

    /// Answers it.
    ///
    /// # Errors
    /// [`SendError`] if the answer is not sent. If it cannot be written, or is too long, the request is
    /// refused; if too much waits for the primary ([`SendError::QueueFull`]) it hears nothing.
    pub fn answer(mut self, body: impl IntoMessage) -> Result<Pressure, SendError> {
        let sent = body.into_message().map_err(SendError::Encode);
        let sent = sent.and_then(|body| self.respond(Ok(body)));
        if let Err(error @ (SendError::Encode(_) | SendError::TooLong { .. })) = &sent {
            // What the primary hears must be short enough, and is a text.
            let _ = self.respond(Err(format!("the answer could not be sent: {error}")));
        }
        self.id = None;
        sent
    }

    /// Says why there is no answer.
    ///
    /// # Errors
    /// [`SendError`] if that is not sent.
    pub fn refuse(mut self, reason: impl Into<String>) -> Result<Pressure, SendError> {
        let sent = self.respond(Err(reason.into()));
        self.id = None;
        sent
    }

    fn respond(&self, answer: Result<cluster_proto::Value, String>) -> Result<Pressure, SendError> {
        let id = self.id.ok_or(SendError::Disconnected)?;
        self.shared.with(|core| core.respond(id, answer))
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        // If the primary is gone it waits for nothing.
        let _ = self.respond(Err(UNANSWERED.into()));
    }
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("id", &self.id).finish_non_exhaustive()
    }
}
