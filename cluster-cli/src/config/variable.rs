//! Variables of the workers' environment.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Unexpected, Visitor};
use serde::ser::{SerializeMap, Serializer};

/// A variable that workers get, or do not get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Variable {
    pub(crate) name: OsString,
    /// None: the workers have no such variable.
    pub(crate) value: Option<OsString>,
}

impl Variable {
    /// Reads `NAME=VALUE`, or a `NAME` alone.
    pub(super) fn parse(text: OsString) -> Result<Self, &'static str> {
        let mut name = text.into_vec();
        let value = name.iter().position(|byte| *byte == b'=').map(|at| {
            let value = name.split_off(at + 1);
            name.truncate(at);
            OsString::from_vec(value)
        });
        Self::new(OsString::from_vec(name), value)
    }

    fn new(name: OsString, value: Option<OsString>) -> Result<Self, &'static str> {
        let zero = |text: &OsStr| text.as_bytes().contains(&0);
        if name.is_empty() || name.as_bytes().contains(&b'=') || zero(&name) {
            return Err("a variable needs a name");
        }
        if value.as_deref().is_some_and(zero) {
            return Err("no variable can hold a zero byte");
        }
        Ok(Self { name, value })
    }
}

/// Reads a table of `NAME = "value"`, or `NAME = false` for a variable that is not to be there.
pub(super) fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Variable>, D::Error> {
    from.deserialize_map(Table)
}

/// Writes what [`read`] reads.
pub(super) fn write<S: Serializer>(variables: &[Variable], to: S) -> Result<S::Ok, S::Error> {
    let mut table = to.serialize_map(Some(variables.len()))?;
    for Variable { name, value } in variables {
        let name = name.to_string_lossy();
        match value {
            Some(value) => table.serialize_entry(&name, &value.to_string_lossy())?,
            None => table.serialize_entry(&name, &false)?,
        }
    }
    table.end()
}

struct Table;

impl<'de> Visitor<'de> for Table {
    type Value = Vec<Variable>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table: [env], and below it NAME = \"value\", or NAME = false to remove one")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut table: A) -> Result<Vec<Variable>, A::Error> {
        let mut variables = Vec::new();
        while let Some(name) = table.next_key::<String>()? {
            let Setting(value) = table.next_value()?;
            variables.push(Variable::new(name.into(), value).map_err(A::Error::custom)?);
        }
        Ok(variables)
    }
}

struct Setting(Option<OsString>);

impl<'de> Deserialize<'de> for Setting {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Self(None))
    }
}

impl Visitor<'_> for Setting {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value in quotes, or false to remove the variable")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self, E> {
        Ok(Self(Some(text.into())))
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<Self, E> {
        match flag {
            false => Ok(Self(None)),
            true => Err(E::invalid_type(Unexpected::Bool(true), &self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<(String, Option<String>), &'static str> {
        let plain = |text: OsString| text.into_string().unwrap();
        Variable::parse(text.into()).map(|v| (plain(v.name), v.value.map(plain)))
    }

    #[test]
    fn the_first_equals_sign_ends_the_name() {
        assert_eq!(parse("A=b=c"), Ok(("A".into(), Some("b=c".into()))));
        assert_eq!(parse("A="), Ok(("A".into(), Some(String::new()))));
        assert_eq!(parse("A"), Ok(("A".into(), None)));
    }

    #[test]
    fn what_cannot_be_one_is_refused() {
        for text in ["", "=b", "A\0=b", "A=b\0"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
