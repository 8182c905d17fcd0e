//! Messages of the application's own types, by serde.
//!
//! They travel as the [`Value`]s that JSON would make of them, whatever the channel's encoding: Node's
//! `process.on('message')` sees the object that `JSON.stringify` would have written, and between two
//! Rust ends the same value goes as postcard.

mod error;
mod read;
mod write;

use alloc::string::String;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use error::TypeError;

use crate::error::EncodeError;
use crate::structured_clone::{BigInt, ErrorValue, StructuredClone};
use crate::value::{Number, Object, Value};

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
    /// number beyond 64 bits, or what its own `Serialize` refuses. A `Value` that holds a [`StructuredClone`] one is
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
            .map_err(|error| EncodeError::Unsupported { encoding: "JSON", what: error.into_what() })
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
    StructuredClone,
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

impl<T: IntoMessage> IntoMessage for Option<T> {
    fn into_message(self) -> Result<Value, EncodeError> {
        self.map_or(Ok(Value::Null), T::into_message)
    }
}
