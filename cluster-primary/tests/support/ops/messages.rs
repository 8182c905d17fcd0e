//! What workers say.

use cluster_primary::machine::{Handle, Input, Sending};
use cluster_primary::proto::{ClusterBody, Exchange, HandleKind, Message, Object, SocketList};
use cluster_primary::{ConnId, ExitStatus, HandleId, Mono, ServerId, WorkerId};

use super::world::{Bytes, Place, World};

impl World {
    pub(super) fn odd_message(&mut self, bytes: &mut Bytes<'_>) {
        let (what, nth) = (bytes.next(), bytes.next());
        let Some(worker) = self.worker(bytes) else { return };
        let body = match what % 9 {
            0 => ClusterBody::Online,
            1 => ClusterBody::Listening(Box::default()),
            2 | 3 => {
                let keys = &self.workers[&worker].keys;
                let own = keys.get(usize::from(nth) % keys.len().max(1));
                ClusterBody::Close { key: own.map_or("none", String::as_str).into() }
            }
            4 => {
                let known = self.workers.get_mut(&worker).expect("it was picked");
                known.leaving |= known.connected;
                ClusterBody::ExitedAfterDisconnect
            }
            5 => ClusterBody::NewConn { key: "theirs".into() },
            6 => ClusterBody::Disconnect,
            7 => ClusterBody::Other { act: "dance".into() },
            _ => {
                if nth.is_multiple_of(2) {
                    return self.sockets(worker, nth / 2);
                }
                let message = Message::Internal(Object::new().with("cmd", "NODE_DEBUG_ENABLED"));
                let handle = Some(self.handle(HandleKind::NetNative));
                return self.input(Input::Received { worker, message, handle, arrived: true });
            }
        };
        self.says(worker, None, body);
    }

    /// The user and the worker send each other messages, requests and answers.
    pub(super) fn talk(&mut self, worker: WorkerId, what: u8) {
        let message = || Message::User("hello".into());
        let sending = match what % 8 {
            0 => Sending::Message(message()),
            1 => Sending::Reported(message()),
            2 | 3 => Sending::Request { body: "and?".into(), timeout: Mono::from_millis(300) },
            4 => Sending::Answer { id: 1, answer: Ok("so".into()) },
            5 => {
                let id = self.requested.values().next().copied().unwrap_or(1);
                let message = Exchange::Response { id, answer: Ok("so".into()) }.into_message();
                let message = Message::User(message);
                return self.input(Input::Received {
                    worker,
                    message,
                    handle: None,
                    arrived: true,
                });
            }
            6 => {
                let Some((to, id)) = self.reported.first().copied() else { return };
                return self.input(Input::Sent { worker: to, id, delivered: what >= 192 });
            }
            _ if self.pressed.remove(&worker) => return self.input(Input::Drained { worker }),
            _ if self.workers[&worker].connected => return self.input(Input::HighWater { worker }),
            _ => return,
        };
        self.input(Input::Send { worker, sending, handle: what >= 224 });
    }

    /// Connections that the worker counts, and those that the user asks it about.
    fn sockets(&mut self, worker: WorkerId, what: u8) {
        let key = || String::from("4:127.0.0.1:80");
        let from = |list| Input::Received {
            worker,
            message: Message::SocketList(list),
            handle: None,
            arrived: true,
        };
        match what % 8 {
            0 | 1 => {
                let mut handle = self.handle(HandleKind::NetSocket);
                handle.key = Some(key());
                let message = Message::User("yours".into());
                *self.sockets.entry(worker).or_default() += 1;
                self.input(Input::Received {
                    worker,
                    message,
                    handle: Some(handle),
                    arrived: true,
                });
            }
            2 | 3 => {
                let open = self.sockets.entry(worker).or_default();
                // One that was never counted cannot be closed.
                if *open == 0 {
                    return;
                }
                *open -= 1;
                self.input(Input::SocketClosed { worker, key: key() });
            }
            4 => self.input(from(SocketList::GetCount { key: key() })),
            5 => self.input(from(SocketList::NotifyClose { key: key() })),
            6 => {
                let when_closed = what.is_multiple_of(16);
                self.input(Input::AskSockets { worker, key: key(), when_closed });
            }
            _ => {
                let before = self.socket_answers.len();
                self.input(from(SocketList::Count { key: key(), count: 7 }));
                self.input(from(SocketList::AllClosed { key: key() }));
                assert!(before >= self.socket_answers.len(), "an answer to no question is none");
            }
        }
    }

    /// An answer that is not this worker's to give.
    pub(super) fn stray_answer(&mut self, bytes: &mut Bytes<'_>) {
        let (seq, accepted) = (u64::from(bytes.next()), bytes.next().is_multiple_of(2));
        let Some(worker) = self.worker(bytes) else { return };
        if self.in_flight().iter().any(|(_, w, s)| (*w, *s) == (worker, seq)) {
            return;
        }
        let before = (self.handed_over, self.machine.stats());
        self.says(worker, Some(seq), ClusterBody::Accepted(accepted));
        assert_eq!((self.handed_over, self.machine.stats()), before, "it changes nothing");
    }

    pub(super) fn answer(&mut self, conn: ConnId, worker: WorkerId, seq: u64, accepted: bool) {
        let place = if accepted { Place::Taken(worker) } else { Place::Here };
        self.conns.insert(conn, place);
        let body = if accepted { ClusterBody::Accepted(true) } else { ClusterBody::Ack };
        self.says(worker, Some(seq), body);
        if accepted {
            assert_eq!(self.conns[&conn], Place::Gone, "{conn:?} was taken");
        }
    }

    /// Names that the machine does not know.
    pub(super) fn stranger(&mut self, bytes: &mut Bytes<'_>) {
        let (worker, server) = (WorkerId(9999), ServerId(9999));
        let before = self.outputs.len();
        let handle = Some(Handle { id: HandleId(0), kind: HandleKind::NetNative, key: None });
        match bytes.next() % 8 {
            0 => {
                self.input(Input::Disconnect { worker });
                self.input(Input::TakeOutOfRotation { worker });
                self.input(Input::FinishWork { worker });
                self.input(Input::AgentLost { worker });
            }
            1 => self.input(Input::ChannelClosed { worker }),
            2 => self.input(Input::Exited { worker, status: ExitStatus::Code(0) }),
            3 => self.input(Input::Undelivered { worker, seq: 0 }),
            4 => self.input(Input::Bound { server, result: Err(-1) }),
            5 => {
                self.handles.insert(HandleId(0));
                let message = Message::User("boo".into());
                self.input(Input::Received { worker, message, handle, arrived: true });
                return assert!(!self.handles.contains(&HandleId(0)), "the handle is let go of");
            }
            6 => {
                self.accept(server);
                return assert_eq!(*self.conns.values().last().unwrap(), Place::Gone);
            }
            _ => {
                if let Some(closed) = bytes.pick(&self.closed.iter().copied().collect::<Vec<_>>()) {
                    self.input(Input::Bound { server: closed, result: Err(-1) });
                }
            }
        }
        assert_eq!(self.outputs.len(), before, "it changes nothing");
    }
}
