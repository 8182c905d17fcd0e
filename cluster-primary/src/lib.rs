//! The primary of a cluster: `node:cluster`'s primary, in Rust.
//!
//! A primary process forks workers, and the workers share its listening sockets: either the primary
//! accepts connections and passes them on in turn, or all workers accept from one socket, or each
//! worker has a socket of its own and the kernel chooses among them. Primary and workers exchange
//! messages over a channel, and the primary gets an event for each step of a worker's life. The wire
//! protocol is Node's, so a worker may be an unmodified Node.js program, or a Rust program with the
//! crate `cluster-worker`.
//!
//! ```text
//!            ┌─────────────── primary ───────────────┐
//!  client ──►│ listen, accept ─► policy ─► send      │──► worker 1 (channel: messages,
//!  client ──►│                                       │──► worker 2  connections, sockets)
//!            │ fork, watch, disconnect, kill         │──► worker 3
//!            └───────────────────────────────────────┘
//!
//!  fork()            Setup, Fork
//!  worker runs       Online
//!  worker listens    Listening
//!  worker talks      Message
//!  disconnect()      Disconnect, Exit            (one by one; Disconnected when all have)
//!  kill -9           Disconnect, Exit            exited_after_disconnect: false
//! ```
//!
//! # Example
//! ```no_run
//! use cluster_primary::{Event, Primary, Settings};
//!
//! let mut primary = Primary::new(Settings::new("server.js"))?;
//! for _ in 0..4 {
//!     primary.fork()?;
//! }
//! while let Some(event) = primary.next_event()? {
//!     match event {
//!         Event::Listening { worker, address, .. } => println!("worker {worker} is on {address}"),
//!         Event::Exit { worker, status, exited_after_disconnect: false, .. } => {
//!             println!("worker {worker} died: {status}");
//!             primary.fork()?; // a program that cannot start needs a pause, or an end, here
//!         }
//!         _ => {}
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Connections
//! A connection that the primary accepted goes to exactly one worker, or is dropped with a counted
//! reason ([`Stats`]). If the worker dies or refuses before it has acknowledged the connection, another
//! worker gets it. An acknowledged connection belongs to the worker.
//!
//! # Messages
//! [`Primary::send`] queues a message, or refuses it if the queue is full. Queued messages are written in
//! order; for [`Primary::send_reported`], [`Event::Sent`] reports that one was written, or never will be
//! because the worker is gone. A written message may still be left unread by the worker: only a request
//! with an answer can tell. A [request](Primary::request) has exactly one outcome, [`Event::Answered`],
//! which comes before the worker's [`Event::Disconnect`]. So does every message that a worker wrote before
//! it died ([`Event::Message`]). A [broadcast](Primary::broadcast) goes to the workers that exist at the
//! time of the call.
//!
//! # What a worker can do to the primary
//! It can lose its own channel, and no more: a garbled, oversized or truncated frame closes it with
//! [`Event::Error`]. With [`Placement::Shared`] and [`Placement::Kernel`] workers hold listening sockets
//! themselves, and are trusted with them. As in Node, a worker may name a descriptor of the primary to
//! listen on (`listen({fd})`); only sockets are accepted.
//!
//! It cannot block the primary either. Closing a descriptor that a worker sent, or a read in which the
//! kernel drops one, can take as long as its sender likes, and so can accepting from a listener that a
//! worker shares. Such a call is interrupted after 20 ms, and a worker that causes many of them loses its
//! channel ([`WorkerError::BlocksPrimary`], [`Stats::interrupted_calls`]). This works on Linux, by a signal
//! to the thread that calls the primary's methods: `SIGURG`, which is ignored by default, or the first
//! real-time signal without a handler if the program handles `SIGURG`. Therefore one system call of the
//! program in that thread may return `EINTR` within 20 ms after a method has returned. The signal is
//! unblocked in that thread, and its handler must stay installed. Pass a descriptor of an event that the
//! program does not want to [`Primary::refuse_handle`].
//!
//! # Structure
//! [`Primary`] is a thin driver around a machine that does no I/O: every frame, call and timer is an input of it, and
//! everything to do is an output. With the feature `machine` it is public (`cluster_primary::machine`), so that it
//! can be driven, simulated and fuzzed by itself. That feature is for this project's own tests: **what it shows may
//! change in any release.**

// docs.rs shows which feature an item needs.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod agent;
mod custom_policy;
mod driver;
pub mod embed;
mod error;
mod event;
mod id;
mod listen_limit;
#[cfg(feature = "machine")]
pub mod machine;
#[cfg(not(feature = "machine"))]
#[allow(dead_code, unreachable_pub, reason = "what tests and simulations use too")]
mod machine;
mod placement;
pub mod printable;
mod request;
pub mod scheduling;
mod script;
mod settings;
mod signal;
mod socket_access;
mod stats;
#[cfg(feature = "tokio")]
pub mod tokio;
pub mod tree;
pub mod upgrade;

pub use cluster_ipc::{AnySocket, Counted, Outgoing, Pressure};
pub use cluster_proto as proto;
pub use cluster_proto::env::Serialization;
pub use cluster_proto::{IntoMessage, NoAnswer, Object, TypeError, UserMessage, Value};
pub use cluster_sched as sched;
pub use cluster_sched::{Mono, PolicyName, ShedReason};
pub use custom_policy::CustomPolicy;
pub use driver::usage;
pub use driver::{
    Adopted, Broadcast, Gone, HandOffsPaused, Next, Primary, PrimaryState, Remote, WatchId, Worker,
};
pub use error::{ForkError, KillError, SendError, WorkerError};
pub use event::{Address, Event, EventHandle, ExitStatus, LeaveProgress, StopBy};
pub use id::{ConnId, HandleId, SendId, ServerId, WorkerId};
pub use listen_limit::{ListenLimit, ListenScope};
pub use machine::{AckLatency, WorkerState};
pub use placement::{Fallback, PlacementError};
pub use request::{Request, RequestId};
pub use settings::{
    Affinity, InspectPort, Limits, Placement, Settings, Stdio, UnknownAffinity, UnknownPlacement,
};
pub use signal::{Signal, UnknownSignal};
pub use socket_access::SocketAccess;
pub use stats::Stats;
pub use upgrade::{Frozen, StateError};

/// Compiles the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
