//! A frame reader says of a frame what its codec says, however the frame arrives.

use cluster_proto::{
    Codec, DecodeError, Encoding, Exchange, FrameReader, HandleMessage, Message, UserMessage,
};

/// Reads the payload in both ways, by a [`FrameReader`] in pieces of that length.
pub(crate) fn check(codec: &dyn Codec, encoding: Encoding, payload: &[u8], piece: usize) {
    let expected = codec.decode(payload);
    let mut reader = FrameReader::new(encoding);
    let found = match reader.at_once(payload) {
        Some(message) => Ok(message),
        None => {
            // It arrives faster than it is looked at.
            for end in (0..payload.len()).step_by(2 * piece + 1) {
                reader.look(&payload[..end], piece);
                assert!(reader.looked_at() <= end);
            }
            reader.finish(payload.to_vec().into())
        }
    };
    match (expected, found) {
        (Ok(expected), Ok(found)) => assert_eq!(decoded(found), expected),
        (Err(DecodeError::TooDeep), found) => assert_eq!(found, Err(DecodeError::TooDeep)),
        (Err(_), Err(found)) => assert_ne!(found, DecodeError::TooDeep),
        (expected, found) => panic!("{expected:?} is to the reader {found:?}"),
    }
    assert_eq!(reader.looked_at(), 0, "it is at the next frame");
}

/// The message with a tree of values in it.
fn decoded(message: Message) -> Message {
    match message {
        Message::Encoded(message) => {
            let value = message.value().expect("what was delivered can be decoded");
            assert_eq!(value, message.value_within(1 << 20).expect("it is short"));
            assert_eq!(message.as_str().as_deref(), value.as_str());
            exchanged(message, Exchange::of(value.clone()));
            Message::User(value)
        }
        Message::Handle(HandleMessage { kind, key, message }) => {
            let message = Box::new(decoded(*message));
            Message::Handle(HandleMessage { kind, key, message })
        }
        other => other,
    }
}

/// It is the same to requests.
fn exchanged(message: UserMessage, expected: Exchange) {
    let id = match &expected {
        Exchange::Request { id, .. } => Some((*id, true)),
        Exchange::Response { id, .. } => Some((*id, false)),
        Exchange::Message(_) => None,
    };
    assert_eq!(message.exchange_id(), id);
    let expected = match expected {
        Exchange::Request { id, body } => Exchange::Request { id, body: body.into() },
        Exchange::Response { id, answer } => {
            Exchange::Response { id, answer: answer.map(UserMessage::from) }
        }
        Exchange::Message(value) => Exchange::Message(value.into()),
    };
    assert_eq!(message.into_exchange(), expected);
}
