//! A host for tests: workers have numbers, and messages are text.
#![allow(dead_code, unused_imports, unused_macros, reason = "each test takes what it needs")]

use std::fmt;

use cluster_supervisor as supervisor;
use serde::{Deserialize, Serialize};
use supervisor::Host;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TestHost;

impl Host for TestHost {
    type Worker = WorkerId;
    type Exit = ExitStatus;
    type Signal = Signal;
    type Message = String;

    const TERM: Signal = Signal(15);
    const KILL: Signal = Signal(9);
}

pub(crate) type Config = supervisor::Config<TestHost>;
pub(crate) type Input = supervisor::Input<TestHost>;
pub(crate) type Notice = supervisor::Notice<TestHost>;
pub(crate) type Output = supervisor::Output<TestHost>;
pub(crate) type Supervisor = supervisor::Supervisor<TestHost>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct WorkerId(pub(crate) u32);

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ExitStatus {
    Code(i32),
    Signal(Signal),
    Unknown,
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Signal(i32);

impl Signal {
    pub(crate) const TERM: Self = TestHost::TERM;
    pub(crate) const KILL: Self = TestHost::KILL;
    pub(crate) const QUIT: Self = Self(3);
    pub(crate) const INT: Self = Self(2);
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            3 => f.write_str("SIGQUIT"),
            9 => f.write_str("SIGKILL"),
            15 => f.write_str("SIGTERM"),
            number => write!(f, "signal {number}"),
        }
    }
}

/// A random number generator (SplitMix64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below that.
    pub(crate) fn draw(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (word ^ (word >> 31)) % below
    }
}

/// A value with other fields: `changed!(Config::new(2), batch: 2)`.
macro_rules! changed {
    ($base:expr, $($field:ident: $value:expr),+) => {{
        let mut changed = $base;
        $(changed.$field = $value;)+
        changed
    }};
}
pub(crate) use changed;
