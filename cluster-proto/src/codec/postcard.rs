//! A compact encoding between two Rust ends.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use ::postcard::ser_flavors::Flavor;
use serde::{Deserialize, Serialize};

use super::{Codec, check_sendable, encoded_value, too_deep};
use crate::deframe::Framing;
use crate::encoding::postcard::ENCODING;
use crate::error::{DecodeError, EncodeError};
use crate::internal::is_internal;
use crate::message::{ClusterBody, ClusterMessage, HandleKind, HandleMessage, Message, SocketList};
use crate::value::{MAX_DEPTH, Object, Value};

/// Every message in [postcard](https://postcard.jamesmunns.com/wire-format), behind four bytes of
/// big-endian length. Values are limited to 127 levels of nesting.
#[derive(Clone, Copy, Debug, Default)]
pub struct Postcard;

/// Bytes of length before each frame.
const HEADER: usize = 4;

/// Appends to what is there already.
struct Tail<'a>(&'a mut Vec<u8>);

impl Flavor for Tail<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// A message in a form that cannot nest without bound, whatever the bytes say.
#[derive(Serialize, Deserialize)]
enum Wire<'a> {
    Plain(#[serde(borrow)] Body<'a>),
    Handle(Head<'a>, Body<'a>),
    /// A handle that is sent again, in its second wrapping.
    Again(Head<'a>, Head<'a>, Body<'a>),
}

#[derive(Serialize, Deserialize)]
struct Head<'a> {
    kind: Owned<'a, HandleKind>,
    key: Option<String>,
}

#[derive(Serialize, Deserialize)]
enum Body<'a> {
    Cluster(#[serde(borrow)] Owned<'a, ClusterMessage>),
    HandleAck,
    HandleNack,
    SocketList(Owned<'a, SocketList>),
    Internal(Owned<'a, Object>),
    User(Owned<'a, Value>),
}

/// Borrowed when written, owned when read.
enum Owned<'a, T> {
    Ref(&'a T),
    Own(T),
}

impl<T: Serialize> Serialize for Owned<'_, T> {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Ref(value) => value.serialize(s),
            Self::Own(value) => value.serialize(s),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Owned<'_, T> {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        T::deserialize(d).map(Self::Own)
    }
}

impl<T: Clone> Owned<'_, T> {
    fn into_inner(self) -> T {
        match self {
            Self::Ref(value) => value.clone(),
            Self::Own(value) => value,
        }
    }
}

/// A user's text: the most frequent of all messages, written and read by hand. The bytes are those
/// that serde would make; whatever is in any way unusual is left to it.
mod text {
    use super::{HEADER, String, Vec};

    /// `Plain`, `User`, and then a value that is a `String`.
    const HEAD: [u8; 3] = [0, 5, 5];
    /// Up to here a length has two bytes of seven bits at most.
    const LONGEST: usize = (1 << 14) - 1;

    pub(super) fn encode(text: &str, out: &mut Vec<u8>) -> bool {
        let length = text.len();
        if length > LONGEST {
            return false;
        }
        let (low, high) = ((length & 0x7f) as u8, (length >> 7) as u8);
        let varint: &[u8] = if high == 0 { &[low] } else { &[low | 0x80, high] };
        let body = HEAD.len() + varint.len() + length;
        out.reserve(HEADER + body);
        out.extend_from_slice(&(body as u32).to_be_bytes());
        out.extend_from_slice(&HEAD);
        out.extend_from_slice(varint);
        out.extend_from_slice(text.as_bytes());
        true
    }

    pub(super) fn decode(payload: &[u8]) -> Option<String> {
        let (length, bytes) = match payload.strip_prefix(&HEAD)? {
            [low @ ..0x80, bytes @ ..] => (usize::from(*low), bytes),
            [low, high @ 1..0x80, bytes @ ..] => {
                (usize::from(*low & 0x7f) | usize::from(*high) << 7, bytes)
            }
            _ => return None,
        };
        let text = core::str::from_utf8(bytes).ok().filter(|text| text.len() == length)?;
        Some(text.into())
    }
}

impl Codec for Postcard {
    fn framing(&self) -> Framing {
        Framing::Length
    }

    fn encode(&self, message: &Message, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if let Message::User(Value::String(text)) = message
            && text::encode(text, out)
        {
            return Ok(());
        }
        check_sendable(message)?;
        let wire = to_wire(message)?;
        let unsupported = |what: String| EncodeError::Unsupported { encoding: ENCODING, what };
        let start = out.len();
        out.extend_from_slice(&[0; HEADER]);
        let written = postcard::serialize_with_flavor(&wire, Tail(out))
            .map_err(|e| unsupported(e.to_string()))
            .and_then(|()| {
                u32::try_from(out.len() - start - HEADER)
                    .map_err(|_| unsupported("it is longer than 4 GiB".into()))
            });
        match written {
            Ok(length) => {
                out[start..start + HEADER].copy_from_slice(&length.to_be_bytes());
                Ok(())
            }
            Err(error) => {
                out.truncate(start);
                Err(error)
            }
        }
    }

    fn decode(&self, payload: &[u8]) -> Result<Message, DecodeError> {
        if let Some(text) = text::decode(payload) {
            return Ok(Message::User(Value::String(text)));
        }
        let malformed = |what: String| DecodeError::Malformed { encoding: ENCODING, what };
        let (wire, rest) =
            postcard::take_from_bytes(payload).map_err(|e| malformed(e.to_string()))?;
        if !rest.is_empty() {
            return Err(malformed(alloc::format!("{} bytes too many", rest.len())));
        }
        from_wire(wire)
    }
}

fn to_wire(message: &Message) -> Result<Wire<'_>, EncodeError> {
    let Message::Handle(outer) = message else { return Ok(Wire::Plain(to_body(message)?)) };
    Ok(match &*outer.message {
        Message::Handle(inner) => Wire::Again(head(outer), head(inner), to_body(&inner.message)?),
        plain => Wire::Handle(head(outer), to_body(plain)?),
    })
}

fn head(handle: &HandleMessage) -> Head<'_> {
    Head { kind: Owned::Ref(&handle.kind), key: handle.key.clone() }
}

fn to_body(message: &Message) -> Result<Body<'_>, EncodeError> {
    if !nests_within(message, MAX_DEPTH) {
        return Err(too_deep(ENCODING));
    }
    Ok(match message {
        Message::Cluster(message) => Body::Cluster(Owned::Ref(message)),
        Message::HandleAck => Body::HandleAck,
        Message::HandleNack => Body::HandleNack,
        Message::SocketList(list) => Body::SocketList(Owned::Ref(list)),
        Message::Internal(object) => Body::Internal(Owned::Ref(object)),
        Message::User(value) => Body::User(Owned::Ref(value)),
        Message::Encoded(message) => {
            let value = encoded_value(message, ENCODING)?;
            if !value.nests_within(MAX_DEPTH) {
                return Err(too_deep(ENCODING));
            }
            Body::User(Owned::Own(value))
        }
        Message::Handle(_) => return Err(EncodeError::NestedHandle),
    })
}

fn nests_within(message: &Message, levels: usize) -> bool {
    match message {
        Message::Cluster(message) => {
            let body = match &message.body {
                ClusterBody::QueryServer(query) | ClusterBody::Listening(query) => {
                    query.data.nests_within(levels) && query.extra.nests_within(levels)
                }
                ClusterBody::ListenReply(reply) => reply.data.nests_within(levels),
                _ => true,
            };
            body && message.extra.nests_within(levels)
        }
        Message::Internal(object) => object.nests_within(levels),
        Message::User(value) => value.nests_within(levels),
        _ => true,
    }
}

fn from_wire(wire: Wire<'_>) -> Result<Message, DecodeError> {
    Ok(match wire {
        Wire::Plain(body) => from_body(body)?,
        Wire::Handle(head, body) => wrap(head, from_body(body)?),
        Wire::Again(outer, inner, body) => wrap(outer, wrap(inner, from_body(body)?)),
    })
}

fn wrap(head: Head<'_>, message: Message) -> Message {
    Message::Handle(HandleMessage {
        kind: head.kind.into_inner(),
        key: head.key,
        message: Box::new(message),
    })
}

fn from_body(body: Body<'_>) -> Result<Message, DecodeError> {
    Ok(match body {
        Body::Cluster(message) => Message::Cluster(message.into_inner()),
        Body::HandleAck => Message::HandleAck,
        Body::HandleNack => Message::HandleNack,
        Body::SocketList(list) => Message::SocketList(list.into_inner()),
        // What says something else as an object must not arrive in this guise: it would change
        // its meaning on the next JSON channel.
        Body::Internal(object) => match Message::from_value(object.into_inner().into())? {
            internal @ Message::Internal(_) => internal,
            _ => {
                return Err(DecodeError::Member {
                    name: "cmd",
                    expected: "a name of the protocol's own that has no form of its own",
                });
            }
        },
        Body::User(value) => {
            let value = value.into_inner();
            // Nor what a user may not send.
            if is_internal(&value) {
                return Err(DecodeError::Member {
                    name: "cmd",
                    expected: "no name of the protocol's own",
                });
            }
            Message::User(value)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deep_nesting_is_an_error_and_no_overflow() {
        // Plain, User, then arrays of one element.
        let mut payload = alloc::vec![0, 5];
        for _ in 0..1_000_000 {
            payload.extend_from_slice(&[6, 1]);
        }
        payload.push(0);
        assert!(matches!(Postcard.decode(&payload), Err(DecodeError::Malformed { .. })));
    }

    #[test]
    fn a_claimed_length_reserves_no_memory() {
        // An array of 2^63 elements that are not there.
        let payload = [0, 5, 6, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
        assert!(Postcard.decode(&payload).is_err());
    }

    fn by_serde(text: &str) -> Vec<u8> {
        let value = Value::from(text);
        postcard::to_allocvec(&Wire::Plain(Body::User(Owned::Ref(&value)))).unwrap()
    }

    #[test]
    fn a_text_is_written_as_serde_would_and_read_alike() {
        for length in [0, 1, 0x7f, 0x80, 0xff, 0x100, 0x3fff, 0x4000, 0x10000] {
            let text = "é".repeat(length / 2) + if length % 2 == 0 { "" } else { "x" };
            let (message, payload) = (Message::User(text.as_str().into()), by_serde(&text));
            let mut out = alloc::vec![7];
            Postcard.encode(&message, &mut out).unwrap();
            assert_eq!(out[1..5], (payload.len() as u32).to_be_bytes());
            assert_eq!(out[5..], payload);
            assert_eq!(text::decode(&payload).is_some(), length < 0x4000, "{length}");
            assert_eq!(Postcard.decode(&payload), Ok(message));
        }
    }

    /// The shortcut takes nothing that serde would not, whatever the bytes.
    #[test]
    fn what_is_no_text_is_none_to_the_shortcut() {
        let texts = [by_serde("hello"), by_serde(&"x".repeat(300))];
        for payload in texts {
            for at in 0..payload.len().min(8) {
                for byte in 0..=255 {
                    let mut changed = payload.clone();
                    changed[at] = byte;
                    let Some(text) = text::decode(&changed) else { continue };
                    assert_eq!(by_serde(&text), changed);
                }
            }
            assert_eq!(text::decode(&payload[..payload.len() - 1]), None);
            assert_eq!(text::decode(&[&payload[..], b"x"].concat()), None);
        }
        // A length of two bytes where one would do: serde takes it.
        let long_form = [&HEAD_OF_FIVE[..], b"hello"].concat();
        assert_eq!(text::decode(&long_form), None);
        assert_eq!(Postcard.decode(&long_form), Ok(Message::User("hello".into())));
    }

    const HEAD_OF_FIVE: [u8; 5] = [0, 5, 5, 0x85, 0];

    #[test]
    fn trailing_bytes_are_an_error() {
        let mut out = Vec::new();
        Postcard.encode(&Message::HandleAck, &mut out).unwrap();
        assert_eq!(Postcard.decode(&out[4..]), Ok(Message::HandleAck));
        out.push(0);
        assert!(Postcard.decode(&out[4..]).is_err());
    }
}
