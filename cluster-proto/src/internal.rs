//! What is the protocol's own, and no user's message.

use alloc::string::String;

use crate::structured_clone::StructuredClone;
use crate::value::Value;

pub(crate) const CMD: &str = "cmd";
/// A `cmd` that starts so, and is longer, never reaches a user.
const INTERNAL_PREFIX: &str = "NODE_";
/// How often a handle may wrap a message: Node wraps one that it sends again a second time.
pub(crate) const MAX_WRAPS: usize = 2;

/// Whether Node would take it for a message of the protocol's own.
pub fn is_internal(value: &Value) -> bool {
    let long = |cmd: &str| cmd.len() > INTERNAL_PREFIX.len() && cmd.starts_with(INTERNAL_PREFIX);
    let members = match value {
        Value::Object(object) => object,
        // To JavaScript an array is an object too.
        Value::StructuredClone(rich) => match &**rich {
            StructuredClone::Array { members, .. } => members,
            _ => return false,
        },
        _ => return false,
    };
    match members.member(CMD) {
        Some(Value::String(cmd)) => long(cmd),
        Some(Value::StructuredClone(rich)) => match &**rich {
            StructuredClone::Utf16(units) => long(&String::from_utf16_lossy(units)),
            _ => false,
        },
        _ => false,
    }
}

/// Whether a frame that is not read may be one of the protocol's own, in Node's encodings: their first
/// member is their `cmd`, as Node writes them. Beside such a frame a handle may have come, for which its
/// sender waits to hear.
#[cfg(any(feature = "json", feature = "advanced"))]
pub(crate) fn may_be_internal(payload: &[u8]) -> bool {
    let head = &payload[..payload.len().min(24)];
    head.windows(b"NODE_".len()).any(|bytes| bytes == b"NODE_")
}
