//! A cluster in a program on [tokio] (feature `tokio`), without a thread of its own.
//!
//! [`AsyncSupervised`] is a supervised cluster that a task drives, with a cloneable [`Handle`] for other tasks:
//! `handle.reload().await`, `handle.scale(8).await`. [`AsyncPrimary`] is a [`Primary`] whose events are awaited:
//!
//! ```no_run
//! use cluster_primary::tokio::AsyncPrimary;
//! use cluster_primary::{Event, Primary, Settings};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut primary = AsyncPrimary::new(Primary::new(Settings::new("server.js"))?)?;
//! primary.fork()?;
//! loop {
//!     tokio::select! {
//!         event = primary.next_event() => match event? {
//!             Some(Event::Message { worker, message, .. }) => println!("{worker} says {message:?}"),
//!             Some(_) => {}
//!             None => break, // no worker is left
//!         },
//!         _ = tokio::signal::ctrl_c() => primary.disconnect(),
//!     }
//! }
//! # Ok(()) }
//! ```
//!
//! [tokio]: https://docs.rs/tokio

mod error;
mod handle;
mod queue;
mod supervised;
mod task;

use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::{Event, Primary};

pub use error::{Ended, ReloadError, Reloaded, RequestError};
pub use handle::Handle;
pub use queue::QueueLimits;
pub use supervised::AsyncSupervised;

/// A [`Primary`] whose events are awaited. All else is as it is there, but that descriptors which it
/// [watches](Primary::watch) bring no event: a runtime waits for those by itself.
#[derive(Debug)]
pub struct AsyncPrimary {
    /// A duplicate of the primary's descriptor, by which the runtime waits.
    source: AsyncFd<OwnedFd>,
    primary: Primary,
}

impl AsyncPrimary {
    /// Has the runtime that is entered wait for what comes to that primary.
    ///
    /// # Errors
    /// If the runtime cannot.
    ///
    /// # Panics
    /// Outside a runtime, or in one without I/O. Without time [`next_event`](Self::next_event) panics.
    pub fn new(primary: Primary) -> io::Result<Self> {
        let source = source(primary.as_fd())?;
        Ok(Self { source, primary })
    }

    /// Waits for the next event; `None` when nothing more can happen (see [`Primary::next_event`]).
    ///
    /// The primary does its work while this is awaited, and at no other time: connections are handed
    /// out here, and a program that takes long for an event delays them. ([`AsyncSupervised`] does its work in a task
    /// of its own.) If the future is dropped before it is done no event is lost.
    ///
    /// # Errors
    /// If the system's poll fails.
    pub async fn next_event(&mut self) -> io::Result<Option<Event>> {
        // A runtime has other tasks, however fast events come.
        tokio::task::consume_budget().await;
        loop {
            let primary = &mut self.primary;
            if let Some(event) = primary.try_event()? {
                return Ok(Some(event));
            }
            if primary.is_over() {
                return Ok(None);
            }
            let patience = primary.poll_timeout();
            wait_within(&self.source, patience).await?;
        }
    }

    /// The primary itself.
    pub fn into_inner(self) -> Primary {
        self.primary
    }
}

/// What the runtime that is entered waits with, for what comes to a primary's descriptor.
#[allow(deprecated, reason = "its successor is unsafe, for whatever might be exchanged meanwhile")]
fn source(primary: BorrowedFd<'_>) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(primary.try_clone_to_owned()?, Interest::READABLE)
}

/// Waits until there is something to take, but no longer than that.
async fn wait_within(source: &AsyncFd<OwnedFd>, patience: Option<Duration>) -> io::Result<()> {
    match patience {
        // Others have their turn, though there is more to do.
        Some(Duration::ZERO) => {
            tokio::task::yield_now().await;
            Ok(())
        }
        // If nothing comes it is time for something.
        Some(patience) => {
            let waited = tokio::time::timeout(patience, wait(source)).await;
            waited.unwrap_or(Ok(()))
        }
        None => wait(source).await,
    }
}

/// Waits until there is something to take.
async fn wait(source: &AsyncFd<OwnedFd>) -> io::Result<()> {
    // What comes from here on is seen by the next look.
    source.readable().await?.clear_ready();
    Ok(())
}

impl Deref for AsyncPrimary {
    type Target = Primary;

    fn deref(&self) -> &Primary {
        &self.primary
    }
}

impl DerefMut for AsyncPrimary {
    fn deref_mut(&mut self) -> &mut Primary {
        &mut self.primary
    }
}
