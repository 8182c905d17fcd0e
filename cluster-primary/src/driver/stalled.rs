//! Workers to whom the system refuses to pass anything on.
//!
//! A process that is not root may have only so many descriptors in flight between Unix sockets, counted over all
//! processes of its user (`ETOOMANYREFS`). Writing is then tried again at growing intervals, and not whenever the
//! socket says that it is writable: each attempt makes it say so again.

use std::collections::BTreeSet;
use std::fmt;
#[cfg(target_os = "linux")]
use std::fs::ReadDir;
use std::io;
use std::time::Duration;

use cluster_sched::Mono;
use rustix::io::Errno;

use crate::id::WorkerId;

/// How many descriptors of each worker a search looks at.
const LOOKED_AT: usize = 1024;
/// How many descriptors a search looks at in one pass of the loop. (Each takes about 10 µs
/// each.)
pub(super) const LOOKED_AT_PER_PASS: usize = 256;

/// Why no descriptors can be passed on to workers now ([`Primary::hand_offs_paused`](crate::Primary::hand_offs_paused)).
#[derive(Debug)]
#[non_exhaustive]
pub struct HandOffsPaused {
    /// The system's error: `ETOOMANYREFS` where this user has too many descriptors in flight.
    pub error: io::Error,
    /// How many descriptors this user's processes may have in flight (`RLIMIT_NOFILE` of this process).
    pub limit: u64,
    /// The worker in whose sockets most descriptors wait unread, and how many: those that it was sent, and those
    /// that it keeps in flight between sockets of its own. None if that cannot be seen, or no worker has any.
    pub worker: Option<(WorkerId, u64)>,
}

impl fmt::Display for HandOffsPaused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { error, limit, worker } = self;
        if Errno::from_io_error(error) != Some(Errno::TOOMANYREFS) {
            return write!(f, "the system refuses to pass descriptors on: {error}");
        }
        write!(
            f,
            "processes of this user have too many descriptors in flight between Unix sockets (ETOOMANYREFS; the \
             limit is {limit}, which is that of open files)"
        )?;
        match worker {
            Some((worker, count)) => {
                write!(
                    f,
                    "; worker {worker} has most of them that can be seen, {count} unread in its sockets"
                )
            }
            None => f.write_str("; no worker was found to have any"),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Stalled {
    pub(super) workers: BTreeSet<WorkerId>,
    /// The machine has been told.
    pub(super) active: bool,
    pub(super) error: Option<Errno>,
    pub(super) again: Option<Mono>,
    pub(super) pause: Duration,
    /// The worker with the most descriptors in its sockets, according to the last search, or to the current one
    /// so far.
    pub(super) worker: Option<(WorkerId, u64)>,
    pub(super) looked_up: Option<Mono>,
    pub(super) look_up: Option<LookUp>,
}

/// A search for the worker that has descriptors in flight: each pass looks at a bounded number.
#[derive(Debug, Default)]
pub(super) struct LookUp {
    /// Workers still to be examined.
    pub(super) left: Vec<WorkerId>,
    pub(super) current: Option<(WorkerId, Waiting)>,
    pub(super) found: Option<(WorkerId, u64)>,
}

impl LookUp {
    pub(super) fn note(&mut self, worker: WorkerId, count: u64) {
        if count > self.found.map_or(0, |(_, most)| most) {
            self.found = Some((worker, count));
        }
    }
}

impl Stalled {
    pub(super) fn has(&self, worker: WorkerId) -> bool {
        self.workers.contains(&worker)
    }

    pub(super) fn again(&self) -> Option<Mono> {
        self.again
    }

    pub(super) fn forget(&mut self, worker: WorkerId) {
        self.workers.remove(&worker);
    }
}

/// How many descriptors wait in a process's Unix sockets, as far as they were examined, if the system tells
/// (Linux 5.11 and later).
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) count: Option<u64>,
    pub(super) looked_at: usize,
    #[cfg(target_os = "linux")]
    pub(super) folder: Option<ReadDir>,
}

impl Waiting {
    pub(super) fn of(pid: u32) -> Self {
        #[cfg(not(target_os = "linux"))]
        let _ = pid;
        Self {
            count: None,
            looked_at: 0,
            #[cfg(target_os = "linux")]
            folder: std::fs::read_dir(format!("/proc/{pid}/fdinfo")).ok(),
        }
    }

    /// Looks at no more than `left` descriptors. Returns whether it has seen all.
    #[cfg(target_os = "linux")]
    pub(super) fn look(&mut self, left: &mut usize) -> bool {
        let Some(folder) = &mut self.folder else { return true };
        while *left > 0 && self.looked_at < LOOKED_AT {
            let Some(Ok(entry)) = folder.next() else { return true };
            (*left, self.looked_at) = (*left - 1, self.looked_at + 1);
            let Ok(info) = std::fs::read_to_string(entry.path()) else { continue };
            let count = info.lines().find_map(|line| line.strip_prefix("scm_fds:"));
            if let Some(count) = count.and_then(|count| count.trim().parse::<u64>().ok()) {
                *self.count.get_or_insert(0) += count;
            }
        }
        self.looked_at == LOOKED_AT
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn look(&mut self, _left: &mut usize) -> bool {
        self.looked_at = LOOKED_AT;
        true
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn descriptors_are_looked_at_a_bounded_number_at_a_time() {
        // More than one pass looks at, and few enough for a usual limit.
        let sockets: Vec<_> =
            (0..300).map(|_| UnixDatagram::unbound().expect("a socket")).collect();
        let mut waiting = Waiting::of(std::process::id());
        let mut passes = 0;
        loop {
            let before = waiting.looked_at;
            let mut left = LOOKED_AT_PER_PASS;
            let is_over = waiting.look(&mut left);
            passes += 1;
            assert_eq!(waiting.looked_at - before, LOOKED_AT_PER_PASS - left);
            if is_over {
                break;
            }
            assert_eq!(left, 0, "it goes on as far as it may");
        }
        assert!(passes > 1 && waiting.looked_at >= sockets.len(), "{passes} {waiting:?}");
    }
}
