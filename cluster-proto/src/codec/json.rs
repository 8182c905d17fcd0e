//! Node's own encoding: a JSON text a line.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{BunJson, Codec, bun, may_be_internal, sendable_value, shortcut};
use crate::deframe::Framing;
use crate::error::{DecodeError, EncodeError};
use crate::message::Message;
use crate::rich::Rich;
use crate::scan::{Flaw, JsonScanner};
use crate::value::{Object, Value};

/// `serialization: 'json'`: every message one JSON text in UTF-8 and a newline.
///
/// Nesting is limited to 127 levels, those of the message around a value included; a user's message that nests deeper is
/// [`DecodeError::TooDeep`]. A string with a lone surrogate, which JavaScript can send and UTF-8 cannot
/// hold, is [`Rich::Utf16`], and is written as it came. (In a member's name U+FFFD takes its place.)
///
/// Decoding also takes [Bun's dialect](BunJson); whoever sends that is to be answered in it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Json;

impl Json {
    /// Reads a JSON text by itself, as a message of a user's is read.
    ///
    /// # Errors
    /// [`DecodeError`] if it is none, or nests too deep.
    pub fn value(text: &[u8]) -> Result<Value, DecodeError> {
        parse(text)
    }

    /// Writes a value by itself as JSON, as a message of a user's is written.
    ///
    /// # Errors
    /// [`EncodeError::Unsupported`] if it holds what JSON has no form for (see [`Rich`]).
    pub fn text(value: &Value) -> Result<String, EncodeError> {
        // Only strings with lone surrogates are beyond serde_json, and they are rare.
        let written = serde_json::to_string(value).or_else(|error| {
            let mut text = String::new();
            write(value, &mut text).map(|()| text).map_err(|_| error)
        });
        written.map_err(|e| EncodeError::Unsupported { encoding: ENCODING, what: e.to_string() })
    }
}

pub(super) const ENCODING: &str = "JSON";

impl Codec for Json {
    fn framing(&self) -> Framing {
        Framing::Line
    }

    fn encode(&self, message: &Message, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if shortcut::encode(message, out) {
            out.push(b'\n');
            return Ok(());
        }
        if let Message::Encoded(message) = message
            && let Some(text) = message.as_json()
            && !text.contains(&b'\n')
        {
            out.extend_from_slice(text);
            out.push(b'\n');
            return Ok(());
        }
        let value = sendable_value(message, ENCODING)?;
        if value.is_undefined() {
            let what = "undefined by itself has no form in it".into();
            return Err(EncodeError::Unsupported { encoding: ENCODING, what });
        }
        write_line(&value, out)
    }

    fn decode(&self, payload: &[u8]) -> Result<Message, DecodeError> {
        match shortcut::decode(payload) {
            Some(message) => Ok(message),
            None if BunJson::is_marked(payload) => bun::decode(payload),
            None => Message::from_value(parse(payload)?),
        }
    }
}

/// Appends the text of a value and a newline.
pub(super) fn write_line(value: &Value, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    out.extend_from_slice(Json::text(value)?.as_bytes());
    out.push(b'\n');
    Ok(())
}

pub(super) fn parse(payload: &[u8]) -> Result<Value, DecodeError> {
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
        Err(_) => Rich::Utf16(units).into(),
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
        Value::Rich(rich) => match &**rich {
            Rich::Utf16(units) => {
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

#[cfg(test)]
mod tests {
    use alloc::{format, vec};

    use super::*;

    fn user(text: &str) -> Result<Value, DecodeError> {
        match Json.decode(text.as_bytes())? {
            Message::User(value) => Ok(value),
            other => panic!("not a user's message: {other:?}"),
        }
    }

    #[test]
    fn lone_surrogates_come_and_go_as_they_are() {
        let utf16 = |units: &[u16]| Value::from(Rich::Utf16(units.to_vec()));
        for (text, value) in [
            (r#""a\ud800b""#, utf16(&[0x61, 0xD800, 0x62])),
            (r#""\udc00😀\ud83d""#, utf16(&[0xDC00, 0xD83D, 0xDE00, 0xD83D])),
            (r#""\\ud800 \ud800""#, {
                let units = "\\ud800 ".encode_utf16().chain([0xD800]);
                utf16(&units.collect::<Vec<_>>())
            }),
            ("[\"\u{10FFFF}\",\"\u{10FFFF}\\udfff\"]", {
                let lone = utf16(&[0xDBFF, 0xDFFF, 0xDFFF]);
                Value::Array(vec!["\u{10FFFF}".into(), lone])
            }),
            (
                r#"{"a\"":[1,"\n\ud800"],"b":"\ud800"}"#,
                Object::new()
                    .with("a\"", Value::Array(vec![1.into(), utf16(&[10, 0xD800])]))
                    .with("b", utf16(&[0xD800]))
                    .into(),
            ),
        ] {
            assert_eq!(user(text).as_ref(), Ok(&value), "{text}");
            let mut line = Vec::new();
            Json.encode(&Message::User(value), &mut line).expect("it can be written");
            assert_eq!(line, [text, "\n"].concat().as_bytes());
        }
        // An escape that was not needed, and a pair in two escapes.
        let escaped = user(r#""\ud83d\ude00\udbff\udfff\ud800""#);
        let units = [0xD83D, 0xDE00, 0xDBFF, 0xDFFF, 0xD800];
        assert_eq!(escaped, Ok(utf16(&units)));
        // Names are UTF-8.
        assert_eq!(user(r#"{"\ud800":1}"#).unwrap()["\u{FFFD}"].as_u64(), Some(1));
        assert_eq!(user(r#"{"\udbff\udfff":"\ud800"}"#).unwrap()["\u{10FFFF}"], utf16(&[0xD800]));
    }

    #[test]
    fn what_json_has_no_form_for_is_refused_beside_them_too() {
        let value = Value::Array(vec![Rich::Utf16(vec![0xD800]).into(), Rich::Date(0.0).into()]);
        let error = Json::text(&value).expect_err("a date");
        assert!(error.to_string().contains("no form for a"), "{error}");
    }

    #[test]
    fn what_is_not_json_says_so() {
        for text in ["", "{", "nul", "\"\\ud800", "{\"a\":}", "1 2", "\u{0}", "\\", "\"\\uD800\\u"]
        {
            let error = user(text).expect_err(text);
            assert!(matches!(error, DecodeError::Malformed { encoding: "JSON", .. }), "{error:?}");
        }
        assert!(Json.decode(b"\"\xff\"").is_err());
    }

    #[test]
    fn deep_nesting_is_an_error_and_no_overflow() {
        let deep = "[".repeat(100_000);
        assert!(user(&deep).is_err());
    }

    #[test]
    fn a_users_message_that_nests_too_deep_is_told_from_one_that_is_broken() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(user(&nested(127)).is_ok());
        for levels in [128, 2000, 100_000] {
            assert_eq!(user(&nested(levels)), Err(DecodeError::TooDeep), "{levels}");
            let odd = format!("{{\"a\":\"\\ud800\",\"b\":{}}}", nested(levels));
            assert_eq!(user(&odd), Err(DecodeError::TooDeep), "{levels}");
            for broken in [
                format!("{} ]", nested(levels)),
                // A handle may have come with it.
                format!(
                    "{{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Native\",\"msg\":{}}}",
                    nested(levels)
                ),
            ] {
                let error = user(&broken).expect_err("it cannot be read");
                assert!(matches!(error, DecodeError::Malformed { .. }), "{error:?}");
            }
        }
    }

    #[test]
    fn a_user_cannot_speak_for_the_protocol() {
        let forged = Value::from(crate::Object::new().with("cmd", "NODE_HANDLE_ACK"));
        let mut out = Vec::new();
        assert_eq!(Json.encode(&Message::User(forged), &mut out), Err(EncodeError::Reserved));
        assert!(out.is_empty());
        // "NODE_" itself is nobody's.
        let plain = Value::from(crate::Object::new().with("cmd", "NODE_"));
        assert_eq!(Json.encode(&Message::User(plain), &mut out), Ok(()));
    }
}
