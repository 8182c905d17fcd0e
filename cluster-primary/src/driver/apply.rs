//! Does what the machine wants.

use super::base::Primary;
use super::listener::{CLOSE_PATIENCE, Closing};
use crate::machine::{ConnOutcome, LAST_CONNECTIONS, Output};

impl Primary {
    /// Does what the machine wants.
    pub(super) fn apply(&mut self, output: Output) {
        match output {
            Output::Send { worker, message, handle } => self.transmit(worker, message, handle),
            Output::Probe { worker } => self.probe(worker),
            Output::LookAtProbe { worker } => self.look_at_probe(worker),
            Output::AbandonProbe { worker } => self.abandon_probe(worker),
            Output::NotifyAgent { worker, command } => self.notify_agent(worker, &command),
            Output::Negotiate { worker, offered } => self.negotiate(worker, offered),
            Output::Bind { server, query, shared, worker } => {
                self.open(server, worker, &query, shared);
            }
            Output::BindSlots { server, query, choice, worker } => {
                self.open_group(server, worker, &query, choice);
            }
            Output::OpenSlot { server, slot } => self.open_slot(server, slot),
            Output::Slot { server, slot, position, on } => {
                self.switch_slot(server, slot, position, on);
            }
            Output::Look { server } => self.look(server),
            Output::Rescue { server, slot, most } => {
                // More may have been rescued since the machine decided this.
                let most = most.min(self.machine.room(server));
                self.rescue(server, slot, most);
            }
            Output::CloseServer { server, accept_rest } => {
                let now = self.now();
                let most = if accept_rest { LAST_CONNECTIONS } else { 0 };
                let closing = Closing { most, again: now, until: now + CLOSE_PATIENCE };
                self.closing.insert(server, closing);
                if let Some(group) = self.groups.get_mut(&server) {
                    group.refuse();
                }
                self.go_on_closing(now, server);
            }
            Output::DropConn { conn, why } => {
                let conn = self.conns.remove(conn);
                let worker = match why {
                    ConnOutcome::HandedOver { worker } => Some(worker),
                    ConnOutcome::Shed(_) => None,
                };
                if let Some(conn) = conn {
                    self.close_connection(worker, conn);
                }
            }
            Output::CloseHandle { handle } => {
                if let Some((worker, handle)) = self.handles.remove(handle) {
                    self.discard_handle(worker, handle);
                }
            }
            Output::Submit { worker, message, handle, origin } => {
                self.transmit_users(worker, &message, handle, origin);
            }
            Output::MarkDrained { worker } => self.mark_drained(worker),
            Output::AbortChannel { worker } => self.close_now(self.now(), worker),
            Output::Event(event) => self.publish(event),
        }
    }
}
