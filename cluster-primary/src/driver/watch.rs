//! Descriptors of others, waited for in the primary's own wait.

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use mio::Interest;
use mio::unix::SourceFd;

use super::base::{Primary, Write};
use super::tokens::Source;
use super::watches::WatchId;
use crate::event::Event;

/// For programs that wait for the primary and for a few descriptors more: one wait for all costs
/// less than a wait for the primary's descriptor in the program's own wait.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use std::os::fd::AsRawFd;
/// # let mut primary = cluster_primary::Primary::new(cluster_primary::Settings::default())?;
/// # let commands = std::os::unix::net::UnixDatagram::unbound()?;
/// commands.set_nonblocking(true)?;
/// let watch = primary.watch(commands.as_raw_fd())?;
/// loop {
///     while let Some(event) = primary.ready_event() {
///         println!("{event:?}");
///     }
///     if primary.take_ready(watch) {
///         while commands.recv(&mut [0; 1024]).is_ok() {}
///     }
///     primary.wait(None)?;
/// }
/// # }
/// ```
impl Primary {
    /// Has [`wait`](Self::wait) end when that descriptor becomes readable too. Readiness is
    /// edge-triggered: read until nothing is left. [`unwatch`](Self::unwatch) it before it is closed.
    ///
    /// # Errors
    /// If the system does not watch it (a regular file, say).
    pub fn watch(&mut self, fd: RawFd) -> io::Result<WatchId> {
        let id = self.watches.name();
        let token = self.tokens.token(Source::Watched(id));
        let registered = self.registry().register(&mut SourceFd(&fd), token, Interest::READABLE);
        if let Err(error) = registered {
            self.tokens.forget(Source::Watched(id));
            return Err(error);
        }
        self.watches.add(id, fd);
        Ok(id)
    }

    /// Ends that.
    pub fn unwatch(&mut self, id: WatchId) {
        if let Some(fd) = self.watches.remove(id) {
            let _ = self.registry().deregister(&mut SourceFd(&fd));
            self.tokens.forget(Source::Watched(id));
        }
    }

    /// Whether a watched descriptor has become readable since this was last asked.
    pub fn take_ready(&mut self, id: WatchId) -> bool {
        self.watches.take_ready(id)
    }

    /// The next event of those that are there already: [`wait`](Self::wait) brings more.
    pub fn ready_event(&mut self) -> Option<Event> {
        self.take_event()
    }

    /// Waits until there is something to do, no longer than that, and does a bounded amount of it:
    /// then see [`ready_event`](Self::ready_event) and [`take_ready`](Self::take_ready). It does not
    /// wait while an event is there.
    ///
    /// # Errors
    /// If the system's poll fails.
    pub fn wait(&mut self, patience: Option<Duration>) -> io::Result<()> {
        self.settle(Write::Now);
        self.turn(patience)
    }
}
