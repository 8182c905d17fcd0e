//! What can be asked of the primary.

use std::io;

use cluster_proto::env::Serialization;
use rustix::process::{Resource, getrlimit};

use super::base::Primary;
use super::child::Child;
use super::stalled::HandOffsPaused;
use crate::event::Address;
use crate::id::{ConnId, WorkerId};
use crate::machine::WorkerState;
use crate::settings::Settings;
use crate::stats::Stats;

/// The progress of [`Primary::disconnect`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Disconnects {
    /// How often it has completed.
    pub over: u64,
    /// How many [`Event::Disconnected`] have been taken.
    pub told: u64,
    /// Some workers have not disconnected yet.
    pub pending: bool,
}

impl Disconnects {
    /// Whether all workers were told to disconnect, and the [`Event::Disconnected`] for that was not taken
    /// yet.
    pub fn under_way(&self) -> bool {
        self.pending || self.over > self.told
    }
}

impl Primary {
    /// The current settings: Node's `cluster.settings`.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The workers: Node's `cluster.workers`.
    pub fn workers(&self) -> Vec<WorkerId> {
        self.machine.workers().collect()
    }

    /// All workers whose process or channel still exists, including those that were told to disconnect, which
    /// [`workers`](Self::workers), like Node's `cluster.workers`, no longer contains.
    pub fn all_workers(&self) -> Vec<WorkerId> {
        self.machine.all_workers().collect()
    }

    /// The state of a worker, as long as its process or its channel exists.
    pub fn worker_state(&self, id: WorkerId) -> Option<WorkerState> {
        self.machine.worker(id)
    }

    /// The encoding of messages on a worker's channel, as long as its process or its channel exists, or
    /// events of it wait to be taken: the [setting](Settings::serialization) at its fork.
    pub fn serialization(&self, id: WorkerId) -> Option<Serialization> {
        let child = self.child(id).map(|child| child.serialization);
        child.or_else(|| self.told.serialization(id))
    }

    /// The addresses on which a worker listens through this primary, with the ports that are bound.
    pub fn listening(&self, id: WorkerId) -> Vec<Address> {
        self.machine.listening(id)
    }

    /// The counters so far.
    pub fn stats(&self) -> Stats {
        let open = self.children.values().map(Child::unexpected_handles).sum::<u64>();
        let closing = self.closer.state();
        Stats {
            stuck_closes: self.blocking.stuck_closes() + closing.stuck,
            closing: closing.waiting,
            accept_pauses: self.shortage.pauses(),
            hand_off_pauses: self.hand_off_pauses,
            unexpected_handles: self.handles.unexpected() + open,
            interrupted_calls: self.blocking.calls.interrupted,
            longest_blocked_call: self.blocking.calls.longest,
            longest_wake: self.blocking.longest_wake,
            ..self.machine.stats()
        }
    }

    /// The system's error when accepting last paused ([`Stats::accept_pauses`]); `None` if it never did since
    /// this process began to execute its program.
    pub fn accept_error(&self) -> Option<io::Error> {
        self.shortage.last().map(io::Error::from)
    }

    /// Why no connection can be accepted at present, if descriptors or memory ran out. Clients wait in the
    /// kernel's queue.
    pub fn accepting_paused(&self) -> Option<io::Error> {
        self.shortage.now().map(io::Error::from)
    }

    /// Why no descriptors can be passed on to workers now, if so: connections wait meanwhile.
    pub fn hand_offs_paused(&self) -> Option<HandOffsPaused> {
        let error = self.stalled.error.filter(|_| !self.stalled.workers.is_empty())?;
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        Some(HandOffsPaused { error: error.into(), limit, worker: self.stalled.worker })
    }

    /// The progress of [`disconnect`](Self::disconnect).
    pub fn disconnects(&self) -> Disconnects {
        let (over, pending) = (self.machine.disconnects(), self.machine.is_disconnecting());
        Disconnects { over, told: self.told.disconnects(), pending }
    }

    /// How many processes are known to descend from a worker; `None` unless they
    /// [end with it](Settings::end_descendants). They are looked up once a second.
    pub fn descendants(&self, worker: WorkerId) -> Option<usize> {
        self.trees.descendants(worker)
    }

    pub(super) fn client(&self, conn: ConnId) -> Option<std::net::SocketAddr> {
        let client = rustix::net::getpeername(self.conns.get(conn)?).ok().flatten()?;
        client.try_into().ok()
    }
}
