//! How servers end: a worker leaves one, it is drained, and its sockets are closed.

use cluster_sched::Mono;

use super::base::Machine;
use super::io::Output;
use super::server::{Phase, Server};
use crate::id::{ServerId, WorkerId};
use crate::listen_limit::ListenLimit;

impl Machine {
    /// The worker gets nothing more of that server; what is on its way to it is still answered.
    pub(super) fn retire(&mut self, now: Mono, id: ServerId, worker: WorkerId) {
        let Some(server) = self.server_mut(id) else { return };
        server.workers.remove(&worker);
        if server.slots.is_some() {
            self.leave_slot(now, id, worker);
        } else if !server.shared {
            self.place_no_more(now, id, worker);
        }
        self.finish_draining(now, id);
        self.close_if_unused(now, id);
    }

    pub(super) fn close_if_unused(&mut self, now: Mono, id: ServerId) {
        if !self.keeps_servers() {
            self.close_unused(now, id);
        }
    }

    /// Closes a server whose workers were all refused, unless one has served it before: connections would wait
    /// there for a worker that has been told that it does not listen.
    pub(super) fn close_if_refused(&mut self, now: Mono, id: ServerId) {
        let slots = self.server(id).and_then(|server| server.slots.as_ref());
        if slots.is_some_and(|slots| slots.lent.is_empty()) {
            self.close_unused(now, id);
        }
    }

    /// Closes every server that no worker serves.
    pub(super) fn release_unused(&mut self, now: Mono) {
        for id in self.servers.keys().copied().collect::<Vec<_>>() {
            self.close_unused(now, id);
        }
    }

    pub(super) fn close_unused(&mut self, now: Mono, id: ServerId) {
        if !self.server(id).is_some_and(|s| s.is_open() && s.workers.is_empty()) {
            return;
        }
        self.vacate(id);
        if let Some(server) = self.server_mut(id) {
            server.phase = Phase::Closing;
        }
        self.close_socket(id, false);
        self.release_sockets(id);
        self.close_placement(now, id);
    }

    /// Another server may take the address from here on.
    fn close_socket(&mut self, id: ServerId, accept_rest: bool) {
        if let Some(server) = self.servers.get(&id)
            && self.keys.get(&server.key) == Some(&id)
        {
            self.keys.remove(&server.key);
        }
        self.put(Output::CloseServer { server: id, accept_rest });
    }

    /// The workers serve what has come so far, and nothing more comes.
    pub(super) fn drain(&mut self, now: Mono, id: ServerId) {
        let drains = |s: &Server| s.is_open() && !s.shared && !s.workers.is_empty();
        if self.server(id).is_some_and(drains) {
            self.readmit_all(now, id);
            self.vacate(id);
            if let Some(server) = self.server_mut(id) {
                server.phase = Phase::Draining { closed: false };
            }
            self.close_socket(id, true);
            self.settle_all(now, id);
        }
    }

    pub(super) fn closed(&mut self, now: Mono, id: ServerId) {
        if let Some(server) = self.server_mut(id)
            && let Phase::Draining { closed } = &mut server.phase
        {
            *closed = true;
            self.release_sockets(id);
            self.settle_server(now, id);
        }
    }

    /// Makes room for one more socket of that slot's: where there is none, listeners that only wait for a
    /// worker of this slot to come back for them are closed, the oldest first. The server that the socket is for,
    /// if it is there already, is not one of these.
    ///
    /// # Errors
    /// The limit, if there is still no room.
    pub(super) fn room_for_socket(
        &mut self,
        now: Mono,
        slot: u32,
        of: Option<ServerId>,
    ) -> Result<(), ListenLimit> {
        while let Some(limit) = self.sockets.reached(&self.config.limits, slot) {
            let unserved = self.servers.iter().find(|(id, server)| {
                Some(**id) != of
                    && server.is_open()
                    && server.workers.is_empty()
                    && server.charged.first() == Some(&slot)
            });
            let Some((&id, _)) = unserved else { return Err(limit) };
            self.close_unused(now, id);
        }
        Ok(())
    }
}
