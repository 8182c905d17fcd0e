//! Node's own encoding: a JSON text a line.

use alloc::string::String;
use alloc::vec::Vec;

use super::bun::BunJson;
use super::{Codec, bun, sendable_value, shortcut};
use crate::deframe::Framing;
use crate::encoding::json::{ENCODING, parse, text, write_line};
use crate::error::{DecodeError, EncodeError};
use crate::message::Message;
use crate::value::Value;

/// `serialization: 'json'`: every message one JSON text in UTF-8 and a newline.
///
/// Nesting is limited to 127 levels, those of the message around a value included; a user's message that nests deeper is
/// [`DecodeError::TooDeep`]. A string with a lone surrogate, which JavaScript can send and UTF-8 cannot
/// hold, is [`StructuredClone::Utf16`](crate::StructuredClone::Utf16), and is written as it came. (In a member's name U+FFFD takes its place.)
///
/// Decoding also takes [Bun's dialect](BunJson); a peer that sends it is answered in it.
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
    /// [`EncodeError::Unsupported`] if it holds what JSON has no form for (see [`StructuredClone`](crate::StructuredClone)).
    pub fn text(value: &Value) -> Result<String, EncodeError> {
        text(value)
    }
}

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

#[cfg(test)]
mod tests {
    use alloc::{format, vec};

    use alloc::string::ToString;

    use super::*;
    use crate::structured_clone::StructuredClone;
    use crate::value::Object;

    fn user(text: &str) -> Result<Value, DecodeError> {
        match Json.decode(text.as_bytes())? {
            Message::User(value) => Ok(value),
            other => panic!("not a user's message: {other:?}"),
        }
    }

    #[test]
    fn lone_surrogates_come_and_go_as_they_are() {
        let utf16 = |units: &[u16]| Value::from(StructuredClone::Utf16(units.to_vec()));
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
        let value = Value::Array(vec![
            StructuredClone::Utf16(vec![0xD800]).into(),
            StructuredClone::Date(0.0).into(),
        ]);
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
        // "NODE_" itself is reserved by no protocol.
        let plain = Value::from(crate::Object::new().with("cmd", "NODE_"));
        assert_eq!(Json.encode(&Message::User(plain), &mut out), Ok(()));
    }
}
