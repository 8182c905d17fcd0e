//! Calls of other threads.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use cluster_ipc::Pressure;
use cluster_proto::IntoMessage;
use mio::{Registry, Token, Waker};
use parking_lot::Mutex;

use super::Primary;
use super::requests::Broadcast;
use crate::error::{ForkError, KillError, SendError};
use crate::id::WorkerId;
use crate::signal::Signal;

type Call = Box<dyn FnOnce(&mut Primary) + Send>;

/// What other threads want of a primary.
pub(super) struct Calls {
    queue: Mutex<Option<VecDeque<Call>>>,
    waker: Waker,
    remotes: AtomicUsize,
}

impl Calls {
    pub(super) fn new(registry: &Registry, token: Token) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            queue: Mutex::new(Some(VecDeque::new())),
            waker: Waker::new(registry, token)?,
            remotes: AtomicUsize::new(0),
        }))
    }

    pub(super) fn take(&self) -> VecDeque<Call> {
        self.queue.lock().as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Has it carried out when the primary's owner next looks; not at all if there is none.
    pub(super) fn push(&self, call: Call) {
        let Some(()) = self.queue.lock().as_mut().map(|queue| queue.push_back(call)) else {
            return;
        };
        // A primary that cannot be woken sees it at its next wake.
        let _ = self.waker.wake();
    }

    /// Takes no more; callers that wait for an answer learn that there is none.
    pub(super) fn close(&self) {
        drop(self.queue.lock().take());
    }

    pub(super) fn has_remotes(&self) -> bool {
        self.remotes.load(Ordering::Acquire) > 0
    }

    pub(super) fn remote(self: &Arc<Self>) -> Remote {
        self.remotes.fetch_add(1, Ordering::AcqRel);
        Remote { calls: Arc::clone(self) }
    }
}

/// A primary, from another thread. Clones are cheap.
///
/// Each call waits until the thread that owns the primary is in one of its `…_event` methods and
/// has carried it out. As long as a `Remote` exists, [`Primary::next_event`] does not end.
pub struct Remote {
    calls: Arc<Calls>,
}

impl Remote {
    /// Has the primary's owner carry out `call`, and waits for what it returns. Do not wait for
    /// another call inside.
    ///
    /// # Errors
    /// [`Gone`] if the primary is.
    pub fn call<R: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Primary) -> R + Send + 'static,
    ) -> Result<R, Gone> {
        let (answer, answered) = mpsc::sync_channel(1);
        let call: Call = Box::new(move |primary| {
            // The caller may have stopped waiting.
            let _ = answer.send(call(primary));
        });
        self.calls.queue.lock().as_mut().ok_or(Gone)?.push_back(call);
        self.calls.waker.wake().map_err(|_| Gone)?;
        answered.recv().map_err(|_| Gone)
    }

    /// [`Primary::fork`].
    ///
    /// # Errors
    /// [`Gone`], or what the primary says.
    pub fn fork(&self) -> Result<Result<WorkerId, ForkError>, Gone> {
        self.call(Primary::fork)
    }

    /// [`Primary::fork_with`].
    ///
    /// # Errors
    /// [`Gone`], or what the primary says.
    pub fn fork_with(
        &self,
        env: Vec<(OsString, Option<OsString>)>,
    ) -> Result<Result<WorkerId, ForkError>, Gone> {
        self.call(|primary| primary.fork_with(env))
    }

    /// [`Primary::send`].
    ///
    /// # Errors
    /// [`Gone`], or what the primary says.
    pub fn send(
        &self,
        worker: WorkerId,
        message: impl IntoMessage,
    ) -> Result<Result<Pressure, SendError>, Gone> {
        match message.into_message() {
            Ok(message) => self.call(move |primary| primary.send(worker, message)),
            Err(error) => Ok(Err(error.into())),
        }
    }

    /// [`Primary::broadcast`].
    ///
    /// # Errors
    /// [`Gone`], or what the primary says.
    pub fn broadcast(
        &self,
        message: impl IntoMessage,
    ) -> Result<Result<Broadcast, SendError>, Gone> {
        match message.into_message() {
            Ok(message) => self.call(move |primary| primary.broadcast(message)),
            Err(error) => Ok(Err(error.into())),
        }
    }

    /// [`Primary::kill`].
    ///
    /// # Errors
    /// [`Gone`], or what the primary says.
    pub fn kill(&self, worker: WorkerId, signal: Signal) -> Result<Result<bool, KillError>, Gone> {
        self.call(move |primary| primary.kill(worker, signal))
    }

    /// [`Primary::disconnect_worker`].
    ///
    /// # Errors
    /// [`Gone`].
    pub fn disconnect_worker(&self, worker: WorkerId) -> Result<(), Gone> {
        self.call(move |primary| primary.disconnect_worker(worker))
    }

    /// [`Primary::disconnect`].
    ///
    /// # Errors
    /// [`Gone`].
    pub fn disconnect(&self) -> Result<(), Gone> {
        self.call(Primary::disconnect)
    }

    /// [`Primary::workers`].
    ///
    /// # Errors
    /// [`Gone`].
    pub fn workers(&self) -> Result<Vec<WorkerId>, Gone> {
        self.call(|primary| primary.workers())
    }
}

impl Clone for Remote {
    fn clone(&self) -> Self {
        self.calls.remote()
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        // The last one gone may be what the primary waits for.
        if self.calls.remotes.fetch_sub(1, Ordering::AcqRel) == 1 {
            let _ = self.calls.waker.wake();
        }
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Remote")
    }
}

/// The primary is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the primary is gone")
    }
}

impl std::error::Error for Gone {}
