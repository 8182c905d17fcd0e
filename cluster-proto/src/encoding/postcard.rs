//! Values in postcard.

use alloc::string::{String, ToString};
use core::cell::Cell;
use core::ops::Range;

use serde::de::DeserializeSeed;

use crate::error::DecodeError;
use crate::scan::Command;
use crate::value::Value;
use crate::value_serde::Tagged;

pub(crate) const ENCODING: &str = "postcard";
/// `Plain`, then `User`: what a user's message begins with.
const USER: [u8; 2] = [0, 5];
/// The kinds of values, as `value_serde` numbers them.
const UNSIGNED: u8 = 2;
const STRING: u8 = 5;
const OBJECT: u8 = 7;

/// Where the value of a user's message lies that no handle goes with.
pub(crate) fn user(payload: &[u8]) -> Option<Range<usize>> {
    payload.starts_with(&USER).then_some(USER.len()..payload.len())
}

/// Reads such a value, if there are no more than that many in it.
pub(crate) fn value(bytes: &[u8], values: usize) -> Result<Value, DecodeError> {
    let left = Cell::new(values);
    let mut reader = postcard::Deserializer::from_bytes(bytes);
    let value = Tagged::within(&left).deserialize(&mut reader);
    let rest = reader.finalize().map_or(0, <[u8]>::len);
    let malformed = |what: String| DecodeError::Malformed { encoding: ENCODING, what };
    match value {
        Err(_) if left.get() == 0 => Err(DecodeError::TooManyValues { limit: values }),
        Err(error) => Err(malformed(error.to_string())),
        Ok(_) if rest > 0 => Err(malformed(alloc::format!("{rest} bytes too many"))),
        Ok(value) => Ok(value),
    }
}

/// Whether such a value is a text.
pub(crate) fn is_text(bytes: &[u8]) -> bool {
    bytes.first() == Some(&STRING)
}

/// If such a value is a request or the answer to one, as it is written here: whether it asks, its number,
/// and where its body lies.
pub(crate) fn exchange(bytes: &[u8]) -> Option<((bool, u64), Range<usize>)> {
    let rest = bytes.strip_prefix(&[OBJECT, 3, 3, b'c', b'm', b'd', STRING])?;
    let (length, rest) = rest.split_first()?;
    let (cmd, rest) = rest.split_at_checked(usize::from(*length))?;
    let asks = match Command::of(cmd) {
        Command::Request => true,
        Command::Response => false,
        _ => return None,
    };
    let rest = rest.strip_prefix(&[2, b'i', b'd', UNSIGNED])?;
    let (id, rest) = postcard::take_from_bytes::<u64>(rest).ok()?;
    let body = rest.strip_prefix(&[4, b'b', b'o', b'd', b'y'])?;
    Some(((asks, id), bytes.len() - body.len()..bytes.len()))
}
