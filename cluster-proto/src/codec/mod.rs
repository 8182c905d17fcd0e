//! How a message becomes a frame, and back.

#[cfg(feature = "json")]
mod json;
#[cfg(feature = "postcard")]
mod postcard;

use alloc::vec::Vec;

use crate::deframe::Framing;
use crate::error::{DecodeError, EncodeError};
use crate::message::Message;

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
