//! What a user's message is made of: everything that JSON can say, and room for what it cannot.

use alloc::borrow::{Cow, ToOwned};
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::structured_clone::StructuredClone;

/// A user message, or a part of one: the values that `JSON.stringify` can write, and with the
/// serialization `advanced` [those that it cannot](StructuredClone).
///
/// ```
/// use cluster_proto::{Object, Value};
///
/// let message = Value::from(Object::new().with("cmd", "notifyRequest").with("count", 3));
/// assert_eq!(message["cmd"].as_str(), Some("notifyRequest"));
/// assert_eq!(message["count"].as_u64(), Some(3));
/// assert!(message["absent"].is_null());
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// `null`.
    #[default]
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(Number),
    /// A string. One with a lone surrogate, which UTF-8 cannot hold, is [`StructuredClone::Utf16`].
    String(String),
    /// An array.
    Array(Vec<Value>),
    /// An object, its members in the order in which they were written.
    Object(Object),
    /// What JSON cannot say.
    StructuredClone(Box<StructuredClone>),
}

static NULL: Value = Value::Null;

/// How deep arrays and objects may nest in a message: as deep as `serde_json` reads them.
#[cfg(any(feature = "serde", feature = "advanced", feature = "tagged"))]
pub(crate) const MAX_DEPTH: usize = 127;

impl Value {
    /// Whether this is `null`.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The boolean, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(b) => Some(*b),
            _ => None,
        }
    }

    /// The string, if it is one that UTF-8 can hold. ([`as_str_lossy`](Self::as_str_lossy) takes any.)
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(s) => Some(s),
            _ => None,
        }
    }

    /// The string, if it is one, with U+FFFD for each lone surrogate.
    pub fn as_str_lossy(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::String(s) => Some(Cow::Borrowed(s)),
            Self::StructuredClone(rich) => match &**rich {
                StructuredClone::Utf16(units) => Some(Cow::Owned(String::from_utf16_lossy(units))),
                _ => None,
            },
            _ => None,
        }
    }

    /// The number, if it is one and a whole number that fits.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Number(n) => n.as_u64(),
            _ => None,
        }
    }

    /// The number, if it is one and a whole number that fits.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Self::Number(n) => n.as_i64(),
            _ => None,
        }
    }

    /// The number, if it is one, as JavaScript would see it.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Number(n) => Some(n.as_f64()),
            _ => None,
        }
    }

    /// The elements, if it is an array.
    pub fn as_array(&self) -> Option<&[Value]> {
        match self {
            Self::Array(a) => Some(a),
            _ => None,
        }
    }

    /// The members, if it is an object.
    pub fn as_object(&self) -> Option<&Object> {
        match self {
            Self::Object(o) => Some(o),
            _ => None,
        }
    }

    /// Whether arrays and objects nest no deeper in it than that.
    #[cfg(any(feature = "json", feature = "postcard", feature = "advanced"))]
    pub(crate) fn nests_within(&self, levels: usize) -> bool {
        match self {
            Self::Array(items) => {
                levels > 0 && items.iter().all(|item| item.nests_within(levels - 1))
            }
            Self::Object(object) => object.nests_within(levels),
            Self::StructuredClone(rich) => rich.nests_within(levels),
            _ => true,
        }
    }

    /// Whether each reference in it is to an object that begins in it.
    pub(crate) fn refers_within_itself(&self) -> bool {
        self.refers_within(&mut 0)
    }

    /// As that, behind so many objects; counts them on.
    pub(crate) fn refers_within(&self, objects: &mut u32) -> bool {
        match self {
            Self::Array(items) => {
                *objects += 1;
                items.iter().all(|item| item.refers_within(objects))
            }
            Self::Object(object) => {
                *objects += 1;
                object.iter().all(|(_, value)| value.refers_within(objects))
            }
            Self::StructuredClone(rich) => rich.refers_within(objects),
            _ => true,
        }
    }

    /// Whether JavaScript would take it for true in a condition.
    pub fn is_truthy(&self) -> bool {
        match self {
            Self::Null => false,
            Self::Bool(b) => *b,
            Self::Number(n) => n.as_f64() != 0.0 && !n.as_f64().is_nan(),
            Self::String(s) => !s.is_empty(),
            Self::Array(_) | Self::Object(_) => true,
            Self::StructuredClone(rich) => rich.is_truthy(),
        }
    }
}

/// The member of that name; `null` where there is none or this is no object.
impl core::ops::Index<&str> for Value {
    type Output = Value;
    fn index(&self, name: &str) -> &Value {
        self.as_object().and_then(|o| o.member(name)).unwrap_or(&NULL)
    }
}

/// The element at that place; `null` where there is none or this is no array.
impl core::ops::Index<usize> for Value {
    type Output = Value;
    fn index(&self, at: usize) -> &Value {
        self.as_array().and_then(|a| a.get(at)).unwrap_or(&NULL)
    }
}

macro_rules! value_from {
    ($($from:ty => |$x:ident| $to:expr),* $(,)?) => {$(
        impl From<$from> for Value {
            fn from($x: $from) -> Value {
                $to
            }
        }
    )*};
}

value_from! {
    bool => |b| Value::Bool(b),
    &str => |s| Value::String(s.to_owned()),
    String => |s| Value::String(s),
    Vec<Value> => |a| Value::Array(a),
    Object => |o| Value::Object(o),
    Number => |n| Value::Number(n),
    u8 => |n| Value::Number(Number::from(u64::from(n))),
    u16 => |n| Value::Number(Number::from(u64::from(n))),
    u32 => |n| Value::Number(Number::from(u64::from(n))),
    u64 => |n| Value::Number(Number::from(n)),
    i32 => |n| Value::Number(Number::from(i64::from(n))),
    i64 => |n| Value::Number(Number::from(n)),
    f64 => |n| Value::Number(Number::from(n)),
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Value {
        value.map_or(Value::Null, Into::into)
    }
}

/// A number: a whole one exactly, any other as JavaScript's double.
///
/// `3` and `3.0` are the same number, as they are in JavaScript.
#[derive(Clone, Copy)]
pub struct Number(pub(crate) Repr);

#[derive(Clone, Copy)]
pub(crate) enum Repr {
    Unsigned(u64),
    Negative(i64),
    Float(f64),
}

impl Number {
    /// The value, if it is whole and fits.
    pub fn as_u64(self) -> Option<u64> {
        match self.0 {
            Repr::Unsigned(n) => Some(n),
            Repr::Negative(_) => None,
            // 2^64 as a double; below it the cast is exact for whole numbers.
            Repr::Float(n) => ((0.0..18_446_744_073_709_551_616.0).contains(&n) && n == whole(n))
                .then_some(n as u64),
        }
    }

    /// The value, if it is whole and fits.
    pub fn as_i64(self) -> Option<i64> {
        match self.0 {
            Repr::Unsigned(n) => i64::try_from(n).ok(),
            Repr::Negative(n) => Some(n),
            Repr::Float(n) => ((-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0)
                .contains(&n)
                && n == whole(n))
            .then_some(n as i64),
        }
    }

    /// The value as a double, rounded where a double cannot hold it.
    pub fn as_f64(self) -> f64 {
        match self.0 {
            Repr::Unsigned(n) => n as f64,
            Repr::Negative(n) => n as f64,
            Repr::Float(n) => n,
        }
    }

    /// Whether a double holds it as it is: what JavaScript has no number for needs a
    /// [`BigInt`](crate::BigInt).
    #[cfg(feature = "advanced")]
    pub(crate) fn is_exact_as_f64(self) -> bool {
        match self.0 {
            Repr::Unsigned(n) => n as f64 as u128 == u128::from(n),
            Repr::Negative(n) => n as f64 as i128 == i128::from(n),
            Repr::Float(_) => true,
        }
    }
}

/// `n` without its fraction, for `n` in the range of `i64` or `u64` (`f64::trunc` needs std).
fn whole(n: f64) -> f64 {
    if n >= 0.0 { n as u64 as f64 } else { n as i64 as f64 }
}

impl From<u64> for Number {
    fn from(n: u64) -> Self {
        Self(Repr::Unsigned(n))
    }
}

impl From<i64> for Number {
    fn from(n: i64) -> Self {
        match u64::try_from(n) {
            Ok(n) => Self(Repr::Unsigned(n)),
            Err(_) => Self(Repr::Negative(n)),
        }
    }
}

impl From<f64> for Number {
    fn from(n: f64) -> Self {
        Self(Repr::Float(n))
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        match (self.0, other.0) {
            (Repr::Unsigned(a), Repr::Unsigned(b)) => a == b,
            (Repr::Negative(a), Repr::Negative(b)) => a == b,
            _ => self.as_f64() == other.as_f64(),
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Repr::Unsigned(n) => n.fmt(f),
            Repr::Negative(n) => n.fmt(f),
            Repr::Float(n) => n.fmt(f),
        }
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An object's members, in their order; a name stands once.
#[derive(Clone, Default, PartialEq)]
pub struct Object(Vec<(String, Value)>);

impl Object {
    /// An empty object.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// The object with those members; of two with one name the later value counts, at the
    /// earlier one's place, as `JSON.parse` has it.
    pub fn from_members(mut members: Vec<(String, Value)>) -> Self {
        // Ten thousand members from a hostile peer must not cost a hundred million comparisons.
        let mut first: BTreeMap<&str, usize> = BTreeMap::new();
        let mut repeats: Vec<(usize, usize)> = Vec::new();
        for (at, (name, _)) in members.iter().enumerate() {
            match first.get(name.as_str()) {
                Some(&earlier) => repeats.push((earlier, at)),
                None => {
                    first.insert(name, at);
                }
            }
        }
        if !repeats.is_empty() {
            for &(earlier, later) in &repeats {
                members[earlier].1 = core::mem::take(&mut members[later].1);
            }
            let mut repeats = repeats.iter().map(|r| r.1).peekable();
            let mut at = 0;
            members.retain(|_| {
                let drop = repeats.next_if_eq(&at).is_some();
                at += 1;
                !drop
            });
        }
        Self(members)
    }

    /// Adds a member, or replaces the value of the one with that name.
    pub fn insert(&mut self, name: impl Into<String>, value: impl Into<Value>) {
        let (name, value) = (name.into(), value.into());
        match self.0.iter_mut().find(|(n, _)| *n == name) {
            Some(slot) => slot.1 = value,
            None => self.0.push((name, value)),
        }
    }

    /// As [`insert`](Self::insert), for building one in a single expression.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.insert(name, value);
        self
    }

    /// The value of the member with that name.
    pub fn member(&self, name: &str) -> Option<&Value> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v)
    }

    /// Takes the member with that name out.
    pub fn remove(&mut self, name: &str) -> Option<Value> {
        let at = self.0.iter().position(|(n, _)| n == name)?;
        Some(self.0.remove(at).1)
    }

    /// The members in their order.
    pub fn into_members(self) -> Vec<(String, Value)> {
        self.0
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = (&str, &mut Value)> {
        self.0.iter_mut().map(|(name, value)| (name.as_str(), value))
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&str, &Value) -> bool) {
        self.0.retain(|(name, value)| keep(name, value));
    }

    /// How many members there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The members in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(n, v)| (n.as_str(), v))
    }

    /// As for a value.
    #[cfg(any(feature = "json", feature = "postcard", feature = "advanced"))]
    pub(crate) fn nests_within(&self, levels: usize) -> bool {
        levels > 0 && self.0.iter().all(|(_, value)| value.nests_within(levels - 1))
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn a_repeated_name_keeps_its_first_place_and_its_last_value() {
        let members = vec![
            ("a".into(), 1.into()),
            ("b".into(), 2.into()),
            ("a".into(), 3.into()),
            ("a".into(), 4.into()),
        ];
        let object = Object::from_members(members);
        let seen: Vec<_> = object.iter().map(|(n, v)| (n, v.as_u64())).collect();
        assert_eq!(seen, [("a", Some(4)), ("b", Some(2))]);
    }

    #[test]
    fn numbers_are_javascripts() {
        assert_eq!(Value::from(3.0), Value::from(3));
        assert_eq!(Value::from(3.0).as_u64(), Some(3));
        assert_eq!(Value::from(-3.0).as_i64(), Some(-3));
        assert_eq!(Value::from(3.5).as_i64(), None);
        assert_eq!(Value::from(1e300).as_i64(), None);
        assert_eq!(Value::from(f64::NAN).as_u64(), None);
        assert_eq!(Value::from(u64::MAX).as_i64(), None);
        assert_eq!(Value::from(-1).as_u64(), None);
    }

    #[test]
    fn truth_is_javascripts() {
        assert!(!Value::from(0).is_truthy());
        assert!(!Value::from("").is_truthy());
        assert!(!Value::Null.is_truthy());
        assert!(Value::from("0").is_truthy());
        assert!(Value::Array(Vec::new()).is_truthy());
    }
}
