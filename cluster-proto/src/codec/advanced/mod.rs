//! Node's `advanced` serialization.

#[cfg(test)]
mod tests;

use alloc::vec::Vec;

use super::{Codec, sendable_value};
use crate::deframe::Framing;
use crate::encoding::advanced::{ENCODING, frame, value};
use crate::error::{DecodeError, EncodeError};
use crate::message::Message;

/// Node's `serialization: 'advanced'`: V8's structured clone at version 15, as Node 20 to 26 write
/// and read it, behind four bytes of big-endian length.
///
/// Beyond JSON it carries what [`StructuredClone`](crate::StructuredClone) holds. Versions 13 to 15 are read. Nesting is
/// limited to 127 levels, those of the message around a value included, and the number of values that
/// take more than a few bytes here to a million and one for each eight bytes. What cannot be read is
/// refused by name: `SharedArrayBuffer`s and WebAssembly modules, which no channel carries, and a
/// typed array whose `ArrayBuffer` another one shows too (Node never sends one so).
///
/// A number is a double, as every one of JavaScript's is: a whole number that no double holds (beyond
/// ±2⁵³ most) is refused instead of rounded; a [`BigInt`](crate::BigInt) holds any.
#[derive(Clone, Copy, Debug, Default)]
pub struct Advanced;

impl Codec for Advanced {
    fn framing(&self) -> Framing {
        Framing::Length
    }

    fn encode(&self, message: &Message, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let value = sendable_value(message, ENCODING)?;
        let start = out.len();
        let written = frame(&value, out);
        if written.is_err() {
            out.truncate(start);
        }
        written.map_err(|what| EncodeError::Unsupported { encoding: ENCODING, what })
    }

    fn decode(&self, payload: &[u8]) -> Result<Message, DecodeError> {
        Message::from_value(value(payload, None, usize::MAX)?)
    }
}
