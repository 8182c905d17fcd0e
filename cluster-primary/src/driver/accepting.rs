//! Accepts connections.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use cluster_sched::Mono;
use rustix::io::Errno;

use super::base::Primary;
use super::blocking::Call;
use super::listen;
use super::listener::Listener;
use crate::id::ServerId;
use crate::machine::Input;

/// Connections accepted from one server before the other sources get a turn.
pub(super) const ACCEPTS_PER_WAKE: usize = 64;

/// Before each of the first few, the queue is polled: accepting from an empty queue costs about as
/// much as accepting a connection, because Linux creates the socket first. In a longer burst, one
/// failed attempt at the end costs less than the polls.
pub(super) const ASKED_PER_WAKE: usize = 8;

/// Whether accepting can go on with the next connection: this one failed before it was accepted.
/// (accept(2) lists these errors.)
pub(super) fn failed_before(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::CONNABORTED
            | Errno::PROTO
            | Errno::NETDOWN
            | Errno::NETUNREACH
            | Errno::NOPROTOOPT
            | Errno::HOSTDOWN
            | Errno::HOSTUNREACH
    )
}

/// Whether a connection waits but cannot be accepted for lack of descriptors or memory.
pub(super) fn is_shortage(errno: Errno) -> bool {
    matches!(errno, Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
}

impl Primary {
    pub(super) fn may_accept(&self, server: ServerId) -> bool {
        let now = self.now();
        let awake = |l: &Listener| l.paused_until.is_none_or(|at| at <= now);
        self.listeners.get(&server).is_some_and(awake) && self.machine.room(server) > 0
    }

    /// Accepts as many connections as there is room for. Returns whether more may wait in the kernel.
    pub(super) fn accept(&mut self, now: Mono, server: ServerId) -> bool {
        let Some(listener) = self.listeners.get_mut(&server) else { return false };
        if listener.paused_until.is_some_and(|at| at > now) {
            return true;
        }
        listener.paused_until = None;
        let fd = Arc::clone(&listener.fd);
        for nth in 0..self.machine.room(server).min(ACCEPTS_PER_WAKE) {
            if nth < ASKED_PER_WAKE && !listen::waits(&fd) {
                return self.still_refused(now, server);
            }
            match self.accept_one(&fd) {
                Ok((connection, client)) => {
                    self.shortage.set_now(None);
                    self.take(now, server, connection, client);
                }
                Err(Errno::WOULDBLOCK) => return self.still_refused(now, server),
                // The call blocked; poll the queue again in the next pass.
                Err(Errno::INTR) => return true,
                Err(errno) if failed_before(errno) => {}
                // The system is out of descriptors or memory, or the socket is broken.
                Err(errno) => {
                    self.shortage.note_pause(errno);
                    self.shortage.set_now(Some(errno).filter(|errno| is_shortage(*errno)));
                    self.rest(now, server);
                    return true;
                }
            }
        }
        true
    }

    fn rest(&mut self, now: Mono, server: ServerId) {
        let pause = self.settings.limits.accept_pause;
        if let Some(listener) = self.listeners.get_mut(&server) {
            listener.paused_until = Some(now + pause);
        }
    }

    /// No client waits. If the last one could not be accepted, checks whether the shortage persists.
    fn still_refused(&mut self, now: Mono, server: ServerId) -> bool {
        if self.shortage.now().is_none() {
            return false;
        }
        let Some(listener) = self.listeners.get(&server) else { return false };
        self.shortage.set_now(rustix::io::fcntl_dupfd_cloexec(&listener.fd, 0).err());
        if self.shortage.now().is_some() {
            self.rest(now, server);
        }
        self.shortage.now().is_some()
    }

    /// Accepts up to `most` waiting connections from a socket. Returns how many, and whether
    /// the system ran out of descriptors or memory.
    pub(super) fn accept_from(
        &mut self,
        now: Mono,
        server: ServerId,
        socket: &OwnedFd,
        most: usize,
    ) -> (usize, bool) {
        let mut accepted = 0;
        while accepted < most && listen::waits(socket) {
            match self.accept_one(socket) {
                Ok((connection, client)) => {
                    accepted += 1;
                    self.take(now, server, connection, client);
                }
                Err(errno) if failed_before(errno) => {}
                // If anything still waits, a later pass takes it.
                Err(Errno::INTR) => break,
                Err(errno) => {
                    let shortage = is_shortage(errno);
                    if shortage {
                        self.shortage.note_pause(errno);
                    }
                    return (accepted, shortage);
                }
            }
        }
        (accepted, false)
    }

    pub(super) fn take(
        &mut self,
        now: Mono,
        server: ServerId,
        connection: OwnedFd,
        client: Option<u32>,
    ) {
        let conn = self.conns.add(connection);
        self.tell_at(now, Input::Accepted { server, conn, client });
    }

    /// Accepts the connections that wait in the queue of a slot, or of the waiting room.
    pub(super) fn rescue(&mut self, server: ServerId, slot: Option<u32>, most: usize) {
        let socket = self.groups.get(&server).and_then(|group| group.socket(slot));
        let Some(socket) = socket.map(Arc::clone) else { return };
        // If some cannot be accepted now, the machine will look again.
        let now = self.now();
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What accept(2) reports, and what is done about it: connections that cannot be accepted now are tried again
    /// later, after one that has gone the next is accepted, and it never spins.
    #[test]
    fn a_shortage_is_none_of_the_connections_faults() {
        for shortage in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM] {
            assert!(is_shortage(shortage) && !failed_before(shortage), "{shortage}");
        }
        for gone in [Errno::CONNABORTED, Errno::PROTO, Errno::HOSTUNREACH] {
            assert!(failed_before(gone) && !is_shortage(gone), "{gone}");
        }
        for end in [Errno::WOULDBLOCK, Errno::INTR, Errno::INVAL, Errno::BADF] {
            assert!(!failed_before(end) && !is_shortage(end), "{end}");
        }
    }
}
