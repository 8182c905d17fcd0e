//! Supervision: what Node leaves to the application.
//!
//! The [`Supervisor`] keeps a configured number of workers running. It forks them, replaces those that
//! die (with growing delays if they fail repeatedly) and gives up if none of them ever becomes ready. It
//! replaces all workers without loss (a *reload*), or one that has grown too large or too old, changes
//! their number on request, and finally shuts all of them down. It does no I/O and reads no clock. It has
//! four methods: [`handle_input`](Supervisor::handle_input), [`handle_timeout`](Supervisor::handle_timeout),
//! [`poll_output`](Supervisor::poll_output) and [`poll_timeout`](Supervisor::poll_timeout). With the feature
//! `driver`, `driver::Supervised` runs a primary and a supervisor in one loop.
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
//! A worker leaves by the same steps whether it is replaced, is surplus, or the whole cluster stops. A
//! program that handles the stop signal gets it while its servers and its channel are open and no request
//! is in progress; a program that does not gets `disconnect` instead. See [`Config::stop_signal`],
//! [`Config::stop_message`], [`Config::drain_timeout`], [`Config::grace`] and [`Config::kill_after`].
//!
//! # Slots
//! Workers are replaced; *slots* stay. There is one for each configured worker, numbered from 0. A
//! replacement has the slot of its predecessor, and finds the number in its environment (`CLUSTER_SLOT`).
//!
//! # Replacements
//! A replacement takes over, and its predecessor is asked to leave, once it has been ready for
//! [`Config::min_ready_time`]; until then both serve. If it dies, stops answering or loses its channel
//! before that, it has failed, and its predecessor stays. During a reload, such a failure of any worker that
//! the reload has started aborts it: the workers that were not replaced yet stay, and the slots that were
//! are restarted as after any death.
//!
//! # What counts as a failure
//! A worker that dies before it was ready has failed to start. One that dies within
//! [`Config::stable_after`] of becoming ready has failed too, but the first time it is replaced at once. One
//! that dies later is replaced at once, and its slot's earlier failures are forgotten. If a slot fails more
//! than [`Config::max_failures`] times within [`Config::failure_period`], the supervisor gives up, unless
//! another worker is ready: the cluster runs on as long as one worker serves. If a worker was ready before,
//! an outage must last for [`Config::failure_period`] before the supervisor gives up, so that a restart of
//! the database does not end the cluster. A worker that disconnects voluntarily is replaced like one that
//! exits with code 0 ([`Config::replace_disconnected`]), as soon as its channel closes; if its process
//! does not exit within [`Config::grace`], it is terminated. A worker whose channel closes unexpectedly is
//! terminated if its process has not exited one second later.
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
