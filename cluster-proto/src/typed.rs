//! Messages of the application's own types, by serde.
//!
//! They travel as the [`Value`]s that JSON would make of them, whatever the channel's encoding: Node's
//! `process.on('message')` sees the object that `JSON.stringify` would have written, and between two
//! Rust ends the same value goes as postcard.

mod read;
mod write;

use alloc::string::{String, ToString};
use core::fmt;

use serde::Serialize;
use serde::de::{self, DeserializeOwned};
use serde::ser;

use crate::error::EncodeError;
use crate::rich::{BigInt, ErrorValue, Rich};
use crate::value::{Number, Object, Value};

/// Why a value and a type do not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeError {
    what: String,
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

impl Value {
    /// What JSON makes of it: structs and maps become objects, `None` and `()` null, an enum's variant
    /// its name, or an object whose one member has that name.
    ///
    /// ```
    /// # #[derive(serde::Serialize)]
    /// # struct Hits { of: &'static str, count: u32 }
    /// let value = cluster_proto::Value::encode(&Hits { of: "/", count: 3 })?;
    /// assert_eq!(value["count"].as_u64(), Some(3));
    /// # Ok::<(), cluster_proto::TypeError>(())
    /// ```
    ///
    /// # Errors
    /// [`TypeError`] if JSON has no form for it: a map's key that is no string, number or boolean, a
    /// number beyond 64 bits, or what its own `Serialize` refuses. A `Value` that holds a [`Rich`] one is
    /// sent as it is, and not by this.
    pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Value, TypeError> {
        value.serialize(write::Writer)
    }

    /// The type that JSON would read from it.
    ///
    /// Of what JSON has no form for, bytes (`Buffer`, typed arrays, `ArrayBuffer`) are read as bytes, a
    /// `Date` as its milliseconds, a `Set` as a sequence and a `Map` as a map; a member that is `undefined` is
    /// absent.
    ///
    /// ```
    /// # #[derive(serde::Deserialize)]
    /// # struct Hits { count: u32 }
    /// let message = cluster_proto::Value::from(cluster_proto::Object::new().with("count", 3));
    /// let hits: Hits = message.decode()?;
    /// assert_eq!(hits.count, 3);
    /// # Ok::<(), cluster_proto::TypeError>(())
    /// ```
    ///
    /// # Errors
    /// [`TypeError`] if it is no such thing.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, TypeError> {
        T::deserialize(read::Reader::of(self))
    }
}

/// What can be sent as a message: a [`Value`], what becomes one by itself (strings, numbers, objects…),
/// and a reference to any type that serde can write.
///
/// ```
/// use cluster_proto::{IntoMessage, Object};
///
/// #[derive(serde::Serialize)]
/// struct Hits { count: u32 }
///
/// let typed = (&Hits { count: 3 }).into_message()?;
/// assert_eq!(typed, Object::new().with("count", 3).into_message()?);
/// # Ok::<(), cluster_proto::EncodeError>(())
/// ```
pub trait IntoMessage {
    /// The message.
    ///
    /// # Errors
    /// [`EncodeError`] if there is none for it.
    fn into_message(self) -> Result<Value, EncodeError>;
}

impl<T: Serialize> IntoMessage for &T {
    fn into_message(self) -> Result<Value, EncodeError> {
        Value::encode(self)
            .map_err(|TypeError { what }| EncodeError::Unsupported { encoding: "JSON", what })
    }
}

macro_rules! by_itself {
    ($($from:ty),* $(,)?) => {$(
        impl IntoMessage for $from {
            fn into_message(self) -> Result<Value, EncodeError> {
                Ok(self.into())
            }
        }
    )*};
}

by_itself!(
    Value,
    Object,
    Rich,
    Number,
    BigInt,
    ErrorValue,
    alloc::vec::Vec<Value>,
    String,
    &str,
    bool,
    u8,
    u16,
    u32,
    u64,
    i32,
    i64,
    f64,
);

impl IntoMessage for crate::UserMessage {
    fn into_message(self) -> Result<Value, EncodeError> {
        let unreadable = |error: crate::DecodeError| EncodeError::Unsupported {
            encoding: "a message",
            what: error.to_string(),
        };
        self.into_value().map_err(unreadable)
    }
}

impl<T: IntoMessage> IntoMessage for Option<T> {
    fn into_message(self) -> Result<Value, EncodeError> {
        self.map_or(Ok(Value::Null), T::into_message)
    }
}
