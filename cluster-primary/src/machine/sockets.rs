//! Connections beside users' messages, which their senders count (`NODE_SOCKET_*`).

use cluster_proto::{HandleKind, Message, SocketList};

use super::base::Machine;
use super::io::{Handle, Output};
use crate::event::Event;
use crate::id::WorkerId;

/// Keys that may be asked for at a time: the user's own, but an answer may never come.
const MAX_ASKED: usize = 4096;

impl Machine {
    /// Counts a connection that a worker sent from a server of its own.
    pub(super) fn count_socket(&mut self, worker: WorkerId, handle: Handle) -> Handle {
        let Handle { id, kind, key } = handle;
        let held = self.known_mut(worker).map(|w| &mut w.sockets.held);
        let counts = |key: &String| {
            kind == HandleKind::NetSocket && held.is_some_and(|held| held.opened(key))
        };
        let key = key.filter(counts);
        Handle { id, kind, key }
    }

    pub(super) fn socket_closed(&mut self, worker: WorkerId, key: &str) {
        let connected = self.known_mut(worker).filter(|w| w.connected);
        let Some(counting) = connected else { return };
        if let Some(news) = counting.sockets.held.closed(key) {
            self.tell_sockets(worker, news);
        }
    }

    pub(super) fn ask_sockets(&mut self, worker: WorkerId, key: String, when_closed: bool) {
        let connected = self.known_mut(worker).filter(|w| w.connected);
        let Some(asked) = connected else { return };
        let (keys, question) = if when_closed {
            (&mut asked.sockets.closing, SocketList::NotifyClose { key: key.clone() })
        } else {
            (&mut asked.sockets.counting, SocketList::GetCount { key: key.clone() })
        };
        if keys.len() < MAX_ASKED {
            keys.insert(key);
            self.tell_sockets(worker, question);
        }
    }

    /// Answers a worker's question, and takes its answers to questions that were asked.
    pub(super) fn socket_list(&mut self, worker: WorkerId, message: SocketList) {
        let Some(asking) = self.known_mut(worker) else { return };
        if let Some(answer) = asking.sockets.held.asked(&message) {
            self.tell_sockets(worker, answer);
            return;
        }
        match message {
            SocketList::Count { key, count } if asking.sockets.counting.remove(&key) => {
                self.event(Event::SocketCount { worker, key, count });
            }
            SocketList::AllClosed { key } if asking.sockets.closing.remove(&key) => {
                self.event(Event::SocketsClosed { worker, key });
            }
            _ => {}
        }
    }

    pub(super) fn tell_sockets(&mut self, worker: WorkerId, news: SocketList) {
        let message = Message::SocketList(news);
        self.put(Output::Send { worker, message, handle: None });
    }
}
