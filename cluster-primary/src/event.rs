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
use crate::listen_limit::ListenLimit;
use crate::placement::Fallback;
use crate::printable::one_line;
use crate::request::{Request, RequestId};
use crate::settings::Settings;
use crate::signal::Signal;
use crate::tree::LeftoverProgress;
use serde::{Deserialize, Serialize};

/// What happened to the cluster, in the order in which it happened. The names are those of the events of
/// `node:cluster`.
///
/// Variants and fields will be added: match with `..`.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// The settings changed: through [`Primary::setup`](crate::Primary::setup), and at every fork.
    Setup {
        /// The new settings.
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
    /// A worker sent its first message.
    Online {
        /// The worker.
        worker: WorkerId,
    },
    /// A worker listens on an address.
    #[non_exhaustive]
    Listening {
        /// The worker.
        worker: WorkerId,
        /// Where.
        address: Address,
    },
    /// A worker could not listen, and got the error. (Node has no event for this.)
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
    /// [`Placement::Kernel`](crate::Placement::Kernel) is not fully available for a server, and a fallback is
    /// used for it.
    Fallback {
        /// The server.
        address: Address,
        /// The fallback.
        instead: Fallback,
        /// What the system said.
        reason: String,
    },
    /// The connections of a server are handed off to the workers although the placement is not
    /// [`Placement::Handoff`](crate::Placement::Handoff): the worker that opened it cannot serve a listening
    /// socket that it receives.
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
    /// A worker sent a request, and waits for an answer: [`Primary::answer`](crate::Primary::answer) or
    /// [`refuse`](crate::Primary::refuse).
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
    /// The outcome of a [request](crate::Primary::request) to a worker.
    #[non_exhaustive]
    Answered {
        /// The worker.
        worker: WorkerId,
        /// The request.
        request: RequestId,
        /// The answer, which [`UserMessage::decode`] converts to a type, or the reason why there is none.
        answer: Result<UserMessage, NoAnswer>,
    },
    /// A message was written, or never will be: what the callback of Node's `worker.send()` reports.
    Sent {
        /// The worker.
        worker: WorkerId,
        /// The message, as [`Primary::send_reported`](crate::Primary::send_reported) named it.
        id: SendId,
        /// Why it was not written. If it was, the worker may still leave it unread.
        error: Option<SendError>,
    },
    /// Everything was written that was queued for a worker when [`Pressure::High`](crate::Pressure::High) was
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
        /// How many of them are open in the worker.
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
        /// The bytes, in arbitrary pieces.
        data: Vec<u8>,
    },
    /// Something went wrong with a worker. Some errors close its channel, which the error says; other workers
    /// are not affected.
    Error {
        /// The worker.
        worker: WorkerId,
        /// What went wrong.
        error: WorkerError,
    },
    /// A worker acknowledged a connection, and owns it from here on. Only if
    /// [`Settings::report_connections`](crate::Settings::report_connections) is set.
    Taken {
        /// The worker.
        worker: WorkerId,
        /// The client's address, if it has one and is still connected.
        client: Option<std::net::SocketAddr>,
    },
    /// A worker does not answer ([`Limits::unresponsive_after`](crate::Limits::unresponsive_after)), and gets
    /// no more connections until it does.
    Unresponsive {
        /// The worker.
        worker: WorkerId,
        /// How long ago its last sign of life was.
        silent_for: std::time::Duration,
    },
    /// An unresponsive worker answers again.
    Responsive {
        /// The worker.
        worker: WorkerId,
    },
    /// A Node worker starts without its [agent](crate::agent), although the settings ask for one.
    NoAgent {
        /// The worker.
        worker: WorkerId,
        /// Why.
        reason: String,
    },
    /// A leaving worker has completed a step: the answer to
    /// [`Primary::take_out_of_rotation`](crate::Primary::take_out_of_rotation),
    /// [`finish_work`](crate::Primary::finish_work) and [`ask_stop`](crate::Primary::ask_stop).
    #[non_exhaustive]
    Leaving {
        /// The worker.
        worker: WorkerId,
        /// The step.
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
    /// A worker has exited and left processes behind that are ended after it
    /// ([`Settings::end_descendants`](crate::Settings::end_descendants)). There is no event if it left none.
    Leftovers {
        /// The worker.
        worker: WorkerId,
        /// What was done about them.
        progress: LeftoverProgress,
    },
    /// A call of [`Primary::disconnect`](crate::Primary::disconnect) is complete: every worker has
    /// disconnected, and every listening socket is closed. (The callback of `cluster.disconnect`.)
    Disconnected,
}

/// A completed step of a worker that leaves step by step, instead of by `disconnect` alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeaveProgress {
    /// It gets no more connections, and has answered for those that were in flight to it.
    OutOfRotation,
    /// The HTTP requests that it still has to finish, as its [agent](crate::agent) reports them, at every
    /// change. Without an agent they are unknown, which is reported at once.
    Work(Work),
    /// How it can be asked to stop.
    Stop(StopBy),
    /// Its program has closed all its servers after the worker was taken out of rotation; with an agent,
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

/// A descriptor that came with a user message.
#[derive(Debug)]
pub struct EventHandle {
    /// Its kind, as the sender declared it; [`AnySocket`](crate::AnySocket) determines the real one.
    pub kind: HandleKind,
    /// The descriptor. It is close-on-exec, and otherwise in the state in which the sender left it: Node's
    /// are non-blocking.
    pub handle: OwnedFd,
    /// The key of the sender's server to which a connection belongs, if the sender counts it.
    pub key: Option<String>,
    /// Keep it as long as the connection is open: until it is dropped, the sender counts the connection as
    /// one of its server. `None` if it is not counted.
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
