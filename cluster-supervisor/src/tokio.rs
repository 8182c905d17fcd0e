//! A supervised cluster in a program on [tokio] (feature `tokio`).
//!
//! [`AsyncSupervised`] is a cluster that a task drives, with a cloneable [`Handle`] for other tasks:
//! `handle.reload().await`, `handle.scale(8).await`.
//!
//! [tokio]: https://docs.rs/tokio

mod error;
mod handle;
mod queue;
mod supervised;
mod task;

pub use error::{Ended, ReloadError, Reloaded, RequestError};
pub use handle::Handle;
pub use queue::QueueLimits;
pub use supervised::AsyncSupervised;
