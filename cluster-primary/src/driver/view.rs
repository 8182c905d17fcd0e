//! One worker, as Node's `Worker` shows it.

use std::fmt;

use cluster_ipc::Pressure;
use cluster_proto::IntoMessage;

use super::base::Primary;
use crate::error::{KillError, SendError};
use crate::id::WorkerId;
use crate::machine::WorkerState;
use crate::signal::Signal;

/// One worker of a [`Primary`], for as long as it is looked at.
pub struct Worker<'a> {
    primary: &'a mut Primary,
    id: WorkerId,
    state: WorkerState,
}

impl<'a> Worker<'a> {
    pub(super) fn new(primary: &'a mut Primary, id: WorkerId, state: WorkerState) -> Self {
        Self { primary, id, state }
    }

    /// Node's `worker.id`.
    pub fn id(&self) -> WorkerId {
        self.id
    }

    /// Node's `worker.process.pid`.
    pub fn pid(&self) -> u32 {
        self.state.pid
    }

    /// Node's `worker.state`: `none`, `online`, `listening`, `disconnected` or `dead`.
    pub fn state(&self) -> &'static str {
        self.state.state
    }

    /// Node's `worker.isConnected()`: whether its channel is open.
    pub fn is_connected(&self) -> bool {
        self.state.connected
    }

    /// Node's `worker.isDead()`: whether its process has ended.
    pub fn is_dead(&self) -> bool {
        self.state.dead
    }

    /// Node's `worker.exitedAfterDisconnect`: `Some(true)` once it was told, or said, to
    /// disconnect; else `None` until it has gone, and `Some(false)` from then.
    pub fn exited_after_disconnect(&self) -> Option<bool> {
        self.state.exited_after_disconnect
    }

    /// Connections that it took from the primary.
    pub fn connections(&self) -> u64 {
        self.state.connections
    }

    /// [`Primary::send`].
    ///
    /// # Errors
    /// As there.
    pub fn send(&mut self, message: impl IntoMessage) -> Result<Pressure, SendError> {
        self.primary.send(self.id, message)
    }

    /// [`Primary::kill`].
    ///
    /// # Errors
    /// As there.
    pub fn kill(&mut self, signal: Signal) -> Result<bool, KillError> {
        self.primary.kill(self.id, signal)
    }

    /// [`Primary::disconnect_worker`].
    pub fn disconnect(self) {
        self.primary.disconnect_worker(self.id);
    }
}

impl fmt::Debug for Worker<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("id", &self.id).field("state", &self.state).finish()
    }
}
