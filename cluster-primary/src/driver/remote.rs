//! Calls of other threads.

use std::ffi::OsString;
use std::fmt;
use std::sync::{Arc, mpsc};

use cluster_ipc::Pressure;
use cluster_proto::IntoMessage;

use super::base::Primary;
use super::calls::Calls;
use super::requests::Broadcast;
use crate::error::{ForkError, KillError, SendError};
use crate::id::WorkerId;
use crate::signal::Signal;

/// A primary, from another thread. Clones are cheap.
///
/// Each call waits until the thread that owns the primary is in one of its `…_event` methods and
/// has carried it out. As long as a `Remote` exists, [`Primary::next_event`] does not end.
pub struct Remote {
    calls: Arc<Calls<Primary>>,
}

impl Remote {
    pub(super) fn new(calls: Arc<Calls<Primary>>) -> Self {
        calls.add_remote();
        Self { calls }
    }

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
        let call = Box::new(move |primary: &mut Primary| {
            // The caller may have stopped waiting.
            let _ = answer.send(call(primary));
        });
        self.calls.push(call).ok_or(Gone)?;
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
        Self::new(Arc::clone(&self.calls))
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.calls.remove_remote();
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
