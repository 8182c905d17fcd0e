//! The front-end for programs on [tokio] (feature `tokio`).
//!
//! A server of tokio's becomes a worker by taking its listener from here. It is shared with the
//! other workers, and if no primary has started the process, it is a listener as any other:
//!
//! ```no_run
//! use cluster_worker::tokio::TcpListener; // instead of tokio::net::TcpListener
//! use tokio::io::AsyncWriteExt;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let listener = TcpListener::bind("127.0.0.1:8080").await?;
//! loop {
//!     tokio::select! {
//!         biased; // in the end nothing more is accepted
//!         () = cluster_worker::tokio::shutdown() => break,
//!         accepted = listener.accept() => {
//!             let (mut connection, _client) = accepted?; // no descriptor is left, say
//!             tokio::spawn(async move { connection.write_all(b"hello\n").await });
//!         }
//!     }
//! }
//! // Connections are finished, and the primary knows that this worker has left.
//! drop(listener);
//! cluster_worker::tokio::disconnect().await;
//! # Ok(()) }
//! ```
//!
//! A server that is shut down gracefully (hyper's is) finishes requests, and may close connections on which
//! none has begun. Clients that have connected, and whose request is on its way, are waited for by
//! [`shutdown`], for a second at most.
//!
//! A server that accepts by itself from a [`std::net::TcpListener`] (actix-web's) takes [`TcpListener::into_std`].
//!
//! Programs that a worker starts do not take themselves for workers: on Linux the variables that say so are removed from the
//! environment before `main` ([`environment`](crate::environment())).
//!
//! A task of its own does the worker's business; it is spawned with the worker, on the runtime that
//! is entered then, which needs I/O and time. Every future here can be dropped before it is done, and
//! nothing is lost by that.
//!
//! [tokio]: https://docs.rs/tokio

#[cfg(feature = "axum")]
mod axum;
mod listener;
mod messages;
mod opened;
mod stream;
mod udp;
mod worker;

pub use listener::{Listener, TcpListener, UnixListener};
pub use messages::{Messages, Sender};
pub use udp::UdpSocket;
pub use worker::{Worker, disconnect, shutdown, worker};
