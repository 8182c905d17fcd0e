//! Which worker gets the next connection: the placement half of `node:cluster`, without sockets.
//!
//! A primary process accepts connections and hands each to one of its workers. This crate decides to
//! which, exactly in Node's round-robin order by default, and keeps account of connections that wait, that are
//! in flight, that a dead worker leaves behind, and that workers have refused. There is one [`Scheduler`] per server
//! key (Node's `RoundRobinHandle`).
//!
//! **For** primaries, balancers, simulators, anything that deals work items out to workers and awaits
//! a yes or no for each. **Not** an executor, a queue between threads or a proxy: it passes nothing
//! on and owns no descriptor. It does no I/O, reads no clock, takes its randomness from a seed, and has no
//! dependencies; worker and connection are two `Copy + Ord` types of yours, the latter also `Hash`.
//!
//! # The path of a connection
//!
//! ```text
//!  listener      driver                                Scheduler                  worker
//!     | accept     |                                       |                         |
//!     |----------->| handle_input(now, Arrive{conn,client})|                         |
//!     |            |-------------------------------------->|  head of the free list  |
//!     |            |       poll_output: Assign{conn,worker}|                         |
//!     |            |<--------------------------------------|                         |
//!     |            | newconn + descriptor                  |                         |
//!     |            |---------------------------------------------------------------->|
//!     |            |                                       |      {ack, accepted}    |
//!     |            |<----------------------------------------------------------------|
//!     |            | handle_input(now, Accepted{..})       |                         |
//!     |            |-------------------------------------->|  worker takes the next  |
//!     |            |        poll_output: Done{conn,worker} |  or goes to the tail    |
//!     | close copy |<--------------------------------------|                         |
//! ```
//!
//! If it is refused, it goes to the tail of the queue and on to a worker that has not
//! refused it. Refused by all, it is parked ([`Scheduler::poll_timeout`],
//! [`Scheduler::handle_timeout`]) and then offered to all again; after
//! [`Config::max_refusal_rounds`] it is shed. A connection that arrived ends in exactly one
//! [`Output::Done`] or [`Output::Shed`].
//!
//! # Where it differs from Node, on purpose
//!
//! | | Node | here |
//! | --- | --- | --- |
//! | a worker refuses | it may be asked again at once, and spins if it is alone | not before all have refused and a pause has passed |
//! | a worker dies | its hand-offs in flight are lost | they are placed again, first |
//! | the queue | without limit | [`Config::max_waiting`], then shed as [`ShedReason::Full`] |
//! | hand-offs in flight per worker | one | [`Config::window`], one by default |
//! | the last worker leaves | the server closes | what waits goes on waiting until [`Input::Close`] |
//! | a worker closes the server and listens again with a hand-off unanswered | it gets a second one | its window holds |
//!
//! # Taken elsewhere
//!
//! All that a scheduler knows is plain data on demand ([`Scheduler::state`]), from which another is
//! made that does what the first would have done ([`Scheduler::from_state`]), in another process, by
//! another clock. With the feature `serde` it can be written and read; what a version does not know
//! is passed over. What cannot have been a scheduler's state is an error, a [`StateError`].
//!
//! # Example
//!
//! ```
//! use cluster_sched::{Config, Input, Mono, Output, RoundRobin, Scheduler};
//!
//! let mut scheduler = Scheduler::new(RoundRobin::new(), Config::default());
//! let now = Mono::ZERO; // from your clock
//! scheduler.handle_input(now, Input::Join { worker: 1, slot: 0 })?;
//! scheduler.handle_input(now, Input::Join { worker: 2, slot: 1 })?;
//! for conn in ["a", "b", "c"] {
//!     scheduler.handle_input(now, Input::Arrive { conn, client: None })?;
//! }
//! assert_eq!(scheduler.poll_output(), Some(Output::Assign { conn: "a", worker: 1 }));
//! assert_eq!(scheduler.poll_output(), Some(Output::Assign { conn: "b", worker: 2 }));
//! assert_eq!(scheduler.poll_output(), None); // both are busy: "c" waits
//!
//! scheduler.handle_input(now, Input::Accepted { worker: 2, conn: "b" })?;
//! assert_eq!(scheduler.poll_output(), Some(Output::Done { conn: "b", worker: 2 }));
//! assert_eq!(scheduler.poll_output(), Some(Output::Assign { conn: "c", worker: 2 }));
//!
//! scheduler.handle_input(now, Input::Leave { worker: 1 })?; // died with "a" unanswered
//! scheduler.handle_input(now, Input::Accepted { worker: 2, conn: "c" })?;
//! assert_eq!(scheduler.poll_output(), Some(Output::Done { conn: "c", worker: 2 }));
//! assert_eq!(scheduler.poll_output(), Some(Output::Assign { conn: "a", worker: 2 }));
//! # Ok::<(), cluster_sched::InputError<i32, &str>>(())
//! ```

// docs.rs shows which feature an item needs.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod config;
mod conn;
mod dispatcher;
mod error;
mod event;
pub mod kernel;
mod member;
mod mono;
mod parking;
mod policy;
mod queue;
mod refusals;
mod scheduler;
mod slab;
mod state;
mod stats;
pub mod sticky;

pub use config::Config;
pub use dispatcher::{
    DispatchError, DispatchInput, DispatchLimits, DispatchOutput, DispatchStateError, Dispatcher,
    DispatcherState, HandOffState, KeptState, LaneState, WindowState,
};
pub use error::InputError;
pub use event::{Input, Output, ShedReason};
pub use mono::Mono;
pub use policy::{
    BoxedPolicy, Choice, LeastConnections, Policy, PolicyName, PolicyState, Random, RoundRobin,
    Standing, Sticky, UnknownPolicy,
};
pub use scheduler::Scheduler;
pub use state::{
    ConnState, MemberState, PauseState, RefusedState, SchedulerState, StateError, WaitingState,
};
pub use stats::Stats;

/// Compiles and runs the README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
