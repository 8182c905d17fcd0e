//! Closes descriptors that others created, in threads where blocking does no harm.
//!
//! Closing a descriptor can block for as long as its creator likes (see
//! [`call_timer`](super::call_timer)). Unwanted ones are given to a thread, which starts
//! with the first of them, and interrupts each close after a millisecond. If a close cannot be
//! interrupted (a file of a FUSE file system whose server does not answer), another thread takes the
//! rest, up to a few. One worker's descriptors occupy two threads at most, and one thread closes only what
//! no worker has sent. What cannot be closed for that waits: the caller never closes
//! one itself. It counts against this process's limit of open descriptors, which therefore bounds the queue.
//! A worker whose descriptors are [stuck](Closer::stuck_from) loses its channel.
//!
//! A child that is forked has a copy of every descriptor, and closes them when it executes its program.
//! Were the parent's copies gone by then the child would be the one that blocks, before its program
//! runs, with nothing to interrupt it. So nothing is closed [meanwhile](Closer::pause).

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::call_timer;
use super::thread::spawn_without_signals;
use crate::id::WorkerId;

/// The longest that a close blocks, where it can be interrupted.
const PERIOD: Duration = Duration::from_millis(1);

/// After which a close counts as stuck.
const STUCK_AFTER: Duration = Duration::from_secs(1);

const MAX_THREADS: usize = 8;

/// How long closing pauses for a child that has not executed its program.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How long a pause waits until what is being closed is. (It may block; then its descriptor is not there
/// any more, and needs no waiting for.)
const SETTLES_WITHIN: Duration = Duration::from_millis(20);

/// How many of a worker's descriptors are closed at a time. If all of these are stuck, its channel is closed.
pub(super) const MAX_STUCK: usize = 2;

/// Something whose drop closes descriptors of others.
#[expect(dead_code, reason = "they are only dropped")]
enum Discarded {
    Descriptor(OwnedFd),
    Other(Box<dyn Send>),
}

/// Closes what it is given, in the background. Clones share its threads, which end with the last.
#[derive(Clone, Default)]
pub struct Closer {
    owners: Arc<Owners>,
}

/// Dropping it ends the threads, which do not own it.
#[derive(Default)]
struct Owners {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Signals that something waits, or that nothing more will come.
    filled: Condvar,
    /// Signals that something was closed.
    emptied: Condvar,
}

#[derive(Default)]
struct Queue {
    /// Each with the worker that sent it, if known.
    waiting: VecDeque<(Option<WorkerId>, Discarded)>,
    /// What each thread is closing now.
    threads: Vec<Option<Close>>,
    /// How many closes have ever been stuck.
    stuck: u64,
    /// How many pauses there are, and when the last one began.
    pauses: usize,
    paused_at: Option<Instant>,
    ended: bool,
}

/// A close that a thread is performing.
struct Close {
    since: Instant,
    from: Option<WorkerId>,
    /// Whether it was counted as stuck.
    counted: bool,
}

impl Close {
    fn is_stuck(&self) -> bool {
        now().saturating_duration_since(self.since) >= STUCK_AFTER
    }
}

/// How much a [`Closer`] has to do, and what delays it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ClosingState {
    /// Descriptors (or channels) that are being closed, or wait for it.
    pub(super) waiting: usize,
    /// How many closes have taken longer than a second, ever.
    pub(super) stuck: u64,
}

/// While it exists nothing is closed, up to a limit.
#[must_use = "nothing is closed as long as it exists"]
pub struct PausedClosing {
    shared: Arc<Shared>,
}

impl Drop for PausedClosing {
    fn drop(&mut self) {
        let mut queue = self.shared.queue.lock();
        queue.pauses -= 1;
        if queue.pauses == 0 {
            queue.paused_at = None;
        }
        drop(queue);
        self.shared.filled.notify_all();
    }
}

impl std::fmt::Debug for PausedClosing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PausedClosing")
    }
}

impl Queue {
    /// How much longer nothing is closed.
    fn paused_for(&self) -> Option<Duration> {
        let left = LONGEST_PAUSE.checked_sub(now().saturating_duration_since(self.paused_at?))?;
        (!left.is_zero()).then_some(left)
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.threads.iter().all(Option::is_none)
    }

    /// Whether all threads are busy, and there may be another. (Whether they will be for long cannot be known.)
    fn needs_thread(&self) -> bool {
        self.threads.len() < MAX_THREADS && self.threads.iter().all(Option::is_some)
    }

    /// The first that may be closed now. At most [`MAX_STUCK`] of one worker's descriptors are being closed at a
    /// time, and one thread closes only what is no worker's.
    fn take(&mut self) -> Option<(Option<WorkerId>, Discarded)> {
        let closes = || self.threads.iter().flatten();
        let is_last = closes().filter(|close| close.from.is_some()).count() + 1 >= MAX_THREADS;
        let of = |worker| closes().filter(|close| close.from == Some(worker)).count();
        let may =
            |from: Option<WorkerId>| from.is_none_or(|worker| !is_last && of(worker) < MAX_STUCK);
        let at = self.waiting.iter().position(|(from, _)| may(*from))?;
        self.waiting.remove(at)
    }

    fn count_stuck(&mut self) {
        for close in self.threads.iter_mut().flatten() {
            if close.is_stuck() && !std::mem::replace(&mut close.counted, true) {
                self.stuck += 1;
            }
        }
    }
}

impl Closer {
    /// Closes a descriptor.
    pub fn close(&self, descriptor: OwnedFd) {
        self.give(None, Discarded::Descriptor(descriptor));
    }

    /// Closes a descriptor that that worker has sent.
    pub(super) fn close_from(&self, worker: WorkerId, descriptor: OwnedFd) {
        self.give(Some(worker), Discarded::Descriptor(descriptor));
    }

    /// How many closes of that worker's descriptors have not returned for longer than a second.
    pub(super) fn stuck_from(&self, worker: WorkerId) -> usize {
        let queue = self.owners.shared.queue.lock();
        let closes = queue.threads.iter().flatten();
        closes.filter(|close| close.from == Some(worker) && close.is_stuck()).count()
    }

    pub(super) fn state(&self) -> ClosingState {
        let mut queue = self.owners.shared.queue.lock();
        queue.count_stuck();
        let waiting = queue.waiting.len() + queue.threads.iter().flatten().count();
        ClosingState { waiting, stuck: queue.stuck }
    }

    /// Drops a value with descriptors that that worker has sent.
    pub(super) fn discard_from(&self, worker: WorkerId, what: impl Send + 'static) {
        self.give(Some(worker), Discarded::Other(Box::new(what)));
    }

    /// Drops a value with descriptors.
    pub fn discard(&self, what: impl Send + 'static) {
        self.give(None, Discarded::Other(Box::new(what)));
    }

    fn give(&self, from: Option<WorkerId>, discarded: Discarded) {
        let shared = &self.owners.shared;
        let mut queue = shared.queue.lock();
        queue.count_stuck();
        if queue.needs_thread() {
            shared.start(&mut queue);
        }
        queue.waiting.push_back((from, discarded));
        drop(queue);
        shared.filled.notify_one();
    }

    /// Closes nothing while the result exists, up to a second: for a fork, until the child has executed
    /// its program.
    pub(crate) fn pause(&self) -> PausedClosing {
        let shared = &self.owners.shared;
        let mut queue = shared.queue.lock();
        queue.pauses += 1;
        let begun = now();
        queue.paused_at = Some(begun);
        let closes = |close: &Close| begun.saturating_duration_since(close.since) < SETTLES_WITHIN;
        while queue.threads.iter().flatten().any(closes) {
            if shared.emptied.wait_until(&mut queue, begun + SETTLES_WITHIN).timed_out() {
                break;
            }
        }
        PausedClosing { shared: Arc::clone(shared) }
    }

    /// Whether nothing is closed at the moment.
    pub(crate) fn is_paused(&self) -> bool {
        self.owners.shared.queue.lock().paused_for().is_some()
    }

    /// Waits until everything is closed, but no longer than that. Returns how much is left.
    pub(crate) fn finish(&self, patience: Duration) -> usize {
        let deadline = now() + patience;
        let mut queue = self.owners.shared.queue.lock();
        while !queue.is_idle() {
            if self.owners.shared.emptied.wait_until(&mut queue, deadline).timed_out() {
                return queue.waiting.len() + queue.threads.iter().flatten().count();
            }
        }
        0
    }
}

impl Drop for Owners {
    fn drop(&mut self) {
        let mut queue = self.shared.queue.lock();
        queue.ended = true;
        if queue.threads.is_empty() {
            // No thread could be started: what waits stays open until the process ends, as this thread
            // must not block.
            std::mem::forget(std::mem::take(&mut queue.waiting));
        }
        drop(queue);
        self.shared.filled.notify_all();
    }
}

impl Shared {
    /// Starts a thread. If that fails, the next descriptor tries again.
    fn start(self: &Arc<Self>, queue: &mut Queue) {
        let number = queue.threads.len();
        let shared = Arc::clone(self);
        if spawn_without_signals("close", move || shared.close_all(number)).is_ok() {
            queue.threads.push(None);
        }
    }

    /// What each thread does.
    fn close_all(self: &Arc<Self>, number: usize) {
        let mut queue = self.queue.lock();
        loop {
            if let Some(left) = queue.paused_for() {
                self.filled.wait_for(&mut queue, left);
                continue;
            }
            let Some((from, discarded)) = queue.take() else {
                if queue.ended && queue.waiting.is_empty() {
                    return;
                }
                self.filled.wait(&mut queue);
                continue;
            };
            queue.threads[number] = Some(Close { since: now(), from, counted: false });
            // If this call does not return, another thread takes the rest.
            if !queue.waiting.is_empty() && queue.needs_thread() {
                self.start(&mut queue);
            }
            drop(queue);
            {
                let _bounded = call_timer::bounded_by(PERIOD);
                drop(discarded);
            }
            queue = self.queue.lock();
            queue.count_stuck();
            queue.threads[number] = None;
            self.emptied.notify_all();
            if !queue.waiting.is_empty() {
                self.filled.notify_all();
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "its threads are drivers")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::sync::mpsc;

    use super::*;

    /// How long to wait for what must happen.
    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn what_is_given_is_closed() {
        let closer = Closer::default();
        let mut readers = Vec::new();
        for _ in 0..100 {
            let (reader, writer) = std::io::pipe().expect("a pipe");
            closer.close(writer.try_clone().expect("a descriptor").into());
            closer.discard(vec![writer]);
            readers.push(reader);
        }
        assert_eq!(closer.finish(PATIENCE), 0);
        for mut reader in readers {
            assert_eq!(reader.read(&mut [0]).expect("a pipe"), 0);
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn descriptors_that_linger_do_not_hold_up_others() {
        let closer = Closer::default();
        let mut peers = Vec::new();
        for _ in 0..20 {
            let (descriptor, peer) = super::super::call_timer::lingering();
            peers.push(peer);
            closer.close(descriptor);
        }
        assert_eq!(closer.finish(PATIENCE), 0);
    }

    #[test]
    fn nothing_is_closed_while_that_is_paused() {
        let closer = Closer::default();
        let paused = closer.pause();
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        rustix::io::ioctl_fionbio(&reader, true).expect("a pipe");
        closer.close(writer.into());
        assert!(closer.is_paused());
        assert_eq!(closer.finish(Duration::from_millis(50)), 1);
        reader.read(&mut [0]).expect_err("it is open");
        drop(paused);
        assert_eq!(closer.finish(PATIENCE), 0);
        assert_eq!(reader.read(&mut [0]).expect("a pipe"), 0);
        // A pause that does not end loses its effect after a while.
        let _paused = closer.pause();
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        closer.close(writer.into());
        assert_eq!(reader.read(&mut [0]).expect("a pipe"), 0);
    }

    /// A descriptor whose close does not return before the other end is dropped.
    struct Stuck(mpsc::Receiver<()>);

    impl Drop for Stuck {
        fn drop(&mut self) {
            let _ = self.0.recv();
        }
    }

    fn stick(closer: &Closer, worker: WorkerId) -> mpsc::Sender<()> {
        let (end, stuck) = mpsc::channel();
        closer.discard_from(worker, Stuck(stuck));
        end
    }

    fn until(closer: &Closer, what: impl Fn() -> bool) {
        let begun = now();
        while !what() {
            assert!(begun.elapsed() < PATIENCE, "{:?}", closer.state());
            std::thread::sleep(STUCK_AFTER / 20);
        }
    }

    /// The caller would hang if it closed one of them itself.
    #[test]
    fn a_worker_occupies_two_threads_however_many_descriptors_it_sends() {
        const MANY: usize = 4_000;
        let closer = Closer::default();
        let worker = WorkerId(7);
        let ends: Vec<_> = (0..MANY).map(|_| stick(&closer, worker)).collect();
        until(&closer, || closer.stuck_from(worker) == MAX_STUCK);
        assert_eq!(closer.stuck_from(WorkerId(8)), 0);
        // Others are not held up.
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        closer.close(writer.into());
        assert_eq!(reader.read(&mut [0]).expect("a pipe"), 0);
        let expected = ClosingState { waiting: MANY, stuck: MAX_STUCK as u64 };
        until(&closer, || closer.state() == expected);
        // All are closed once that is possible.
        drop(ends);
        assert_eq!(closer.finish(PATIENCE), 0);
        assert_eq!((closer.state().waiting, closer.stuck_from(worker)), (0, 0));
    }

    #[test]
    fn workers_together_leave_a_thread_for_what_is_no_workers() {
        let closer = Closer::default();
        let workers: Vec<_> = (1..=2 * MAX_THREADS as u32).map(WorkerId).collect();
        let mut ends = Vec::new();
        for worker in &workers {
            ends.extend([stick(&closer, *worker), stick(&closer, *worker)]);
        }
        let stuck = || workers.iter().map(|worker| closer.stuck_from(*worker)).sum::<usize>();
        until(&closer, || stuck() == MAX_THREADS - 1);
        for _ in 0..10 {
            let (mut reader, writer) = std::io::pipe().expect("a pipe");
            closer.close(writer.into());
            assert_eq!(reader.read(&mut [0]).expect("a pipe"), 0);
        }
        drop(ends);
        assert_eq!(closer.finish(PATIENCE), 0);
    }

    /// A thread that is stuck for good is replaced, and `finish` says that something is left.
    #[test]
    fn a_close_that_never_ends_does_not_hold_up_others() {
        let closer = Closer::default();
        let (end, stuck) = mpsc::channel();
        closer.discard(Stuck(stuck));
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        closer.close(writer.into());
        assert_ne!(closer.finish(2 * STUCK_AFTER), 0);
        assert_eq!(reader.read(&mut [0]).expect("a pipe"), 0);
        drop(end);
        assert_eq!(closer.finish(PATIENCE), 0);
    }
}
