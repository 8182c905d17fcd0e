//! Why it did not work.

use alloc::string::{String, ToString};
use core::fmt;

use serde::{de, ser};

/// Why a value and a type do not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeError {
    what: String,
}

impl TypeError {
    pub(super) fn into_what(self) -> String {
        self.what
    }
}

impl fmt::Display for TypeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl core::error::Error for TypeError {}

impl ser::Error for TypeError {
    fn custom<T: fmt::Display>(what: T) -> Self {
        Self { what: what.to_string() }
    }
}

impl de::Error for TypeError {
    fn custom<T: fmt::Display>(what: T) -> Self {
        Self { what: what.to_string() }
    }

    fn invalid_type(seen: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        match seen {
            de::Unexpected::Unit => Self::custom(format_args!("it is null, expected {expected}")),
            seen => Self::custom(format_args!("it is {seen}, expected {expected}")),
        }
    }
}
