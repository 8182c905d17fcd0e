//! Closes descriptors that others made, where it does no harm that this blocks.
//!
//! To close a descriptor can block for as long as whoever made it likes (see
//! [`call_timer`](super::call_timer)). Those that nobody wants are given to a thread, which starts
//! with the first of them, and interrupts each close after a millisecond. If a close cannot be
//! interrupted (a file of a FUSE file system whose server does not answer), another thread takes the
//! rest, up to a few.
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

/// The longest that a close blocks, where it can be interrupted.
const PERIOD: Duration = Duration::from_millis(1);

/// When a thread is stuck in a close.
const STUCK_AFTER: Duration = Duration::from_secs(1);

const MAX_THREADS: usize = 8;

/// For how long nothing is closed for the sake of a child that does not execute its program.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How long a pause waits until what is being closed is. (It may block; then its descriptor is not there
/// any more, and needs no waiting for.)
const SETTLES_WITHIN: Duration = Duration::from_millis(20);

/// What may wait to be closed. Beyond, the caller closes it itself, within its own bound.
const MAX_WAITING: usize = 1024;

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

/// Its end is that of the threads, which do not own it.
#[derive(Default)]
struct Owners {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Something waits, or no more will.
    filled: Condvar,
    /// Something was closed.
    emptied: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Discarded>,
    /// For each thread since when it closes what it closes now.
    threads: Vec<Option<Instant>>,
    /// How many pauses there are, and when the last one began.
    pauses: usize,
    paused_at: Option<Instant>,
    ended: bool,
}

/// As long as it exists nothing is closed, up to a limit.
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
    /// For how much longer nothing is closed.
    fn paused_for(&self) -> Option<Duration> {
        let left = LONGEST_PAUSE.checked_sub(now().saturating_duration_since(self.paused_at?))?;
        (!left.is_zero()).then_some(left)
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.threads.iter().all(Option::is_none)
    }

    /// Whether none of the threads will take what waits.
    fn needs_thread(&self) -> bool {
        let stuck = |since: &Instant| now().saturating_duration_since(*since) >= STUCK_AFTER;
        let is_stuck = |thread: &Option<Instant>| thread.as_ref().is_some_and(stuck);
        self.threads.len() < MAX_THREADS && self.threads.iter().all(is_stuck)
    }
}

impl Closer {
    /// Closes a descriptor.
    pub fn close(&self, descriptor: OwnedFd) {
        self.give(Discarded::Descriptor(descriptor));
    }

    /// Drops what has descriptors.
    pub fn discard(&self, what: impl Send + 'static) {
        self.give(Discarded::Other(Box::new(what)));
    }

    fn give(&self, discarded: Discarded) {
        let shared = &self.owners.shared;
        let mut queue = shared.queue.lock();
        let needs_thread = queue.needs_thread();
        if queue.waiting.len() >= MAX_WAITING || (needs_thread && !shared.start(&mut queue)) {
            drop(queue);
            let _bounded = call_timer::bounded();
            drop(discarded);
            return;
        }
        queue.waiting.push_back(discarded);
        drop(queue);
        shared.filled.notify_one();
    }

    /// Closes nothing as long as that exists, up to a second: for a fork, until the child has executed
    /// its program.
    pub(crate) fn pause(&self) -> PausedClosing {
        let shared = &self.owners.shared;
        let mut queue = shared.queue.lock();
        queue.pauses += 1;
        let begun = now();
        queue.paused_at = Some(begun);
        let closes = |since: &Instant| begun.saturating_duration_since(*since) < SETTLES_WITHIN;
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

    /// Waits until all is closed, but no longer than that; how much is left.
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
        self.shared.queue.lock().ended = true;
        self.shared.filled.notify_all();
    }
}

impl Shared {
    /// Starts a thread; whether one is there that may close what waits.
    fn start(self: &Arc<Self>, queue: &mut Queue) -> bool {
        let number = queue.threads.len();
        let shared = Arc::clone(self);
        let thread = std::thread::Builder::new().name("close".into());
        let started = thread.spawn(move || shared.close_all(number)).is_ok();
        if started {
            queue.threads.push(None);
        }
        // One that is stuck may yet get on.
        started || number > 0
    }

    /// What each thread does.
    fn close_all(&self, number: usize) {
        let mut queue = self.queue.lock();
        loop {
            if let Some(left) = queue.paused_for() {
                self.filled.wait_for(&mut queue, left);
                continue;
            }
            let Some(discarded) = queue.waiting.pop_front() else {
                if queue.ended {
                    return;
                }
                self.filled.wait(&mut queue);
                continue;
            };
            queue.threads[number] = Some(now());
            drop(queue);
            {
                let _bounded = call_timer::bounded_by(PERIOD);
                drop(discarded);
            }
            queue = self.queue.lock();
            queue.threads[number] = None;
            self.emptied.notify_all();
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

    /// How long is waited for what must happen.
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
        // A pause that is not over has no more effect after a while.
        let _paused = closer.pause();
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        closer.close(writer.into());
        assert_eq!(reader.read(&mut [0]).expect("a pipe"), 0);
    }

    /// A thread that is stuck for good is replaced, and `finish` says that something is left.
    #[test]
    fn a_close_that_never_ends_does_not_hold_up_others() {
        struct Stuck(mpsc::Receiver<()>);
        impl Drop for Stuck {
            fn drop(&mut self) {
                let _ = self.0.recv();
            }
        }
        let closer = Closer::default();
        let (end, stuck) = mpsc::channel();
        closer.discard(Stuck(stuck));
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        closer.close(writer.into());
        assert_ne!(closer.finish(2 * STUCK_AFTER), 0);
        // The next one has another thread started, which takes all that waits.
        let (_, other) = std::io::pipe().expect("a pipe");
        closer.close(other.into());
        assert_eq!(reader.read(&mut [0]).expect("a pipe"), 0);
        drop(end);
        assert_eq!(closer.finish(PATIENCE), 0);
    }
}
