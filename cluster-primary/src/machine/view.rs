//! What can be asked of the machine, and the limits that depend on the system.

use std::collections::BTreeSet;

use super::base::Machine;
use super::config::Config;
use super::server::Server;
use super::worker::WorkerState;
use crate::event::Address;
use crate::id::WorkerId;
use crate::stats::Stats;

impl Machine {
    /// Sets how many hand-offs may be under way to all workers together, each of which costs a
    /// descriptor here and one in the kernel: at least one to each worker all the same. Default: no
    /// limit.
    pub fn limit_descriptors(&mut self, descriptors: usize) {
        self.dispatcher.set_limits(self.dispatcher.limits().in_flight(descriptors));
    }

    /// Sets how many connections may be held here, of all servers together, whether they wait or are
    /// under way: each has a descriptor, and so has much else. A server leaves as many free as wait
    /// for its workers, so that others have some. Default: no limit.
    pub fn limit_held(&mut self, connections: usize) {
        self.dispatcher.set_limits(self.dispatcher.limits().held(connections));
    }

    /// How large a window may be.
    pub(crate) fn window_limit(&self) -> u32 {
        self.dispatcher.window_limit()
    }

    /// Where a worker listens, with the ports that are bound.
    pub fn listening(&self, id: WorkerId) -> Vec<Address> {
        let Some(worker) = self.known(id) else { return Vec::new() };
        let served = worker.servers.keys().filter_map(|server| self.servers.get(server));
        served.filter(|server| server.workers.contains(&id)).map(Server::bound_address).collect()
    }

    /// The configuration in force.
    pub fn config(&self) -> Config {
        self.config.clone()
    }

    /// What is known of a worker, as long as its process or its channel is there.
    pub fn worker(&self, id: WorkerId) -> Option<WorkerState> {
        let (in_flight, held) = (self.dispatcher.in_flight(id), self.dispatcher.reported(id));
        self.known(id).map(|worker| worker.state(in_flight, held))
    }

    /// The worker that has the socket of that slot under [`Placement::Kernel`](crate::Placement::Kernel).
    pub(crate) fn worker_at(&self, slot: u32) -> Option<WorkerId> {
        self.workers.iter().find(|(_, worker)| worker.seat == slot).map(|(id, _)| *id)
    }

    /// Whether a worker speaks the native wire.
    pub(crate) fn is_native(&self, id: WorkerId) -> bool {
        self.known(id).is_some_and(|worker| worker.native)
    }

    /// Node's `cluster.workers`: those that have not both disconnected and exited, less those that
    /// the primary has told to disconnect.
    pub fn workers(&self) -> impl Iterator<Item = WorkerId> {
        self.workers.iter().filter(|(_, w)| w.listed).map(|(id, _)| *id)
    }

    /// All workers whose process or channel is there, also those that were told to disconnect.
    pub fn all_workers(&self) -> impl Iterator<Item = WorkerId> {
        self.workers.keys().copied()
    }

    /// Whether no worker is left, not even a dying one.
    pub fn is_empty(&self) -> bool {
        self.workers.is_empty()
    }

    /// Whether a worker has connections on their way to it for which it has not answered, or
    /// serves what waits for the last workers of a server.
    pub fn is_serving(&self, id: WorkerId) -> bool {
        self.is_assigned_some(id) || self.known(id).is_some_and(|w| !w.servers.is_empty())
    }

    /// What was counted so far.
    pub fn stats(&self) -> Stats {
        Stats { waiting: self.dispatcher.all_waiting(), ..self.stats }
    }

    /// The lowest slot that no worker has: that of the next worker, unless it is forked for another.
    pub fn next_slot(&self) -> u32 {
        lowest_free(self.workers.values().map(|worker| worker.slot))
    }

    /// Whether a worker has made a call of the primary block.
    pub(crate) fn has_blocked(&self, id: WorkerId) -> bool {
        self.known(id).is_some_and(|worker| worker.faults.has_blocked())
    }

    /// How many server sockets are open, or about to be.
    pub fn open_sockets(&self) -> usize {
        self.sockets.total()
    }

    /// Sets how many server sockets may be open, as each is a descriptor. [`Limits`](crate::Limits) may allow
    /// fewer. The workers of one slot may have half of them, so that others can listen too. Default: no limit.
    pub fn limit_sockets(&mut self, sockets: usize) {
        self.sockets.limit(sockets);
    }

    /// How often all workers have disconnected because they were all told to.
    pub(crate) fn disconnects(&self) -> u64 {
        self.disconnects
    }

    /// Whether all workers were told to disconnect, and some have not.
    pub(crate) fn is_disconnecting(&self) -> bool {
        self.disconnecting
    }

    /// Whether all workers have disconnected because they were all told to, and none was forked since.
    pub(crate) fn is_disconnected(&self) -> bool {
        self.disconnected
    }
}

/// The lowest number that is not among these.
pub(super) fn lowest_free(taken: impl Iterator<Item = u32>) -> u32 {
    let taken: BTreeSet<u32> = taken.collect();
    (0..)
        .zip(&taken)
        .find(|(free, taken)| free != *taken)
        .map_or(u32::try_from(taken.len()).unwrap_or(u32::MAX), |(free, _)| free)
}
