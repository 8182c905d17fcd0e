//! The control API: programs in any language control a primary by JSON-RPC 2.0 over a Unix-domain
//! socket.
//!
//! ```text
//! client                                            ControlServer            Primary
//!   │ {"jsonrpc":"2.0","id":1,"method":"subscribe"}      │                      │
//!   ├───────────────────────────────────────────────────►│                      │
//!   │ {"jsonrpc":"2.0","id":1,"result":true}             │                      │
//!   │◄───────────────────────────────────────────────────┤                      │
//!   │ {"jsonrpc":"2.0","id":2,"method":"fork"}           │                      │
//!   ├───────────────────────────────────────────────────►│ fork()               │
//!   │ {…,"id":2,"result":{"worker":1,"pid":3596}}        ├─────────────────────►│
//!   │◄───────────────────────────────────────────────────┤                      │
//!   │ {…,"method":"event","params":{"type":"fork",…}}    │ Event::Fork          │
//!   │◄───────────────────────────────────────────────────┤◄─────────────────────┤
//! ```
//! There is one message per line. The methods and events have the names of `node:cluster`; `docs/control.md`
//! in the repository lists them, with a client in JavaScript and one in Python.
//!
//! [`ControlServer`] has no thread: the loop that owns the [`Primary`](cluster_primary::Primary) calls it.
//!
//! ```no_run
//! use cluster_control::ControlServer;
//! use cluster_primary::{Event, Primary, Settings};
//!
//! # fn wait_for(_: &Primary, _: &ControlServer) {}
//! let mut primary = Primary::new(Settings::default())?;
//! let mut control = ControlServer::bind("/run/app/control.sock")?;
//! while !control.asked_to_stop() {
//!     while let Some(event) = primary.try_event()? {
//!         let is_shown = control.event(&primary, &event);
//!         // A request that no client is shown would never be answered.
//!         if !is_shown && let Event::Request { request, .. } = event {
//!             primary.refuse(request, "nothing answers requests here")?;
//!         }
//!     }
//!     control.process(&mut primary)?;
//!     // Until one of the two descriptors is readable, or one of the two `poll_timeout`s is over.
//!     wait_for(&primary, &control);
//! }
//! control.finish(); // clients read what is queued for them
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Hostile clients
//! A client that may connect may run programs as this user. Therefore the socket has mode 0600, and
//! connections of other users, except root, are closed. Apart from that, invalid input gets an error, a
//! client that does not read is disconnected, and the primary is not affected. Unread events are queued in
//! memory, up to 256 MiB in total; workers never wait for clients. Unfinished lines of all clients may take
//! 72 MiB in total; beyond that, the longest one is an error.
//!
//! # Hostile workers
//! A message that came as JSON is passed on byte by byte, and needs no further memory. Any other message is
//! converted if it has at most 16 MiB and 131,072 values; otherwise an `error` event takes its place.

mod backlog;
mod calls;
mod command;
mod params;
mod peer;
mod render;
mod rpc;
mod server;
mod session;
mod status;
mod text;

pub use command::{CommandId, ControlCommand, Refusal};
pub use render::{event as event_object, event_text, notice as notice_object};
pub use server::{ControlError, ControlServer};
pub use status::{ReloadFailure, Status, status_object};
pub use text::Text;

/// Reads a line as the server does, and writes the error if it is one: for fuzzing.
#[doc(hidden)]
pub fn fuzz_line(line: &[u8]) -> Option<Vec<u8>> {
    error_of(rpc::read(line))
}

/// As [`fuzz_line`], of all that a client says before it goes, in pieces of that length.
///
/// # Errors
/// If the system gives no sockets.
#[doc(hidden)]
pub fn fuzz_session(said: &[u8], piece: usize) -> std::io::Result<Vec<Option<Vec<u8>>>> {
    Ok(session::Session::of(said, piece)?.into_iter().map(error_of).collect())
}

fn error_of(request: rpc::Request) -> Option<Vec<u8>> {
    request.call.err().map(|failure| rpc::failed(request.id.as_ref(), &failure))
}
