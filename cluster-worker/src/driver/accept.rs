//! Connections, on their way from the channel or a listener to the application.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::base::Core;
use super::front::Front;
use super::server::Taken;
use super::socket;
use super::socket::Lent;
use crate::machine::{Input, ServerId};

/// Connections whose acceptance an event loop's worker writes at once. What it has not yielded of
/// them when it dies is lost, and each write costs it, and the primary, a system call.
const TAKEN_AT_ONCE: usize = 8;
/// How long an evented worker leaves a socket alone that would not accept.
const PAUSE: Duration = Duration::from_millis(100);

impl Core {
    /// A connection of that server, if there is one; `Some(None)` once there will be no more.
    pub(crate) fn try_accept(
        &mut self,
        id: ServerId,
        tracked: bool,
    ) -> Option<io::Result<Option<OwnedFd>>> {
        if let Some(taken) = self.written(id) {
            return Some(Ok(Some(self.hand_out(id, taken, tracked))));
        }
        let server = match self.servers.get_mut(&id) {
            None => return Some(Ok(None)),
            Some(server) => server,
        };
        if server.ready > 0 {
            let ready = server.ready;
            for _ in 0..ready.min(self.may_take()) {
                self.input(Input::Take { server: id, tracked });
            }
            // The frame that accepts is written before the connection is seen.
            self.flush();
            let taken = self.written(id)?;
            return Some(Ok(Some(self.hand_out(id, taken, tracked))));
        }
        if let Some(listener) = server.lent.as_ref().and_then(Lent::listener) {
            // What is not accepted here waits for another worker.
            if server.max_connections.is_some_and(|max| self.machine.tracked_by(id) >= max) {
                return None;
            }
            return match socket::accept(listener, self.front.blocks()) {
                Ok(Some(fd)) => {
                    if tracked {
                        self.input(Input::Track(id));
                    }
                    Some(Ok(Some(fd)))
                }
                Ok(None) => {
                    server.acceptable = false;
                    None
                }
                Err(error) => {
                    // What waits there is reported no second time. A caller that blocks tries again
                    // when it calls again.
                    server.acceptable = false;
                    let pause = || self.clock.deadline(PAUSE);
                    server.retry = matches!(self.front, Front::Loop(_)).then(pause).flatten();
                    Some(Err(error.into()))
                }
            };
        }
        self.has_ended(id).then_some(Ok(None))
    }

    /// Whether that server has as many connections as it may have.
    #[cfg(feature = "tokio")]
    pub(crate) fn is_full(&self, id: ServerId) -> bool {
        let most = self.server(id).and_then(|server| server.max_connections);
        most.is_some_and(|most| self.machine.tracked_by(id) >= most)
    }

    /// Has the runtime that is entered wait for what comes to that server's listener, if it accepts from
    /// one itself.
    #[cfg(feature = "tokio")]
    pub(crate) fn wait_by_runtime(&mut self, id: ServerId) -> io::Result<()> {
        let Some(server) = self.server_mut(id) else { return Ok(()) };
        server.lent = match server.lent.take() {
            Some(Lent::Listener(listener)) => {
                Some(Lent::Waited(std::sync::Arc::new(socket::waited_for(listener)?)))
            }
            other => other,
        };
        Ok(())
    }

    /// What the runtime waits with for what comes to that server's listener; none once it is closed.
    #[cfg(feature = "tokio")]
    pub(crate) fn waited(&self, id: ServerId) -> Option<&std::sync::Arc<socket::Waited>> {
        match self.server(id)?.lent.as_ref()? {
            Lent::Waited(listener) => Some(listener),
            _ => None,
        }
    }

    /// How many connections may be accepted now, all servers of an event loop being taken together.
    ///
    /// A loop is given all that is there before it waits again, but of what it is given it may die.
    /// A thread may go on with one for as long as it likes, and a task may never come back: the others
    /// belong to other threads then.
    fn may_take(&self) -> usize {
        if !matches!(self.front, Front::Loop(_)) {
            return 1;
        }
        let taken = self.servers.values().map(|server| server.taken.len()).sum();
        TAKEN_AT_ONCE.saturating_sub(taken).max(1)
    }

    /// A connection whose acceptance is written.
    fn written(&mut self, id: ServerId) -> Option<Taken> {
        let flushes = self.link.flushes();
        let taken = &mut self.server_mut(id)?.taken;
        if taken.front()?.flush <= flushes { taken.pop_front() } else { None }
    }

    fn hand_out(&mut self, id: ServerId, taken: Taken, tracked: bool) -> OwnedFd {
        match (taken.tracked, tracked) {
            (true, false) => self.input(Input::Ended(id)),
            (false, true) => self.input(Input::Track(id)),
            _ => {}
        }
        taken.fd
    }

    /// A tracked connection ended, which may have freed a descriptor too.
    pub(crate) fn ended(&mut self, id: ServerId) {
        for server in self.servers.values_mut().filter(|server| server.retry.is_some()) {
            server.retry = None;
            server.acceptable = true;
            self.changed = true;
        }
        // One that was full may accept again.
        self.changed |= self.server(id).is_some_and(|s| s.max_connections.is_some());
        self.input(Input::Ended(id));
        // A loop looks again by itself. A thread that waits may do so for long, and the primary
        // would take this worker for a busier one than it is.
        if !matches!(self.front, Front::Loop(_)) {
            self.tell_held();
        }
    }

    /// Tells the primary how many connections are open, if it wants to know: once a turn.
    pub(crate) fn tell_held(&mut self) {
        if self.machine.has_to_tell() {
            self.input(Input::TellHeld);
        }
    }
}
