//! What the machine wants, and what it tells, changes the model.

use std::collections::BTreeMap;

use cluster_primary::machine::{ConnOutcome, Event as Told, Input, Origin, Output, SendHandle};
use cluster_primary::proto::{
    ClusterBody, ClusterMessage, Field, ListenQuery, ListenReply, Message, SocketList,
};
use cluster_primary::{Event, LeaveProgress, Placement, SendError, WorkerId};

use super::Step;
use super::world::{Place, Worker, World, text};

impl World {
    pub(super) fn input(&mut self, input: Input) {
        self.history.push(Step::Input(self.now, input.clone()));
        self.machine.handle_input(self.now, input);
        self.drain();
    }

    pub(super) fn drain(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            self.outputs.push(text(&output));
            match output {
                Output::Send { worker, message, handle } => self.sent(worker, &message, handle),
                Output::Bind { server, .. } => {
                    assert!(!self.open.contains(&server) && !self.closed.contains(&server));
                    self.binding.push(server);
                }
                Output::BindSlots { server, .. } => {
                    assert!(!self.open.contains(&server) && !self.closed.contains(&server));
                    self.binding.push(server);
                    self.queues.insert((server, None), 0);
                }
                Output::OpenSlot { server, slot } => drop(self.opening.insert((server, slot))),
                Output::Slot { server, slot, on, .. } => self.switch(server, slot, on),
                Output::Look { server } => {
                    if self.open.contains(&server) {
                        self.looks.insert(server);
                    }
                }
                Output::Rescue { server, slot, most } => self.rescue(server, slot, most),
                Output::CloseServer { server, accept_rest } => {
                    self.queues.retain(|(of, _), _| *of != server);
                    self.on.retain(|(of, _)| *of != server);
                    self.looks.remove(&server);
                    assert!(self.open.remove(&server), "{server:?} was not open");
                    self.closed.insert(server);
                    self.closing.insert(server, accept_rest);
                    if accept_rest {
                        self.drained.insert(server);
                    }
                }
                Output::Probe { worker } => {
                    let known = &self.workers[&worker];
                    assert!(
                        known.to_go || known.retiring || self.is_on(worker),
                        "{worker} was not told to go"
                    );
                    assert!(!self.ignoring.contains(&worker), "{worker} answers no probe");
                    let asked = self.probing.entry(worker).or_default();
                    *asked += 1;
                    // Once for its queue, and once because it leaves.
                    let most = if self.settings.placement == Placement::Kernel { 2 } else { 1 };
                    assert!(*asked <= most, "{worker} is probed {asked} times");
                }
                Output::LookAtProbe { worker } => {
                    assert!(self.looking.insert(worker), "{worker} is being looked at");
                }
                Output::AbandonProbe { worker } => {
                    assert!(self.probing.remove(&worker).is_some(), "{worker} has no probe");
                    self.ignoring.insert(worker);
                }
                Output::DropConn { conn, why } => {
                    let place = self.conns.insert(conn, Place::Gone).expect("it was accepted");
                    match (why, place) {
                        (ConnOutcome::HandedOver { .. }, Place::Taken(_)) => self.handed_over += 1,
                        (ConnOutcome::Shed(_), Place::Here) => self.shed += 1,
                        odd => panic!("{conn:?} ends as {odd:?}"),
                    }
                }
                Output::NotifyAgent { worker, .. } => {
                    assert!(self.workers.contains_key(&worker), "{worker} was never forked");
                }
                Output::CloseHandle { handle } => {
                    assert!(self.handles.remove(&handle), "{handle:?} ends twice");
                }
                Output::Submit { worker, message, origin, .. } => {
                    assert!(self.workers[&worker].connected, "sent to {worker}, which is gone");
                    match origin {
                        Origin::Reported(id) => assert!(self.reported.insert((worker, id))),
                        Origin::Request(id) => {
                            let Message::User(asked) = &message else { panic!("{message:?}") };
                            let number = asked["id"].as_u64().expect("a request has one");
                            assert!(self.requested.insert((worker, id), number).is_none());
                        }
                        Origin::Message | Origin::Answer(_) => {}
                        other => panic!("an origin that this file does not know: {other:?}"),
                    }
                }
                Output::MarkDrained { worker } => {
                    assert!(self.pressed.insert(worker), "{worker} is marked twice");
                }
                Output::AbortChannel { worker } => {
                    assert!(self.workers[&worker].connected, "{worker} has no channel");
                }
                Output::Event(event) => self.told(event),
                other => panic!("an output that this file does not know: {other:?}"),
            }
        }
    }

    fn sent(&mut self, to: WorkerId, message: &Message, handle: Option<SendHandle>) {
        let worker = self.workers.get_mut(&to).expect("sent to a worker");
        if let Message::SocketList(list) = message {
            assert!(worker.connected, "{list:?} to one that is gone");
            let open = self.sockets.get(&to).copied().unwrap_or_default();
            return match list {
                SocketList::Count { count, .. } => assert_eq!(*count, open, "{to}"),
                SocketList::AllClosed { .. } => assert_eq!(open, 0, "{to}"),
                SocketList::GetCount { .. } => drop(self.socket_answers.insert((to, false))),
                SocketList::NotifyClose { .. } => drop(self.socket_answers.insert((to, true))),
            };
        }
        let Message::Cluster(ClusterMessage { seq, ack, body, .. }) = message else {
            panic!("not a cluster message: {message:?}");
        };
        match body {
            ClusterBody::NewConn { .. } => {
                let Some(SendHandle::Conn { conn }) = handle else {
                    panic!("a connection without one: {handle:?}");
                };
                let place = self.conns.insert(conn, Place::With(to, *seq));
                assert_eq!(place, Some(Place::Here), "{conn:?} goes to {to}");
                assert!(worker.connected, "{conn:?} goes to {to}, which is gone");
                // What came before is served before a server's last workers are sent away.
                let drains = self.closed.iter().any(|id| self.drained.contains(id));
                let rotates = !worker.to_go && !worker.retiring;
                assert!(rotates || drains, "{conn:?} goes to {to}, which is out of rotation");
                assert!(!worker.sent_away, "{conn:?} goes to {to}, which was sent away");
            }
            ClusterBody::Disconnect => {
                assert!(worker.to_go, "{to} was not told to go");
                assert!(!std::mem::replace(&mut worker.sent_away, true), "{to} is told twice");
                let waits = self.in_flight().iter().any(|(_, holder, _)| *holder == to);
                assert!(!waits, "{to} has not answered for all that is on its way to it");
                assert!(!self.probing.contains_key(&to), "{to} has not answered the probe");
                assert!(!self.is_on(to), "{to} has a slot that is on");
            }
            ClusterBody::ListenReply(reply) => {
                let ListenReply { errno, key, .. } = &**reply;
                let ack = ack.expect("an answer says to what");
                assert!(self.asked.remove(&(to, ack)), "{to} did not ask {ack}, or has its answer");
                assert!(!worker.leaving, "{to} is on its way out");
                if errno.is_none_or(|errno| errno == 0) {
                    worker.keys.push(key.as_str().to_owned());
                }
                let query = self.queries.remove(&(to, ack));
                if let Some(SendHandle::Server { server, .. }) = handle {
                    assert!(self.open.contains(&server), "{server:?} is not open");
                }
                if let Some(SendHandle::Slot { server, slot, .. }) = handle {
                    assert!(
                        self.queues.contains_key(&(server, Some(slot))),
                        "{slot} has no socket"
                    );
                    let query = query.expect("it asked");
                    self.to_listen.push((to, ListenQuery { port: Field::Is(99), ..query }));
                }
            }
            ClusterBody::Ack => assert!(worker.leaving && ack.is_some()),
            odd => panic!("a primary does not say {odd:?}"),
        }
    }

    fn told(&mut self, event: Told) {
        let known = |id: WorkerId, workers: &BTreeMap<WorkerId, Worker>| {
            assert!(workers.contains_key(&id), "{id} was never forked");
            assert!(!workers[&id].told_disconnect, "{id} has disconnected");
        };
        let event = match event {
            Told::Plain(event) => event,
            Told::Setup { .. } => return,
            Told::Message { worker, handle, .. } | Told::Request { worker, handle, .. } => {
                known(worker, &self.workers);
                if let Some(handle) = handle {
                    assert!(self.handles.remove(&handle.id), "it ends twice");
                }
                return;
            }
            other => panic!("an event that this file does not know: {other:?}"),
        };
        match event {
            Event::Fork { worker, .. } => known(worker, &self.workers),
            Event::Sent { worker, id, error } => {
                known(worker, &self.workers);
                assert!(self.reported.remove(&(worker, id)), "{id:?} ends twice");
                let gone = matches!(error, Some(SendError::Closed { .. }));
                assert!(!gone || !self.workers[&worker].connected, "{worker} has its channel");
            }
            Event::Answered { worker, request, .. } => {
                known(worker, &self.workers);
                assert!(
                    self.requested.remove(&(worker, request)).is_some(),
                    "{request:?} ends twice"
                );
            }
            Event::Drained { worker } => known(worker, &self.workers),
            Event::Online { worker }
            | Event::Listening { worker, .. }
            | Event::ListenFailed { worker, .. } => known(worker, &self.workers),
            Event::Error { .. }
            | Event::NoAgent { .. }
            | Event::Leftovers { .. }
            | Event::HandsOver { .. } => {}
            Event::Leaving { worker, progress, .. } => {
                let retired = &self.workers[&worker];
                // Its process may outlive its channel.
                assert!(!(retired.told_disconnect && retired.told_exit), "{worker} has gone");
                if progress == LeaveProgress::OutOfRotation && retired.connected && !retired.to_go {
                    assert!(retired.retiring, "{worker} is in rotation");
                    let waits = self.in_flight().iter().any(|(_, holder, _)| *holder == worker);
                    assert!(!waits, "{worker} has not answered for all that is on its way to it");
                    assert!(!self.is_on(worker), "{worker} has a slot that is on");
                }
            }
            Event::Disconnect { worker, exited_after_disconnect } => {
                known(worker, &self.workers);
                let known = self.workers.get_mut(&worker).expect("just looked");
                assert!(!known.connected);
                known.told_disconnect = true;
                let of_it = |open: WorkerId| open == worker;
                assert!(!self.reported.iter().any(|(to, _)| of_it(*to)), "a message has no end");
                assert!(!self.requested.keys().any(|(to, _)| of_it(*to)), "a request has no end");
                self.pressed.remove(&worker);
                assert_eq!(exited_after_disconnect, known.leaving, "{worker}");
                // From here on it is settled.
            }
            Event::Exit { worker, exited_after_disconnect, .. } => {
                let known = self.workers.get_mut(&worker).expect("it was forked");
                assert!(known.exited);
                assert!(!std::mem::replace(&mut known.told_exit, true), "{worker} exits twice");
                assert_eq!(exited_after_disconnect, known.leaving, "{worker}");
            }
            Event::SocketCount { worker, .. } => {
                assert!(self.socket_answers.remove(&(worker, false)), "{worker} was not asked");
            }
            Event::SocketsClosed { worker, .. } => {
                assert!(self.socket_answers.remove(&(worker, true)), "{worker} was not asked");
            }
            Event::Disconnected => {
                self.disconnecteds += 1;
                assert!(self.disconnecteds <= self.disconnect_alls);
                assert!(self.workers.values().all(|w| !w.connected), "a worker is left");
                assert!(self.open.is_empty() && self.binding.is_empty(), "a socket is left");
            }
            other => panic!("an event that this file does not know: {other:?}"),
        }
    }
}
