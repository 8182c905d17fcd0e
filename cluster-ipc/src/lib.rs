//! A message channel over a Unix stream socket, which also carries file descriptors.
//!
//! It is the channel between a Node.js parent and a child of `child_process.fork()`, and between a primary
//! and its workers in `node:cluster`, in Rust, and compatible with both:
//!
//! - [`Channel`] sends and receives messages without blocking. Descriptors travel by `SCM_RIGHTS`, are
//!   matched with their messages however the stream is split, and are acknowledged;
//! - [`ChannelConfig`] limits everything that a peer can make grow;
//! - [`Socket`] is the transport, with mio's `event::Source`; [`memory`] is one without an operating system,
//!   for tests and simulation;
//! - [`Pairing`] is the pure state machine that matches descriptors with frames;
//! - [`proto`] is the crate `cluster-proto`, with the messages themselves.
//!
//! It does not start processes or threads, does not wait, and does not know what a worker is (see
//! `cluster-primary` and `cluster-worker`). The caller turns an inherited descriptor number into an
//! `OwnedFd`.
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
//! A descriptor that does not arrive is answered with `NODE_HANDLE_NACK`, and its message is not delivered;
//! the sender learns it from [`Channel::poll_answer`]. With a [`gate_window`](ChannelConfig::gate_window)
//! above one, several descriptors can be in flight at once.
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
//! # The event loop
//! After `READABLE`, call [`recv`](Channel::recv) until it returns `WouldBlock` or `Closed`. Then, and after
//! any [`send`](Channel::send), call [`flush`](Channel::flush) once. If it returns
//! [`Blocked`](Flush::Blocked), wait for `WRITABLE` too, and flush again. The channel is a mio
//! `event::Source`; on tokio, with the feature of that name, it is awaited (`tokio::AsyncChannel`). `examples/pass_descriptor.rs` is
//! the whole of it.
//!
//! # Handing a channel over
//! A process that executes another program (`execve(2)`) can hand its channels over, even in the middle of a
//! frame: [`Channel::state`] returns the state of a channel and its handles,
//! [`Channel::into_parts`] takes it apart, and [`Channel::from_parts`] puts it together again. The peer does
//! not notice. An inconsistent state is a [`StateError`], which gives back everything that was passed in.
//!
//! # Hostile peers
//! Whatever bytes and descriptors a peer sends, it can at most cause a [`RecvError`], which ends this channel.
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
