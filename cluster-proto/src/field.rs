//! A member that may be left out.

use core::fmt;

/// A member of a message: absent (JavaScript's `undefined`), `null`, or a value.
///
/// The three are told apart because Node tells them apart: a server's key spells them
/// differently, and `"fd": null` crashes a Node primary where no `fd` at all does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Field<T> {
    /// The member is not there.
    #[default]
    Absent,
    /// The member is `null`.
    Null,
    /// The member has this value.
    Is(T),
}

impl<T> Field<T> {
    /// The value, if there is one.
    pub fn value(self) -> Option<T> {
        match self {
            Self::Is(value) => Some(value),
            Self::Absent | Self::Null => None,
        }
    }

    /// Borrows what is inside.
    pub fn as_ref(&self) -> Field<&T> {
        match self {
            Self::Absent => Field::Absent,
            Self::Null => Field::Null,
            Self::Is(value) => Field::Is(value),
        }
    }
}

/// `None` is absent.
impl<T> From<Option<T>> for Field<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Absent, Self::Is)
    }
}

/// As JavaScript's template strings write it: `undefined`, `null`, or the value.
impl<T: fmt::Display> fmt::Display for Field<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("undefined"),
            Self::Null => f.write_str("null"),
            Self::Is(value) => value.fmt(f),
        }
    }
}
