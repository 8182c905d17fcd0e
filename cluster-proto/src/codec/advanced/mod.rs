//! Node's `advanced` serialization.

mod read;
mod tag;
#[cfg(test)]
mod tests;
mod write;

use alloc::vec::Vec;

use super::{Codec, Head, may_be_internal, sendable_value};
use crate::deframe::Framing;
use crate::error::{DecodeError, EncodeError};
use crate::message::Message;
use crate::user_message::Part;
use crate::value::Value;

/// Node's `serialization: 'advanced'`: V8's structured clone at version 15, as Node 20 to 26 write
/// and read it, behind four bytes of big-endian length.
///
/// Beyond JSON it carries what [`Rich`](crate::Rich) holds. Versions 13 to 15 are read. Nesting is
/// limited to 127 levels, those of the message around a value included, and the number of values that
/// take more than a few bytes here to a million and one for each eight bytes. What cannot be read is
/// refused by name: `SharedArrayBuffer`s and WebAssembly modules, which no channel carries, and a
/// typed array whose `ArrayBuffer` another one shows too (Node never sends one so).
///
/// A number is a double, as every one of JavaScript's is: a whole number that no double holds (beyond
/// ±2⁵³ most) is refused instead of rounded; a [`BigInt`](crate::BigInt) holds any.
#[derive(Clone, Copy, Debug, Default)]
pub struct Advanced;

const ENCODING: &str = "a structured clone";

/// The latest version, and that which is written.
const VERSION: u32 = 15;
/// The earliest that is read: Node 12's.
const OLDEST: u32 = 13;

impl Codec for Advanced {
    fn framing(&self) -> Framing {
        Framing::Length
    }

    fn encode(&self, message: &Message, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let value = sendable_value(message, ENCODING)?;
        let start = out.len();
        let written = write::frame(&value, out);
        if written.is_err() {
            out.truncate(start);
        }
        written.map_err(|what| EncodeError::Unsupported { encoding: ENCODING, what })
    }

    fn decode(&self, payload: &[u8]) -> Result<Message, DecodeError> {
        Message::from_value(value(payload, None, usize::MAX)?)
    }
}

/// Reads a value by itself, if there are no more than that many in it.
pub(crate) fn value(
    payload: &[u8],
    part: Option<Part>,
    values: usize,
) -> Result<Value, DecodeError> {
    read::value(payload, part, values).map_err(|what| {
        // The frame's length is told beside it, so that what follows can be read whatever this is.
        if what == read::TOO_DEEP && (part.is_some() || !may_be_internal(payload)) {
            DecodeError::TooDeep
        } else if what == read::TOO_MANY {
            DecodeError::TooManyValues { limit: values }
        } else {
            DecodeError::Malformed { encoding: ENCODING, what }
        }
    })
}

/// Whether a payload may be a text by itself.
pub(crate) fn is_text(payload: &[u8]) -> bool {
    read::is_text(payload)
}

/// What kind of message a long payload is.
pub(crate) fn head(payload: &[u8]) -> Head {
    read::head(payload)
}
