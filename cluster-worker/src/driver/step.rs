//! Inputs of the machine, and what it wants done.

use cluster_proto::{ClusterBody, Message, Value, native};

use super::base::Core;
use super::front::News;
use super::inbound::{Inbound, InboundHandle};
use super::server::Stage;
use crate::machine::{Input, Machine, Mono, Output};

impl Core {
    pub(crate) fn input(&mut self, input: Input) {
        self.step(|machine, now| machine.handle_input(now, input));
    }

    /// Moves the machine on, and does what it says.
    pub(super) fn step(&mut self, go: impl FnOnce(&mut Machine, Mono)) {
        let before = self.standing();
        go(&mut self.machine, self.clock.mono());
        self.pump();
        let went = self.standing() != before;
        self.changed |= went;
        self.went |= went;
    }

    /// Does what the machine says.
    pub(crate) fn pump(&mut self) {
        while let Some(output) = self.machine.poll_output() {
            match output {
                Output::Send(mut message) => {
                    // A Node primary does not look at it.
                    if let Message::Cluster(message) = &mut message
                        && message.body == ClusterBody::Online
                    {
                        native::offer(message);
                    }
                    self.link.send_own(message);
                }
                Output::Open { server, handle, port, backlog, udp } => {
                    self.open(server, handle, port, backlog, udp);
                }
                Output::Listening { server, sockname } => self.listening(server, sockname),
                Output::ListenFailed { server, failure } => {
                    self.unlist(server, Stage::Failed(failure));
                    self.notify(News::ListenFailed(server));
                }
                Output::ConnectionReady(server) => {
                    if let Some(server) = self.server_mut(server) {
                        server.ready += 1;
                    }
                    self.note_change();
                }
                Output::Connection { server, handle, tracked } => {
                    self.connection(server, handle, tracked);
                }
                Output::Closed(server) => {
                    self.unlist(server, Stage::Closed);
                    self.notify(News::Closed(server));
                }
                Output::Deliver { value, handle } => {
                    let handle = handle.and_then(|handle| {
                        let fd = self.handles.remove(&handle.id)?;
                        Some(InboundHandle { kind: handle.kind, fd, key: handle.key })
                    });
                    self.deliver(value, handle);
                }
                Output::SocketCount { key, count } => self.sockets_answered(key, false, count),
                Output::SocketsClosed { key } => self.sockets_answered(key, true, 0),
                Output::CloseHandle(handle) => drop(self.take_handle(handle)),
                Output::CloseChannel => {
                    self.link.close();
                    self.note_change();
                }
                Output::Disconnected => self.note_change(),
                Output::Exit { code } => std::process::exit(code),
            }
        }
    }

    pub(super) fn deliver(&mut self, value: Value, handle: Option<InboundHandle>) {
        self.note_change();
        let Some((value, request)) = self.sort_out(value) else {
            return self.refuse_handle(handle);
        };
        let room = handle.is_none() || self.inbox_handles < self.handle_limit;
        if self.inbox.len() < self.inbox_limit && room {
            self.inbox_handles += usize::from(handle.is_some());
            self.delivered += 1;
            self.inbox.push_back(Inbound { value, handle, request });
        } else {
            self.lost += 1;
            // Descriptors that wait to be received are bounded too: a flood must not take all that
            // this process may have.
            self.refuse_handle(handle);
            self.turn_away(request);
        }
    }

    /// A descriptor without a use.
    pub(crate) fn refuse_handle(&mut self, handle: Option<InboundHandle>) {
        let Some(InboundHandle { fd, key, .. }) = handle else { return };
        self.unexpected += 1;
        drop(fd);
        if let Some(key) = key {
            self.input(Input::SocketClosed(key));
        }
    }
}
