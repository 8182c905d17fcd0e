//! Descriptors that are closed, and workers that make closing block.

use std::os::fd::OwnedFd;
use std::time::Duration;

use super::base::Primary;
use super::blocking::Call;
use super::child::Child;
use super::closer;
use super::handles::Handles;
use crate::error::WorkerError;
use crate::id::WorkerId;
use crate::machine::Input;

/// How long dropping a primary waits for descriptors to close. (When the process ends, the kernel lets
/// none linger.)
pub(super) const LAST_CLOSES: Duration = Duration::from_secs(1);

impl Primary {
    /// Closes the primary's copy of a connection; `worker` has taken it, if any has.
    pub(super) fn close_connection(&mut self, worker: Option<WorkerId>, connection: OwnedFd) {
        let in_background = match worker {
            Some(worker) => self.child(worker).is_none_or(Child::blocks),
            None => self.blocking.shed_blocked,
        };
        // A child that has not executed its program yet has a copy of it.
        if in_background || self.closer.is_paused() {
            return self.closer.close(connection);
        }
        let ((), interrupted) = self.blocking.calls.time(|| drop(connection));
        match worker {
            Some(worker) if interrupted => self.blame(worker, Call::Close),
            _ => self.blocking.shed_blocked |= interrupted,
        }
    }

    /// Closes a descriptor that a worker sent and that has no use; too many of them cost
    /// the worker its channel.
    pub(super) fn discard_handle(&mut self, worker: WorkerId, handle: OwnedFd) {
        self.handles.note_unexpected(1);
        self.closer.close_from(worker, handle);
        self.check_stuck_closes(worker);
        self.tell(Input::Unwanted { worker });
    }

    /// Closes the channel of a worker whose descriptors cannot be closed, so that it sends no more. Returns whether
    /// it did.
    pub(super) fn check_stuck_closes(&mut self, worker: WorkerId) -> bool {
        let stuck = self.closer.stuck_from(worker);
        if stuck < closer::MAX_STUCK || !self.machine.hears(worker) {
            return false;
        }
        let what = format!(
            "the system has not closed {stuck} descriptors that it sent for longer than a second, as with \
             files of a FUSE file system that does not answer"
        );
        self.fail_channel(worker, WorkerError::Channel { what });
        true
    }

    /// Closes all descriptors that other processes may have created.
    pub(super) fn discard_all(&mut self) {
        for (worker, child) in std::mem::take(&mut self.children) {
            self.closer.discard_from(worker, child);
        }
        let rest = (
            std::mem::take(&mut self.conns),
            std::mem::replace(&mut self.handles, Handles::after(0, 0)),
            std::mem::take(&mut self.told),
        );
        if !(rest.0.is_empty() && rest.1.is_empty() && rest.2.is_empty()) {
            self.closer.discard(rest);
        }
        self.closer.finish(LAST_CLOSES);
    }
}
