//! The worker's half of a cluster, as `node:cluster` has it, for a program in Rust.
//!
//! A *primary* process starts workers, shares its server ports among them, and talks to them. It
//! may be a program of Node.js, unmodified, or of the crate `cluster-primary`: this crate speaks
//! what both speak. With it a process that a primary has started
//!
//! - learns that it is a worker: [`is_worker`], [`Worker::from_env`];
//! - serves: [`Worker::listen`] gives a [`TcpListener`] that yields [`std::net::TcpStream`]s,
//!   [`Worker::listen_unix`] Unix ones, and [`Worker::bind_udp`] a UDP socket;
//! - talks: [`Worker::send`] and [`Worker::recv`], of values or of types that serde knows, and asks:
//!   [`Worker::request`];
//! - goes away in good order: [`Worker::disconnect`] closes listeners, waits for the connections
//!   that it was told to track, and closes the channel. When the primary disconnects it the same
//!   happens: listeners end, and so does `main`. When the primary is gone the process exits.
//!
//! It does not start processes, and it does not decide which worker gets a connection.
//!
//! [`Worker`] is for programs that wait in threads. [`event::EventedWorker`] is for those with an
//! event loop on [`mio`]; with the feature `tokio` there is `tokio::Worker`. All are thin around
//! [`machine::Machine`], which does no I/O and carries the protocol onto any other.
//!
//! # A connection's way
//! ```text
//! primary                                worker                             application
//!    │                                      │       listen("127.0.0.1:80")      │
//!    │ {act:"queryServer",port:80,…,seq:1}  │◄──────────────────────────────────┤
//!    │◄─────────────────────────────────────┤                                   │
//!    │ {ack:1,key:"…",sockname:{…}}         │                                   │
//!    ├─────────────────────────────────────►│            TcpListener            │
//!    │ {act:"listening",port:80,…}          ├──────────────────────────────────►│
//!    │◄─────────────────────────────────────┤                                   │
//!    │ {act:"newconn",key:"…",seq:7} + fd   │                                   │
//!    ├─────────────────────────────────────►│ waits here                        │
//!    │                                      │              accept()             │
//!    │ {ack:7,accepted:true}                │◄──────────────────────────────────┤
//!    │◄─────────────────────────────────────┤             TcpStream             │
//!    │                                      ├──────────────────────────────────►│
//! ```
//! The primary is told `accepted` when the application takes the connection, and before it sees it:
//! one that still waits when the worker dies is given to another, and none is served twice. (An
//! event loop's worker says so of up to eight at once, of which it may die before it sees them. Where
//! the primary shares its sockets, as Node does with `SCHED_NONE`, workers accept from them
//! directly.)
//!
//! # What becomes of a message
//! [`Worker::send`] takes a message or refuses it. What it took is written in order, and the primary reads what was
//! written, also if this worker dies then; what was not written yet is lost with it ([`Worker::flush`]). A request has exactly
//! one outcome, of which [`NoAnswer`] tells the bad ones. Messages of the primary that wait when the channel closes can still be received.
//!
//! # Example
//! ```no_run
//! use std::io::Write;
//! use cluster_worker::{Object, Worker};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let Some(worker) = Worker::from_env()? else {
//!         println!("I am no worker.");
//!         return Ok(());
//!     };
//!     let listener = worker.listen("127.0.0.1:8080")?;
//!     worker.send(Object::new().with("port", listener.local_addr()?.port()))?;
//!     for connection in listener.incoming() {
//!         writeln!(connection?, "worker {} greets you", worker.id())?;
//!     }
//!     Ok(()) // The worker has been disconnected.
//! }
//! ```

// docs.rs shows which feature an item needs.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod driver;
mod environment;
mod error;
pub mod event;
mod inherit;
mod listener;
pub mod machine;
mod options;
mod received;
mod request;
mod setup;
mod start;
#[cfg(feature = "tokio")]
pub mod tokio;
mod tracked;
mod udp;
mod worker;

pub use cluster_ipc::{AnySocket, Counted, Outgoing, Pressure};
pub use cluster_proto::HandleKind;
pub use cluster_proto::env::{EnvError, Serialization, WorkerEnv};
pub use cluster_proto::{IntoMessage, NoAnswer, Number, Object, StructuredClone, TypeError, Value};
pub use environment::{environment, restore, scrub};
pub use error::{ChannelProblem, ListenError, RecvError, RequestError, SendError, StartError};
pub use inherit::is_worker;
pub use listener::{Incoming, Listener, TcpListener, UnixListener};
pub use options::{ListenOptions, UdpOptions, UnixOptions};
pub use received::{MessageHandle, Received};
pub use request::Request;
pub use setup::Options;
pub use tracked::Tracked;
pub use udp::UdpSocket;
pub use worker::{Corked, Worker};

/// Compiles the README's examples.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
