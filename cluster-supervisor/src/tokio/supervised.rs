//! A supervised cluster in a task of its own.

use std::boxed::Box;
use std::io;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::handle::Handle;
use super::queue::{Queue, QueueLimits};
use super::task::Task;
use crate::driver::{ClusterEvent, Supervised};
use cluster_primary::tokio::Readiness;

/// So many calls may wait for the cluster before a caller waits to add one.
const CALLS: usize = 64;

/// A [`Supervised`] cluster that a task of its own drives: connections are accepted and handed over, and workers replaced,
/// however long the program takes for an event. Other tasks control it by its [`handle`](Self::handle).
///
/// ```no_run
/// use cluster_supervisor::driver::{Config, ClusterEvent, Supervised};
/// use cluster_supervisor::tokio::AsyncSupervised;
/// use cluster_primary::{Primary, Settings};
/// use tokio::signal::unix::{SignalKind, signal};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let primary = Primary::new(Settings::new("server.js"))?;
/// let mut cluster = AsyncSupervised::start(Supervised::new(primary, Config::new(4)))?;
/// let handle = cluster.handle();
/// tokio::spawn(async move {
///     let mut hangups = signal(SignalKind::hangup())?;
///     while hangups.recv().await.is_some() {
///         match handle.reload().await {
///             Ok(reload) => println!("{} workers replaced", reload.replaced),
///             Err(error) => println!("{error}"),
///         }
///     }
///     std::io::Result::Ok(())
/// });
/// let handle = cluster.handle();
/// tokio::spawn(async move {
///     tokio::signal::ctrl_c().await?;
///     println!("{:?}", handle.shutdown().await);
///     std::io::Result::Ok(())
/// });
/// while let Some(happening) = cluster.next().await? {
///     match happening {
///         ClusterEvent::Event(event) => println!("{event:?}"),
///         ClusterEvent::Notice(notice) => println!("{notice:?}"),
///         ClusterEvent::Lost { events } => println!("too slow: {events} events lost"),
///         _ => {}
///     }
/// }
/// # Ok(()) }
/// ```
///
/// # Slow programs
/// Events wait in a queue with [limits](QueueLimits). When it is full, the cluster goes on and further events are lost;
/// [`ClusterEvent::Lost`] takes their place and says how many. A lost [request](cluster_primary::Event::Request) is refused, the
/// descriptor of a lost message closed. Calls of a [`Handle`] do not depend on the queue: their results are never lost. What
/// is the case now can be asked at any time by [`Handle::call`].
///
/// Code that *blocks* a thread (rather than awaiting) stops every task of a runtime with one thread, this one included; give
/// it to `tokio::task::spawn_blocking`. The end of the task blocks its thread too, for up to three seconds, if workers'
/// descriptors or socket files must be removed that the system is slow to remove.
///
/// # Who holds the cluster
/// Dropping this discards the events; the cluster goes on as long as there is a [`Handle`]. When all are dropped, the
/// cluster is, as when a [`Supervised`] is dropped: its workers exit.
///
/// A cluster without supervision is one whose [`Config::keep`](crate::driver::Config::keep) is false: fork workers by
/// [`Handle::call`].
#[derive(Debug)]
pub struct AsyncSupervised {
    handle: Handle,
    queue: Arc<Queue>,
}

impl AsyncSupervised {
    /// Spawns a task that drives the cluster, on the runtime that is entered.
    ///
    /// # Errors
    /// If the runtime cannot wait for the cluster.
    ///
    /// # Panics
    /// Outside a runtime, or in one without I/O or time.
    pub fn start(cluster: Supervised) -> io::Result<Self> {
        Self::start_with(cluster, QueueLimits::new())
    }

    /// As [`start`](Self::start), with other limits for events that wait.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub fn start_with(cluster: Supervised, limits: QueueLimits) -> io::Result<Self> {
        let readiness = Readiness::of(cluster.primary())?;
        // Without a timer the task would panic later, where it is not seen.
        drop(tokio::time::sleep(std::time::Duration::ZERO));
        let (calls, taken) = mpsc::channel(CALLS);
        let (tell, outcome) = watch::channel(None);
        let queue = Arc::new(Queue::new(limits));
        tokio::spawn(Task::new(cluster, readiness, taken, Arc::clone(&queue), tell).run());
        Ok(Self { handle: Handle { calls, outcome }, queue })
    }

    /// A handle by which other tasks control the cluster.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Waits for the next thing to happen; `None` when all is over: [`Handle::outcome`] says how. If the future is dropped
    /// before it is done no event is lost.
    ///
    /// # Errors
    /// If the system's poll has failed; `None` follows.
    pub async fn next(&mut self) -> io::Result<Option<ClusterEvent>> {
        // A runtime has other tasks, however fast events come.
        tokio::task::consume_budget().await;
        self.queue.next().await
    }
}

impl Drop for AsyncSupervised {
    fn drop(&mut self) {
        self.queue.close();
        // So that the task refuses what waits. If the line of calls is full, it is about to run anyway.
        let _ = self.handle.calls.try_send(Box::new(|_| ()));
    }
}
