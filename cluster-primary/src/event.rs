//! What a primary sees of its workers' lives.

use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use cluster_ipc::Counted;
use cluster_proto::{
    AddressType, Field, HandleKind, ListenQuery, NoAnswer, UserMessage, abstract_name,
};

use crate::agent::Work;
use crate::error::{SendError, WorkerError};
use crate::id::{SendId, WorkerId};
use crate::machine::ListenLimit;
use crate::placement::Fallback;
use crate::printable::one_line;
use crate::request::{Request, RequestId};
use crate::settings::Settings;
use crate::signal::Signal;
use crate::tree::LeftoverProgress;
use serde::{Deserialize, Serialize};

/// What happened, in the order in which it happened.
///
/// The names are those of the events of `node:cluster`.
///
/// More events will come, and those that tell most will tell more: match them with `..`.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// The settings were set: by [`Primary::setup`](crate::Primary::setup), and by every fork.
    Setup {
        /// The settings in force.
        settings: Arc<Settings>,
    },
    /// A worker was forked.
    #[non_exhaustive]
    Fork {
        /// The worker.
        worker: WorkerId,
        /// Its process id.
        pid: u32,
    },
    /// A worker's first sign of life.
    Online {
        /// The worker.
        worker: WorkerId,
    },
    /// A server of a worker listens.
    #[non_exhaustive]
    Listening {
        /// The worker.
        worker: WorkerId,
        /// Where.
        address: Address,
    },
    /// A worker could not listen; it has been told why. (Node's primary says nothing.)
    #[non_exhaustive]
    ListenFailed {
        /// The worker.
        worker: WorkerId,
        /// Where it wanted to.
        address: Address,
        /// The system's reason; `EMFILE` where one of the [limits](crate::Limits) is reached.
        error: std::io::Error,
        /// Which limit that is.
        limit: Option<ListenLimit>,
    },
    /// [`Placement::Kernel`](crate::Placement::Kernel) cannot be had as it was wanted: something
    /// else is done for that server. All goes on; who cares about the difference should be told.
    Fallback {
        /// The server.
        address: Address,
        /// What is done instead.
        instead: Fallback,
        /// What the system said.
        reason: String,
    },
    /// The placement is not [`Placement::Handoff`](crate::Placement::Handoff), but the connections of
    /// this server are handed over all the same: the worker that opens it cannot serve a socket that
    /// it is sent.
    HandsOver {
        /// The server.
        address: Address,
        /// The runtime that cannot (Deno).
        runtime: String,
    },
    /// A worker sent a message.
    #[non_exhaustive]
    Message {
        /// The worker.
        worker: WorkerId,
        /// What it said; [`UserMessage::decode`] makes a type of it, [`UserMessage::value`] values.
        message: UserMessage,
        /// The descriptor that came with it.
        handle: Option<EventHandle>,
    },
    /// A worker asks, and waits for an answer:
    /// [`Primary::answer`](crate::Primary::answer) or [`refuse`](crate::Primary::refuse).
    #[non_exhaustive]
    Request {
        /// The worker.
        worker: WorkerId,
        /// By what to answer.
        request: Request,
        /// What it asks; [`UserMessage::decode`] makes a type of it.
        body: UserMessage,
        /// The descriptor that came with it.
        handle: Option<EventHandle>,
    },
    /// What became of a [request](crate::Primary::request) to a worker.
    #[non_exhaustive]
    Answered {
        /// The worker.
        worker: WorkerId,
        /// Which request.
        request: RequestId,
        /// The answer; [`UserMessage::decode`] makes a type of it. Or why there is none.
        answer: Result<UserMessage, NoAnswer>,
    },
    /// A message was written, or will never be: what Node's callback of `worker.send()` tells.
    Sent {
        /// The worker.
        worker: WorkerId,
        /// Which message, as [`Primary::send_reported`](crate::Primary::send_reported) named it.
        id: SendId,
        /// Why it was not written, if it was not. One that was written the worker may still leave
        /// unread.
        error: Option<SendError>,
    },
    /// All is written that waited for a worker when [`Pressure::High`](crate::Pressure::High) was
    /// last reported: more can be sent.
    Drained {
        /// The worker.
        worker: WorkerId,
    },
    /// The answer to [`Primary::count_sockets`](crate::Primary::count_sockets).
    SocketCount {
        /// The worker.
        worker: WorkerId,
        /// The key that the connections were sent with.
        key: String,
        /// How many of them are open there.
        count: u64,
    },
    /// The answer to [`Primary::await_sockets`](crate::Primary::await_sockets): the last of the
    /// connections that were sent with that key has closed.
    SocketsClosed {
        /// The worker.
        worker: WorkerId,
        /// The key.
        key: String,
    },
    /// A worker wrote to a standard descriptor that is a pipe to the primary (`silent`, or
    /// [`Stdio::Pipe`](crate::Stdio::Pipe)).
    Stdio {
        /// The worker.
        worker: WorkerId,
        /// Which of its descriptors: 1 is standard output, 2 standard error.
        fd: u32,
        /// The bytes, however they were cut.
        data: Vec<u8>,
    },
    /// Something went wrong with a worker. It is over with its channel if the error says so; the
    /// other workers go on.
    Error {
        /// The worker.
        worker: WorkerId,
        /// What went wrong.
        error: WorkerError,
    },
    /// A worker took a connection that was handed to it: from here on it is the worker's. Said only
    /// if [`Settings::report_connections`](crate::Settings::report_connections) is set.
    Taken {
        /// The worker.
        worker: WorkerId,
        /// The client's address; none if it has none, or has gone.
        client: Option<std::net::SocketAddr>,
    },
    /// A worker does not answer ([`Limits::unresponsive_after`](crate::Limits::unresponsive_after)),
    /// and gets nothing more until it does.
    Unresponsive {
        /// The worker.
        worker: WorkerId,
        /// How long it has not been heard of.
        silent_for: std::time::Duration,
    },
    /// A worker that was unresponsive has answered.
    Responsive {
        /// The worker.
        worker: WorkerId,
    },
    /// A Node worker starts without its [agent](crate::agent), which the settings want it to have.
    NoAgent {
        /// The worker.
        worker: WorkerId,
        /// Why.
        reason: String,
    },
    /// A worker that is to leave has come a step further:
    /// [`Primary::take_out_of_rotation`](crate::Primary::take_out_of_rotation),
    /// [`finish_work`](crate::Primary::finish_work) and
    /// [`ask_stop`](crate::Primary::ask_stop) are answered by this.
    #[non_exhaustive]
    Leaving {
        /// The worker.
        worker: WorkerId,
        /// How far it is.
        progress: LeaveProgress,
    },
    /// A worker's channel has closed.
    Disconnect {
        /// The worker.
        worker: WorkerId,
        /// Whether it was meant to (`true`), or an accident.
        exited_after_disconnect: bool,
    },
    /// A worker's process has ended.
    #[non_exhaustive]
    Exit {
        /// The worker.
        worker: WorkerId,
        /// How.
        status: ExitStatus,
        /// Whether it was meant to (`true`), or an accident.
        exited_after_disconnect: bool,
    },
    /// A worker that has ended left processes behind that end with it
    /// ([`Settings::end_descendants`](crate::Settings::end_descendants)). Nothing is reported where
    /// there are none.
    Leftovers {
        /// The worker.
        worker: WorkerId,
        /// What was done about them.
        progress: LeftoverProgress,
    },
    /// What [`Primary::disconnect`](crate::Primary::disconnect) began is complete: every worker has
    /// disconnected, and every server socket is closed. (The callback of `cluster.disconnect`.)
    Disconnected,
}

/// How far a worker is that leaves step by step, instead of by `disconnect` alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeaveProgress {
    /// It gets no more connections, and has answered for those that were on their way to it.
    OutOfRotation,
    /// The HTTP work that it still has to do, as its [agent](crate::agent) tells: on every change.
    /// Without an agent none is known, and this says so at once.
    Work(Work),
    /// How it is to be asked to stop.
    Stop(StopBy),
    /// Its program has closed all its servers, after having been taken out of rotation; with an agent,
    /// their connections have ended too.
    ServersClosed,
}

/// How a worker is asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum StopBy {
    /// By the stop signal: its program handles it, or does not listen to its channel.
    Signal,
    /// By the user's stop message.
    Message,
    /// By `disconnect` on its channel.
    Disconnect,
}

/// A descriptor that came with a user's message.
#[derive(Debug)]
pub struct EventHandle {
    /// What it is, as its sender said. What it really is tells [`AnySocket`](crate::AnySocket).
    pub kind: HandleKind,
    /// The descriptor, close-on-exec, otherwise in the state its sender left it: one of Node's does
    /// not block.
    pub handle: OwnedFd,
    /// The key of the sender's server that a connection came from, if the sender counts it.
    pub key: Option<String>,
    /// Keep it as long as the connection is open: until it is dropped the sender counts the
    /// connection among its server's. `None` if it is not counted.
    pub counted: Option<Counted>,
}

impl EventHandle {
    /// A descriptor that is not counted.
    pub fn new(kind: HandleKind, handle: OwnedFd) -> Self {
        Self { kind, handle, key: None, counted: None }
    }
}

/// Where a worker listens, as it says itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// An IP address or a path; `None` is every address.
    pub address: Option<String>,
    /// The port that is bound; −1 with a path.
    pub port: Option<i32>,
    /// The family.
    pub address_type: Option<AddressType>,
    /// The descriptor of the primary's that it asked for.
    pub fd: Option<i32>,
}

impl Address {
    pub(crate) fn of(query: &ListenQuery) -> Self {
        Self {
            address: query.address.clone().value(),
            port: query.port.value(),
            address_type: query.address_type.value(),
            fd: match query.fd {
                Field::Is(fd) => Some(fd),
                Field::Absent | Field::Null => None,
            },
        }
    }
}

/// As one would write it: `127.0.0.1:8000`, `[::1]:8000`, `*:8000`, `/run/app.sock`, `fd 3`. Workers choose it: it
/// is [printable](crate::printable).
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address.as_deref().map(|address| (address, one_line(address)));
        match (&address, self.port, self.fd) {
            (Some((path, safe)), Some(..0), _) => match abstract_name(path) {
                Some(name) => write!(f, "@{}", one_line(name)),
                None => f.write_str(safe),
            },
            (Some((ip, safe)), Some(port), _) if ip.contains(':') => write!(f, "[{safe}]:{port}"),
            (Some((_, ip)), Some(port), _) => write!(f, "{ip}:{port}"),
            (None, Some(port @ 0..), _) => write!(f, "*:{port}"),
            (_, _, Some(fd @ 0..)) => write!(f, "fd {fd}"),
            _ => f.write_str("an unknown address"),
        }
    }
}

/// How a process ended: by a code or by a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ExitStatus {
    /// It exited with this code.
    Code(i32),
    /// This signal killed it.
    Signal(Signal),
    /// Other code in this process waited for it (`waitpid(-1)`, or `SIGCHLD` ignored), and has the status.
    Unknown,
}

impl ExitStatus {
    /// The exit code, if it exited by itself.
    pub fn code(self) -> Option<i32> {
        match self {
            Self::Code(code) => Some(code),
            Self::Signal(_) | Self::Unknown => None,
        }
    }

    /// The signal, if one killed it.
    pub fn signal(self) -> Option<Signal> {
        match self {
            Self::Code(_) | Self::Unknown => None,
            Self::Signal(signal) => Some(signal),
        }
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "code {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
            Self::Unknown => f.write_str("status unknown"),
        }
    }
}
