//! Does what the machine wants of groups.

#[cfg(target_os = "linux")]
use std::os::fd::OwnedFd;
use std::sync::Arc;

use cluster_proto::ListenQuery;
use cluster_sched::kernel::Choice;
use rustix::io::Errno;

use super::super::Primary;
use super::super::binder::Purpose;
use super::super::bound::Call;
#[cfg(target_os = "linux")]
use super::super::rights::Rights;
use super::group::{OpenError, Opened};
use crate::id::{ServerId, WorkerId};
use crate::machine::Input;
use crate::placement::Fallback;

impl Primary {
    /// Makes the waiting room of a server, and has the kernel choose.
    pub(in super::super) fn open_group(
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
        let opened = super::group::Group::open(query, choice);
        self.take_group(server, worker, query, choice, opened);
    }

    /// The sockets of a group have been made with these rights, or could not be.
    #[cfg(target_os = "linux")]
    pub(in super::super) fn opened_group(
        &mut self,
        server: ServerId,
        query: &ListenQuery,
        choice: Choice,
        sockets: Result<super::group::GroupSockets, Errno>,
        rights: &Rights,
        worker: Option<WorkerId>,
    ) {
        let with = Some(rights.clone());
        let opened = sockets
            .map_err(OpenError::Bind)
            .and_then(|sockets| super::group::Group::of(sockets, query, choice, with));
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
        let now = self.clock.now();
        self.machine.handle_input(now, Input::Bound { server, result });
    }

    fn fell_back(&mut self, server: ServerId, instead: Fallback, reason: String) {
        let now = self.clock.now();
        self.machine.handle_input(now, Input::FellBack { server, instead, reason });
    }

    /// Makes the socket of a slot, if there is none.
    pub(in super::super) fn open_slot(&mut self, server: ServerId, slot: u32) {
        if let Some(rights) = self.groups.get(&server).and_then(super::group::Group::rights) {
            let worker = self.machine.worker_at(slot);
            return self.delegate(Purpose::Slot { server, slot }, rights, worker);
        }
        let opened = self.groups.get_mut(&server).map(|g| (g.choice(), g.slot(slot)));
        self.take_slot(server, slot, opened);
    }

    /// The socket of a slot has been made, if it needed one, or could not be.
    #[cfg(target_os = "linux")]
    pub(in super::super) fn opened_slot(
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
        let now = self.clock.now();
        self.machine.handle_input(now, Input::SlotOpened { server, slot, result });
    }

    pub(in super::super) fn switch_slot(
        &mut self,
        server: ServerId,
        slot: u32,
        position: u32,
        on: bool,
    ) {
        let Some(group) = self.groups.get_mut(&server) else { return };
        if let Err(reason) = group.switch(slot, position, on) {
            let instead = Fallback::of(group.choice());
            self.fell_back(server, instead, reason);
        }
    }

    /// Says how many connections wait at the sockets of a server.
    pub(in super::super) fn look(&mut self, server: ServerId) {
        let Some(group) = self.groups.get(&server) else { return };
        let queues = group.queues();
        let now = self.clock.now();
        self.machine.handle_input(now, Input::Queues { server, queues });
    }

    /// Accepts what waits at a slot, or in the waiting room.
    pub(in super::super) fn rescue(&mut self, server: ServerId, slot: Option<u32>, most: usize) {
        let socket = self.groups.get(&server).and_then(|group| group.socket(slot));
        let Some(socket) = socket.map(Arc::clone) else { return };
        // If there are more that cannot be had now: the machine looks again.
        let now = self.clock.now();
        let interrupted = self.interrupted_accepts();
        self.accept_from(now, server, &socket, most);
        if let Some(slot) = slot
            && self.interrupted_accepts() > interrupted
            && let Some(worker) = self.machine.worker_at(slot)
        {
            self.blame(worker, Call::Accept);
        }
    }
}
