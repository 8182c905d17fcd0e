//! How workers are kept.

use crate::host::Host;
use core::time::Duration;

use serde::{Deserialize, Serialize};

/// What a [`Supervisor`](crate::Supervisor) keeps, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(default)]
#[serde(bound = "")]
pub struct Config<H: Host> {
    /// How many workers to keep at the start; [`Input::Scale`](crate::Input::Scale) changes it.
    /// Default 1.
    pub workers: u32,
    /// Whether workers are kept at all. If not, workers that others fork are only shut down
    /// when all ends. Default: they are.
    pub keep: bool,
    /// What makes a worker ready. Default: its first `listening`.
    pub ready: Ready,
    /// How long a successor may take to become ready before it is given up, and its predecessor
    /// kept. Default 30 s. (A worker that replaces none is waited for without limit.)
    pub ready_timeout: Duration,
    /// How long a successor must have been ready before it takes over, and its predecessor is asked to
    /// leave. One that dies before that is given up, and its predecessor kept. Default 1 s; 0: it takes
    /// over as soon as it is ready. (Where there is no predecessor any more, it takes over at once;
    /// a reload is not done before every new worker has been ready for so long.)
    #[serde(skip_serializing_if = "is_min_ready_time")]
    pub min_ready_time: Duration,
    /// How many slots change hands at a time. Default 1.
    pub batch: u32,
    /// The signal that asks a worker to stop, if its program handles it
    /// ; none: only `disconnect` does, also where the
    /// program does not listen to its channel. Default `SIGTERM`.
    pub stop_signal: Option<H::Signal>,
    /// A message that asks a worker to stop, instead of the signal. Default: none.
    pub stop_message: Option<H::Message>,
    /// How long HTTP work in progress may take before a worker is asked to stop all the same; not
    /// longer than [`grace`](Self::grace). Default: half of that.
    pub drain_timeout: Option<Duration>,
    /// How long a worker that is to leave may take in all before it is sent `SIGTERM`. Default 10 s.
    pub grace: Duration,
    /// How long after that it is sent `SIGKILL`. Default 5 s.
    #[serde(alias = "term_grace")]
    pub kill_after: Duration,
    /// The pause after a slot's first failure; it doubles with each that follows, and is up to a
    /// quarter longer or shorter by lot. Default 100 ms.
    pub backoff_first: Duration,
    /// The longest pause, before the lot. Default 10 s.
    pub backoff_max: Duration,
    /// How many failures of one slot are tolerated within [`failure_period`](Self::failure_period)
    /// while no worker is ready: after one more the supervisor gives up. Once a worker has been ready, it
    /// does not give up before `failure_period` has passed since the first failure of the outage. 0:
    /// it never gives up. Default 5.
    pub max_failures: u32,
    /// See [`max_failures`](Self::max_failures). Default 60 s.
    pub failure_period: Duration,
    /// A worker that dies has failed unless it had been ready for so long. Default 5 s.
    pub stable_after: Duration,
    /// Whether a worker that disconnects voluntarily (`worker.disconnect()` or `worker.kill()` in its
    /// own program), or because the user told it to, is replaced like one that exits with code 0. If
    /// not, its slot is given up, and the cluster ends with the last one
    /// ([`Outcome::NoWorkerLeft`](crate::Outcome::NoWorkerLeft)). Default: it is replaced.
    #[serde(skip_serializing_if = "is_true")]
    pub replace_disconnected: bool,
    /// Whether a worker that does not answer probes ([`Input::Unresponsive`](crate::Input::Unresponsive)) is
    /// replaced. Default: no, it is only out of rotation.
    pub replace_unresponsive: bool,
    /// When workers are replaced though nothing is wrong with them. Default: never.
    pub recycle: Recycle,
    /// What jitter are drawn by: the same seed, the same jitter.
    pub seed: u64,
}

/// Fields that are as they were before there were any are not written: so the form stays what it was.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_true(value: &bool) -> bool {
    *value
}

const MIN_READY_TIME: Duration = Duration::from_secs(1);

fn is_min_ready_time(value: &Duration) -> bool {
    *value == MIN_READY_TIME
}

impl<H: Host> Default for Config<H> {
    fn default() -> Self {
        Self {
            workers: 1,
            keep: true,
            ready: Ready::Listening,
            ready_timeout: Duration::from_secs(30),
            min_ready_time: MIN_READY_TIME,
            batch: 1,
            stop_signal: Some(H::TERM),
            stop_message: None,
            drain_timeout: None,
            grace: Duration::from_secs(10),
            kill_after: Duration::from_secs(5),
            backoff_first: Duration::from_millis(100),
            backoff_max: Duration::from_secs(10),
            max_failures: 5,
            failure_period: Duration::from_secs(60),
            stable_after: Duration::from_secs(5),
            replace_disconnected: true,
            replace_unresponsive: false,
            recycle: Recycle::default(),
            seed: 0,
        }
    }
}

impl<H: Host> Config<H> {
    /// The default, for so many workers.
    pub fn new(workers: u32) -> Self {
        Self { workers, ..Self::default() }
    }

    /// [`drain_timeout`](Self::drain_timeout), as it is in force.
    pub fn drain_timeout(&self) -> Duration {
        self.drain_timeout.unwrap_or(self.grace / 2).min(self.grace)
    }
}

/// What makes a worker ready to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Ready {
    /// Its first word on the channel.
    Online,
    /// Its first server listens.
    Listening,
    /// It sends the message `"ready"` (`process.send('ready')`).
    Message,
    /// It sends `READY=1` as systemd's services do (sd_notify(3)), and the owner tells the supervisor
    /// ([`Input::Notified`](crate::Input::Notified)).
    Notify,
    /// It has lived for so long.
    Alive(Duration),
}

/// When workers are replaced by new ones, one after the other, and without loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(default)]
pub struct Recycle {
    /// When it has so many bytes of memory resident. If workers exceed the limit soon after they became
    /// ready (within [`Config::failure_period`]), replacing them does not help:
    /// [`Notice::OverMemoryLimit`](crate::Notice::OverMemoryLimit) says so, and the pauses between
    /// replacements grow.
    pub memory: Option<u64>,
    /// When it is so old.
    pub age: Option<Duration>,
    /// When it has taken so many connections from the primary. (Of those that it accepts itself the
    /// primary does not know.)
    pub connections: Option<u64>,
    /// Each worker's limits are lower by lot, by up to so many percent, lest all be due at once.
    /// Default 10, at the most 100.
    pub jitter: u8,
    /// How often memory and connections are looked at. Default 5 s.
    pub every: Duration,
}

impl Default for Recycle {
    fn default() -> Self {
        let every = Duration::from_secs(5);
        Self { memory: None, age: None, connections: None, jitter: 10, every }
    }
}
