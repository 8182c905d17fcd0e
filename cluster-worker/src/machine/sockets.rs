//! Connections beside users' messages, which their senders count (`NODE_SOCKET_*`).

use std::collections::BTreeSet;

use cluster_proto::{HandleKind, Message, SocketCounts, SocketList};

use super::Machine;
use super::event::{Handle, Output};

/// What is known of connections that went beside messages.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    /// Those that came, and that the primary counts.
    held: SocketCounts,
    /// Keys whose counts the application waits for.
    counting: BTreeSet<String>,
    /// Keys of which it waits for the last to close.
    closing: BTreeSet<String>,
}

impl Machine {
    pub(super) fn count_socket(&mut self, mut handle: Handle) -> Handle {
        let socket = handle.kind == HandleKind::NetSocket;
        handle.key = handle.key.filter(|key| socket && self.sockets.held.opened(key));
        handle
    }

    pub(super) fn socket_closed(&mut self, key: &str) {
        if let Some(news) = self.sockets.held.closed(key) {
            self.tell_sockets(news);
        }
    }

    pub(super) fn ask_sockets(&mut self, key: String, when_closed: bool) {
        let (keys, question) = if when_closed {
            (&mut self.sockets.closing, SocketList::NotifyClose { key: key.clone() })
        } else {
            (&mut self.sockets.counting, SocketList::GetCount { key: key.clone() })
        };
        keys.insert(key);
        self.tell_sockets(question);
    }

    /// Answers the primary's question, and takes its answers to questions that were asked.
    pub(super) fn socket_list(&mut self, message: SocketList) {
        if let Some(answer) = self.sockets.held.asked(&message) {
            return self.tell_sockets(answer);
        }
        match message {
            SocketList::Count { key, count } if self.sockets.counting.remove(&key) => {
                self.output.push_back(Output::SocketCount { key, count });
            }
            SocketList::AllClosed { key } if self.sockets.closing.remove(&key) => {
                self.output.push_back(Output::SocketsClosed { key });
            }
            // Of connections that are not counted here none keeps a primary's server from closing.
            SocketList::NotifyClose { key } if self.sockets.held.open(&key) == 0 => {
                self.tell_sockets(SocketList::AllClosed { key });
            }
            SocketList::GetCount { key } => self.tell_sockets(SocketList::Count { key, count: 0 }),
            _ => {}
        }
    }

    fn tell_sockets(&mut self, news: SocketList) {
        if self.is_connected() {
            self.output.push_back(Output::Send(Message::SocketList(news)));
        }
    }
}
