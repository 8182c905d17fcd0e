//! The types that a supervisor takes from its surroundings.

use core::fmt::{Debug, Display};

use serde::Serialize;
use serde::de::DeserializeOwned;

/// What the program around a supervisor calls its workers, their ends, signals and messages.
///
/// The supervisor compares and copies such values, and never looks into them. With the feature
/// `driver`, [`PrimaryHost`](crate::driver::PrimaryHost) has the types of `cluster-primary`.
pub trait Host: Clone + Debug + PartialEq + Eq {
    /// A worker's id. An id must not be used again.
    type Worker: Copy + Ord + Debug + Display + Serialize + DeserializeOwned;
    /// How a worker's process ended.
    type Exit: Clone + Debug + Display + Eq + Serialize + DeserializeOwned;
    /// A signal.
    type Signal: Copy + Debug + Display + Eq + Serialize + DeserializeOwned;
    /// A message to a worker.
    type Message: Clone + Debug + Eq + Serialize + DeserializeOwned;

    /// The signal that asks a process to end: `SIGTERM`.
    const TERM: Self::Signal;
    /// The signal that ends a process: `SIGKILL`.
    const KILL: Self::Signal;
}

/// For the tests of single files.
#[cfg(test)]
impl Host for () {
    type Worker = u32;
    type Exit = i32;
    type Signal = i32;
    type Message = alloc::string::String;

    const TERM: i32 = 15;
    const KILL: i32 = 9;
}
