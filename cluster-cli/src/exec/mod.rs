//! `cluster exec`: a program that uses node:cluster, its primary half included, on the Rust primary.
//!
//! The program's primary half, the *script*, is Node's own process and keeps Node's own `node:cluster`. `exec.cjs`, which
//! is preloaded into it, changes one thing: how workers start. Three processes meet then:
//!
//! ```text
//!  script ──spawns──► exec-worker ──executes──► worker
//!    │                    │ (gives the script's end of the channel, gets one of the primary's)
//!    └──IPC channel──► primary ──IPC channel──► worker
//! ```
//!
//! The primary serves what workers listen on and passes everything else on (`../script/`).

mod launch;
mod primary;
mod worker;

pub(crate) use launch::{attach, exec};
pub(crate) use primary::primary;
pub(crate) use worker::worker;
