//! Ports that workers may still hold, and servers that wait for them.

use std::collections::BTreeSet;

use cluster_proto::{ListenQuery, Value};
use cluster_sched::Mono;
use cluster_sched::kernel::Choice;
use serde::{Deserialize, Serialize};

use crate::id::WorkerId;

/// A port whose server is closed, and the workers that had sockets of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::machine) struct PortReuse {
    pub(in crate::machine) port: i32,
    pub(in crate::machine) workers: BTreeSet<WorkerId>,
}

/// What it takes to bind a server with slots once more.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::machine) struct Attempt {
    pub(in crate::machine) query: Box<ListenQuery>,
    #[serde(with = "crate::upgrade::text::choice")]
    pub(in crate::machine) choice: Choice,
    pub(in crate::machine) at: Option<Mono>,
    pub(in crate::machine) until: Option<Mono>,
    /// Who asked first; the version before did not write it down.
    #[serde(default = "unknown")]
    pub(in crate::machine) worker: WorkerId,
}

fn unknown() -> WorkerId {
    WorkerId(0)
}

impl Attempt {
    pub(in crate::machine) fn first(
        mut query: Box<ListenQuery>,
        choice: Choice,
        worker: WorkerId,
    ) -> Self {
        // It is the server's; a socket needs none.
        query.data = Value::Null;
        Self { query, choice, at: None, until: None, worker }
    }
}
