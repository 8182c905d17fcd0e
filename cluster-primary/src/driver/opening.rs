//! Opens servers' sockets, and those of slots.

use std::os::fd::AsRawFd;
#[cfg(target_os = "linux")]
use std::os::fd::OwnedFd;
use std::sync::Arc;

use cluster_proto::ListenQuery;
use cluster_sched::kernel::Choice;
use mio::Interest;
use mio::unix::SourceFd;
use rustix::io::Errno;

use super::base::Primary;
use super::binder::Purpose;
#[cfg(target_os = "linux")]
use super::kernel::GroupSockets;
use super::kernel::{Group, OpenError, Opened};
use super::listen;
use super::listen::Bind;
use super::listener::Listener;
use super::rights::Rights;
use super::tokens::Source;
use crate::id::{ServerId, WorkerId};
use crate::machine::Input;
use crate::placement::Fallback;

impl Primary {
    pub(super) fn open(
        &mut self,
        server: ServerId,
        worker: WorkerId,
        query: &ListenQuery,
        shared: bool,
    ) {
        if let Some(rights) = self.listens_as(worker, query) {
            let (query, replace) = (Box::new(query.clone()), None);
            let purpose = Purpose::Server { server, query, shared, replace };
            return self.delegate(purpose, rights, Some(worker));
        }
        let access = self.settings.socket_access;
        let bound = listen::bind(query, shared, &self.lent, self.lender.as_ref(), &access);
        self.opened(server, shared, bound, None);
    }

    /// A server's socket was created (with these rights, if not with the primary's), or could not be.
    pub(super) fn opened(
        &mut self,
        server: ServerId,
        shared: bool,
        bound: Result<Bind, i32>,
        rights: Option<&Rights>,
    ) {
        let result = bound.and_then(|bind| {
            if !shared {
                let source = Source::Listener(server);
                let token = self.tokens.token(source);
                let registered = self.registry().register(
                    &mut SourceFd(&bind.fd.as_raw_fd()),
                    token,
                    Interest::READABLE,
                );
                registered.map_err(|e| -e.raw_os_error().unwrap_or(Errno::IO.raw_os_error()))?;
            }
            let fd = Arc::new(bind.fd);
            let rights = rights.cloned();
            let listener = Listener { fd, shared, file: bind.file, rights, paused_until: None };
            self.listeners.insert(server, listener);
            Ok(bind.bound)
        });
        self.tell(Input::Bound { server, result });
    }

    /// Creates the waiting room of a server and installs the program that chooses in the kernel.
    pub(super) fn open_group(
        &mut self,
        server: ServerId,
        worker: WorkerId,
        query: &ListenQuery,
        choice: Choice,
    ) {
        if let Some(rights) = self.listens_as(worker, query) {
            let query = Box::new(query.clone());
            return self.delegate(Purpose::Group { server, query, choice }, rights, Some(worker));
        }
        let opened = Group::open(query, choice);
        self.take_group(server, worker, query, choice, opened);
    }

    /// The sockets of a group were created with these rights, or could not be.
    #[cfg(target_os = "linux")]
    pub(super) fn opened_group(
        &mut self,
        server: ServerId,
        query: &ListenQuery,
        choice: Choice,
        sockets: Result<GroupSockets, Errno>,
        rights: &Rights,
        worker: Option<WorkerId>,
    ) {
        let with = Some(rights.clone());
        let opened = sockets
            .map_err(OpenError::Bind)
            .and_then(|sockets| Group::of(sockets, query, choice, with));
        if let Err(OpenError::NoChoice(reason)) = opened {
            self.fell_back(server, Fallback::Handoff, reason);
            let (query, shared, replace) = (Box::new(query.clone()), false, None);
            let purpose = Purpose::Server { server, query, shared, replace };
            return self.delegate(purpose, rights.clone(), worker);
        }
        self.take_group(server, WorkerId(0), query, choice, opened);
    }

    fn take_group(
        &mut self,
        server: ServerId,
        worker: WorkerId,
        query: &ListenQuery,
        choice: Choice,
        opened: Result<Opened, OpenError>,
    ) {
        let result = match opened {
            Ok(Opened { group, bound, without_program }) => {
                if let Some(reason) = without_program {
                    self.fell_back(server, Fallback::of(choice), reason);
                }
                self.groups.insert(server, group);
                Ok(bound)
            }
            Err(OpenError::Bind(errno)) => Err(-errno.raw_os_error()),
            Err(OpenError::NoChoice(reason)) => {
                self.fell_back(server, Fallback::Handoff, reason);
                return self.open(server, worker, query, false);
            }
        };
        self.tell(Input::Bound { server, result });
    }

    fn fell_back(&mut self, server: ServerId, instead: Fallback, reason: String) {
        self.tell(Input::FellBack { server, instead, reason });
    }

    /// Creates the socket of a slot, if there is none.
    pub(super) fn open_slot(&mut self, server: ServerId, slot: u32) {
        if let Some(rights) = self.groups.get(&server).and_then(Group::rights) {
            let worker = self.machine.worker_at(slot);
            return self.delegate(Purpose::Slot { server, slot }, rights, worker);
        }
        let opened = self.groups.get_mut(&server).map(|g| (g.choice(), g.slot(slot)));
        self.take_slot(server, slot, opened);
    }

    /// The socket of a slot was created, if it needed one, or could not be.
    #[cfg(target_os = "linux")]
    pub(super) fn opened_slot(
        &mut self,
        server: ServerId,
        slot: u32,
        socket: Result<Option<OwnedFd>, Errno>,
    ) {
        let opened = self
            .groups
            .get_mut(&server)
            .map(|group| (group.choice(), socket.and_then(|socket| group.slot_with(slot, socket))));
        self.take_slot(server, slot, opened);
    }

    fn take_slot(
        &mut self,
        server: ServerId,
        slot: u32,
        opened: Option<(Choice, Result<Option<String>, Errno>)>,
    ) {
        let result = match opened {
            Some((choice, Ok(untold))) => {
                if let Some(reason) = untold {
                    self.fell_back(server, Fallback::of(choice), reason);
                }
                Ok(())
            }
            Some((_, Err(errno))) => Err(-errno.raw_os_error()),
            None => Err(-Errno::BADF.raw_os_error()),
        };
        self.tell(Input::SlotOpened { server, slot, result });
    }

    pub(super) fn switch_slot(&mut self, server: ServerId, slot: u32, position: u32, on: bool) {
        let Some(group) = self.groups.get_mut(&server) else { return };
        if let Err(reason) = group.switch(slot, position, on) {
            let instead = Fallback::of(group.choice());
            self.fell_back(server, instead, reason);
        }
    }

    /// Tells the machine how many connections wait at the sockets of a server.
    pub(super) fn look(&mut self, server: ServerId) {
        let Some(group) = self.groups.get(&server) else { return };
        let queues = group.queues();
        self.tell(Input::Queues { server, queues });
    }
}
