//! Workers that go: told to, of their own will, or by accident.

use cluster_sched::{DispatchInput as Place, Mono};

use super::base::Machine;
use super::server::{Phase, Server};
use super::worker::Disconnect;
use crate::event::{Event, ExitStatus, LeaveProgress};
use crate::id::{ServerId, WorkerId};

impl Machine {
    /// A worker is to disconnect; if it was taken out of rotation before, that is the last step.
    pub(super) fn disconnect(&mut self, now: Mono, id: WorkerId) {
        let Some(worker) = self.known_mut(id) else { return };
        worker.listed = false;
        worker.retire_only = false;
        match worker.disconnect {
            Disconnect::No => self.begin_to_leave(now, id),
            Disconnect::Retired if worker.connected => self.tell_disconnect(id),
            _ => {}
        }
    }

    /// A worker is to get nothing more, and to answer for what is on its way to it;
    /// [`LeaveProgress::OutOfRotation`] says when it has.
    pub(super) fn take_out_of_rotation(&mut self, now: Mono, id: WorkerId) {
        // From here on it makes a difference.
        self.check_agent(id);
        let Some(worker) = self.known_mut(id) else { return };
        match worker.disconnect {
            Disconnect::No if worker.connected => {
                worker.retire_only = true;
                self.begin_to_leave(now, id);
            }
            Disconnect::WhenAnswered | Disconnect::Probing if worker.retire_only => {} // It is about to be.
            _ => {
                worker.exited_after_disconnect = Some(true);
                self.progress(id, LeaveProgress::OutOfRotation);
            }
        }
    }

    fn begin_to_leave(&mut self, now: Mono, id: WorkerId) {
        let Some(worker) = self.known_mut(id) else { return };
        worker.exited_after_disconnect = Some(true);
        if !worker.connected {
            return;
        }
        worker.disconnect = Disconnect::WhenAnswered;
        self.leave_rotation(now, id);
        self.send_disconnect(now, id);
    }

    /// A worker's channel is to close: it gets nothing more, and may not listen again.
    pub(super) fn close_channel(&mut self, now: Mono, id: WorkerId) {
        if let Some(worker) = self.known_mut(id) {
            worker.channel_closes = true;
        }
        self.leave_rotation(now, id);
    }

    /// A worker gets nothing more, unless it is the last one of a server.
    pub(super) fn leave_rotation(&mut self, now: Mono, id: WorkerId) {
        let Some(worker) = self.known(id) else { return };
        for server in worker.servers.keys().copied().collect::<Vec<_>>() {
            self.leave_server(now, server, id);
        }
    }

    /// A worker that is about to disconnect gets nothing more of that server, unless it is the last
    /// one: then it serves what has come so far.
    fn leave_server(&mut self, now: Mono, id: ServerId, worker: WorkerId) {
        let alone = |s: &Server| s.workers.len() == 1 && s.workers.contains(&worker);
        if self.server(id).is_some_and(alone) && !self.keeps_servers() {
            self.drain(now, id);
        }
        let draining = |s: &Server| matches!(s.phase, Phase::Draining { .. });
        if self.server(id).is_some_and(draining) {
            return;
        }
        if let Some(leaving) = self.known_mut(worker) {
            leaving.servers.remove(&id);
        }
        self.retire(now, id, worker);
    }

    pub(super) fn disconnect_all(&mut self, now: Mono) {
        self.close_servers(now);
        for worker in self.connected_workers() {
            self.disconnect(now, worker);
        }
    }

    /// As [`disconnect_all`](Self::disconnect_all), but no worker is told so yet: each is to be
    /// [taken out of rotation](Self::take_out_of_rotation) and told later.
    pub(super) fn take_all_out_of_rotation(&mut self, now: Mono) {
        self.close_servers(now);
        for worker in self.workers.keys().copied().collect::<Vec<_>>() {
            self.take_out_of_rotation(now, worker);
        }
    }

    fn connected_workers(&self) -> Vec<WorkerId> {
        self.workers.iter().filter(|(_, w)| w.connected).map(|(id, _)| *id).collect()
    }

    /// Every server closes, after the workers have served what has come so far.
    fn close_servers(&mut self, now: Mono) {
        self.disconnecting = true;
        // All of them serve what has come so far.
        for server in self.servers.keys().copied().collect::<Vec<_>>() {
            self.drain(now, server);
        }
        // Those that are kept open for workers to come.
        self.release_unused(now);
    }

    pub(super) fn finish_disconnecting(&mut self) {
        if !self.disconnecting {
            return;
        }
        let open = self.servers.values().any(|s| !matches!(s.phase, Phase::Closing));
        if !open && self.workers.values().all(|w| !w.connected) {
            self.disconnecting = false;
            self.disconnected = true;
            self.disconnects += 1;
            self.event(Event::Disconnected);
        }
    }

    pub(super) fn channel_closed(&mut self, now: Mono, id: WorkerId) {
        let Some(worker) = self.known_mut(id) else { return };
        if !std::mem::replace(&mut worker.connected, false) {
            return;
        }
        self.end_sends_to(id);
        self.end_requests_of(id);
        let Some(worker) = self.known_mut(id) else { return };
        worker.phase = "disconnected";
        let answering = matches!(worker.disconnect, Disconnect::WhenAnswered | Disconnect::Probing);
        let waits = worker.retire_only && answering;
        let meant = *worker.exited_after_disconnect.get_or_insert(false);
        let dead = worker.status.is_some();
        self.forget_servers(now, id);
        if waits && !dead {
            self.progress(id, LeaveProgress::OutOfRotation);
        }
        if dead {
            self.workers.remove(&id);
        }
        self.event(Event::Disconnect { worker: id, exited_after_disconnect: meant });
    }

    pub(super) fn exited(&mut self, now: Mono, id: WorkerId, status: ExitStatus) {
        let Some(worker) = self.known_mut(id) else { return };
        if worker.status.replace(status).is_some() {
            return;
        }
        worker.phase = "dead";
        let meant = *worker.exited_after_disconnect.get_or_insert(false);
        if !worker.connected {
            self.forget_servers(now, id);
            self.workers.remove(&id);
        }
        self.event(Event::Exit { worker: id, status, exited_after_disconnect: meant });
    }

    /// What was on its way to the worker goes to others.
    fn forget_servers(&mut self, now: Mono, id: WorkerId) {
        self.settling.retain(|(worker, _), _| *worker != id);
        let known: Vec<_> = self.servers.keys().copied().collect();
        self.dispatch(now, Place::Leave { worker: id });
        for server in known {
            if let Some(left) = self.server_mut(server) {
                if let Phase::Binding { waiting } = &mut left.phase {
                    waiting.retain(|(worker, _)| *worker != id);
                }
                left.workers.remove(&id);
            }
            self.leave_slot(now, server, id);
            self.finish_draining(now, server);
            self.close_if_unused(now, server);
        }
    }
}
