//! The task that drives a supervised cluster.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use std::vec::Vec;

use cluster_primary::Value;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{mpsc, oneshot, watch};

use super::error::{Ended, ReloadError, Reloaded};
use super::handle::Call;
use super::queue::Queue;
use crate::driver::{ClusterEvent, Notice, Outcome, State, Supervised};
use cluster_primary::tokio::Readiness;
use cluster_primary::{Event, NoAnswer, RequestId, SendError, UserMessage, WorkerId};

/// So many events are taken before other tasks have their turn.
const EVENTS_PER_TURN: usize = 256;

/// So many calls are carried out before the cluster has its turn.
const CALLS_PER_TURN: usize = 64;

/// What became of a request.
pub(super) type Answer = Result<Result<UserMessage, NoAnswer>, SendError>;

type Answered = oneshot::Sender<Answer>;

pub(super) struct Task {
    cluster: Supervised,
    readiness: Readiness,
    calls: mpsc::Receiver<Call>,
    queue: Arc<Queue>,
    outcome: watch::Sender<Option<Outcome>>,
    /// Calls that wait for a reload to end, with its number.
    reloads: Vec<(u64, oneshot::Sender<Result<Reloaded, ReloadError>>)>,
    /// Calls that wait until all workers are ready.
    readies: Vec<oneshot::Sender<Result<(), Ended>>>,
    requests: HashMap<RequestId, Answered>,
}

impl Task {
    pub(super) fn new(
        cluster: Supervised,
        readiness: Readiness,
        calls: mpsc::Receiver<Call>,
        queue: Arc<Queue>,
        outcome: watch::Sender<Option<Outcome>>,
    ) -> Self {
        let (reloads, readies, requests) = <_>::default();
        Self { cluster, readiness, calls, queue, outcome, reloads, readies, requests }
    }

    pub(super) async fn run(mut self) {
        let end = self.drive().await;
        // Calls that wait are dropped, by which they learn that it is over.
        if let Ok(outcome) = end {
            self.outcome.send_replace(outcome);
        }
        self.queue.end(end.map(drop));
    }

    /// Until all is over, or no one holds the cluster any more.
    async fn drive(&mut self) -> io::Result<Option<Outcome>> {
        loop {
            tokio::task::consume_budget().await;
            if !self.take_events() {
                // The cluster does nothing that brings more events before these are taken.
                match self.calls.try_recv() {
                    Ok(call) => self.carry_out(call),
                    Err(TryRecvError::Disconnected) => return Ok(None),
                    Err(TryRecvError::Empty) => {}
                }
                tokio::task::yield_now().await;
                continue;
            }
            if let Some(outcome) = self.cluster.outcome() {
                return Ok(Some(outcome));
            }
            let patience = self.cluster.poll_timeout();
            tokio::select! {
                biased;
                call = self.calls.recv() => match call {
                    Some(call) => self.carry_out(call),
                    None => return Ok(None),
                },
                woken = self.readiness.wait(patience) => woken?,
            }
            self.cluster.wait(Some(Duration::ZERO))?;
        }
    }

    fn carry_out(&mut self, call: Call) {
        call(self);
        for _ in 1..CALLS_PER_TURN {
            let Ok(call) = self.calls.try_recv() else { break };
            call(self);
        }
    }

    /// Takes events, up to a limit; whether there are no more.
    fn take_events(&mut self) -> bool {
        let mut is_drained = false;
        for _ in 0..EVENTS_PER_TURN {
            let Some(happening) = self.cluster.ready() else {
                is_drained = true;
                break;
            };
            self.take(happening);
        }
        for happening in self.queue.abandoned() {
            self.discard(happening);
        }
        let ready = match self.cluster.supervisor().state() {
            State::Running => Some(Ok(())),
            State::Draining | State::Stopping | State::GaveUp => Some(Err(Ended)),
            State::Starting | State::Reloading => None,
        };
        if let Some(ready) = ready {
            for waiting in self.readies.drain(..) {
                // The caller may have stopped waiting.
                let _ = waiting.send(ready);
            }
        }
        if self.is_ending() {
            for (_, waiting) in self.reloads.drain(..) {
                let _ = waiting.send(Err(ReloadError::Ended));
            }
        }
        is_drained
    }

    fn is_ending(&self) -> bool {
        matches!(self.cluster.supervisor().state(), State::Stopping | State::GaveUp)
    }

    fn take(&mut self, happening: ClusterEvent) {
        let own = match &happening {
            ClusterEvent::Event(Event::Answered { request, .. }) => self.requests.remove(request),
            ClusterEvent::Notice(notice) => {
                self.end_reloads(notice);
                None
            }
            _ => None,
        };
        let happening = match (happening, own) {
            (ClusterEvent::Event(Event::Answered { answer, .. }), Some(answered)) => {
                // The caller may have stopped waiting.
                let _ = answered.send(Ok(answer));
                return;
            }
            (happening, _) => happening,
        };
        if let Some(happening) = self.queue.push(happening) {
            self.discard(happening);
        }
    }

    /// Ends the calls that wait for that reload, or for one in whose place it is.
    fn end_reloads(&mut self, notice: &Notice) {
        let (ended, outcome) = match *notice {
            Notice::Reloaded { generation, replaced } => {
                (generation, Ok(Reloaded { generation, replaced }))
            }
            Notice::ReloadAborted { generation, slot, ref reason, replaced, kept, .. } => {
                let reason = reason.clone();
                let error = ReloadError::Aborted { generation, slot, reason, replaced, kept };
                (generation, Err(error))
            }
            _ => return,
        };
        for (_, reload) in self.reloads.extract_if(.., |(reload, _)| *reload <= ended) {
            // The caller may have stopped waiting.
            let _ = reload.send(outcome.clone());
        }
    }

    /// An event that the program does not get: its worker is not to wait for the program, nor the cluster for the descriptor.
    fn discard(&mut self, happening: ClusterEvent) {
        let primary = self.cluster.primary_mut();
        let (worker, handle) = match happening {
            ClusterEvent::Event(Event::Message { worker, handle, .. }) => (worker, handle),
            ClusterEvent::Event(Event::Request { worker, request, handle, .. }) => {
                // If that cannot be sent, the worker's request times out.
                let _ = primary.refuse(request, "the primary's program does not take requests now");
                (worker, handle)
            }
            _ => return,
        };
        if let Some(handle) = handle {
            primary.close_handle(worker, handle);
        }
    }

    pub(super) fn cluster(&mut self) -> &mut Supervised {
        &mut self.cluster
    }

    pub(super) fn reload(&mut self, done: oneshot::Sender<Result<Reloaded, ReloadError>>) {
        let before = self.cluster.supervisor().last_reload();
        self.cluster.reload();
        let reload = self.cluster.supervisor().last_reload();
        if reload == before {
            // The caller may have stopped waiting.
            let _ = done.send(Err(ReloadError::Ended));
        } else {
            self.reloads.push((reload, done));
        }
    }

    pub(super) fn scale(&mut self, workers: u32) -> Result<u32, Ended> {
        let before = self.cluster.supervisor().wanted();
        self.cluster.scale(workers);
        let accepted = self.cluster.supervisor().wanted() == workers.max(1) && !self.is_ending();
        if accepted && self.cluster.supervisor().config().keep { Ok(before) } else { Err(Ended) }
    }

    pub(super) fn ready(&mut self, ready: oneshot::Sender<Result<(), Ended>>) {
        // Looked at before the next wait.
        self.readies.push(ready);
    }

    pub(super) fn request(
        &mut self,
        worker: WorkerId,
        body: Value,
        timeout: Duration,
        answered: Answered,
    ) {
        match self.cluster.primary_mut().request(worker, body, timeout) {
            Ok(request) => drop(self.requests.insert(request, answered)),
            // The caller may have stopped waiting.
            Err(error) => drop(answered.send(Err(error))),
        }
    }
}

/// Also where a call has panicked, or the runtime is shut down.
impl Drop for Task {
    fn drop(&mut self) {
        self.queue.end(Err(io::Error::other("the task that drives the cluster has ended")));
    }
}
