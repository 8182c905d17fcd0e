//! Retries writing where the system refused it, or a worker does not read.

use std::io;
use std::time::Duration;

use cluster_sched::Mono;
use rustix::io::Errno;

use super::base::Primary;
use super::child::Unread;
use super::process::Process;
use super::stalled::{LOOKED_AT_PER_PASS, LookUp, Waiting};
use crate::id::WorkerId;
use crate::machine::Input;

pub(super) const FIRST_PAUSE: Duration = Duration::from_millis(10);

pub(super) const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// The least time between two searches for descriptors in flight, which are slow.
pub(super) const LOOK_UP_EVERY: Duration = Duration::from_secs(10);

impl Primary {
    /// Finds the worker in whose sockets the most descriptors wait: starts a search when one is due, or continues it.
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
                let child = self.child(worker);
                if let Some(pid) = child.and_then(|child| child.process.as_ref()).map(Process::pid)
                {
                    look_up.current = Some((worker, Waiting::of(pid)));
                }
                // Opening a folder counts, too.
                left = left.saturating_sub(1);
                continue;
            };
            if left == 0 {
                break;
            }
            let (worker, is_over) = (*worker, waiting.look(&mut left));
            // What the primary sent it can be counted without a search.
            let sent = || self.child(worker).map_or(0, |child| child.untaken.handles());
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
        let now = self.now();
        if !std::mem::replace(&mut self.stalled.active, true) {
            self.stalled.pause = FIRST_PAUSE;
            self.hand_off_pauses += 1;
            self.tell_at(now, Input::HandOffsPaused { paused: true });
            self.look_up_holder(now);
        }
        self.stalled.workers.insert(worker);
        self.stalled.error = Errno::from_io_error(error).or(self.stalled.error);
        let again = now + self.stalled.pause;
        self.stalled.again.get_or_insert(again);
    }

    /// Retries channels that refused a descriptor, when that is due; the next pause is longer.
    pub(super) fn retry_stalled(&mut self, now: Mono) {
        if self.stalled.again.is_none_or(|at| at > now) {
            return;
        }
        self.stalled.again = None;
        self.stalled.pause = (self.stalled.pause * 2).min(LONGEST_PAUSE);
        self.look_up_holder(now);
        let before = std::mem::take(&mut self.stalled.workers);
        for worker in &before {
            self.wants_write(*worker);
        }
    }

    /// How many descriptors a worker may leave unread. All workers together stay below the limit in flight.
    fn allowed_untaken(&self) -> u64 {
        4 * u64::from(self.machine.window_limit()).max(2)
    }

    /// Whether to write nothing to this worker now, because it does not read what it has.
    pub(super) fn holds_back(&mut self, worker: WorkerId) -> bool {
        use super::untaken::Verdict;

        let allowed = self.allowed_untaken();
        if !self.child(worker).is_some_and(|child| child.untaken.is_much(allowed)) {
            return false;
        }
        let now = self.now();
        let in_flight = self.machine.worker(worker).map_or(0, |state| u64::from(state.in_flight));
        let Some(child) = self.child_mut(worker) else { return false };
        let unread = child.channel().and_then(|channel| super::unread::memory(&*channel));
        // If the system does not tell, assume that it has read everything.
        let unread = unread.unwrap_or(0);
        // One more may be a listener or a user's descriptor: those are sent one at a time.
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

    /// Schedules another check whether a worker has read what it has.
    pub(super) fn look_later(&mut self, worker: WorkerId) {
        let now = self.now();
        let Some(child) = self.child_mut(worker) else { return };
        let next = Unread::again(child.look_again, now);
        child.look_again = Some(next);
        self.writes.hold(worker, next.at);
    }
}
