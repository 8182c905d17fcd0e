//! A channel of messages over a Unix stream socket, some with a file descriptor beside them.
//!
//! It is what `child_process.fork()` gives a Node.js parent and its child, and `node:cluster` a
//! primary and its workers, in Rust, and it understands itself with either:
//!
//! - [`Channel`]: messages in and out, without waiting. Descriptors travel by `SCM_RIGHTS`, find
//!   the message that they came with in whatever pieces it arrives, and are acknowledged;
//! - [`ChannelConfig`]: limits on everything that a peer could make grow;
//! - [`Socket`], the transport, with mio's `event::Source` on the channel; [`memory`], one without
//!   an operating system, for tests and simulation;
//! - [`Pairing`]: which descriptor belongs to which frame, as a pure machine;
//! - [`proto`]: the messages themselves, which is the crate `cluster-proto`.
//!
//! It does not start processes, does not know what a worker is (`cluster-primary`,
//! `cluster-worker` do), does not wait, and starts no thread. A descriptor that was inherited by
//! number the caller turns into an `OwnedFd`.
//!
//! # How a descriptor travels
//! ```text
//! sender                                                     receiver
//!   │ send(m1, fd); send(m2); flush()                            │
//!   │ {cmd:"NODE_HANDLE",type:"net.Native",msg:m1} + descriptor  │
//!   ├───────────────────────────────────────────────────────────►│
//!   │ m2 is held back                        recv() gives m1, fd │
//!   │                                                    flush() │
//!   │                                  {cmd:"NODE_HANDLE_ACK"}   │
//!   │◄───────────────────────────────────────────────────────────┤
//!   │ recv(): takes the ACK, m2 may go; flush()                  │
//!   │ m2                                                         │
//!   ├───────────────────────────────────────────────────────────►│
//! ```
//! A descriptor that gets lost is answered `NODE_HANDLE_NACK`, and its message is not delivered:
//! [`Channel::poll_answer`] tells the sender. With a
//! [`gate_window`](ChannelConfig::gate_window) above one several are under way at once.
//!
//! # Example
//! ```
//! use std::os::fd::OwnedFd;
//! use cluster_ipc::proto::{HandleKind, Message};
//! use cluster_ipc::{Channel, ChannelConfig, Flush, Outgoing, Recv};
//!
//! let (mut parent, child) = Channel::pair(ChannelConfig::default())?;
//! let mut child = Channel::from_fd(child, ChannelConfig::default())?;
//!
//! let listener: OwnedFd = std::net::TcpListener::bind("127.0.0.1:0")?.into();
//! parent.send(&Message::User("serve this".into()), Some(Outgoing::new(HandleKind::NetNative, listener)))?;
//! parent.send(&Message::User("and say when you are done".into()), None)?;
//! assert_eq!(parent.flush()?, Flush::Done);
//!
//! // In the child, when its socket is readable:
//! let Recv::Message(first) = child.recv()? else { panic!("it was written") };
//! let listener = std::net::TcpListener::from(first.handle.expect("it came along").handle);
//! assert!(listener.local_addr()?.port() > 0);
//! child.flush()?; // the acknowledgement
//!
//! // In the parent, when its socket is readable:
//! assert!(matches!(parent.recv()?, Recv::WouldBlock)); // took the acknowledgement
//! parent.flush()?; // so the second message may go
//! assert!(matches!(child.recv()?, Recv::Message(_)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The loop around it
//! After `READABLE`: [`recv`](Channel::recv) until it says `WouldBlock` or `Closed`. Then, and after
//! any [`send`](Channel::send), once: [`flush`](Channel::flush). Only if that says
//! [`Blocked`](Flush::Blocked), wait for `WRITABLE` too, and flush again then. The channel is a mio
//! `event::Source`; on tokio, with the feature of that name, it is awaited (`tokio::AsyncChannel`). `examples/pass_descriptor.rs` is
//! the whole of it.
//!
//! # Taken apart
//! A process that is replaced by another program (`execve(2)`) hands its channels over, whatever
//! they are in the middle of: [`Channel::state`] says what a channel knows and which handles belong to it,
//! [`Channel::into_parts`] takes it apart, and [`Channel::from_parts`] puts it together again, to do
//! what the first would have done. A peer notices nothing. A state that cannot be is a [`StateError`],
//! and everything that was given comes back with it.
//!
//! # A hostile peer
//! Any bytes and any descriptors at any time cost at most this channel: a [`RecvError`] ends it.
//! Frames, the queue, descriptors that wait and answers that wait have limits; received descriptors
//! are close-on-exec; those that belong to no message are closed and
//! [counted](Channel::stats). What the peer says that a descriptor is, is not checked.

// docs.rs shows which feature an item needs.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod any_socket;
mod channel;
mod config;
mod counted;
mod error;
mod flush;
mod max_count;
pub mod memory;
mod outgoing;
mod pairing;
mod queue;
mod received;
mod sender;
mod socket;
mod socket_path;
mod straddle;
#[cfg(feature = "tokio")]
pub mod tokio;
mod transport;
mod unix;
mod unpack;
mod written;

pub use cluster_proto as proto;

pub use any_socket::AnySocket;
pub use channel::{Channel, ChannelState, ChannelStats, Parts, PartsError};
pub use config::{ChannelConfig, Wire};
pub use counted::Counted;
pub use error::{RecvError, SendError, StateError};
pub use flush::{Flush, Pressure};
pub use outgoing::{HandleAnswer, Outgoing};
pub use pairing::{Found, Pairing, TooManyHandles};
pub use received::{Received, ReceivedHandle, Recv};
pub use socket::Socket;
pub use socket_path::shortest_path;
pub use transport::{RecvMeta, Transport};
pub use written::Written;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
