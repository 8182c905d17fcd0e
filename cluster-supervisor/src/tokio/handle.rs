//! Calls of other tasks.

use std::boxed::Box;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, oneshot, watch};

use super::error::{Ended, ReloadError, Reloaded, RequestError};
use super::task::Task;
use crate::driver::{Outcome, Supervised};
use cluster_primary::{Gone, IntoMessage, WorkerId};

/// What the task that drives a cluster is to do.
pub(super) type Call = Box<dyn FnOnce(&mut Task) + Send>;

/// A cluster that a task drives, from any other task. Clones are cheap.
///
/// Each method's future can be dropped before it is done; what was asked for is done all the same.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(super) calls: mpsc::Sender<Call>,
    pub(super) outcome: watch::Receiver<Option<Outcome>>,
}

impl Handle {
    /// Replaces every worker by a new one, without loss, and waits until that is done. A reload that is asked for while
    /// another is under way takes its place; both calls end with the outcome of the last.
    ///
    /// # Errors
    /// [`ReloadError`] if a new worker failed, or the cluster ends.
    pub async fn reload(&self) -> Result<Reloaded, ReloadError> {
        self.ask(Task::reload).await?
    }

    /// Keeps so many workers from now on (at least one), and returns how many were kept before. To wait until the new ones
    /// are ready, await [`ready`](Self::ready) after it.
    ///
    /// # Errors
    /// [`Ended`] if the cluster ends.
    pub async fn scale(&self, workers: u32) -> Result<u32, Ended> {
        self.ask(move |task, answer| {
            // The caller may have stopped waiting.
            let _ = answer.send(task.scale(workers));
        })
        .await?
    }

    /// Waits until as many workers are ready as are wanted, and no reload is under way. A cluster that keeps no workers
    /// is ready at once.
    ///
    /// # Errors
    /// [`Ended`] if the cluster ends first, or is draining.
    pub async fn ready(&self) -> Result<(), Ended> {
        self.ask(Task::ready).await?
    }

    /// Asks a worker, and waits for its answer, for so long at most. See
    /// [`Primary::request`](cluster_primary::Primary::request); an answer to this request is no
    /// [event](cluster_primary::Event::Answered).
    ///
    /// # Errors
    /// [`RequestError`]; whatever it says, the worker may have done what it was asked.
    pub async fn request<T: DeserializeOwned>(
        &self,
        worker: WorkerId,
        body: impl IntoMessage,
        timeout: Duration,
    ) -> Result<T, RequestError> {
        let body = body.into_message().map_err(|error| RequestError::Send(error.into()))?;
        let ask = move |task: &mut Task, answer| task.request(worker, body, timeout, answer);
        let answer = self.ask(ask).await?.map_err(RequestError::Send)?;
        let answer = answer.map_err(RequestError::NoAnswer)?;
        answer.decode().map_err(|error| RequestError::Type { error, answer: Box::new(answer) })
    }

    /// Has the task that drives the cluster carry out `call`, and returns its result: for everything that has no method here.
    /// The call must not block: the cluster does nothing else meanwhile.
    ///
    /// ```no_run
    /// # async fn broadcast(cluster: cluster_supervisor::tokio::Handle) -> Result<(), Box<dyn std::error::Error>> {
    /// let workers = cluster.call(|cluster| cluster.primary().workers()).await?;
    /// cluster.call(|cluster| cluster.primary_mut().broadcast("news")).await??;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Gone`] if the cluster has ended.
    pub async fn call<R: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Supervised) -> R + Send + 'static,
    ) -> Result<R, Gone> {
        self.ask(move |task, answer| {
            // The caller may have stopped waiting.
            let _ = answer.send(call(task.cluster()));
        })
        .await
    }

    /// Has all workers leave, those that do not in time by force, and waits until all is over. A second call waits for the
    /// same end.
    ///
    /// # Errors
    /// [`Gone`] if the cluster was dropped instead, or its poll has failed.
    pub async fn shutdown(&self) -> Result<Outcome, Gone> {
        // One that has ended already has an outcome.
        let _ = self.call(Supervised::end).await;
        self.outcome().await
    }

    /// As [`shutdown`](Self::shutdown), but kills the workers that are still there.
    ///
    /// # Errors
    /// As [`shutdown`](Self::shutdown).
    pub async fn shutdown_now(&self) -> Result<Outcome, Gone> {
        let _ = self.call(Supervised::end_now).await;
        self.outcome().await
    }

    /// Waits until all is over, for whatever reason. As long as there is a [`Remote`](cluster_primary::Remote) of its
    /// primary, it is not.
    ///
    /// # Errors
    /// [`Gone`] if the cluster was dropped instead, or its poll has failed.
    pub async fn outcome(&self) -> Result<Outcome, Gone> {
        let mut outcome = self.outcome.clone();
        let ended = outcome.wait_for(Option::is_some).await.map_err(|_| Gone)?;
        ended.ok_or(Gone)
    }

    async fn ask<R: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Task, oneshot::Sender<R>) + Send + 'static,
    ) -> Result<R, Gone> {
        let (answer, answered) = oneshot::channel();
        let call: Call = Box::new(move |task| call(task, answer));
        self.calls.send(call).await.map_err(|_| Gone)?;
        answered.await.map_err(|_| Gone)
    }
}
