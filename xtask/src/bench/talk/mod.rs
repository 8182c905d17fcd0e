//! Users' messages between a primary and a worker, through the crates' public `send`, one call a
//! message. The same in Rust as `xtask/bench/talk*.cjs` is in JavaScript; the two talk to each other.
//!
//! They are hidden subcommands of this program.

mod bare;
mod primary;
mod worker;

pub(crate) use bare::{Args as BareArgs, run as bare};
pub(crate) use primary::{Args as PrimaryArgs, run as primary};
pub(crate) use worker::{Args as WorkerArgs, run as worker};

use std::time::{Duration, Instant};

use crate::step;

/// Lengths of messages, in bytes.
const SMALL: usize = 64;
const LARGE: usize = 1 << 20;

/// Messages that are on their way there and back at any time, where it is not one.
const AT_ONCE: u32 = 64;

/// Looks at the clock now and then: to look at it costs as much as part of a small message.
struct Stopwatch {
    end: Instant,
    every: u32,
    n: u32,
}

impl Stopwatch {
    fn new(time: Duration, length: usize) -> Self {
        let every = if length < LARGE { 32 } else { 1 };
        Self { end: step::now() + time, every, n: 0 }
    }

    fn is_over(&mut self) -> bool {
        self.n += 1;
        self.n.is_multiple_of(self.every) && step::now() >= self.end
    }
}
