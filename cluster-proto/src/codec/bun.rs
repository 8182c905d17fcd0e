//! Bun's dialect of Node's JSON.

use alloc::vec::Vec;

use super::json::Json;
use super::{Codec, sendable_value};
use crate::deframe::Framing;
use crate::encoding::json;
use crate::error::{DecodeError, EncodeError};
use crate::internal::is_internal;
use crate::message::{HandleKind, Message};
use crate::value::Value;

/// What Bun puts before the text of a message of the protocol's own.
const MARK: u8 = 2;

/// The member by which a message of the protocol's own says that a descriptor comes with it.
const HAS_HANDLE: &str = "$hasHandle";

/// What Bun speaks where Node speaks [`Json`], in both directions:
///
/// | message | frame |
/// | --- | --- |
/// | of a user, with or without a descriptor | as Node's |
/// | of the protocol's own | the byte `0x02`, then the text |
/// | of the protocol's own, with a descriptor | the same; the message has a member `"$hasHandle":true`, and no `NODE_HANDLE` is around it |
/// | `NODE_HANDLE_ACK`, `NODE_HANDLE_NACK` | as Node's |
///
/// Bun takes a message of the protocol's own without the byte for a user's. Of two things that Node
/// requires Bun's messages may lack one: a primary's have no `cmd`, and the `listening` of an
/// `http.Server` has no `seq`.
///
/// [`Json`] reads this dialect too: it is known by a message's first byte ([`BunJson::is_marked`]).
#[derive(Clone, Copy, Debug, Default)]
pub struct BunJson;

impl BunJson {
    /// Whether the payload of a frame is a message of the protocol's own in Bun's dialect: a peer that
    /// sends that is to be answered in it. (No JSON text starts with that byte.)
    pub fn is_marked(payload: &[u8]) -> bool {
        payload.first() == Some(&MARK)
    }
}

impl Codec for BunJson {
    fn framing(&self) -> Framing {
        Framing::Line
    }

    fn encode(&self, message: &Message, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let (message, with_handle) = match message {
            Message::Handle(handle) => match &*handle.message {
                // Bun sends the same frame again, and knows no handle around another.
                Message::Handle(_) => return self.encode(&handle.message, out),
                Message::User(_)
                | Message::Encoded(_)
                | Message::HandleAck
                | Message::HandleNack => {
                    return Json.encode(message, out);
                }
                own => (own, true),
            },
            Message::User(_) | Message::Encoded(_) | Message::HandleAck | Message::HandleNack => {
                return Json.encode(message, out);
            }
            own => (own, false),
        };
        let mut value = sendable_value(message, json::ENCODING)?.into_owned();
        if let Value::Object(object) = &mut value {
            object.remove(HAS_HANDLE);
            if with_handle {
                object.insert(HAS_HANDLE, true);
            }
        }
        let start = out.len();
        out.push(MARK);
        json::write_line(&value, out).inspect_err(|_| out.truncate(start))
    }

    fn decode(&self, payload: &[u8]) -> Result<Message, DecodeError> {
        Json.decode(payload)
    }
}

/// Reads a payload that [is marked](BunJson::is_marked).
pub(super) fn decode(payload: &[u8]) -> Result<Message, DecodeError> {
    let malformed =
        |what: &str| DecodeError::Malformed { encoding: "Bun's JSON", what: what.into() };
    let value = json::parse(&payload[1..]).map_err(|error| match error {
        // A descriptor may have come with it, so it cannot be passed over.
        DecodeError::TooDeep => malformed("a message of the protocol's own that nests too deep"),
        error => error,
    })?;
    let Value::Object(mut object) = value else {
        return Err(malformed("a message of the protocol's own that is no object"));
    };
    let with_handle = object.remove(HAS_HANDLE).is_some_and(|has| has.is_truthy());
    if object.member("cmd").is_none() {
        object.insert("cmd", "NODE_CLUSTER");
    }
    if object.member("seq").is_none()
        && object.member("cmd").and_then(Value::as_str) == Some("NODE_CLUSTER")
    {
        object.insert("seq", 0);
    }
    let value = Value::Object(object);
    let message = if is_internal(&value) {
        Message::from_value(value)?
    } else {
        return Err(malformed("a message of a user's that is marked as the protocol's own"));
    };
    match (message, with_handle) {
        (message, false) => Ok(message),
        (Message::Handle(_) | Message::HandleAck | Message::HandleNack, true) => {
            Err(DecodeError::NestedHandle)
        }
        (message, true) if !message.can_be_sent_again() => {
            Err(malformed("a message with a descriptor that nests too deep"))
        }
        (message, true) => Ok(message.with_handle(HandleKind::NetNative)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ClusterBody, Object};

    fn text(message: &Message) -> Vec<u8> {
        let mut out = b"before".to_vec();
        BunJson.encode(message, &mut out).unwrap();
        out.split_off(b"before".len())
    }

    fn newconn() -> Message {
        Message::cluster(7, None, ClusterBody::NewConn { key: "k".into() })
    }

    #[test]
    fn the_protocols_own_messages_are_marked_and_users_are_not() {
        assert_eq!(
            text(&Message::cluster(9, None, ClusterBody::Disconnect)),
            b"\x02{\"cmd\":\"NODE_CLUSTER\",\"act\":\"disconnect\",\"seq\":9}\n"
        );
        assert_eq!(
            text(&newconn().with_handle(HandleKind::NetNative)),
            b"\x02{\"cmd\":\"NODE_CLUSTER\",\"act\":\"newconn\",\"key\":\"k\",\"seq\":7,\"$hasHandle\":true}\n"
        );
        assert_eq!(text(&Message::HandleAck), b"{\"cmd\":\"NODE_HANDLE_ACK\"}\n");
        let user = Message::User("hello".into());
        assert_eq!(text(&user), b"\"hello\"\n");
        assert_eq!(
            text(&user.with_handle(HandleKind::NetSocket)),
            b"{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Socket\",\"msg\":\"hello\"}\n"
        );
    }

    #[test]
    fn a_handle_that_is_sent_again_is_the_same_frame() {
        let socket = Message::User(1.into()).with_handle(HandleKind::NetSocket);
        assert_eq!(text(&socket.clone().with_handle(HandleKind::NetNative)), text(&socket));
    }

    #[test]
    fn what_bun_leaves_out_is_supplied() {
        let reply =
            Json.decode(b"\x02{\"act\":\"newconn\",\"key\":\"k\",\"$hasHandle\":true,\"seq\":7}");
        assert_eq!(reply, Ok(newconn().with_handle(HandleKind::NetNative)));
        let listening = Json.decode(
            b"\x02{\"cmd\":\"NODE_CLUSTER\",\"act\":\"listening\",\"port\":80,\"data\":null,\"address\":null,\"addressType\":4}",
        );
        let Ok(Message::Cluster(message)) = listening else { panic!("{listening:?}") };
        assert!(matches!(message.body, ClusterBody::Listening(_)) && message.seq == 0);
    }

    #[test]
    fn what_is_marked_never_reaches_a_user() {
        for payload in [
            &b"\x02"[..],
            b"\x02\x02{}",
            b"\x02\"text\"",
            b"\x02[1]",
            b"\x02{\"cmd\":\"mine\",\"seq\":1}",
            b"\x02{\"cmd\":\"NODE_HANDLE_ACK\",\"$hasHandle\":true}",
            b"\x02{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Native\",\"msg\":1,\"$hasHandle\":true}",
        ] {
            assert!(Json.decode(payload).is_err(), "{payload:?}");
        }
        // Without the mark the member is the user's own.
        let own = Json.decode(b"{\"$hasHandle\":true}").unwrap();
        assert_eq!(own, Message::User(Object::new().with(HAS_HANDLE, true).into()));
    }

    #[test]
    fn a_message_that_is_too_deep_is_an_error_that_ends_the_channel() {
        let deep = [&b"\x02{\"a\":"[..], &[b'['; 200], &[b']'; 200], b"}"].concat();
        assert!(matches!(Json.decode(&deep), Err(DecodeError::Malformed { .. })));
    }
}
