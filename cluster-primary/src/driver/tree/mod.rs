//! The processes that workers start, as the system shows them: what is known of
//! them.

#[cfg(target_os = "linux")]
pub(super) mod proc;
mod state;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::time::Duration;

use crate::id::WorkerId;
use crate::tree::{ProcessStat, ProcessTrees};

pub(super) use state::TreesState;

#[cfg(not(target_os = "linux"))]
pub(super) mod proc {
    //! Without `/proc` nothing is known of other processes.

    use std::collections::BTreeSet;
    use std::os::fd::BorrowedFd;

    use crate::signal::Signal;
    use crate::tree::{ProcessId, ProcessStat};

    pub(in super::super) fn stat(_pid: u32) -> Option<ProcessStat> {
        None
    }

    pub(in super::super) fn list() -> Vec<ProcessStat> {
        Vec::new()
    }

    pub(in super::super) fn trace(_from: &[ProcessId]) -> BTreeSet<ProcessId> {
        BTreeSet::new()
    }

    pub(in super::super) fn can_look() -> bool {
        true
    }

    pub(in super::super) fn ancestry(_pid: u32) -> Vec<ProcessId> {
        Vec::new()
    }

    pub(in super::super) fn signal(_process: ProcessId, _signal: Signal) {}

    pub(in super::super) fn group_exists(_leader: BorrowedFd<'_>) -> Option<bool> {
        None
    }
}

/// What the driver keeps about them.
#[derive(Debug, Default)]
pub(super) struct Trees {
    pub(super) machine: ProcessTrees,
    /// Descriptors that tell whether the process group of an ended worker still has members.
    pub(super) leaders: BTreeMap<WorkerId, OwnedFd>,
    /// The pipes of ended workers, into which their descendants may still write.
    pub(super) pipes: BTreeMap<(WorkerId, u32), File>,
    /// The processes as listed before a worker was waited for, where the system cannot tell later.
    pub(super) listed: Option<Vec<ProcessStat>>,
}

impl Trees {
    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        self.machine.poll_timeout()
    }

    pub(super) fn is_idle(&self) -> bool {
        self.machine.is_idle()
    }

    pub(super) fn pipe(&mut self, worker: WorkerId, fd: u32) -> Option<&mut File> {
        self.pipes.get_mut(&(worker, fd))
    }

    pub(super) fn take_pipe(&mut self, worker: WorkerId, fd: u32) -> Option<File> {
        self.pipes.remove(&(worker, fd))
    }

    pub(super) fn descendants(&self, worker: WorkerId) -> Option<usize> {
        self.machine.descendants(worker)
    }
}
