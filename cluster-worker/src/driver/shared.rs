//! One core for many threads, without a thread of its own.
//!
//! A thread that has to wait while no other waits for events does so for all: the leader.
//! The others wait until it has something to tell, or leaves the place to one of them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::base::{Changed, Core, Poller};
use super::front::Front;
use crate::error::SendError;
use crate::machine::Mono;

/// How long an evented worker's message waits for others while its loop has more to take.
const GATHER_TIME: Duration = Duration::from_micros(100);

#[derive(Debug)]
pub(crate) struct Shared {
    core: Mutex<Core>,
    followers: Condvar,
    #[cfg(feature = "tokio")]
    pub(super) tasks: super::tasks::Tasks,
}

impl Shared {
    pub(crate) fn new(core: Core) -> Arc<Self> {
        Arc::new(Self {
            core: Mutex::new(core),
            followers: Condvar::new(),
            #[cfg(feature = "tokio")]
            tasks: super::tasks::Tasks::default(),
        })
    }

    #[cfg(feature = "tokio")]
    pub(super) fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock()
    }

    /// Does something that does not wait, and writes what comes of it.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Core) -> T) -> T {
        let mut core = self.core.lock();
        let result = act(&mut core);
        core.flush();
        core.gathering_since = None;
        self.publish(core);
        result
    }

    /// Sends something in an evented worker's turn: the first time what comes of it is written at
    /// once; what follows waits for more of it, up to a limit, or until the loop looks again.
    pub(crate) fn gather<T>(&self, send: impl FnOnce(&mut Core) -> T) -> T {
        let mut core = self.core.lock();
        let result = send(&mut core);
        match core.gathering_since {
            Some(_) if !core.is_gathered() => {}
            since => {
                core.flush();
                core.gathering_since = since.or_else(|| Some(core.clock.mono()));
            }
        }
        self.publish(core);
        result
    }

    /// As [`with`](Self::with), for an evented worker's loop, which looks for itself.
    pub(crate) fn with_quietly<T>(&self, act: impl FnOnce(&mut Core) -> T) -> T {
        let mut core = self.core.lock();
        let result = act(&mut core);
        core.flush();
        core.gathering_since = None;
        core.changed = false;
        result
    }

    /// What an evented worker's loop takes next. What its answers to what it took before come to is
    /// written when there is no more to take, or when it has waited for long enough.
    pub(crate) fn take<T>(&self, mut next: impl FnMut(&mut Core) -> Option<T>) -> Option<T> {
        let mut core = self.core.lock();
        let due = |core: &Core, since| core.clock.mono() >= since + GATHER_TIME;
        let mut taken = None;
        if core.gathering_since.is_none_or(|since| !due(&core, since)) {
            taken = next(&mut core);
        }
        if taken.is_none() {
            core.flush();
            core.gathering_since = None;
            // Writing may have brought something.
            taken = next(&mut core);
        }
        core.changed = false;
        taken
    }

    /// Sends something: it is written at once, or, while it is [corked](Core::corks), when there
    /// is enough of it.
    pub(crate) fn send<T>(&self, send: impl FnOnce(&mut Core) -> T) -> T {
        let mut core = self.core.lock();
        let result = send(&mut core);
        if core.corks == 0 || core.is_gathered() {
            core.flush();
        }
        self.publish(core);
        result
    }

    /// Wakes the threads that may wait for what has changed.
    pub(super) fn publish(&self, mut core: MutexGuard<'_, Core>) {
        let changed = self.announce(&mut core);
        drop(core);
        // A woken thread may look at once.
        #[cfg(feature = "tokio")]
        self.tasks.wake(changed);
        #[cfg(not(feature = "tokio"))]
        let _ = changed;
    }

    /// Wakes threads and loops.
    fn announce(&self, core: &mut Core) -> Changed {
        let changed = core.take_changed();
        if changed.came {
            self.followers.notify_all();
            if core.poller.is_none() || !matches!(core.front, Front::Threads) {
                // Only a full eventfd fails, and that wakes too.
                let _ = core.waker.wake();
            }
        }
        changed
    }

    /// Waits until `check` has a result; `None` when the time is over.
    pub(crate) fn wait<T>(
        &self,
        timeout: Option<Duration>,
        mut check: impl FnMut(&mut Core) -> Option<T>,
    ) -> io::Result<Option<T>> {
        let mut core = self.core.lock();
        let deadline = timeout.and_then(|timeout| core.clock.deadline(timeout));
        // A thread that always finds what it waits for would never read from the primary.
        if core.is_overdue()
            && let Some(poller) = core.poller.take()
        {
            let now = core.clock.mono();
            lead(&mut core, poller, Some(now))?;
        }
        let result = loop {
            let result = check(&mut core);
            core.flush();
            if result.is_some() {
                break Ok(result);
            }
            // Writing may have changed what was checked: the channel can have closed.
            if core.changed {
                self.announce(&mut core);
                continue;
            }
            if deadline.is_some_and(|deadline| deadline <= core.clock.mono()) {
                break Ok(None);
            }
            match core.poller.take() {
                Some(poller) => {
                    if let Err(error) = lead(&mut core, poller, deadline) {
                        break Err(error);
                    }
                }
                None => match core.patience_of(deadline) {
                    Some(patience) => {
                        self.followers.wait_for(&mut core, patience);
                    }
                    None => self.followers.wait(&mut core),
                },
            }
        };
        self.announce(&mut core);
        if core.poller.is_some() {
            // Another thread is to lead now.
            self.followers.notify_one();
        }
        result
    }
}

/// A question about connections that were sent away, as long as a thread waits for its answer.
pub(crate) struct Question<'a> {
    shared: &'a Shared,
    asked: (String, bool),
    /// How many answers there were before.
    before: u64,
}

impl<'a> Question<'a> {
    pub(crate) fn ask(shared: &'a Shared, key: &str, when_closed: bool) -> Result<Self, SendError> {
        let asked = (key.to_owned(), when_closed);
        let before = shared.with(|core| {
            core.ask_sockets(key, when_closed)?;
            let waiting = core.sockets.entry(asked.clone()).or_default();
            waiting.waiting += 1;
            Ok::<_, SendError>(waiting.answers)
        })?;
        Ok(Self { shared, asked, before })
    }

    /// The answer, if it is there; `Some(None)` if none will come any more.
    pub(crate) fn answer(&self, core: &Core) -> Option<Option<u64>> {
        match core.sockets.get(&self.asked) {
            Some(asked) if asked.answers > self.before => Some(Some(asked.count)),
            Some(_) if core.machine.is_connected() => None,
            _ => Some(None),
        }
    }
}

impl Drop for Question<'_> {
    fn drop(&mut self) {
        self.shared.with(|core| {
            if let Some(waiting) = core.sockets.get_mut(&self.asked) {
                waiting.waiting -= 1;
                if waiting.waiting == 0 {
                    core.sockets.remove(&self.asked);
                }
            }
        });
    }
}

fn lead(
    core: &mut MutexGuard<'_, Core>,
    mut poller: Poller,
    deadline: Option<Mono>,
) -> io::Result<()> {
    let patience = core.patience(deadline);
    let result = MutexGuard::unlocked(core, || {
        let Poller { poll, events } = &mut poller;
        poll.poll(events, patience)
    });
    match result {
        Err(error) if error.kind() != io::ErrorKind::Interrupted => {
            core.poller = Some(poller);
            Err(error)
        }
        _ => {
            core.absorb(poller);
            Ok(())
        }
    }
}

impl Core {
    /// How long a follower may wait.
    fn patience_of(&self, deadline: Option<Mono>) -> Option<Duration> {
        Some(deadline?.saturating_sub(self.clock.mono()))
    }
}
