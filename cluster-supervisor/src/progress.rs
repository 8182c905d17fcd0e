//! How far a worker is that leaves.

use serde::{Deserialize, Serialize};

/// How far a worker is that leaves step by step, instead of by `disconnect` alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum LeaveProgress {
    /// It gets no more connections, and has answered for those that were in flight.
    OutOfRotation,
    /// Its HTTP work changed. A worker of which nothing is known has none, and this is reported at once.
    Work(Work),
    /// How the worker is to be asked to stop: the answer to [`Output::AskStop`](crate::Output::AskStop).
    Stop(StopBy),
    /// Its program has closed all its servers after the worker was taken out of rotation.
    ServersClosed,
}

/// How a worker is asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum StopBy {
    /// By [`Config::stop_signal`](crate::Config::stop_signal): its program handles that signal, or does
    /// not listen to its channel.
    Signal,
    /// By [`Config::stop_message`](crate::Config::stop_message).
    Message,
    /// By `disconnect`: its program handles neither.
    Disconnect,
}

/// HTTP work that a worker has not finished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// Requests in progress, including those that are being received.
    pub requests: u32,
    /// Those of them whose response headers have been sent.
    pub started: u32,
    /// Open connections.
    pub connections: u32,
}
