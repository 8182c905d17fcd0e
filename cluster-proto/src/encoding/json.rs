//! Values as JSON texts.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::error::{DecodeError, EncodeError};
use crate::internal::may_be_internal;
use crate::scan::{Flaw, JsonScanner};
use crate::structured_clone::StructuredClone;
use crate::value::{Object, Value};

pub(crate) const ENCODING: &str = "JSON";

/// The text of a value.
pub(crate) fn text(value: &Value) -> Result<String, EncodeError> {
    // Only strings with lone surrogates are beyond serde_json, and they are rare.
    let written = serde_json::to_string(value).or_else(|error| {
        let mut text = String::new();
        write(value, &mut text).map(|()| text).map_err(|_| error)
    });
    written.map_err(|e| EncodeError::Unsupported { encoding: ENCODING, what: e.to_string() })
}

/// Appends the text of a value and a newline.
pub(crate) fn write_line(value: &Value, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    out.extend_from_slice(text(value)?.as_bytes());
    out.push(b'\n');
    Ok(())
}

pub(crate) fn parse(payload: &[u8]) -> Result<Value, DecodeError> {
    let malformed =
        |e: &dyn ToString| DecodeError::Malformed { encoding: ENCODING, what: e.to_string() };
    let failed = |error: serde_json::Error| {
        // The limit has no name but its words.
        let limit = error.to_string().contains("recursion limit");
        if limit
            && !may_be_internal(payload)
            && JsonScanner::scan(payload).is_err_and(|flaw| flaw == Flaw::TooDeep)
        {
            DecodeError::TooDeep
        } else {
            malformed(&error)
        }
    };
    match serde_json::from_slice(payload) {
        Ok(value) => Ok(value),
        Err(first) => match core::str::from_utf8(payload).ok().and_then(mark_lone_surrogates) {
            Some(marked) => serde_json::from_str(&marked).map(restore).map_err(failed),
            None => Err(failed(first)),
        },
    }
}

/// Stands before what [`mark_lone_surrogates`] has replaced: the four digits of a lone surrogate, or
/// [`ITSELF`]. It is no character, so texts hardly ever hold it.
const MARK: char = '\u{10FFFF}';
const MARK_UNITS: (u16, u16) = (0xDBFF, 0xDFFF);
/// Behind a [`MARK`]: it stood in the text already.
const ITSELF: char = 'x';

/// The text with every escape of a lone surrogate replaced by a mark and its digits; `None` if it holds
/// none.
fn mark_lone_surrogates(text: &str) -> Option<String> {
    let mut marked = String::new();
    let mut copied = 0;
    let mut at = 0;
    let mut found = false;
    let bytes = text.as_bytes();
    let first_of_mark = MARK.encode_utf8(&mut [0; 4]).as_bytes()[0];
    while let Some(next) = bytes[at..].iter().position(|b| *b == b'\\' || *b == first_of_mark) {
        at += next;
        let (length, replacement) = match escaped_unit(bytes, at) {
            None if text[at..].starts_with(MARK) => (MARK.len_utf8(), Some(String::from(ITSELF))),
            // An escape of one character, another character, or the end of a broken text.
            None => (if bytes[at] == b'\\' { 2 } else { 1 }, None),
            Some(high @ 0xD800..=0xDBFF) => match escaped_unit(bytes, at + 6) {
                Some(low) if (high, low) == MARK_UNITS => (12, Some(String::from(ITSELF))),
                Some(0xDC00..=0xDFFF) => (12, None),
                _ => (6, Some(alloc::format!("{high:04x}"))),
            },
            Some(low @ 0xDC00..=0xDFFF) => (6, Some(alloc::format!("{low:04x}"))),
            Some(_) => (6, None),
        };
        if let Some(replacement) = replacement {
            found |= !replacement.ends_with(ITSELF);
            marked.push_str(&text[copied..at]);
            marked.push(MARK);
            marked.push_str(&replacement);
            copied = at + length;
        }
        at = (at + length).min(bytes.len());
    }
    marked.push_str(&text[copied..]);
    found.then_some(marked)
}

/// The value without marks.
fn restore(value: Value) -> Value {
    match value {
        Value::String(text) => restore_text(text),
        Value::Array(items) => Value::Array(items.into_iter().map(restore).collect()),
        Value::Object(object) => {
            let members = object.into_members().into_iter().map(|(name, value)| {
                let name = match restore_text(name) {
                    Value::String(name) => name,
                    name => name.as_str_lossy().unwrap_or_default().into_owned(),
                };
                (name, restore(value))
            });
            Object::from_members(members.collect()).into()
        }
        other => other,
    }
}

fn restore_text(text: String) -> Value {
    let Some(first) = text.find(MARK) else { return text.into() };
    let mut units: Vec<u16> = text[..first].encode_utf16().collect();
    let mut rest = &text[first..];
    while let Some(marked) = rest.strip_prefix(MARK) {
        rest = match marked.strip_prefix(ITSELF) {
            Some(rest) => {
                units.extend(MARK.encode_utf16(&mut [0; 2]).iter());
                rest
            }
            None => {
                let (digits, rest) = marked.split_at(4);
                units.extend(u16::from_str_radix(digits, 16));
                rest
            }
        };
        let next = rest.find(MARK).unwrap_or(rest.len());
        units.extend(rest[..next].encode_utf16());
        rest = &rest[next..];
    }
    match String::from_utf16(&units) {
        Ok(text) => text.into(),
        Err(_) => StructuredClone::Utf16(units).into(),
    }
}

/// Writes what serde_json cannot: a value with strings that hold lone surrogates.
fn write(value: &Value, out: &mut String) -> Result<(), serde_json::Error> {
    match value {
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                write(item, out)?;
            }
            out.push(']');
        }
        Value::Object(object) => {
            out.push('{');
            let written = object.iter().filter(|(_, value)| !value.is_undefined());
            for (at, (name, value)) in written.enumerate() {
                out.push_str(if at > 0 { "," } else { "" });
                out.push_str(&serde_json::to_string(name)?);
                out.push(':');
                write(value, out)?;
            }
            out.push('}');
        }
        Value::StructuredClone(rich) => match &**rich {
            StructuredClone::Utf16(units) => {
                out.push('"');
                for unit in char::decode_utf16(units.iter().copied()) {
                    match unit {
                        Ok(c) => {
                            let quoted = serde_json::to_string(&c)?;
                            out.push_str(&quoted[1..quoted.len() - 1]);
                        }
                        Err(lone) => {
                            out.push_str(&alloc::format!("\\u{:04x}", lone.unpaired_surrogate()));
                        }
                    }
                }
                out.push('"');
            }
            _ => out.push_str(&serde_json::to_string(value)?),
        },
        plain => out.push_str(&serde_json::to_string(plain)?),
    }
    Ok(())
}

/// The code unit of the `\uXXXX` that starts there.
fn escaped_unit(bytes: &[u8], at: usize) -> Option<u16> {
    let escape = bytes.get(at..at + 6)?;
    let digits = escape.strip_prefix(b"\\u")?;
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u16::from_str_radix(core::str::from_utf8(digits).ok()?, 16).ok()
}
