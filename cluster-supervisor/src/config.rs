//! How workers are kept.

use crate::host::Host;
use core::time::Duration;

use serde::{Deserialize, Serialize};

/// How a [`Supervisor`](crate::Supervisor) keeps its workers running.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(default)]
#[serde(bound = "")]
pub struct Config<H: Host> {
    /// The number of workers at the start; [`Input::Scale`](crate::Input::Scale) changes it. Default 1.
    pub workers: u32,
    /// Whether the supervisor starts and replaces workers. If false, it only shuts down the workers that
    /// others fork, when the cluster stops. Default true.
    pub keep: bool,
    /// When a worker counts as ready. Default: when it listens.
    pub ready: Ready,
    /// How long a replacement may take to become ready before it is given up, and its predecessor stays.
    /// Default 30 s. (There is no limit for a worker without a predecessor.)
    pub ready_timeout: Duration,
    /// How long a replacement must have been ready before it takes over and its predecessor is asked to
    /// leave. If it dies before that, it is given up, and its predecessor stays. Default 1 s; with 0 it takes
    /// over as soon as it is ready. (If its predecessor is gone already, it takes over at once; but a reload
    /// is not complete before every new worker has been ready for this long.)
    #[serde(skip_serializing_if = "is_min_ready_time")]
    pub min_ready_time: Duration,
    /// How many slots a reload replaces at a time. Default 1.
    pub batch: u32,
    /// The signal that asks a worker to stop, if its program handles it. `None`: only `disconnect` asks it,
    /// even if the program does not listen to its channel. Default `SIGTERM`.
    pub stop_signal: Option<H::Signal>,
    /// A message that asks a worker to stop, in place of the signal. Default: none.
    pub stop_message: Option<H::Message>,
    /// How long HTTP requests in progress may take before a leaving worker is asked to stop regardless; at
    /// most [`grace`](Self::grace). Default: half of it.
    pub drain_timeout: Option<Duration>,
    /// How long a worker may take to leave, in total, before it is sent `SIGTERM`. Default 10 s.
    pub grace: Duration,
    /// How long after `SIGTERM` it is sent `SIGKILL`. Default 5 s.
    #[serde(alias = "term_grace")]
    pub kill_after: Duration,
    /// The delay after a slot's first failure. It doubles with each consecutive failure, and differs randomly
    /// by up to a quarter. Default 100 ms.
    pub backoff_first: Duration,
    /// The longest delay, before the random difference. Default 10 s.
    pub backoff_max: Duration,
    /// How many failures of one slot are tolerated within [`failure_period`](Self::failure_period) while no
    /// worker is ready: after one more the supervisor gives up. If a worker was ready before, it does not
    /// give up until `failure_period` has passed since the first failure of the outage. With 0 it never gives
    /// up. Default 5.
    pub max_failures: u32,
    /// See [`max_failures`](Self::max_failures). Default 60 s.
    pub failure_period: Duration,
    /// A worker that dies has not failed if it had been ready for this long. Default 5 s.
    pub stable_after: Duration,
    /// Whether a worker that disconnects voluntarily (`worker.disconnect()` or `worker.kill()` in its own
    /// program), or because the user asked it to, is replaced like one that exits with code 0. If false, its
    /// slot stays empty, and the cluster stops with the last worker
    /// ([`Outcome::NoWorkerLeft`](crate::Outcome::NoWorkerLeft)). Default true.
    #[serde(skip_serializing_if = "is_true")]
    pub replace_disconnected: bool,
    /// Whether a worker that does not answer probes ([`Input::Unresponsive`](crate::Input::Unresponsive)) is
    /// replaced. Default false: it is only taken out of rotation.
    pub replace_unresponsive: bool,
    /// When healthy workers are replaced. Default: never.
    pub recycle: Recycle,
    /// The seed of all random differences (jitter).
    pub seed: u64,
}

/// Fields that were added later are not written while they have their defaults, so that the format stays
/// readable for older versions.
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
    /// The default configuration for a number of workers.
    pub fn new(workers: u32) -> Self {
        Self { workers, ..Self::default() }
    }

    /// The effective [`drain_timeout`](Self::drain_timeout).
    pub fn drain_timeout(&self) -> Duration {
        self.drain_timeout.unwrap_or(self.grace / 2).min(self.grace)
    }
}

/// When a worker counts as ready to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Ready {
    /// It sent its first message.
    Online,
    /// It listens on its first address.
    Listening,
    /// It sent the message `"ready"` (`process.send('ready')`).
    Message,
    /// It sent `READY=1` as a systemd service does (sd_notify(3)), and the owner reported that
    /// ([`Input::Notified`](crate::Input::Notified)).
    Notify,
    /// It has run for this long.
    Alive(Duration),
}

/// When healthy workers are replaced, one after the other and without loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(default)]
pub struct Recycle {
    /// At this much resident memory, in bytes. If workers exceed the limit soon after they became ready
    /// (within [`Config::failure_period`]), replacing them does not help: then there is a
    /// [`Notice::OverMemoryLimit`](crate::Notice::OverMemoryLimit), and the delays between replacements grow.
    pub memory: Option<u64>,
    /// At this age.
    pub age: Option<Duration>,
    /// After this many connections from the primary. (Connections that workers accept themselves are unknown
    /// to the primary.)
    pub connections: Option<u64>,
    /// By how many percent the limits are randomly lowered for each worker, at most, so that workers do not
    /// reach them all at once. Default 10, maximum 100.
    pub jitter: u8,
    /// How often memory and connections are measured. Default 5 s.
    pub every: Duration,
}

impl Default for Recycle {
    fn default() -> Self {
        let every = Duration::from_secs(5);
        Self { memory: None, age: None, connections: None, jitter: 10, every }
    }
}
