//! One server of this worker.

use std::collections::VecDeque;

use cluster_proto::{ListenQuery, ServerKey, Value};

use super::event::HandleId;

#[derive(Debug)]
pub(super) struct Server {
    pub(super) query: Box<ListenQuery>,
    pub(super) stage: Stage,
    /// Connections that came and have not been taken, with the `seq` that they are answered by.
    pub(super) queue: VecDeque<(u64, HandleId)>,
    max_connections: Option<usize>,
    /// What the primary gave with its answer.
    pub(super) data: Value,
}

#[derive(Debug)]
pub(super) enum Stage {
    /// The primary has been asked, by the message with this `seq`.
    Asking {
        seq: u64,
    },
    /// The primary has it; the driver makes the lent socket ready.
    Opening {
        key: ServerKey,
    },
    Open {
        key: ServerKey,
    },
    /// The primary knows nothing of it.
    Own,
}

impl Server {
    pub(super) fn new(query: Box<ListenQuery>, seq: u64, max_connections: Option<usize>) -> Self {
        Self {
            query,
            stage: Stage::Asking { seq },
            queue: VecDeque::new(),
            max_connections,
            data: Value::Null,
        }
    }

    /// Has it take no connection that is handed over from now on.
    pub(super) fn refuse_all(&mut self) {
        self.max_connections = Some(0);
    }

    pub(super) fn own() -> Self {
        Self { stage: Stage::Own, ..Self::new(Box::default(), 0, None) }
    }

    /// Whether one more connection may come, beside so many that are open.
    pub(super) fn has_room(&self, tracked: usize, queue_limit: usize) -> bool {
        self.queue.len() < queue_limit
            && self.max_connections.is_none_or(|max| tracked + self.queue.len() < max)
    }
}
