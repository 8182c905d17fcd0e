//! A primary in a program on [tokio] (feature `tokio`), without a thread of its own. (The crate
//! `cluster-supervisor` has a supervised cluster that a task drives.)
//!
//! [`AsyncPrimary`] is a [`Primary`] whose events are awaited:
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

use std::io;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::driver::Primary;
use crate::event::Event;

/// A [`Primary`] whose events are awaited. All else is as it is there, but that descriptors which it
/// [watches](Primary::watch) bring no event: a runtime waits for those by itself.
#[derive(Debug)]
pub struct AsyncPrimary {
    readiness: Readiness,
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
        let readiness = Readiness::of(&primary)?;
        Ok(Self { readiness, primary })
    }

    /// Waits for the next event; `None` when nothing more can happen (see [`Primary::next_event`]).
    ///
    /// The primary does its work while this is awaited, and at no other time: connections are handed
    /// out here, and a program that takes long for an event delays them. (`AsyncSupervised` of the crate `cluster-supervisor`
    /// does its work in a task of its own.) If the future is dropped before it is done no event is lost.
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
            self.readiness.wait(patience).await?;
        }
    }

    /// The primary itself.
    pub fn into_inner(self) -> Primary {
        self.primary
    }
}

/// What a runtime waits with until a primary has something to do.
#[derive(Debug)]
pub struct Readiness {
    /// A duplicate of the primary's descriptor.
    source: AsyncFd<OwnedFd>,
}

impl Readiness {
    /// Has the runtime that is entered wait for that primary.
    ///
    /// # Errors
    /// If the runtime cannot.
    ///
    /// # Panics
    /// Outside a runtime, or in one without I/O.
    #[allow(
        deprecated,
        reason = "its successor is unsafe, for whatever might be exchanged meanwhile"
    )]
    pub fn of(primary: &Primary) -> io::Result<Self> {
        let duplicate = primary.as_fd().try_clone_to_owned()?;
        Ok(Self { source: AsyncFd::with_interest(duplicate, Interest::READABLE)? })
    }

    /// Waits until there is something to do, but no longer than that.
    ///
    /// # Errors
    /// If the runtime's poll fails.
    ///
    /// # Panics
    /// In a runtime without time.
    pub async fn wait(&self, patience: Option<Duration>) -> io::Result<()> {
        match patience {
            // Other tasks have their turn, though there is more to do.
            Some(Duration::ZERO) => {
                tokio::task::yield_now().await;
                Ok(())
            }
            // If nothing comes it is time for something.
            Some(patience) => {
                let waited = tokio::time::timeout(patience, self.readable()).await;
                waited.unwrap_or(Ok(()))
            }
            None => self.readable().await,
        }
    }

    async fn readable(&self) -> io::Result<()> {
        // What comes from here on is seen by the next look.
        self.source.readable().await?.clear_ready();
        Ok(())
    }
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
