//! Sockets of servers, and connections from the primary: what the machine wants done with them.

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};

use cluster_proto::SockName;
use mio::unix::SourceFd;
use mio::{Interest, Token};
use rustix::io::Errno;

use super::base::{Core, FIRST_SERVER};
use super::front::News;
use super::own;
use super::server::{Stage, Taken};
use super::socket;
use super::socket::Lent;
use crate::machine::{HandleId, Input, ServerId};

impl Core {
    pub(super) fn open(
        &mut self,
        id: ServerId,
        handle: HandleId,
        port: Option<u16>,
        backlog: i32,
        udp: bool,
    ) {
        let Some(fd) = self.take_handle(handle) else { return };
        if !self.servers.contains_key(&id) {
            return;
        }
        let opened = Lent::prepare(fd, port, backlog, udp).and_then(|(lent, local)| {
            if let Some(server) = self.server(id) {
                own::open_to_all(&server.name, server.access)?;
            }
            self.watch(id, &lent, udp)?;
            Ok((lent, local))
        });
        let Some(server) = self.server_mut(id) else { return };
        let input = match opened {
            Ok((lent, local)) => {
                server.lent = Some(lent);
                server.local = local;
                server.acceptable = !udp;
                Input::Opened { server: id, port: local.map(|local| local.port()) }
            }
            Err(errno) => Input::OpenFailed { server: id, errno: errno.raw_os_error() },
        };
        self.machine.handle_input(self.now(), input);
    }

    pub(super) fn listening(&mut self, id: ServerId, sockname: Option<SockName>) {
        if let Some(server) = self.server_mut(id) {
            server.stage = Stage::Open;
            if let Some(name) = sockname {
                let ip = name.address.parse().ok();
                server.local = ip.map(|ip| SocketAddr::new(ip, name.port));
            }
        }
        self.notify(News::Listening(id));
    }

    pub(super) fn unlist(&mut self, id: ServerId, stage: Stage) {
        let Some(server) = self.server_mut(id) else { return };
        server.stage = stage;
        server.ready = 0;
        server.acceptable = false;
        server.retry = None;
        server.file = None;
        if let Some(lent) = server.lent.take() {
            // Others hold the same socket: closed but not deregistered it would go on to report.
            let _ = self.registry.deregister(&mut SourceFd(&lent.as_fd().as_raw_fd()));
        }
    }

    /// Waits for what comes to a socket that is accepted from here.
    pub(super) fn watch(&self, id: ServerId, lent: &Lent, udp: bool) -> Result<(), Errno> {
        if self.front.waits_itself(udp) {
            return Ok(());
        }
        let token = Token((id.0 - 1) as usize + FIRST_SERVER);
        let raw = lent.as_fd().as_raw_fd();
        let registered = self.registry.register(&mut SourceFd(&raw), token, Interest::READABLE);
        registered.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }

    pub(super) fn connection(&mut self, id: ServerId, handle: HandleId, tracked: bool) {
        let fd = self.take_handle(handle);
        let (Some(fd), Some(server)) = (fd, self.servers.get_mut(&id)) else { return };
        server.ready -= 1;
        // If it fails the application will see the same with its first call.
        let _ = socket::set_mode(&fd, self.front.blocks());
        let flush = self.link.next_flush();
        server.taken.push_back(Taken { fd, tracked, flush });
    }

    pub(super) fn sockets_answered(&mut self, key: String, when_closed: bool, count: u64) {
        if let Some(asked) = self.sockets.get_mut(&(key.clone(), when_closed)) {
            asked.answers += 1;
            asked.count = count;
        }
        self.notify(if when_closed {
            News::SocketsClosed(key)
        } else {
            News::SocketCount(key, count)
        });
    }
}
