//! Values as V8's structured clone.

mod head;
mod read;
mod tag;
mod write;

use alloc::string::String;
use alloc::vec::Vec;

pub(crate) use head::Head;

use super::part::Part;
use crate::error::DecodeError;
use crate::internal::may_be_internal;
use crate::value::Value;

pub(crate) const ENCODING: &str = "a structured clone";

/// Appends the value as one frame. Its nesting has been looked at.
pub(crate) fn frame(value: &Value, out: &mut Vec<u8>) -> Result<(), String> {
    write::frame(value, out)
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
