//! What all values of options have in common: they are written the same on the command line and in a
//! file, and read by the same rules.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Unexpected, Visitor};

/// A value that is read from text: an option, a variable or a line of the configuration file.
pub(crate) trait Written: FromStr<Err = String> {
    /// Whether a file may have a number without quotes.
    const NUMBERS: bool = false;
    /// Whether a file may have `true` or `false` without quotes.
    const FLAGS: bool = false;

    /// What such an option takes: `a duration, such as …`.
    fn takes() -> String;
}

/// Says that something else is wanted.
pub(super) fn wanted<T: Written>() -> String {
    format!("{EXPECTED}{}", T::takes())
}

/// How [`wanted`] begins. The caller that knows the option's name puts it before this.
pub(super) const EXPECTED: &str = "expected ";

/// Reads the value of an option.
pub(super) fn one<'de, D: Deserializer<'de>, T: Written>(from: D) -> Result<Option<T>, D::Error> {
    from.deserialize_any(Reader(PhantomData)).map(Some)
}

/// Reads the values of an option that may be given several times.
pub(super) fn list<'de, D: Deserializer<'de>, T: Written>(from: D) -> Result<Vec<T>, D::Error> {
    from.deserialize_seq(ListReader(PhantomData))
}

struct Reader<T>(PhantomData<T>);

impl<T: Written> Visitor<'_> for Reader<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&T::takes())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        match T::NUMBERS {
            true => self.visit_str(&number.to_string()),
            false => Err(E::invalid_type(Unexpected::Signed(number), &self)),
        }
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        match T::NUMBERS {
            true => self.visit_str(&number.to_string()),
            false => Err(E::invalid_type(Unexpected::Unsigned(number), &self)),
        }
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        match T::NUMBERS {
            true => self.visit_str(&number.to_string()),
            false => Err(E::invalid_type(Unexpected::Float(number), &self)),
        }
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<T, E> {
        match T::FLAGS {
            true => self.visit_str(if flag { "true" } else { "false" }),
            false => Err(E::invalid_type(Unexpected::Bool(flag), &self)),
        }
    }
}

struct ListReader<T>(PhantomData<T>);

impl<'de, T: Written> Visitor<'de> for ListReader<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list, each element of which is {}", T::takes())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(Element(value)) = elements.next_element()? {
            list.push(value);
        }
        Ok(list)
    }
}

struct Element<T>(T);

impl<'de, T: Written> Deserialize<'de> for Element<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reader(PhantomData)).map(Self)
    }
}
