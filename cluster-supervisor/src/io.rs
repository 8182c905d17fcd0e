//! What goes into the supervisor, and what comes out.

use crate::host::Host;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::progress::LeaveProgress;
use serde::{Deserialize, Serialize};

/// The inputs of the supervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Input<H: Host> {
    /// Fork the configured number of workers.
    Start,
    /// The answer to [`Output::Fork`]: a worker was forked for that slot.
    Forked {
        /// The slot.
        slot: u32,
        /// The worker.
        worker: H::Worker,
    },
    /// The answer to [`Output::Fork`]: the fork failed.
    ForkFailed {
        /// The slot.
        slot: u32,
        /// Why.
        reason: String,
    },
    /// A worker was forked for the slot by something other than the supervisor.
    Adopted {
        /// The slot.
        slot: u32,
        /// The worker.
        worker: H::Worker,
    },
    /// A worker sent its first message.
    Online {
        /// The worker.
        worker: H::Worker,
    },
    /// A worker listens on an address.
    Listening {
        /// The worker.
        worker: H::Worker,
    },
    /// A worker sent the message `"ready"`.
    SaidReady {
        /// The worker.
        worker: H::Worker,
    },
    /// A worker sent `READY=1` ([`Ready::Notify`](crate::Ready::Notify)).
    Notified {
        /// The worker.
        worker: H::Worker,
    },
    /// A worker stopped answering.
    Unresponsive {
        /// The worker.
        worker: H::Worker,
    },
    /// An unresponsive worker answers again.
    Responsive {
        /// The worker.
        worker: H::Worker,
    },
    /// A leaving worker has completed a step.
    Leaving {
        /// The worker.
        worker: H::Worker,
        /// The step.
        progress: LeaveProgress,
    },
    /// The primary closes a worker's channel, because of what the worker sent or does not read.
    /// `Disconnected` follows.
    ChannelFailed {
        /// The worker.
        worker: H::Worker,
    },
    /// A worker's channel has closed.
    Disconnected {
        /// The worker.
        worker: H::Worker,
        /// Whether it was meant to: it was told to disconnect, or did so voluntarily.
        meant: bool,
    },
    /// A worker's process has ended.
    Exited {
        /// The worker.
        worker: H::Worker,
        /// How.
        status: H::Exit,
        /// Whether it was meant to: it was told to disconnect, or did so voluntarily.
        meant: bool,
    },
    /// The answer to [`Output::Measure`] for one worker.
    Usage {
        /// The worker.
        worker: H::Worker,
        /// Its resident memory in bytes, if known.
        memory: Option<u64>,
        /// The number of connections that it has accepted.
        connections: u64,
    },
    /// Replace every worker.
    Reload,
    /// Change the number of workers.
    Scale {
        /// The new number; at least one.
        workers: u32,
    },
    /// Report that the cluster is not ready any more, and stop it after a delay.
    Drain {
        /// How long to wait.
        delay: Duration,
    },
    /// Stop gracefully: ask all workers to leave.
    End,
    /// Stop at once: kill the workers that are left.
    EndNow,
}

/// What the supervisor wants done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(bound = "")]
pub enum Output<H: Host> {
    /// Fork a worker for the slot, and answer with [`Input::Forked`] or [`Input::ForkFailed`].
    Fork {
        /// The slot.
        slot: u32,
    },
    /// Take the worker out of rotation, and report when it has answered for every connection
    /// ([`LeaveProgress::OutOfRotation`]).
    TakeOutOfRotation {
        /// The worker.
        worker: H::Worker,
    },
    /// The same for all workers; listening sockets close.
    TakeAllOutOfRotation,
    /// Have the worker finish its HTTP requests, and report how many are left ([`LeaveProgress::Work`]).
    FinishWork {
        /// The worker.
        worker: H::Worker,
    },
    /// Find out how to ask the worker to stop, and report it ([`LeaveProgress::Stop`]).
    AskStop {
        /// The worker.
        worker: H::Worker,
        /// The stop signal, if there is one.
        signal: Option<H::Signal>,
        /// Whether there is a stop message.
        message: bool,
    },
    /// Send the worker the stop message.
    SendStop {
        /// The worker.
        worker: H::Worker,
        /// The message.
        message: H::Message,
    },
    /// Tell the worker to disconnect.
    Disconnect {
        /// The worker.
        worker: H::Worker,
    },
    /// Send the worker a signal.
    Kill {
        /// The worker.
        worker: H::Worker,
        /// The signal.
        signal: H::Signal,
    },
    /// Tell all workers to disconnect, and close every listening socket that is kept open without one.
    DisconnectAll,
    /// Close the listening sockets that no worker uses: all workers are ready.
    ReleaseUnused,
    /// Measure every worker, and answer with an [`Input::Usage`] for each.
    Measure,
    /// Notify the owner.
    Tell(Notice<H>),
    /// The cluster has stopped: no output follows.
    Over(Outcome),
}

/// The supervisor's decisions, for the owner's log and events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(bound = "")]
pub enum Notice<H: Host> {
    /// A worker is ready to serve.
    Ready {
        /// Its slot.
        slot: u32,
        /// The worker.
        worker: H::Worker,
    },
    /// A worker is not ready within the usual time. The supervisor goes on waiting for it.
    Slow {
        /// Its slot.
        slot: u32,
        /// The worker.
        worker: H::Worker,
        /// How long it has had.
        after: Duration,
    },
    /// A worker died unexpectedly or could not be forked, and another is started after a delay.
    Replacing {
        /// What happened.
        death: Death<H>,
        /// The pause.
        pause: Duration,
    },
    /// A worker disconnected voluntarily, and is not replaced
    /// ([`Config::replace_disconnected`](crate::Config::replace_disconnected)).
    Left {
        /// Its slot.
        slot: u32,
        /// The worker.
        worker: H::Worker,
    },
    /// No worker is ready, and the replacements of a slot have failed more than
    /// [`Config::max_failures`](crate::Config::max_failures) times, but the supervisor does not give up
    /// (yet). Reported once per outage.
    NoneReady {
        /// The last failure.
        death: Death<H>,
        /// The longest pause between attempts, before the jitter.
        pause: Duration,
        /// The earliest time at which it gives up, from now; none: it never does.
        gives_up_in: Option<Duration>,
    },
    /// Too many workers failed: the cluster stops.
    GaveUp {
        /// The last failures, the oldest first.
        deaths: Vec<Death<H>>,
    },
    /// A reload begins.
    ReloadBegan {
        /// Its number, from 1.
        generation: u64,
    },
    /// Every worker has been replaced.
    Reloaded {
        /// The reload's number.
        generation: u64,
        /// How many workers were replaced.
        replaced: u32,
    },
    /// A new worker failed: the workers that were not replaced yet stay.
    ReloadAborted {
        /// The reload's number.
        generation: u64,
        /// The slot of the worker that failed.
        slot: u32,
        /// Why.
        reason: Failure<H>,
        /// It had been ready.
        #[serde(default)]
        was_ready: bool,
        /// How many workers had been replaced by then.
        replaced: u32,
        /// How many slots still have a worker from before the reload.
        #[serde(default)]
        kept: u32,
    },
    /// A worker is being replaced because of a limit or a health check.
    Recycling {
        /// Its slot.
        slot: u32,
        /// The worker.
        worker: H::Worker,
        /// Why.
        cause: Cause,
    },
    /// A worker exceeds its memory limit soon after it became ready: the limit may be lower than what the
    /// program needs. It is not replaced before the pause is over.
    OverMemoryLimit {
        /// Its slot.
        slot: u32,
        /// The worker.
        worker: H::Worker,
        /// Bytes of memory resident.
        bytes: u64,
        /// Its limit.
        limit: u64,
        /// How long it had been ready.
        ready_for: Duration,
        /// The pause.
        pause: Duration,
    },
    /// A replacement failed: its predecessor stays for now.
    NotRecycled {
        /// The slot.
        slot: u32,
        /// Why.
        reason: Failure<H>,
    },
    /// The number of workers has changed.
    Scaled {
        /// The previous number.
        from: u32,
        /// The new number.
        to: u32,
    },
    /// The cluster is not ready any more, and stops after the delay.
    Draining {
        /// How long.
        delay: Duration,
    },
    /// The cluster is stopping: workers have this long to leave.
    Ending {
        /// How long.
        grace: Duration,
    },
    /// A worker did not leave in time, and is sent a signal.
    Late {
        /// The worker.
        worker: H::Worker,
        /// Its slot.
        slot: u32,
        /// The signal.
        signal: H::Signal,
        /// It was given no time, because the stop was requested twice.
        at_once: bool,
    },
    /// All workers have disconnected voluntarily, and none is replaced: the cluster ends.
    #[serde(rename = "NobodyLeft")]
    NoWorkerLeft,
}

/// The unexpected end of a worker, or a failed attempt to fork one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Death<H: Host> {
    /// The slot.
    pub slot: u32,
    /// The worker; none if it could not be forked.
    pub worker: Option<H::Worker>,
    /// What happened.
    pub failure: Failure<H>,
    /// How long it ran.
    pub lived: Duration,
    /// It had been ready.
    pub was_ready: bool,
}

/// Why a worker failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(bound = "")]
pub enum Failure<H: Host> {
    /// It died.
    Died(H::Exit),
    /// It disconnected, voluntarily or because the user asked it to.
    Disconnected,
    /// It could not be forked, for that reason.
    NotForked(String),
    /// It was not ready within that time.
    NotReady(Duration),
    /// It was started by a reload, or to replace another worker, and stopped answering
    /// ([`Input::Unresponsive`]).
    Unresponsive,
    /// Its channel closed unexpectedly, and its process did not exit.
    ChannelClosed,
}

impl<H: Host> fmt::Display for Failure<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Died(status) => write!(f, "it died ({status})"),
            Self::Disconnected => f.write_str("it disconnected"),
            Self::NotForked(reason) => f.write_str(reason),
            Self::NotReady(after) => write!(f, "it was not ready within {after:?}"),
            Self::Unresponsive => f.write_str("it stopped answering"),
            Self::ChannelClosed => f.write_str("it lost its channel"),
        }
    }
}

/// Why a worker is replaced although it did not fail and no reload was requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Cause {
    /// It uses this many bytes of memory.
    Memory(u64),
    /// It is this old.
    Age(Duration),
    /// It has accepted this many connections.
    Connections(u64),
    /// It does not answer.
    Unresponsive,
}

/// How the cluster ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Outcome {
    /// As requested.
    AsAsked,
    /// As requested, but some workers had to be sent `SIGKILL`.
    Killed,
    /// All workers had disconnected voluntarily, and none was replaced.
    #[serde(rename = "NobodyLeft")]
    NoWorkerLeft,
    /// Too many failed.
    GaveUp,
    /// The first worker could not be forked.
    NotStarted,
}
