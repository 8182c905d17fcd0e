//! One core for the tasks of a runtime: one of them [takes](Shared::turn) what comes, and wakes those
//! that wait. A task that is woken looks for itself, under the core's lock.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::time::Instant;

use super::base::{Changed, Core};
use super::shared::Shared;
use crate::machine::State;

/// The tasks to wake. Each waits by a future that is forgotten when it is dropped.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    /// Who waits for anything.
    came: Arc<Notify>,
    /// Who waits for the worker to go: as many as there are connections, maybe.
    went: Notify,
    /// Connections on which nothing was read yet, and the tasks that wait until there is none.
    unbegun: AtomicUsize,
    begun: Notify,
    /// Until when that is waited for, once a task has begun to.
    patience: OnceLock<Instant>,
}

/// A connection on which nothing was said yet. A server that is shut down may close it, as it knows of no
/// request: so a shutdown waits for a moment.
#[derive(Debug)]
pub(crate) struct Unbegun {
    shared: Arc<Shared>,
    read: bool,
    written: bool,
}

impl Unbegun {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        shared.tasks.unbegun.fetch_add(1, Ordering::Relaxed);
        Self { shared, read: false, written: false }
    }

    /// Something was read, or written; gone when both were. (A server of HTTP/2 writes before it reads,
    /// and after that it knows what is asked.)
    pub(crate) fn note(this: &mut Option<Self>, read: bool) {
        let Some(unbegun) = this else { return };
        unbegun.read |= read;
        unbegun.written |= !read;
        if unbegun.read && unbegun.written {
            *this = None;
        }
    }
}

impl Drop for Unbegun {
    fn drop(&mut self) {
        let tasks = &self.shared.tasks;
        if tasks.unbegun.fetch_sub(1, Ordering::Release) == 1 {
            tasks.begun.notify_waiters();
        }
    }
}

impl Tasks {
    pub(super) fn wake(&self, changed: Changed) {
        if changed.went {
            self.went.notify_waiters();
        }
        if changed.went || changed.came {
            self.came.notify_waiters();
        }
    }
}

/// A place among the waiting tasks, for a polled future.
pub(crate) type Waiting = Option<Pin<Box<OwnedNotified>>>;

impl Shared {
    /// Waits until `check` has a result.
    pub(crate) async fn when<T>(&self, mut check: impl FnMut(&mut Core) -> Option<T>) -> T {
        loop {
            // What changes from here on is heard.
            let change = self.tasks.came.notified();
            if let Some(result) = self.look(&mut check) {
                return result;
            }
            change.await;
        }
    }

    /// Waits until `check` has a result, which can only be when the worker begins to go, or has gone.
    pub(crate) async fn when_going<T>(&self, mut check: impl FnMut(&mut Core) -> Option<T>) -> T {
        loop {
            let change = self.tasks.went.notified();
            if let Some(result) = self.look(&mut check) {
                return result;
            }
            change.await;
        }
    }

    /// Waits until something was said on every connection, but no longer than that since the first
    /// task waited: later ones have the rest of that time.
    pub(crate) async fn begun(&self, most: Duration) {
        let until = *self.tasks.patience.get_or_init(|| Instant::now() + most);
        let begun = async {
            loop {
                let change = self.tasks.begun.notified();
                if self.tasks.unbegun.load(Ordering::Acquire) == 0 {
                    return;
                }
                change.await;
            }
        };
        let _ = tokio::time::timeout_at(until, begun).await;
    }

    /// The result of `check`, if it has one; else the task is woken when it may.
    pub(crate) fn poll_when<T>(
        &self,
        cx: &mut Context<'_>,
        waiting: &mut Waiting,
        mut check: impl FnMut(&mut Core) -> Option<T>,
    ) -> Poll<T> {
        loop {
            let place = || Box::pin(Arc::clone(&self.tasks.came).notified_owned());
            let change = waiting.get_or_insert_with(place);
            if let Some(result) = self.look(&mut check) {
                return Poll::Ready(result);
            }
            ready!(change.as_mut().poll(cx));
            *waiting = None;
        }
    }

    /// Writes what waits, and looks.
    fn look<T>(&self, check: &mut impl FnMut(&mut Core) -> Option<T>) -> Option<T> {
        self.with(|core| {
            core.flush();
            check(core)
        })
    }

    /// Sends something that is written when there is enough of it, or by a flush.
    pub(crate) fn feed<T>(&self, send: impl FnOnce(&mut Core) -> T) -> T {
        let mut core = self.lock();
        let result = send(&mut core);
        if core.is_gathered() {
            core.flush();
        }
        self.publish(core);
        result
    }

    /// Takes what has come, and wakes the tasks that wait; how long may be waited for more, or `None`
    /// when nothing will come any more.
    pub(crate) fn turn(&self) -> io::Result<Option<Option<Duration>>> {
        let mut core = self.lock();
        let looked = core.look();
        core.flush();
        let over = core.machine.state() == State::Disconnected;
        let patience = core.patience(None);
        // A task that is about to look need not be woken.
        let changed = core.take_changed();
        drop(core);
        self.tasks.wake(changed);
        looked?;
        Ok((!over).then_some(patience))
    }
}
