//! What goes into the supervisor, and what comes out.

use crate::host::Host;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::progress::LeaveProgress;
use serde::{Deserialize, Serialize};

/// What the supervisor is told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Input<H: Host> {
    /// Begin: fork as many workers as are wanted.
    Start,
    /// The answer to [`Output::Fork`]: a worker was forked for that slot.
    Forked {
        /// The slot.
        slot: u32,
        /// The worker.
        worker: H::Worker,
    },
    /// The answer to [`Output::Fork`]: none could be.
    ForkFailed {
        /// The slot.
        slot: u32,
        /// Why.
        reason: String,
    },
    /// A worker was forked by something else than the supervisor; it has that slot.
    Adopted {
        /// The slot.
        slot: u32,
        /// The worker.
        worker: H::Worker,
    },
    /// A worker's first word on its channel.
    Online {
        /// The worker.
        worker: H::Worker,
    },
    /// A server of a worker listens.
    Listening {
        /// The worker.
        worker: H::Worker,
    },
    /// A worker sent the message `"ready"`.
    SaidReady {
        /// The worker.
        worker: H::Worker,
    },
    /// A worker said `READY=1` ([`Ready::Notify`](crate::Ready::Notify)).
    Notified {
        /// The worker.
        worker: H::Worker,
    },
    /// A worker does not answer.
    Unresponsive {
        /// The worker.
        worker: H::Worker,
    },
    /// A worker that did not answer does.
    Responsive {
        /// The worker.
        worker: H::Worker,
    },
    /// A worker that is to leave has come a step further.
    Leaving {
        /// The worker.
        worker: H::Worker,
        /// How far it is.
        progress: LeaveProgress,
    },
    /// The primary closes a worker's channel, because of what it sent or does not read. `Disconnected`
    /// follows.
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
        /// Whether it was meant to: it was told to disconnect, or did so of its own will.
        meant: bool,
    },
    /// The answer to [`Output::Measure`], of one worker.
    Usage {
        /// The worker.
        worker: H::Worker,
        /// Bytes of memory resident, if that is known.
        memory: Option<u64>,
        /// Connections that it took.
        connections: u64,
    },
    /// Replace every worker by a new one.
    Reload,
    /// Keep so many workers from now on.
    Scale {
        /// How many; at least one.
        workers: u32,
    },
    /// End in a while: say that no more is wanted, and after that time begin to end.
    Drain {
        /// How long to wait.
        delay: Duration,
    },
    /// End: have all workers leave.
    End,
    /// End at once: kill those that are still there.
    EndNow,
}

/// What the supervisor wants done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(bound = "")]
pub enum Output<H: Host> {
    /// Fork a worker for that slot, and say what became of it by [`Input::Forked`] or
    /// [`Input::ForkFailed`].
    Fork {
        /// The slot.
        slot: u32,
    },
    /// Take the worker out of rotation, and say when it has answered for everything
    /// ([`LeaveProgress::OutOfRotation`]).
    TakeOutOfRotation {
        /// The worker.
        worker: H::Worker,
    },
    /// The same with all workers; servers close.
    TakeAllOutOfRotation,
    /// Have the worker finish its HTTP work, and say how much is left ([`LeaveProgress::Work`]).
    FinishWork {
        /// The worker.
        worker: H::Worker,
    },
    /// Find out how the worker is to be asked to stop, and say so ([`LeaveProgress::Stop`]).
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
    /// Tell all workers to disconnect, and close every server that is kept open without one.
    DisconnectAll,
    /// Close the servers that no worker serves: all workers are ready.
    ReleaseUnused,
    /// Say what every worker uses, by an [`Input::Usage`] each.
    Measure,
    /// Notify the owner.
    Tell(Notice<H>),
    /// All is over: nothing more will come.
    Over(Outcome),
}

/// What the supervisor has decided, for the owner's log and events.
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
    /// A worker is not ready, though it has had time enough. It is waited for all the same.
    Slow {
        /// Its slot.
        slot: u32,
        /// The worker.
        worker: H::Worker,
        /// For how long.
        after: Duration,
    },
    /// A worker died by accident, or could not be forked, and another is started after a pause.
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
    /// Too many failed: all ends.
    GaveUp {
        /// The last of them, the oldest first.
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
    /// A new worker failed: those that have not been replaced yet are kept.
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
    /// A worker is to be replaced without a request.
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
    /// Its successor could not be had: it is kept for the time being.
    NotRecycled {
        /// The slot.
        slot: u32,
        /// Why.
        reason: Failure<H>,
    },
    /// So many workers are kept from now on.
    Scaled {
        /// How many were.
        from: u32,
        /// How many are.
        to: u32,
    },
    /// All is about to end, after that time.
    Draining {
        /// How long.
        delay: Duration,
    },
    /// All ends: workers have so long to leave.
    Ending {
        /// How long.
        grace: Duration,
    },
    /// A worker that is to leave has not, and is sent a signal.
    Late {
        /// The worker.
        worker: H::Worker,
        /// Its slot.
        slot: u32,
        /// The signal.
        signal: H::Signal,
        /// It was given no time: the end was asked for twice.
        at_once: bool,
    },
    /// All workers have disconnected voluntarily, and none is replaced: the cluster ends.
    NoWorkerLeft,
}

/// The end of a worker by accident, or of the attempt to fork one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "")]
pub struct Death<H: Host> {
    /// The slot.
    pub slot: u32,
    /// The worker; none if it could not be forked.
    pub worker: Option<H::Worker>,
    /// What happened.
    pub failure: Failure<H>,
    /// How long it lived.
    pub lived: Duration,
    /// It had been ready.
    pub was_ready: bool,
}

/// What went wrong with a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(bound = "")]
pub enum Failure<H: Host> {
    /// It died.
    Died(H::Exit),
    /// It disconnected, voluntarily or because the user told it to.
    Disconnected,
    /// It could not be forked, for that reason.
    NotForked(String),
    /// It was not ready within that time.
    NotReady(Duration),
    /// It was started by a reload, or to replace another worker, and stopped answering
    /// ([`Input::Unresponsive`]).
    Unresponsive,
    /// Its channel closed by accident, and its process did not end.
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

/// Why a worker is replaced without a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Cause {
    /// It uses so many bytes of memory.
    Memory(u64),
    /// It is so old.
    Age(Duration),
    /// It has taken so many connections.
    Connections(u64),
    /// It does not answer.
    Unresponsive,
}

/// How it all ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Outcome {
    /// As it was asked to.
    AsAsked,
    /// As it was asked to, but workers had to be sent `SIGKILL`.
    Killed,
    /// All workers had disconnected voluntarily, and none was replaced.
    NoWorkerLeft,
    /// Too many failed.
    GaveUp,
    /// The first could not be forked.
    NotStarted,
}
