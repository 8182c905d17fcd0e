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
use rustix::process::{Resource, getrlimit};

use super::Primary;
use super::process::Process;
use crate::id::WorkerId;
use crate::machine::Input;

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// The least time between two searches for descriptors in flight, which are slow.
const LOOK_UP_EVERY: Duration = Duration::from_secs(10);
/// Descriptors that are looked at for that, of each worker.
const LOOKED_AT: usize = 1024;
/// Descriptors that are looked at for that in one pass of the loop, of all workers. (It takes about 10 µs
/// each.)
const LOOKED_AT_PER_PASS: usize = 256;

/// Why no descriptors can be passed on to workers now ([`Primary::hand_offs_paused`]).
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
    workers: BTreeSet<WorkerId>,
    /// The machine knows.
    active: bool,
    error: Option<Errno>,
    again: Option<Mono>,
    pause: Duration,
    /// The worker with most descriptors in its sockets, when that was last looked up, or as far as that is
    /// known by now.
    worker: Option<(WorkerId, u64)>,
    looked_up: Option<Mono>,
    look_up: Option<LookUp>,
}

/// It is being looked up which worker has descriptors in flight: a bounded number of them in each pass.
#[derive(Debug, Default)]
struct LookUp {
    /// Workers that were not looked at yet.
    left: Vec<WorkerId>,
    current: Option<(WorkerId, Waiting)>,
    found: Option<(WorkerId, u64)>,
}

impl LookUp {
    fn note(&mut self, worker: WorkerId, count: u64) {
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

impl Primary {
    /// Why no descriptors can be passed on to workers now, if so: connections wait meanwhile.
    pub fn hand_offs_paused(&self) -> Option<HandOffsPaused> {
        let error = self.stalled.error.filter(|_| !self.stalled.workers.is_empty())?;
        let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        Some(HandOffsPaused { error: error.into(), limit, worker: self.stalled.worker })
    }

    /// Looks in which worker's sockets most descriptors wait: begins with that, if it is due, or goes on.
    fn look_up_holder(&mut self, now: Mono) {
        let mut look_up = match self.stalled.look_up.take() {
            Some(look_up) => look_up,
            None if self.stalled.looked_up.is_some_and(|at| now < at + LOOK_UP_EVERY) => return,
            None => {
                LookUp { left: self.children.keys().rev().copied().collect(), ..LookUp::default() }
            }
        };
        let is_first = self.stalled.worker.is_none();
        let mut left = LOOKED_AT_PER_PASS;
        loop {
            let Some((worker, waiting)) = &mut look_up.current else {
                let Some(worker) = look_up.left.pop() else { break };
                let child = self.children.get(&worker);
                if let Some(pid) = child.and_then(|child| child.process.as_ref()).map(Process::pid)
                {
                    look_up.current = Some((worker, Waiting::of(pid)));
                }
                // To open a folder counts, too.
                left = left.saturating_sub(1);
                continue;
            };
            if left == 0 {
                break;
            }
            let (worker, is_over) = (*worker, waiting.look(&mut left));
            // What it was sent can be counted without looking.
            let sent = || self.children.get(&worker).map_or(0, |child| child.untaken.handles());
            let count = waiting.count.unwrap_or_else(sent);
            look_up.note(worker, count);
            if is_over {
                look_up.current = None;
            }
        }
        let is_over = look_up.current.is_none() && look_up.left.is_empty();
        if is_over || is_first {
            self.stalled.worker = look_up.found;
        }
        if is_over {
            self.stalled.looked_up = Some(now);
        } else {
            self.stalled.look_up = Some(look_up);
        }
    }

    /// The system refuses to write to that worker.
    pub(super) fn stall(&mut self, worker: WorkerId, error: &io::Error) {
        let now = self.clock.now();
        if !std::mem::replace(&mut self.stalled.active, true) {
            self.stalled.pause = FIRST_PAUSE;
            self.hand_off_pauses += 1;
            self.machine.handle_input(now, Input::HandOffsPaused { paused: true });
            self.look_up_holder(now);
        }
        self.stalled.workers.insert(worker);
        self.stalled.error = Errno::from_io_error(error).or(self.stalled.error);
        let again = now + self.stalled.pause;
        self.stalled.again.get_or_insert(again);
    }

    /// Channels that refused a descriptor are tried again, if that is due; the next pause is longer.
    pub(super) fn retry_stalled(&mut self, now: Mono) {
        if self.stalled.again.is_none_or(|at| at > now) {
            return;
        }
        self.stalled.again = None;
        self.stalled.pause = (self.stalled.pause * 2).min(LONGEST_PAUSE);
        self.look_up_holder(now);
        let before = std::mem::take(&mut self.stalled.workers);
        for worker in &before {
            self.writes.add(*worker);
        }
    }

    /// All is written that was refused: the machine is told.
    pub(super) fn note_no_longer_stalled(&mut self) {
        if self.stalled.active && self.stalled.workers.is_empty() {
            self.stalled.active = false;
            // It would say of the next time what was the case this time.
            self.stalled.look_up = None;
            self.input(Input::HandOffsPaused { paused: false });
        }
    }

    /// How many descriptors a worker may leave unread. All of them together stay below what may be in flight.
    fn allowed_untaken(&self) -> u64 {
        4 * u64::from(self.machine.window_limit()).max(2)
    }

    /// Whether nothing is to be written to that worker now, as it leaves unread what it has.
    pub(super) fn holds_back(&mut self, worker: WorkerId) -> bool {
        use super::untaken::Verdict;

        let allowed = self.allowed_untaken();
        if !self.children.get(&worker).is_some_and(|child| child.untaken.is_much(allowed)) {
            return false;
        }
        let now = self.clock.now();
        let in_flight = self.machine.worker(worker).map_or(0, |state| u64::from(state.in_flight));
        let Some(child) = self.children.get_mut(&worker) else { return false };
        let unread = child.channel().and_then(|channel| super::unread::memory(&*channel));
        // Where the system does not tell nothing can be held against it.
        let unread = unread.unwrap_or(0);
        // One more may be a listener, or a user's: they are answered one after the other.
        match child.untaken.look(now, unread, in_flight + 1, allowed) {
            Verdict::Write => {
                child.look_again = None;
                false
            }
            Verdict::Hold => {
                self.look_later(worker);
                true
            }
            Verdict::Close { handles, answered } => {
                self.fail_channel(
                    worker,
                    crate::error::WorkerError::LeavesUnread { handles, answered },
                );
                true
            }
        }
    }
}

/// How many descriptors wait in a process's Unix sockets, as far as it was looked at, if the system tells
/// (Linux 5.11 and later).
#[derive(Debug)]
struct Waiting {
    count: Option<u64>,
    looked_at: usize,
    #[cfg(target_os = "linux")]
    folder: Option<ReadDir>,
}

impl Waiting {
    fn of(pid: u32) -> Self {
        #[cfg(not(target_os = "linux"))]
        let _ = pid;
        Self {
            count: None,
            looked_at: 0,
            #[cfg(target_os = "linux")]
            folder: std::fs::read_dir(format!("/proc/{pid}/fdinfo")).ok(),
        }
    }

    /// Looks at no more than `left` descriptors; whether that was the last.
    #[cfg(target_os = "linux")]
    fn look(&mut self, left: &mut usize) -> bool {
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
    fn look(&mut self, _left: &mut usize) -> bool {
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
