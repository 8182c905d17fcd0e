//! The worker agent: a small script that the primary preloads into Node workers
//! ([`Settings::node_agent`](crate::Settings::node_agent)).
//!
//! `node:cluster`'s own protocol cannot end a worker without cutting off requests: it knows neither of
//! requests in progress, nor of kept-alive connections, nor whether the program handles a signal. The
//! agent does. It talks to the primary over two pipes of its own, one JSON object a line, and the
//! program does not notice it.
//!
//! ```text
//!   primary                                         agent, in the worker
//!     │ ◄── {"hello":{"protocol":1,…}} ───────────────┤ before the program runs
//!     │ {"configure":{"report":1000,…}} ────────────► │
//!     │ ◄── {"report":{"connections":…,…}} ───────────┤ every second
//!     │ {"leave":{"stopAccepting":false}} ──────────► │ responses carry `Connection: close`, …
//!     │ ◄── {"work":{"requests":2,"started":0,…}} ────┤ on every change
//!     │ {"listeners":{"id":1,"event":"SIGTERM"}} ───► │
//!     │ ◄── {"listeners":{"id":1,"count":1}} ─────────┤
//! ```
//!
//! This module holds what needs no I/O: the [messages](AgentMessage), the script's text, and how a
//! worker's command line and environment change so that Node loads it (the private module `inject`).

pub(crate) mod inject;
mod message;

pub(crate) use inject::is_node;
pub use message::{AgentCommand, AgentMessage, AgentReport, BadAgentLine, MAX_LINE, Work};

/// The agent's text.
/// What Bun workers load instead.
pub(crate) const BUN_SCRIPT: &str = include_str!("bun.cjs");
/// What Deno workers load instead.
pub(crate) const DENO_SCRIPT: &str = include_str!("deno.cjs");
pub(crate) const SCRIPT: &str = include_str!("agent.cjs");

/// A module that loads the agent from a descriptor; see [`inject`].
pub(crate) const STUB: &str = include_str!("stub.mjs");
