//! Supervision: what Node leaves to the application.
//!
//! The [`Supervisor`] keeps so many workers: it forks them, replaces those that die, after pauses
//! that grow where that is of no use, and gives up where it is hopeless; it replaces all of them by
//! new ones without loss (a *reload*), or one that has grown too large or too old; it has more or
//! fewer of them when it is told to; and in the end it sees all of them off. It does no I/O and reads
//! no clock, and has four methods: [`handle_input`](Supervisor::handle_input),
//! [`handle_timeout`](Supervisor::handle_timeout), [`poll_output`](Supervisor::poll_output) and
//! [`poll_timeout`](Supervisor::poll_timeout). With the feature `driver`, `driver::Supervised` is a primary
//! and a supervisor in one loop.
//!
//! ```text
//!  supervisor                     primary                            workers
//!    │ Fork { slot: 0 } ──────────► fork_in(0) ────────────────────► 5 starts
//!    │ ◄── Forked, Online, Listening ────────────────────────────────┤ listens: ready
//!    │        Reload
//!    │ Fork { slot: 0 } ──────────► fork_in(0) ────────────────────► 6 starts
//!    │ ◄── Listening ────────────────────────────────────────────────┤ ready
//!    │ TakeOutOfRotation { 5 } ───► hand-offs are answered ◄─────────┤ 5
//!    │ ◄── Leaving OutOfRotation                                     │
//!    │ FinishWork { 5 } ──────────► agent: leave ──────────────────► 5 finishes requests
//!    │ ◄── Leaving Work { requests: 0 }  (or the drain timeout is over)
//!    │ AskStop { 5 } ─────────────► does it handle SIGTERM? ◄────────┤ 5
//!    │ ◄── Leaving Stop(Signal)                                      │
//!    │ Kill { 5, SIGTERM } ───────► SIGTERM ───────────────────────► 5 runs its handler
//!    │ ◄── Leaving ServersClosed         (or a second is over)       │
//!    │ Disconnect { 5 } ──────────► `disconnect` ──────────────────► 5 exits
//!    │ ◄── Exited { 5 }                  (grace over: SIGTERM, then SIGKILL)
//!    │ Fork { slot: 1 } … and so on
//! ```
//!
//! # Leaving
//! A worker leaves by the same steps whether it is replaced, is one too many, or all ends. A program
//! that handles the stop signal gets it while its servers and its channel are open, and no request is
//! in progress; one that does not gets `disconnect` in its place. See
//! [`Config::stop_signal`], [`Config::stop_message`], [`Config::drain_timeout`], [`Config::grace`] and
//! [`Config::kill_after`].
//!
//! # Slots
//! Workers come and go; *slots* stay: numbers from 0, one for each worker that is wanted. A worker
//! has the slot of the one that it replaces, and finds its number in its environment
//! (`CLUSTER_SLOT`).
//!
//! # Successors
//! A successor takes over, and its predecessor is asked to leave, once it has been ready for
//! [`Config::min_ready_time`]. Until then both serve; one that dies sooner has failed, and its
//! predecessor stays. So has one that stops answering, or whose channel closes. While a reload is under
//! way, such a failure of any worker that it has started aborts it: workers that were not replaced yet
//! stay. Where one had been replaced, its successor's successor is forked like that of any other worker
//! that dies.
//!
//! # What counts as a failure
//! A worker that dies before it was ready has failed to start. One that dies within
//! [`Config::stable_after`] of that has failed as well, but is replaced at once the first time. One
//! that dies later is replaced at once, and all is forgiven. A slot that fails more than
//! [`Config::max_failures`] times within [`Config::failure_period`] ends everything, unless another
//! worker is ready: as long as a worker serves, the cluster goes on. Once a worker has been
//! ready, an outage must last for [`Config::failure_period`] before the supervisor gives up: a database that
//! restarts does not end the cluster. A worker that disconnects voluntarily is replaced like one that
//! exits with code 0 ([`Config::replace_disconnected`]), as soon as its channel closes; if its process
//! does not end within [`Config::grace`], it is terminated. So is one that has used its channel, and
//! whose channel closes by accident, if its process has not ended a second later.
#![no_std]
// docs.rs shows which feature an item needs.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(any(test, feature = "driver"))]
#[macro_use]
extern crate std;

mod config;
#[cfg(feature = "driver")]
pub mod driver;
mod host;
mod io;
mod jitter;
mod mono;
mod progress;
mod slot;
mod supervisor;
#[cfg(feature = "tokio")]
pub mod tokio;

pub use config::{Config, Ready, Recycle};
pub use host::Host;
pub use io::{Cause, Death, Failure, Input, Notice, Outcome, Output};
pub use mono::Mono;
pub use progress::{LeaveProgress, StopBy, Work};
pub use supervisor::{Contradiction, Counts, MemberState, State, Supervisor, Vacancy};

/// Compiles and runs the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
