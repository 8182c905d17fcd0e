//! Node's own encoding: a JSON text a line.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::de::IgnoredAny;

use super::{BunJson, Codec, bun, may_be_internal, sendable_value, shortcut};
use crate::deframe::Framing;
use crate::error::{DecodeError, EncodeError};
use crate::message::Message;
use crate::value::Value;

/// `serialization: 'json'`: every message one JSON text in UTF-8 and a newline.
///
/// Nesting is limited to 127 levels, those of the message around a value included; a user's message that nests deeper is
/// [`DecodeError::TooDeep`]. A lone surrogate in a string, which JavaScript can send and
/// UTF-8 cannot hold, arrives as U+FFFD, as it would in a JavaScript `TextEncoder`.
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
        let value = sendable_value(message, ENCODING)?;
        if value.is_undefined() {
            let what = "undefined by itself has no form in it".into();
            return Err(EncodeError::Unsupported { encoding: ENCODING, what });
        }
        write(&value, out)
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
pub(super) fn write(value: &Value, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let text = serde_json::to_vec(value)
        .map_err(|e| EncodeError::Unsupported { encoding: ENCODING, what: e.to_string() })?;
    out.extend_from_slice(&text);
    out.push(b'\n');
    Ok(())
}

pub(super) fn parse(payload: &[u8]) -> Result<Value, DecodeError> {
    let malformed =
        |e: &dyn ToString| DecodeError::Malformed { encoding: ENCODING, what: e.to_string() };
    let failed = |error: serde_json::Error| {
        // The limit has no name but its words. What is passed over is read whatever its depth.
        let limit = error.to_string().contains("recursion limit");
        if limit
            && !may_be_internal(payload)
            && serde_json::from_slice::<IgnoredAny>(payload).is_ok()
        {
            DecodeError::TooDeep
        } else {
            malformed(&error)
        }
    };
    match serde_json::from_slice(payload) {
        Ok(value) => Ok(value),
        Err(first) => match core::str::from_utf8(payload).ok().and_then(replace_lone_surrogates) {
            Some(mended) => serde_json::from_str(&mended).map_err(failed),
            None => Err(failed(first)),
        },
    }
}

/// The text with every escape of a lone surrogate replaced; `None` if it holds none.
fn replace_lone_surrogates(text: &str) -> Option<String> {
    let mut mended = String::new();
    let mut copied = 0;
    let mut at = 0;
    let bytes = text.as_bytes();
    while let Some(found) = bytes[at..].iter().position(|b| *b == b'\\') {
        at += found;
        match escaped_unit(bytes, at) {
            Some(0xD800..=0xDBFF)
                if matches!(escaped_unit(bytes, at + 6), Some(0xDC00..=0xDFFF)) =>
            {
                at += 12;
            }
            Some(0xD800..=0xDFFF) => {
                mended.push_str(&text[copied..at]);
                mended.push('\u{FFFD}');
                at += 6;
                copied = at;
            }
            Some(_) => at += 6,
            // An escape of one character, or the end of a broken text.
            None => at = (at + 2).min(bytes.len()),
        }
    }
    if copied == 0 {
        return None;
    }
    mended.push_str(&text[copied..]);
    Some(mended)
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
    use alloc::format;

    use super::*;

    fn user(text: &str) -> Result<Value, DecodeError> {
        match Json.decode(text.as_bytes())? {
            Message::User(value) => Ok(value),
            other => panic!("not a user's message: {other:?}"),
        }
    }

    #[test]
    fn lone_surrogates_are_replaced_and_pairs_are_not() {
        assert_eq!(user(r#""a\ud800b""#), Ok("a\u{FFFD}b".into()));
        assert_eq!(user(r#""\udc00\ud83d\ude00\ud83d""#), Ok("\u{FFFD}😀\u{FFFD}".into()));
        assert_eq!(user(r#""\\ud800 \ud800""#), Ok("\\ud800 \u{FFFD}".into()));
        assert_eq!(user(r#"{"\ud800":1}"#).unwrap()["\u{FFFD}"].as_u64(), Some(1));
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
