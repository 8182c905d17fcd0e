//! How a worker learns from its environment what it is.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

/// The worker's id, decimal, from 1 upwards. Its presence makes a process a worker.
pub const UNIQUE_ID: &str = "NODE_UNIQUE_ID";
/// The number of the descriptor of the channel that the worker inherits.
pub const CHANNEL_FD: &str = "NODE_CHANNEL_FD";
/// `json` (also if absent) or `advanced`.
pub const SERIALIZATION_MODE: &str = "NODE_CHANNEL_SERIALIZATION_MODE";
/// The worker's place among the workers, decimal, from 0 upwards: its replacement has the same one.
/// A Rust primary sets it; Node's does not know of places. It stays in the environment, as it makes
/// no process a worker, and is there for the program to read: to write to a file of its own, for example.
pub const SLOT: &str = "CLUSTER_SLOT";
/// Read by the primary: `rr` or `none`.
pub const SCHED_POLICY: &str = "NODE_CLUSTER_SCHED_POLICY";

/// The variables that a worker removes from its environment once they are read, so that its own
/// children be taken for workers.
pub const WORKER_VARIABLES: [&str; 3] = [UNIQUE_ID, CHANNEL_FD, SERIALIZATION_MODE];

/// What a worker's environment says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerEnv {
    /// The worker's id.
    pub id: u32,
    /// The descriptor of its channel.
    pub channel_fd: i32,
    /// The channel's encoding.
    pub serialization: Serialization,
    /// The worker's place, if the primary gives any. (What is no number was not meant: the variable
    /// has belonged to another process.)
    pub slot: Option<u32>,
}

impl WorkerEnv {
    /// Reads the environment through `lookup`; `None` if this process is no worker.
    ///
    /// # Errors
    /// [`EnvError`] if it says that it is one, and the rest does not fit.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, EnvError> {
        let Some(id) = lookup(UNIQUE_ID) else { return Ok(None) };
        let invalid = |name, value: &str| EnvError { name, value: Some(value.into()) };
        let id = id.parse().map_err(|_| invalid(UNIQUE_ID, &id))?;
        let fd = lookup(CHANNEL_FD).ok_or(EnvError { name: CHANNEL_FD, value: None })?;
        let channel_fd = match fd.parse() {
            Ok(number @ 0..) => number,
            _ => return Err(invalid(CHANNEL_FD, &fd)),
        };
        let serialization = match lookup(SERIALIZATION_MODE).as_deref() {
            None | Some("json") => Serialization::Json,
            Some("advanced") => Serialization::Advanced,
            Some(other) => return Err(invalid(SERIALIZATION_MODE, other)),
        };
        let slot = lookup(SLOT).and_then(|slot| slot.parse().ok());
        Ok(Some(Self { id, channel_fd, serialization, slot }))
    }

    /// The variables that say this to a child.
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let slot = self.slot.map(|slot| (SLOT, slot.to_string()));
        [
            (UNIQUE_ID, self.id.to_string()),
            (CHANNEL_FD, self.channel_fd.to_string()),
            (SERIALIZATION_MODE, self.serialization.to_string()),
        ]
        .into_iter()
        .chain(slot)
        .collect()
    }
}

/// The encoding of a channel, in Node's terms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Serialization {
    /// `json`
    #[default]
    Json,
    /// `advanced`: V8's structured clone.
    Advanced,
}

impl fmt::Display for Serialization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Json => "json",
            Self::Advanced => "advanced",
        })
    }
}

/// Who accepts connections, as Node's `cluster.schedulingPolicy` says it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SchedulingPolicy {
    /// `SCHED_RR` (`rr`): the primary accepts, and hands connections out in turn.
    #[default]
    RoundRobin,
    /// `SCHED_NONE` (`none`): all workers accept from one socket.
    None,
}

impl SchedulingPolicy {
    /// What `NODE_CLUSTER_SCHED_POLICY` says; as in Node, anything but `none` is round-robin.
    pub fn read(lookup: impl Fn(&str) -> Option<String>) -> Self {
        match lookup(SCHED_POLICY).as_deref() {
            Some("none") => Self::None,
            _ => Self::RoundRobin,
        }
    }
}

/// A worker's environment contradicts itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EnvError {
    /// The variable.
    pub name: &'static str,
    /// What it holds; `None` if it is missing.
    pub value: Option<String>,
}

impl fmt::Display for EnvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "the environment variable {} says {value:?}", self.name)?,
            None => write!(f, "the environment variable {} is missing", self.name)?,
        }
        write!(f, ", though {UNIQUE_ID} says that this process is a cluster's worker")
    }
}

impl core::error::Error for EnvError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(vars: &[(&str, &str)]) -> Result<Option<WorkerEnv>, EnvError> {
        WorkerEnv::read(|name| vars.iter().find(|v| v.0 == name).map(|v| v.1.into()))
    }

    #[test]
    fn what_is_written_is_read() {
        for slot in [None, Some(0), Some(12)] {
            let serialization = Serialization::Advanced;
            let env = WorkerEnv { id: 7, channel_fd: 3, serialization, slot };
            let vars = env.variables();
            let vars: Vec<_> = vars.iter().map(|(n, v)| (*n, v.as_str())).collect();
            assert_eq!(read(&vars), Ok(Some(env)));
        }
    }

    #[test]
    fn a_slot_that_is_no_number_is_none() {
        for slot in ["", "-1", "first", "4294967296"] {
            let env = read(&[(UNIQUE_ID, "1"), (CHANNEL_FD, "3"), (SLOT, slot)]);
            assert_eq!(env.map(|env| env.map(|env| env.slot)), Ok(Some(None)), "{slot:?}");
        }
    }

    #[test]
    fn no_id_is_no_worker_and_half_a_worker_is_an_error() {
        assert_eq!(read(&[(CHANNEL_FD, "3")]), Ok(None));
        assert_eq!(read(&[(UNIQUE_ID, "1")]), Err(EnvError { name: CHANNEL_FD, value: None }));
        for fd in ["", "-1", "three", "99999999999"] {
            assert_eq!(read(&[(UNIQUE_ID, "1"), (CHANNEL_FD, fd)]).unwrap_err().name, CHANNEL_FD);
        }
        let odd = [(UNIQUE_ID, "1"), (CHANNEL_FD, "3"), (SERIALIZATION_MODE, "xml")];
        assert!(read(&odd).unwrap_err().to_string().contains("\"xml\""));
    }
}
