//! The JSON of a hand-off, which is most of what a busy channel carries, without an object in
//! between: what [`encode`] writes is what the object would be written as, and what [`decode`]
//! does not know by heart is read as an object.

use alloc::vec::Vec;
use core::fmt;

use crate::message::{ClusterBody, ClusterMessage, HandleKind, HandleMessage, Message};

const ACK: &[u8] = br#"{"cmd":"NODE_HANDLE_ACK"}"#;

/// Appends the message's text; false, and nothing, if it is another kind of message.
pub(super) fn encode(message: &Message, out: &mut Vec<u8>) -> bool {
    match message {
        Message::HandleAck => out.extend_from_slice(ACK),
        Message::Handle(HandleMessage { kind: HandleKind::NetNative, key: None, message }) => {
            let Message::Cluster(ClusterMessage {
                seq,
                ack: None,
                body: ClusterBody::NewConn { key },
                extra,
            }) = &**message
            else {
                return false;
            };
            if !extra.is_empty() || !is_plain(key.as_str()) {
                return false;
            }
            write(
                out,
                format_args!(
                    r#"{{"cmd":"NODE_HANDLE","type":"net.Native","msg":{{"cmd":"NODE_CLUSTER","act":"newconn","key":"{key}","seq":{seq}}}}}"#
                ),
            );
        }
        Message::Cluster(ClusterMessage {
            seq,
            ack: Some(ack),
            body: ClusterBody::Accepted(accepted),
            extra,
        }) if extra.is_empty() => write(
            out,
            format_args!(
                r#"{{"cmd":"NODE_CLUSTER","accepted":{accepted},"ack":{ack},"seq":{seq}}}"#
            ),
        ),
        _ => return false,
    }
    true
}

/// Reads what Node answers, and what we do.
pub(crate) fn decode(payload: &[u8]) -> Option<Message> {
    if payload == ACK {
        return Some(Message::HandleAck);
    }
    let mut rest = payload.strip_prefix(br#"{"cmd":"NODE_CLUSTER","#)?;
    let (mut ack, mut accepted) = (None, None);
    loop {
        if let Some(number) = rest.strip_prefix(br#""ack":"#) {
            ack = Some(whole(number, &mut rest)?);
        } else if let Some(after) = rest.strip_prefix(br#""accepted":true"#) {
            (accepted, rest) = (Some(true), after);
        } else if let Some(after) = rest.strip_prefix(br#""accepted":false"#) {
            (accepted, rest) = (Some(false), after);
        } else {
            let seq = whole(rest.strip_prefix(br#""seq":"#)?, &mut rest)?;
            if rest != b"}" {
                return None;
            }
            return Some(Message::cluster(seq, Some(ack?), ClusterBody::Accepted(accepted?)));
        }
        rest = rest.strip_prefix(b",")?;
    }
}

/// Whether JSON has the text as it is.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\')
}

fn write(out: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    // Memory does not refuse.
    let _ = fmt::Write::write_fmt(&mut Text(out), text);
}

struct Text<'a>(&'a mut Vec<u8>);

impl fmt::Write for Text<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// A number as `JSON.stringify` writes a whole one, up to where every reader agrees on it.
fn whole<'a>(text: &'a [u8], rest: &mut &'a [u8]) -> Option<u64> {
    let length = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let leading_zero = length > 1 && text[0] == b'0';
    if length == 0 || length > 15 || leading_zero {
        return None;
    }
    *rest = &text[length..];
    Some(text[..length].iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Value;

    fn by_way_of_the_object(message: &Message) -> Vec<u8> {
        serde_json::to_vec(&message.to_value()).unwrap()
    }

    #[test]
    fn it_is_written_as_the_object_is() {
        let newconn = |key: &str| {
            Message::cluster(12, None, ClusterBody::NewConn { key: key.into() })
                .with_handle(HandleKind::NetNative)
        };
        for message in [
            Message::HandleAck,
            newconn("127.0.0.1:80:4:undefined"),
            Message::cluster(3, Some(2), ClusterBody::Accepted(true)),
            Message::cluster(u64::MAX, Some(0), ClusterBody::Accepted(false)),
        ] {
            let mut out = Vec::new();
            assert!(encode(&message, &mut out), "{message:?}");
            assert_eq!(out, by_way_of_the_object(&message));
        }
        for message in [newconn("a\"b"), newconn("ü"), Message::HandleNack, Message::User(1.into())]
        {
            let mut out = Vec::new();
            assert!(!encode(&message, &mut out) && out.is_empty(), "{message:?}");
        }
    }

    #[test]
    fn it_is_read_as_the_object_is() {
        let known = [
            r#"{"cmd":"NODE_HANDLE_ACK"}"#,
            r#"{"cmd":"NODE_CLUSTER","ack":1,"accepted":true,"seq":3}"#,
            r#"{"cmd":"NODE_CLUSTER","accepted":false,"ack":0,"seq":30}"#,
        ];
        let unknown = [
            r#"{"cmd":"NODE_CLUSTER","ack":1,"seq":3}"#,
            r#"{"cmd":"NODE_CLUSTER","ack":1,"accepted":true,"seq":3,"seq":4}"#,
            r#"{"cmd":"NODE_CLUSTER","ack":01,"accepted":true,"seq":3}"#,
            r#"{"cmd":"NODE_CLUSTER","ack":1,"accepted":true,"seq":3.5}"#,
            r#"{"cmd":"NODE_CLUSTER","ack":1,"accepted":true,"seq":9999999999999999}"#,
            r#"{"cmd":"NODE_CLUSTER","ack":1,"accepted":true,"seq":3}x"#,
            r#"{"cmd":"NODE_CLUSTER","ack":1,"accepted":trues,"seq":3}"#,
        ];
        for text in known {
            let value: Value = serde_json::from_str(text).unwrap();
            assert_eq!(
                decode(text.as_bytes()),
                Some(Message::from_value(value).unwrap()),
                "{text}"
            );
        }
        for text in unknown {
            assert_eq!(decode(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_member_that_comes_twice_counts_as_json_has_it() {
        // The later one.
        let text = br#"{"cmd":"NODE_CLUSTER","ack":1,"ack":2,"accepted":true,"seq":3}"#;
        let Some(Message::Cluster(message)) = decode(text) else { panic!() };
        assert_eq!(message.ack, Some(2));
    }
}
