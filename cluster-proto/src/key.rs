//! The name under which a primary keeps a server.

use alloc::string::String;
use alloc::sync::Arc;
use core::borrow::Borrow;
use core::fmt;

use crate::field::Field;
use crate::listen::ListenQuery;

/// A server's key: made by the primary, opaque to the worker, which gives it back as it is. A clone
/// shares the text, as each connection's message has the key in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerKey(Arc<str>);

impl ServerKey {
    /// The key as older Nodes (20, 22, early 24) make it: `address:port:addressType:fd:index`.
    ///
    /// The index counts failed listens too, so that a worker that retries misses the server that
    /// the others share by then.
    pub fn node20(query: &ListenQuery) -> Self {
        alloc::format!("{}:{}", Head(query), query.index).into()
    }

    /// The key as Node 25 and later make it, and 24 by 24.21: with the index only where the port
    /// is 0.
    pub fn node25(query: &ListenQuery) -> Self {
        match query.port {
            Field::Is(0) => Self::node20(query),
            _ => alloc::format!("{}", Head(query)).into(),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<String> for ServerKey {
    fn from(key: String) -> Self {
        Self(key.into())
    }
}

impl From<&str> for ServerKey {
    fn from(key: &str) -> Self {
        Self(key.into())
    }
}

impl fmt::Display for ServerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Ordered as the text is.
impl Borrow<str> for ServerKey {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for ServerKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for ServerKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

struct Head<'a>(&'a ListenQuery);

impl fmt::Display for Head<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ListenQuery { address, port, address_type, fd, .. } = self.0;
        write!(f, "{address}:{port}:{address_type}:{fd}")
    }
}
