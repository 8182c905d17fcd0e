//! How a message becomes a frame, and back.

#[cfg(feature = "advanced")]
mod advanced;
#[cfg(feature = "json")]
mod bun;
#[cfg(feature = "json")]
mod json;
#[cfg(feature = "postcard")]
mod postcard;
#[cfg(feature = "json")]
mod shortcut;

#[cfg(any(feature = "json", feature = "advanced"))]
use alloc::borrow::Cow;
use alloc::vec::Vec;

use crate::deframe::Framing;
use crate::error::{DecodeError, EncodeError};
#[cfg(any(feature = "json", feature = "postcard", feature = "advanced"))]
use crate::internal::{MAX_WRAPS, is_internal};
use crate::message::Message;
#[cfg(any(feature = "json", feature = "advanced"))]
use crate::value::{MAX_DEPTH, Value};

#[cfg(feature = "advanced")]
pub use advanced::Advanced;
#[cfg(feature = "json")]
pub use bun::BunJson;
#[cfg(feature = "json")]
pub use json::Json;
#[cfg(feature = "postcard")]
pub use postcard::Postcard;
#[cfg(feature = "json")]
pub(crate) use shortcut::decode as at_once;

/// One encoding of messages.
///
/// Implement it for an encoding of your own around a [`Deframer`](crate::Deframer). The channel of the crate
/// `cluster-ipc` speaks this crate's encodings only: both ends and an upgrade in place have to know them by name.
pub trait Codec {
    /// How its frames are told apart in the stream.
    fn framing(&self) -> Framing;

    /// Appends the message to `out` as one whole frame, framing included.
    ///
    /// # Errors
    /// [`EncodeError`] if the encoding cannot hold the message; `out` is as it was then.
    fn encode(&self, message: &Message, out: &mut Vec<u8>) -> Result<(), EncodeError>;

    /// Reads the message out of one frame's payload, framing stripped.
    ///
    /// # Errors
    /// [`DecodeError`] if it is none. No input makes it panic.
    fn decode(&self, payload: &[u8]) -> Result<Message, DecodeError>;
}

#[cfg(any(feature = "json", feature = "postcard", feature = "advanced"))]
impl Message {
    /// Whether it nests so little that every encoding holds it beside a handle that is sent again,
    /// which wraps it twice (see [`Gate`](crate::Gate)).
    pub fn can_be_sent_again(&self) -> bool {
        let levels = crate::value::MAX_DEPTH - MAX_WRAPS;
        match self {
            Self::User(value) => value.nests_within(levels),
            Self::Encoded(message) => message.value().is_ok_and(|value| value.nests_within(levels)),
            other => other.to_value().nests_within(levels),
        }
    }
}

/// Refuses what must not be sent in any encoding.
#[cfg(any(feature = "json", feature = "postcard", feature = "advanced"))]
fn check_sendable(message: &Message) -> Result<(), EncodeError> {
    let mut message = message;
    for _ in 0..=MAX_WRAPS {
        match message {
            Message::Handle(handle) => message = &handle.message,
            Message::User(value) if is_internal(value) => return Err(EncodeError::Reserved),
            _ => return Ok(()),
        }
    }
    Err(EncodeError::NestedHandle)
}

/// The object that Node sends for a message, if an encoding of such may hold it.
#[cfg(any(feature = "json", feature = "advanced"))]
fn sendable_value<'a>(
    message: &'a Message,
    encoding: &'static str,
) -> Result<Cow<'a, Value>, EncodeError> {
    check_sendable(message)?;
    let value = match message {
        Message::User(value) => Cow::Borrowed(value),
        Message::Encoded(message) => Cow::Owned(encoded_value(message, encoding)?),
        other => Cow::Owned(other.to_value()),
    };
    if value.nests_within(MAX_DEPTH) { Ok(value) } else { Err(too_deep(encoding)) }
}

/// The value of a message that is encoded already, perhaps otherwise.
#[cfg(any(feature = "json", feature = "postcard", feature = "advanced"))]
fn encoded_value(
    message: &crate::user_message::UserMessage,
    encoding: &'static str,
) -> Result<crate::value::Value, EncodeError> {
    let unreadable = |error: DecodeError| EncodeError::Unsupported {
        encoding,
        what: alloc::string::ToString::to_string(&error),
    };
    message.value().map_err(unreadable)
}

/// What `encoding` says of a message that its reader would not take.
#[cfg(any(feature = "json", feature = "postcard", feature = "advanced"))]
fn too_deep(encoding: &'static str) -> EncodeError {
    let what = alloc::format!("it nests deeper than {} levels", crate::value::MAX_DEPTH);
    EncodeError::Unsupported { encoding, what }
}
