//! Connections on their way to workers.

use cluster_proto::ClusterBody;
use cluster_sched::{Input as Place, Mono, Output as Placed, ShedReason};

use super::Machine;
use super::io::{Fate, Output, SendHandle};
use super::server::{Phase, Server};
use crate::{ConnId, Event, ServerId, WorkerError, WorkerId};

impl Machine {
    pub(super) fn accepted(&mut self, now: Mono, id: ServerId, conn: ConnId, client: Option<u32>) {
        self.stats.accepted += 1;
        let takes = |s: &Server| matches!(s.phase, Phase::Open { .. } | Phase::Draining { .. });
        if !self.servers.get(&id).is_some_and(takes) {
            self.drop_conn(conn, Fate::Shed(ShedReason::Closed));
            return;
        }
        // What a closing server brings at the last is taken beyond the limit.
        if self.servers.get(&id).is_some_and(Server::is_open) && self.room(id) == 0 {
            self.drop_conn(conn, Fate::Shed(ShedReason::Full));
            return;
        }
        self.place_input(now, id, Place::Arrive { conn, client });
    }

    pub(super) fn answered(
        &mut self,
        now: Mono,
        worker: WorkerId,
        ack: Option<u64>,
        accepted: bool,
    ) {
        let Some(ack) = ack else { return };
        // Only the worker that was asked may answer.
        let Some((id, conn)) = self.handoffs.remove(&(worker, ack)) else {
            self.event(Event::Error { worker, error: WorkerError::StrayAck { ack } });
            return;
        };
        let answer = match accepted {
            true => Place::Accepted { worker, conn },
            false => Place::Refused { worker, conn },
        };
        if !accepted {
            self.stats.refused += 1;
        }
        self.place_input(now, id, answer);
        self.send_disconnect(worker);
    }

    /// The descriptor of a hand-off never reached the worker, so no answer will come.
    pub(super) fn undelivered(&mut self, now: Mono, worker: WorkerId, seq: u64) {
        if let Some((id, conn)) = self.handoffs.remove(&(worker, seq)) {
            self.place_input(now, id, Place::Refused { worker, conn });
            self.send_disconnect(worker);
        }
    }

    pub(super) fn place_input(&mut self, now: Mono, id: ServerId, input: Place<WorkerId, ConnId>) {
        let Some(server) = self.servers.get_mut(&id) else { return };
        // An input that does not fit changes nothing: a worker that was never placed leaves, say.
        let _unfit = server.sched.handle_input(now, input);
        self.place(now, id);
    }

    pub(super) fn place(&mut self, now: Mono, id: ServerId) {
        while let Some(server) = self.servers.get_mut(&id) {
            let Some(output) = server.sched.poll_output() else {
                if matches!(server.phase, Phase::Closing) && server.sched.is_idle() {
                    self.servers.remove(&id);
                }
                return self.finish_draining(now, id);
            };
            let key = server.key.clone();
            match output {
                Placed::Assign { conn, worker } => {
                    let handle = Some(SendHandle::Conn { conn });
                    let seq = self.say_with(worker, None, ClusterBody::NewConn { key }, handle);
                    self.handoffs.insert((worker, seq), (id, conn));
                }
                Placed::Done { conn, worker } => {
                    self.stats.handed_over += 1;
                    if let Some(worker) = self.workers.get_mut(&worker) {
                        worker.connections += 1;
                    }
                    self.drop_conn(conn, Fate::HandedOver);
                }
                Placed::Shed { conn, reason } => self.drop_conn(conn, Fate::Shed(reason)),
            }
        }
    }

    fn drop_conn(&mut self, conn: ConnId, why: Fate) {
        if let Fate::Shed(reason) = why {
            self.stats.count_shed(reason);
        }
        self.output.push_back(Output::DropConn { conn, why });
    }
}
