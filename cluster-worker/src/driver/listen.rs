//! From a call of `listen` to a socket, and to its end.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use cluster_proto::{Field, ListenQuery};
use mio::unix::SourceFd;
use rustix::io::Errno;

use super::base::Core;
use super::front::News;
use super::own::{self, Own, bind};
use super::server::{Kind, Server, Stage};
use super::socket::Lent;
use crate::error::ListenError;
use crate::machine::{Input, ListenFailure, ServerId, State};

/// What a user would call the address.
fn name(query: &ListenQuery) -> String {
    match (query.primary_fd(), &query.address, query.port) {
        (Some(fd), ..) => format!("the primary's descriptor {fd}"),
        (None, Field::Is(path), Field::Is(..=-1)) => path.clone(),
        (None, Field::Is(ip), Field::Is(port)) if ip.contains(':') => format!("[{ip}]:{port}"),
        (None, Field::Is(ip), Field::Is(port)) => format!("{ip}:{port}"),
        (None, _, port) => format!("*:{port}"),
    }
}

impl Core {
    /// Listens through the primary, or, exclusively, on a socket of the worker's own.
    pub(crate) fn serve(
        &mut self,
        query: ListenQuery,
        kind: Kind,
        max_connections: Option<usize>,
        exclusive: bool,
    ) -> ServerId {
        match exclusive {
            true => self.listen_exclusive(&query, kind, max_connections),
            false => self.listen(query, kind, max_connections),
        }
    }

    pub(super) fn listen(
        &mut self,
        query: ListenQuery,
        kind: Kind,
        max_connections: Option<usize>,
    ) -> ServerId {
        self.last_server += 1;
        let server = ServerId(self.last_server);
        let mut opening = Server::new(name(&query), kind, max_connections);
        opening.access = own::access(&query);
        self.servers.insert(server, opening);
        self.input(Input::Listen { server, query: Box::new(query), max_connections });
        server
    }

    /// Binds a socket of the worker's own, and listens on it.
    fn listen_exclusive(
        &mut self,
        query: &ListenQuery,
        kind: Kind,
        max_connections: Option<usize>,
    ) -> ServerId {
        let backlog = query.backlog_length();
        self.listen_own(name(query), kind, max_connections, backlog, bind(query))
    }

    /// Listens on a socket of the worker's own.
    pub(crate) fn listen_own(
        &mut self,
        name: String,
        kind: Kind,
        max_connections: Option<usize>,
        backlog: i32,
        own: Result<Own, Errno>,
    ) -> ServerId {
        self.last_server += 1;
        let id = ServerId(self.last_server);
        self.servers.insert(id, Server::new(name, kind, max_connections));
        if self.machine.state() == State::Disconnected || !self.machine.is_connected() {
            self.input(Input::Own { server: id });
            return id;
        }
        let udp = kind == Kind::Udp;
        let opened = own.and_then(|Own { fd, file }| {
            let (lent, local) = Lent::prepare(fd, None, backlog, udp)?;
            self.watch(id, &lent, udp)?;
            Ok((lent, local, file))
        });
        match (opened, self.server_mut(id)) {
            (Ok((lent, local, file)), Some(server)) => {
                server.lent = Some(lent);
                server.local = local;
                server.acceptable = !udp;
                server.file = file;
                self.input(Input::Own { server: id });
            }
            (Err(errno), _) => {
                let errno = errno.raw_os_error();
                self.unlist(id, Stage::Failed(ListenFailure::Unusable { errno }));
                self.notify(News::ListenFailed(id));
            }
            (Ok(_), None) => {}
        }
        id
    }

    /// How it went with a server that was asked for, once that is known.
    pub(crate) fn opened(&mut self, id: ServerId) -> Option<Result<(), ListenError>> {
        match self.server(id).map(|server| &server.stage) {
            Some(Stage::Asking) => None,
            Some(Stage::Failed(failure)) => {
                let failure = *failure;
                let server = self.servers.remove(&id)?;
                Some(Err(server.listen_error(failure)))
            }
            _ => Some(Ok(())),
        }
    }

    pub(crate) fn close(&mut self, id: ServerId) {
        if let Some(server) = self.server_mut(id) {
            server.closed_here = true;
            self.note_change();
        }
        self.input(Input::CloseServer(id));
    }

    /// The socket of a server that is accepted from here, for an application that accepts from it by itself from now on.
    ///
    /// # Errors
    /// If the primary accepts for this server, and the worker has no socket.
    pub(crate) fn give_away(&mut self, id: ServerId) -> std::io::Result<OwnedFd> {
        let lent = self.server_mut(id).and_then(|server| server.lent.take());
        let Some(lent) = lent else {
            return Err(std::io::Error::new(
                std::io::ErrorKind::Unsupported,
                "the worker has no listening socket, as the primary hands connections over: start the cluster with \
                 the placement `shared` (`cluster run --placement shared`)",
            ));
        };
        let socket = lent.as_fd().try_clone_to_owned();
        // Others hold the same socket: closed but not deregistered it would go on to report.
        let _ = self.registry.deregister(&mut SourceFd(&lent.as_fd().as_raw_fd()));
        self.machine.refuse_connections(id);
        socket
    }

    /// Whether nothing comes from that server any more, and the application is to be told.
    ///
    /// It learns of a disconnect when that is done: then it can let `main` return. Before, the
    /// process would go while connections are open, or under the primary's acknowledgement, and a
    /// Node primary dies if it cannot write it.
    pub(crate) fn has_ended(&self, id: ServerId) -> bool {
        let Some(server) = self.server(id) else { return true };
        let over = matches!(server.stage, Stage::Closed | Stage::Failed(_));
        let told = server.closed_here || self.machine.state() == State::Disconnected;
        over && told && server.taken.is_empty()
    }

    /// Closes a server and forgets it.
    pub(crate) fn forget(&mut self, id: ServerId) {
        self.input(Input::CloseServer(id));
        if let Some(server) = self.servers.remove(&id) {
            // Accepted, but no application is left to see them.
            for _ in server.taken.iter().filter(|taken| taken.tracked) {
                self.input(Input::Ended(id));
            }
        }
    }
}
