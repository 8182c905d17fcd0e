//! Names of requests, in both directions.

use std::fmt;

use cluster_proto::{Exchange, Value};
use serde::{Deserialize, Serialize};

use crate::id::WorkerId;

/// A request to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId(u64);

impl RequestId {
    pub(crate) fn new(id: u64) -> Self {
        Self(id)
    }

    /// Its number on the channel.
    pub(crate) fn number(self) -> u64 {
        self.0
    }
}

/// A worker's request, by which it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Request {
    worker: WorkerId,
    id: u64,
}

impl Request {
    pub(crate) fn new(worker: WorkerId, id: u64) -> Self {
        Self { worker, id }
    }

    /// Who asks.
    pub fn worker(&self) -> WorkerId {
        self.worker
    }

    /// The asker's number of it.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The message as the worker wrote it, with that body, to be passed on as it is.
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
