//! Requests to the primary, and their answers.

use std::collections::{BTreeMap, VecDeque};

use cluster_proto::{NoAnswer, Requests, Value};

use crate::machine::Mono;

/// What was asked.
#[derive(Debug, Default)]
pub(super) struct Asking {
    pub(super) requests: Requests,
    /// Answers that have not been taken yet. The caller takes its answer, or gives the request up.
    pub(super) answers: BTreeMap<u64, Result<Value, NoAnswer>>,
    /// For an event loop: in their order, and behind how many messages.
    pub(super) told: VecDeque<Told>,
}

#[derive(Debug)]
pub(super) struct Told {
    pub(super) behind: u64,
    pub(super) id: u64,
    pub(super) answer: Result<Value, NoAnswer>,
}

impl Asking {
    pub(super) fn poll_timeout(&self) -> Option<Mono> {
        self.requests.poll_timeout()
    }
}
