//! Accepts connections, and does what the machine wants.

mod state;

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use cluster_ipc::{Channel, Outgoing};
use cluster_proto::{ListenQuery, Message};
use cluster_sched::Mono;
use mio::Interest;
use mio::unix::SourceFd;
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::binder::Purpose;
use super::child::Child;
use super::kernel::Group;
use super::listen::Bind;
use super::rights::Rights;
use super::socket_file::SocketFile;
use super::tokens::Source;
use super::{Primary, frame_tokens, listen, unread};
use crate::error::WorkerError;
use crate::id::{ServerId, WorkerId};
use crate::machine::{ConnOutcome, Input, LAST_CONNECTIONS, Output, SendHandle};

pub(super) use state::ListenerState;

/// Connections that are accepted from one server before others have their turn.
const ACCEPTS_PER_WAKE: usize = 64;

/// Before so many of them it is asked whether one waits: to accept from an empty queue costs about as
/// much as to accept a connection, because Linux makes the socket first. In a longer burst the one
/// attempt too many costs less.
const ASKED_PER_WAKE: usize = 8;

/// How long a server that closes waits for descriptors to accept what clients believe to be
/// connected, at most, and until it tries again.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);
const CLOSE_PAUSE: Duration = Duration::from_millis(10);

/// A server whose socket is about to be closed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Closing {
    /// How many connections are accepted before, at most.
    most: usize,
    /// When that is tried again.
    pub(super) again: Mono,
    until: Mono,
}

/// A server's socket.
pub(super) struct Listener {
    fd: Arc<OwnedFd>,
    /// Workers accept from it themselves.
    shared: bool,
    file: Option<SocketFile>,
    /// With whose rights it was made, and its file is removed, if not with the primary's.
    rights: Option<Rights>,
    /// The system was out of descriptors or memory.
    pub(super) paused_until: Option<Mono>,
}

impl Primary {
    pub(super) fn may_accept(&self, server: ServerId) -> bool {
        let now = self.clock.now();
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
                // Others may have been rescued since that was said.
                let most = most.min(self.machine.room(server));
                self.rescue(server, slot, most);
            }
            Output::CloseServer { server, accept_rest } => {
                let now = self.clock.now();
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
            Output::AbortChannel { worker } => self.close_now(self.clock.now(), worker),
            Output::Event(event) => self.publish(event),
        }
    }

    fn transmit(&mut self, worker: WorkerId, message: Message, handle: Option<SendHandle>) {
        let lent = matches!(handle, Some(SendHandle::Conn { .. })).then(|| seq_of(&message));
        let outgoing = match handle {
            None | Some(SendHandle::Conn { .. }) => None,
            Some(SendHandle::Slot { server, slot, kind }) => {
                let group = self.groups.get(&server);
                match group.and_then(|group| group.socket(Some(slot))) {
                    Some(socket) => Some(Outgoing::new(kind, Arc::clone(socket))),
                    None => return,
                }
            }
            Some(SendHandle::Server { server, kind }) => match self.listeners.get(&server) {
                Some(listener) => Some(Outgoing::new(kind, Arc::clone(&listener.fd))),
                None => return,
            },
        };
        // If its channel is closed, the machine has been told, or will be.
        let Some(child) = self.children.get_mut(&worker) else { return };
        let Some(channel) = child.channel() else { return };
        let sent = match lent {
            Some(number) => channel.send_lent(message, number),
            None => channel.send(&message, outgoing),
        };
        match sent {
            Ok(_) => {
                self.writes.add(worker);
            }
            Err(cluster_ipc::SendError::Closed) => {}
            // It leaves megabytes unread, and without this message it would never get on.
            Err(error) => {
                self.fail_channel(worker, WorkerError::Send { what: error.to_string() });
            }
        }
    }

    fn negotiate(&mut self, worker: WorkerId, offered: u32) {
        let channel = self.children.get_mut(&worker).and_then(Child::channel);
        match channel.map(|channel| channel.negotiate(offered)) {
            Some(Ok(())) => {
                self.writes.add(worker);
            }
            Some(Err(cluster_ipc::SendError::Closed)) | None => {}
            Some(Err(error)) => {
                self.fail_channel(worker, WorkerError::Send { what: error.to_string() });
            }
        }
    }

    fn probe(&mut self, worker: WorkerId) {
        let channel = self.children.get_mut(&worker).and_then(Child::channel);
        match channel.map(|c| c.probe(frame_tokens::PROBE)) {
            Some(Ok(_)) => {
                self.writes.add(worker);
            }
            // The machine hears of a channel that is closed in another way.
            Some(Err(cluster_ipc::SendError::Closed)) | None => {}
            Some(Err(error)) => {
                self.fail_channel(worker, WorkerError::Send { what: error.to_string() });
            }
        }
    }

    /// Whether a worker has read the probe that it has not answered.
    fn look_at_probe(&mut self, worker: WorkerId) {
        let channel = self.children.get_mut(&worker).and_then(Child::channel);
        let read = channel.map(|channel| match channel.awaits_probe() {
            true => unread::is_all_read(&*channel),
            // It is not written yet.
            false => Some(false),
        });
        if let Some(read) = read {
            let now = self.clock.now();
            self.machine.handle_input(now, Input::ProbeLooked { worker, read });
        }
    }

    fn abandon_probe(&mut self, worker: WorkerId) {
        let channel = self.children.get_mut(&worker).and_then(Child::channel);
        if channel.is_some_and(Channel::abandon_probe) {
            self.writes.add(worker);
        }
    }

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
        let bound = listen::bind(query, shared, &self.lent, &access);
        self.opened(server, shared, bound, None);
    }

    /// A server's socket has been made, with these rights if not with the primary's, or could not be.
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
                let registered = self.poll.registry().register(
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
        let now = self.clock.now();
        self.machine.handle_input(now, Input::Bound { server, result });
    }

    /// Closes the sockets of servers that waited for descriptors.
    pub(super) fn close_due(&mut self, now: Mono) {
        let is_due = |closing: &Closing| closing.again <= now;
        while let Some((&server, _)) = self.closing.iter().find(|(_, closing)| is_due(closing)) {
            self.go_on_closing(now, server);
        }
    }

    /// Closes a server's sockets once what clients believe to be connected is accepted: of what is
    /// under way to workers each gives a descriptor back when it arrives.
    fn go_on_closing(&mut self, now: Mono, server: ServerId) {
        let Some(mut closing) = self.closing.remove(&server) else { return };
        let mut sockets = self.groups.get(&server).map_or_else(Vec::new, Group::sockets);
        sockets.extend(self.listeners.get(&server).map(|listener| Arc::clone(&listener.fd)));
        for socket in sockets {
            let (accepted, refused) = self.accept_from(now, server, &socket, closing.most);
            closing.most -= accepted;
            // If no worker is left they cannot be given to any.
            if refused && now < closing.until && !self.machine.is_empty() {
                closing.again = now + CLOSE_PAUSE;
                self.closing.insert(server, closing);
                return;
            }
        }
        self.groups.remove(&server);
        self.close_listener(server);
        self.machine.handle_input(now, Input::Closed { server });
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
        self.machine.handle_input(now, Input::Accepted { server, conn, client });
    }

    fn close_listener(&mut self, server: ServerId) {
        let Some(listener) = self.listeners.remove(&server) else { return };
        if !listener.shared {
            let _ = self.poll.registry().deregister(&mut SourceFd(&listener.fd.as_raw_fd()));
            self.tokens.forget(Source::Listener(server));
            self.pending.remove(&Source::Listener(server));
            // It may be the one that could not accept; where others cannot either, they say so themselves.
            self.shortage.set_now(None);
        }
        match (listener.file, listener.rights) {
            (Some(file), Some(rights)) => {
                self.delegate(Purpose::Remove { files: vec![file] }, rights, None);
            }
            (Some(file), None) => {
                // It may have been removed by others.
                let _ = file.remove();
            }
            (None, _) => {}
        }
    }
}

/// Whether the next connection may be accepted all the same: that one failed before it was.
/// (accept(2) names them.)
fn failed_before(errno: Errno) -> bool {
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
fn is_shortage(errno: Errno) -> bool {
    matches!(errno, Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
}

/// The `seq` by which the machine knows a hand-off.
fn seq_of(message: &Message) -> u64 {
    match message {
        Message::Cluster(message) => message.seq,
        _ => 0,
    }
}

/// A socket's file goes with the primary, however it goes.
impl Drop for Primary {
    fn drop(&mut self) {
        self.calls.close();
        let mut files = Vec::new();
        for (_, listener) in std::mem::take(&mut self.listeners) {
            match (listener.file, listener.rights) {
                (Some(file), Some(rights)) => files.push((file, rights)),
                (Some(file), None) => {
                    // It may have been removed by others.
                    let _ = file.remove();
                }
                (None, _) => {}
            }
        }
        self.remove_last(files);
        self.discard_all();
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
