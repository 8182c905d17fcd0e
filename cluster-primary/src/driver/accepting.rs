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

/// Connections that are accepted from one server before others have their turn.
pub(super) const ACCEPTS_PER_WAKE: usize = 64;

/// Before so many of them it is asked whether one waits: to accept from an empty queue costs about as
/// much as to accept a connection, because Linux makes the socket first. In a longer burst the one
/// attempt too many costs less.
pub(super) const ASKED_PER_WAKE: usize = 8;

/// Whether the next connection may be accepted all the same: that one failed before it was.
/// (accept(2) names them.)
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

/// Whether a connection waits that cannot be accepted because there is no descriptor or memory.
pub(super) fn is_shortage(errno: Errno) -> bool {
    matches!(errno, Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
}

impl Primary {
    pub(super) fn may_accept(&self, server: ServerId) -> bool {
        let now = self.now();
        let awake = |l: &Listener| l.paused_until.is_none_or(|at| at <= now);
        self.listeners.get(&server).is_some_and(awake) && self.machine.room(server) > 0
    }

    /// Accepts what there is room for; whether more may wait in the kernel.
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
                // It blocked. Whether a connection waits is asked again.
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

    /// No client waits. If the last one could not be accepted: whether the next could not be, either.
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

    /// Accepts up to so many connections that wait at a socket: how many those were, and whether
    /// the system has no descriptor or memory for more.
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
                // What waits, if anything does, is another time's.
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

    /// Accepts what waits at a slot, or in the waiting room.
    pub(super) fn rescue(&mut self, server: ServerId, slot: Option<u32>, most: usize) {
        let socket = self.groups.get(&server).and_then(|group| group.socket(slot));
        let Some(socket) = socket.map(Arc::clone) else { return };
        // If there are more that cannot be had now: the machine looks again.
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
