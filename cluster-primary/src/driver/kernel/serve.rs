//! Does what the machine wants of groups.

use std::sync::Arc;

use cluster_proto::ListenQuery;
use cluster_sched::kernel::Choice;
use rustix::io::Errno;

use super::super::Primary;
use super::super::bound::Call;
use super::group::{OpenError, Opened};
use crate::machine::Input;
use crate::{Fallback, ServerId};

impl Primary {
    /// Makes the waiting room of a server, and has the kernel choose.
    pub(in super::super) fn open_group(
        &mut self,
        server: ServerId,
        query: &ListenQuery,
        choice: Choice,
    ) {
        let result = match super::Group::open(query, choice) {
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
                return self.open(server, query, false);
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
        let opened = self.groups.get_mut(&server).map(|g| (g.choice(), g.slot(slot)));
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
        turn: u32,
        on: bool,
    ) {
        let Some(group) = self.groups.get_mut(&server) else { return };
        if let Err(reason) = group.switch(slot, turn, on) {
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
