//! Node's names of a worker's states.

use serde::{Deserialize, Deserializer, Serializer};

const NAMES: [&str; 5] = ["none", "online", "listening", "disconnected", "dead"];

pub(in super::super) fn serialize<S: Serializer>(
    name: &&'static str,
    s: S,
) -> Result<S::Ok, S::Error> {
    s.serialize_str(name)
}

pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
    d: D,
) -> Result<&'static str, D::Error> {
    let name = String::deserialize(d)?;
    let known = NAMES.into_iter().find(|known| *known == name);
    known.ok_or_else(|| serde::de::Error::custom(format_args!("no state {name:?} of a worker")))
}
