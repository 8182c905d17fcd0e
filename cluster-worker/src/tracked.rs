//! Connections that a disconnect waits for.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use crate::driver::Shared;
#[cfg(feature = "tokio")]
use crate::driver::tasks::Unbegun;
use crate::machine::ServerId;

/// A connection that a disconnect waits for, and that counts for
/// [`max_connections`](crate::ListenOptions::max_connections), until it is dropped.
#[derive(Debug)]
pub struct Tracked<S> {
    stream: S,
    /// As long as nothing was said on it.
    #[cfg(feature = "tokio")]
    pub(crate) unbegun: Option<Unbegun>,
    /// None where no disconnect waits: outside of a cluster.
    _guard: Option<Guard>,
}

/// Tells the worker that the connection has ended; the stream is closed before.
#[derive(Debug)]
struct Guard {
    shared: Arc<Shared>,
    server: ServerId,
}

impl<S> Tracked<S> {
    pub(crate) fn new(stream: S, shared: Arc<Shared>, server: ServerId) -> Self {
        Self {
            stream,
            #[cfg(feature = "tokio")]
            unbegun: None,
            _guard: Some(Guard { shared, server }),
        }
    }

    /// One on which nothing has been said yet.
    #[cfg(feature = "tokio")]
    pub(crate) fn unbegun(stream: S, shared: Arc<Shared>, server: ServerId) -> Self {
        let unbegun = Some(Unbegun::new(Arc::clone(&shared)));
        Self { unbegun, ..Self::new(stream, shared, server) }
    }

    /// One that `disconnect` does not wait for.
    #[cfg(feature = "tokio")]
    pub(crate) fn alone(stream: S) -> Self {
        Self { stream, unbegun: None, _guard: None }
    }

    /// The same with what is made of its stream.
    #[cfg(feature = "tokio")]
    pub(crate) fn try_map<T, E>(
        self,
        make: impl FnOnce(S) -> Result<T, E>,
    ) -> Result<Tracked<T>, E> {
        Ok(Tracked { stream: make(self.stream)?, unbegun: self.unbegun, _guard: self._guard })
    }

    /// The stream, which `disconnect` does not wait for any more.
    pub fn into_inner(self) -> S {
        self.stream
    }
}

impl<S> Deref for Tracked<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.stream
    }
}

impl<S> DerefMut for Tracked<S> {
    fn deref_mut(&mut self) -> &mut S {
        &mut self.stream
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.shared.with(|core| core.ended(self.server));
    }
}
