//! The primary of a cluster: `node:cluster`'s primary, in Rust.
//!
//! A primary process forks workers; the workers share its server sockets: either the primary
//! accepts connections and hands them out in turn, or all workers accept from one socket, or the
//! kernel deals connections out to a socket of each worker's own. Primary
//! and workers talk over a channel, and the primary sees every worker's life. The wire is Node's
//! own, so a worker may be an unmodified Node.js program, or a Rust program with the crate
//! `cluster-worker`.
//!
//! ```text
//!            ┌─────────────── primary ───────────────┐
//!  client ──►│ listen, accept ─► who is next? ─► send│──► worker 1 (channel: messages,
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
//! # What is lost, and what is not
//! A connection that the primary accepted goes to exactly one worker, or is given up with a counted
//! reason ([`Stats`]). One whose worker dies or refuses before it acknowledged goes to another.
//! What a worker acknowledged is the worker's.
//!
//! # What becomes of a message
//! A message is taken or refused by [`Primary::send`], in a bound. What was taken is written to the worker in order;
//! [`Primary::send_reported`] has [`Event::Sent`] say when that is done, or that it will never be, because the
//! worker has gone. One that was written the worker may have left unread: only a request with an answer can tell that. A
//! [request](Primary::request) has exactly one outcome, [`Event::Answered`], which comes before the worker's
//! [`Event::Disconnect`]. What a worker wrote before it died is told ([`Event::Message`]) before its
//! [`Event::Disconnect`]. A [broadcast](Primary::broadcast) reaches the workers that there are, and no later ones.
//!
//! # What a worker can do to the primary
//! At most lose its own channel: a frame that is garbled, oversized or cut off ends it with
//! [`Event::Error`]. With [`Placement::Shared`] and [`Placement::Kernel`] workers hold listening
//! sockets themselves, and are trusted with them. A worker may name a descriptor of the primary's to listen on (`listen({fd})`),
//! as in Node; only sockets are taken.
//!
//! Nor can it make the primary wait. To close a descriptor, or to read where one is dropped, can block
//! for as long as its sender likes; to accept from a listener blocks if a worker that holds it wants it
//! to. Such a call is interrupted after 20 ms, and a worker that goes on loses its channel
//! ([`WorkerError::BlocksPrimary`], [`Stats::interrupted_calls`]). This is done on Linux, by a signal
//! to the thread that calls the primary's methods: `SIGURG`, which is ignored by default, or the first
//! real-time signal that has no handler if the program has one for `SIGURG`. So calls of the program
//! in that thread may return `EINTR` within 20 ms after a method has returned, once. The signal is
//! unblocked in that thread; its handler must stay. A descriptor of an event that the program does not
//! want is best given to [`Primary::refuse_handle`].
//!
//! # Parts
//! [`Primary`] is a thin driver around [`machine::Machine`], which does no I/O and can be driven,
//! simulated and fuzzed by itself.

// docs.rs shows which feature an item needs.
#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod agent;
mod custom_policy;
mod driver;
pub mod embed;
mod error;
mod event;
mod id;
pub mod machine;
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
    Broadcast, Gone, HandOffsPaused, Next, Primary, PrimaryState, Remote, WatchId, Worker,
};
pub use error::{ForkError, KillError, SendError, WorkerError};
pub use event::{Address, Event, EventHandle, ExitStatus, LeaveProgress, StopBy};
pub use id::{ConnId, HandleId, SendId, ServerId, WorkerId};
pub use machine::{AckLatency, ListenLimit, ListenScope, WorkerState};
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
