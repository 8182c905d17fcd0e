//! Calls of other threads, which the thread that owns the primary carries out.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mio::{Registry, Token, Waker};
use parking_lot::Mutex;

/// What another thread wants done with a `T`.
type Call<T> = Box<dyn FnOnce(&mut T) + Send>;

/// What other threads want of a `T`, which is the primary.
pub(super) struct Calls<T> {
    queue: Mutex<Option<VecDeque<Call<T>>>>,
    waker: Waker,
    remotes: AtomicUsize,
}

impl<T> Calls<T> {
    pub(super) fn new(registry: &Registry, token: Token) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            queue: Mutex::new(Some(VecDeque::new())),
            waker: Waker::new(registry, token)?,
            remotes: AtomicUsize::new(0),
        }))
    }

    pub(super) fn take(&self) -> VecDeque<Call<T>> {
        self.queue.lock().as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Has it carried out when the primary's owner next looks. `None` if there is no primary any more, or it
    /// cannot be woken.
    pub(super) fn push(&self, call: Call<T>) -> Option<()> {
        self.queue.lock().as_mut()?.push_back(call);
        self.waker.wake().ok()
    }

    /// Accepts no further calls; callers that wait for an answer learn that none will come.
    pub(super) fn close(&self) {
        drop(self.queue.lock().take());
    }

    pub(super) fn has_remotes(&self) -> bool {
        self.remotes.load(Ordering::Acquire) > 0
    }

    /// Counts a handle by which another thread can call.
    pub(super) fn add_remote(&self) {
        self.remotes.fetch_add(1, Ordering::AcqRel);
    }

    /// Such a handle was dropped.
    pub(super) fn remove_remote(&self) {
        // The primary may be waiting for the last one to go.
        if self.remotes.fetch_sub(1, Ordering::AcqRel) == 1 {
            let _ = self.waker.wake();
        }
    }
}
