//! How a message becomes a frame, and back.

#[cfg(feature = "advanced")]
mod advanced;
#[cfg(feature = "json")]
mod json;
#[cfg(feature = "postcard")]
mod postcard;

use alloc::vec::Vec;

use crate::deframe::Framing;
use crate::error::{DecodeError, EncodeError};
use crate::message::Message;
#[cfg(any(feature = "json", feature = "postcard", feature = "advanced"))]
use crate::object::{MAX_WRAPS, is_internal};

#[cfg(feature = "advanced")]
pub use advanced::Advanced;
#[cfg(feature = "json")]
pub use json::Json;
#[cfg(feature = "postcard")]
pub use postcard::Postcard;

/// One encoding of messages.
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

/// What `encoding` says of a message that its reader would not take.
#[cfg(any(feature = "json", feature = "postcard", feature = "advanced"))]
fn too_deep(encoding: &'static str) -> EncodeError {
    let what = alloc::format!("it nests deeper than {} levels", crate::value::MAX_DEPTH);
    EncodeError::Unsupported { encoding, what }
}
