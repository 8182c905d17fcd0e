//! Connections on their way to workers, and servers that are drained.

use cluster_proto::ClusterBody;
use cluster_sched::{
    DispatchError, DispatchInput as Place, DispatchOutput as Placed, Mono, ShedReason,
};

use super::base::{LAST_CONNECTIONS, Machine};
use super::io::{ConnOutcome, Output, SendHandle};
use super::server::{Phase, Server, Slot, SlotState};
use crate::error::WorkerError;
use crate::event::Event;
use crate::id::{ConnId, ServerId, WorkerId};

impl Machine {
    pub(super) fn accepted(&mut self, now: Mono, id: ServerId, conn: ConnId, client: Option<u32>) {
        self.stats.accepted += 1;
        let Some(server) = self.servers.get(&id) else {
            return self.drop_conn(conn, ConnOutcome::Shed(ShedReason::Closed));
        };
        self.stats.rescued += u64::from(server.slots.is_some());
        let beyond = match server.phase {
            Phase::Open { .. } if self.room(id) == 0 => {
                return self.drop_conn(conn, ConnOutcome::Shed(ShedReason::Full));
            }
            Phase::Open { .. } => 0,
            // What a closing server brings at the last is taken beyond the limit.
            Phase::Draining { .. } => LAST_CONNECTIONS,
            Phase::Binding { .. } | Phase::Closing => {
                return self.drop_conn(conn, ConnOutcome::Shed(ShedReason::Closed));
            }
        };
        self.dispatch(now, Place::Arrive { server: id, conn, client, beyond });
    }

    pub(super) fn answered(
        &mut self,
        now: Mono,
        worker: WorkerId,
        ack: Option<u64>,
        accepted: bool,
    ) {
        let Some(ack) = ack else { return };
        let answer = Place::Answered { worker, number: ack, accepted };
        // Only the worker that was asked may answer.
        if self.dispatcher.handle_input(now, answer).is_err() {
            self.event(Event::Error { worker, error: WorkerError::StrayAck { ack } });
            return;
        }
        self.carry_out(now);
        self.send_disconnect(now, worker);
    }

    /// The descriptor of a hand-off never reached the worker, so no answer will come.
    pub(super) fn undelivered(&mut self, now: Mono, worker: WorkerId, seq: u64) {
        if self.dispatcher.handle_input(now, Place::Undelivered { worker, number: seq }).is_ok() {
            self.carry_out(now);
            self.send_disconnect(now, worker);
        }
    }

    /// A worker may be given connections of that server.
    pub(super) fn dispatch_to(&mut self, now: Mono, server: ServerId, worker: WorkerId, slot: u32) {
        self.dispatch(now, Place::Join { server, worker, slot });
    }

    /// The worker is given no more connections of that server.
    pub(super) fn place_no_more(&mut self, now: Mono, server: ServerId, worker: WorkerId) {
        self.dispatch(now, Place::Retire { server, worker });
        self.settle_server(now, server);
    }

    /// The server's connections that wait are shed.
    pub(super) fn close_placement(&mut self, now: Mono, server: ServerId) {
        self.dispatch(now, Place::Close { server });
        self.settle_server(now, server);
    }

    /// Gives the dispatcher an input. One that does not fit changes nothing: a worker leaves that was
    /// never given connections, say.
    pub(super) fn dispatch(&mut self, now: Mono, input: Place<ServerId, WorkerId, ConnId>) {
        let unfit = self.dispatcher.handle_input(now, input);
        debug_assert!(!matches!(unfit, Err(DispatchError::StrayAnswer { .. })));
        self.carry_out(now);
    }

    /// Does what the dispatcher has decided.
    pub(super) fn carry_out(&mut self, now: Mono) {
        // Most inputs concern one server.
        let mut concerned: Option<ServerId> = None;
        while let Some(output) = self.dispatcher.poll_output() {
            let server = match output {
                Placed::HandOff { server, worker, conn } => {
                    self.hand_off(server, worker, conn);
                    server
                }
                Placed::Answered { worker, after, accepted } => {
                    if let Some(answering) = self.known_mut(worker) {
                        answering.latency.record(after);
                    }
                    self.stats.refused += u64::from(!accepted);
                    continue;
                }
                Placed::Done { server, worker, conn } => {
                    self.stats.handed_over += 1;
                    if let Some(taker) = self.known_mut(worker) {
                        taker.connections += 1;
                    }
                    self.drop_conn(conn, ConnOutcome::HandedOver { worker });
                    server
                }
                Placed::Shed { server, conn, reason } => {
                    self.drop_conn(conn, ConnOutcome::Shed(reason));
                    server
                }
            };
            if let Some(before) = concerned.replace(server)
                && before != server
            {
                self.settle_server(now, before);
            }
        }
        if let Some(server) = concerned {
            self.settle_server(now, server);
        }
    }

    /// A server whose connections were placed may be drained, or gone.
    pub(super) fn settle_server(&mut self, now: Mono, id: ServerId) {
        let Some(server) = self.server(id) else { return };
        match server.phase {
            Phase::Closing if self.dispatcher.is_idle(id) => self.forget_server(id),
            Phase::Draining { .. } => self.finish_draining(now, id),
            _ => {}
        }
    }

    pub(super) fn forget_server(&mut self, id: ServerId) {
        self.servers.remove(&id);
        self.dispatcher.remove(id);
    }

    fn hand_off(&mut self, id: ServerId, worker: WorkerId, conn: ConnId) {
        let Some(server) = self.server(id) else { return };
        let key = server.key.clone();
        let handle = Some(SendHandle::Conn { conn });
        let seq = self.send_internal_with(worker, None, ClusterBody::NewConn { key }, handle);
        self.dispatcher.set_number(id, conn, seq);
    }

    fn drop_conn(&mut self, conn: ConnId, why: ConnOutcome) {
        match why {
            ConnOutcome::Shed(reason) => self.stats.count_shed(reason),
            ConnOutcome::HandedOver { worker } if self.config.report_connections => {
                self.event(super::event::Event::Taken { worker, conn });
            }
            ConnOutcome::HandedOver { .. } => {}
        }
        self.put(Output::DropConn { conn, why });
    }

    /// Lets the workers of a drained server go.
    pub(super) fn finish_draining(&mut self, now: Mono, id: ServerId) {
        self.enlist_for_drain(now, id);
        let (waiting, placed) = (self.dispatcher.waiting(id), self.dispatcher.workers(id));
        let drained = |server: &&mut Server| server.is_drained(waiting, placed);
        let Some(server) = self.server_mut(id).filter(drained) else { return };
        server.phase = Phase::Closing;
        let workers = std::mem::take(&mut server.workers);
        self.close_placement(now, id);
        for worker in workers {
            if let Some(leaving) = self.known_mut(worker) {
                leaving.servers.remove(&id);
            }
            self.send_disconnect(now, worker);
        }
    }

    /// A server is drained, and none of those that serve what is left is on: the others are asked,
    /// those that rest, and those that have not said yet that they listen.
    pub(super) fn enlist_for_drain(&mut self, now: Mono, id: ServerId) {
        let Some(server) = self.server(id) else { return };
        let Some(slots) = &server.slots else { return };
        if !matches!(server.phase, Phase::Draining { .. }) || self.dispatcher.workers(id) > 0 {
            return;
        }
        let has_socket = |slot: &Slot| !matches!(slot.state, SlotState::Asked { .. });
        let able: Vec<_> = slots
            .slots
            .iter()
            .filter(|(_, slot)| has_socket(slot))
            .filter_map(|(&number, slot)| Some((number, slot.worker?)))
            .filter(|(_, worker)| server.workers.contains(worker))
            .filter(|(_, worker)| self.workers.get(worker).is_some_and(|w| w.connected))
            .collect();
        for (slot, worker) in able {
            self.dispatch_to(now, id, worker, slot);
        }
    }
}
