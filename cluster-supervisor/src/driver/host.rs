//! The types of `cluster-primary`, as a supervisor's host has them.

use cluster_primary::{ExitStatus, Signal, Value, WorkerId};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::host::Host;

/// The [`Host`] of a supervisor whose workers are those of a [`Primary`](cluster_primary::Primary).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PrimaryHost;

impl Host for PrimaryHost {
    type Worker = WorkerId;
    type Exit = ExitStatus;
    type Signal = Signal;
    type Message = StopMessage;

    const TERM: Signal = Signal::TERM;
    const KILL: Signal = Signal::KILL;
}

/// A message that asks a worker to stop, such as `"shutdown"`, which PM2 sends.
#[derive(Clone, Debug, PartialEq)]
pub struct StopMessage(pub Value);

/// It contains no NaN: it is read from JSON, which has none.
impl Eq for StopMessage {}

/// As JSON, in which values that JSON does not have are described.
impl Serialize for StopMessage {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.0.to_tagged().serialize(s)
    }
}

impl<'de> Deserialize<'de> for StopMessage {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let value = Value::from_tagged(Value::deserialize(d)?);
        value.map(Self).map_err(serde::de::Error::custom)
    }
}
