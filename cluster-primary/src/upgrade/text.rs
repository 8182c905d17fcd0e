//! How things are written in a state that have no form of serde's own.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A string of the system's: text where it is text, else its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Text {
    /// UTF-8.
    Plain(String),
    /// Something else.
    Bytes(Vec<u8>),
}

impl From<&OsStr> for Text {
    fn from(text: &OsStr) -> Self {
        match text.to_str() {
            Some(plain) => Self::Plain(plain.to_owned()),
            None => Self::Bytes(text.as_bytes().to_vec()),
        }
    }
}

impl From<&Path> for Text {
    fn from(path: &Path) -> Self {
        path.as_os_str().into()
    }
}

impl From<Text> for OsString {
    fn from(text: Text) -> Self {
        match text {
            Text::Plain(plain) => plain.into(),
            Text::Bytes(bytes) => OsString::from_vec(bytes),
        }
    }
}

impl From<Text> for PathBuf {
    fn from(text: Text) -> Self {
        OsString::from(text).into()
    }
}

/// A path.
pub(crate) mod path {
    use std::path::{Path, PathBuf};

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Text;

    pub(crate) fn serialize<S: Serializer>(path: &Path, s: S) -> Result<S::Ok, S::Error> {
        Text::from(path).serialize(s)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<PathBuf, D::Error> {
        Text::deserialize(d).map(PathBuf::from)
    }
}

/// What is known by its name.
pub(crate) mod name {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<T: Display, S: Serializer>(value: &T, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(value)
    }

    pub(crate) fn deserialize<'de, T, D>(d: D) -> Result<T, D::Error>
    where
        T: FromStr<Err: Display>,
        D: Deserializer<'de>,
    {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// How the kernel chooses, by the name of the policy.
pub(crate) mod choice {
    use cluster_sched::PolicyName;
    use cluster_sched::kernel::Choice;
    use serde::{Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(choice: &Choice, s: S) -> Result<S::Ok, S::Error> {
        super::name::serialize(choice, s)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Choice, D::Error> {
        let policy: PolicyName = super::name::deserialize(d)?;
        Choice::try_from(policy).map_err(serde::de::Error::custom)
    }
}

/// A channel's encoding, in Node's terms.
pub(crate) mod serialization {
    use cluster_proto::env::Serialization;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(value: &Serialization, s: S) -> Result<S::Ok, S::Error> {
        super::name::serialize(value, s)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Serialization, D::Error> {
        let name = String::deserialize(d)?;
        let known = [Serialization::Json, Serialization::Advanced];
        let found = known.into_iter().find(|known| known.to_string() == name);
        found.ok_or_else(|| serde::de::Error::custom(format_args!("no serialization {name:?}")))
    }
}

/// A value with what JSON cannot say, described.
pub(crate) mod tagged {
    use cluster_proto::Value;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(value: &Value, s: S) -> Result<S::Ok, S::Error> {
        value.to_tagged().serialize(s)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Value, D::Error> {
        Value::from_tagged(Value::deserialize(d)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_of_the_systems_need_not_be_text() {
        for bytes in [&b"app.js"[..], b"", b"\xff\xfe/x"] {
            let text = Text::from(OsStr::from_bytes(bytes));
            let written = serde_json::to_string(&text).unwrap();
            let read: Text = serde_json::from_str(&written).unwrap();
            assert_eq!(OsString::from(read), OsStr::from_bytes(bytes));
        }
    }
}
