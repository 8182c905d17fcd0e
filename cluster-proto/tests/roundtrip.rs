//! What one end encodes, the other decodes to the same message; and what it could not, is refused
//! where it is sent.

#[path = "support/messages.rs"]
mod arbitrary;

use cluster_proto::{
    Advanced, Codec, EncodeError, Framing, HandleKind, Json, Message, Object, Postcard,
    StructuredClone, Value, ViewKind,
};
use proptest::collection::vec;
use proptest::prelude::*;

fn encode(codec: &dyn Codec, message: &Message) -> Result<Vec<u8>, EncodeError> {
    // What stood there before must stay.
    let mut out = b"before".to_vec();
    let result = codec.encode(message, &mut out);
    assert!(out.starts_with(b"before"));
    let frame = out.split_off(b"before".len());
    assert!(result.is_ok() || frame.is_empty(), "an error left {frame:?} behind");
    result.map(|()| frame)
}

/// The frame without its framing, which is checked.
fn payload(codec: &dyn Codec, frame: &[u8]) -> Vec<u8> {
    match codec.framing() {
        Framing::Line => {
            let (last, payload) = frame.split_last().expect("no frame is empty");
            assert_eq!(*last, b'\n');
            assert!(!payload.contains(&b'\n'), "a newline within the frame");
            payload.to_vec()
        }
        Framing::Length => {
            let (header, payload) = frame.split_first_chunk().expect("no frame is shorter");
            assert_eq!(u32::from_be_bytes(*header) as usize, payload.len());
            payload.to_vec()
        }
        other => panic!("an unknown framing: {other:?}"),
    }
}

fn round_trip(codec: &dyn Codec, message: &Message) -> Message {
    let frame = encode(codec, message).expect("both codecs hold every such message");
    codec.decode(&payload(codec, &frame)).expect("what was encoded can be decoded")
}

/// A structured clone of it is the same, or it has a number that JavaScript has not.
fn clones(message: Message) -> Result<(), TestCaseError> {
    match encode(&Advanced, &message) {
        Ok(frame) => prop_assert_eq!(Advanced.decode(&payload(&Advanced, &frame)), Ok(message)),
        Err(error) => prop_assert!(error.to_string().contains("use a BigInt"), "{error}"),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn json_gives_back_every_message(message in arbitrary::message()) {
        prop_assert_eq!(round_trip(&Json, &message), message);
    }

    #[test]
    fn postcard_gives_back_every_message(message in arbitrary::message()) {
        prop_assert_eq!(round_trip(&Postcard, &message), message);
    }

    #[test]
    fn the_object_form_gives_back_every_message(message in arbitrary::message()) {
        prop_assert_eq!(Message::from_value(message.to_value()), Ok(message));
    }

    #[test]
    fn structured_clones_give_back_every_message(message in arbitrary::message()) {
        clones(message)?;
    }

    #[test]
    fn what_json_cannot_say_survives_where_it_can_be_said(value in arbitrary::structured_clone()) {
        prop_assume!(!cluster_proto::is_internal(&value));
        let message = Message::User(value);
        prop_assert_eq!(&round_trip(&Postcard, &message), &message);
        clones(message.clone().with_handle(HandleKind::NetSocket))?;
        clones(message)?;
    }

    #[test]
    fn what_json_cannot_say_can_be_described_in_it(value in arbitrary::structured_clone()) {
        let text = serde_json::to_string(&value.to_tagged()).unwrap();
        let back = Value::from_tagged(serde_json::from_str(&text).unwrap());
        prop_assert_eq!(back, Ok(value));
    }

    /// What JavaScript may have in a string, and UTF-8 not.
    #[test]
    fn lone_surrogates_survive_json(
        units in vec(prop_oneof![0xd7f0_u16..0xe010, 0..128_u16], 0..12),
        other in arbitrary::value(),
    ) {
        let text = match String::from_utf16(&units) {
            Ok(text) => Value::from(text),
            Err(_) => StructuredClone::Utf16(units).into(),
        };
        let object = Object::new().with("text", text.clone()).with("other", other);
        let message = Message::User(Value::from(vec![object.into(), text]));
        prop_assert_eq!(&round_trip(&Json, &message), &message);
    }

    /// A value alone, in serde's hands: what an application gets that stores or logs it.
    #[test]
    fn a_value_is_the_json_that_it_prints(value in arbitrary::value()) {
        let text = serde_json::to_string(&value).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Value>(&text).unwrap(), &value);
        // An independent reader sees the same text in it.
        let foreign: serde_json::Value = serde_json::from_str(&text).unwrap();
        let back: Value = serde_json::from_value(foreign).unwrap();
        prop_assert_eq!(sorted(back), sorted(value));
    }
}

/// Members by name: `serde_json`'s own map has lost their order.
fn sorted(value: Value) -> Value {
    match value {
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        Value::Object(object) => {
            let mut members: Vec<(String, Value)> =
                object.iter().map(|(n, v)| (n.to_owned(), sorted(v.clone()))).collect();
            members.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(Object::from_members(members))
        }
        other => other,
    }
}

#[test]
fn numbers_that_json_has_not_become_null_as_in_javascript() {
    for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let message = Message::User(number.into());
        assert_eq!(round_trip(&Json, &message), Message::User(Value::Null));
        let Message::User(Value::Number(back)) = round_trip(&Postcard, &message) else {
            panic!("no number came back")
        };
        assert_eq!(back.as_f64().to_bits(), number.to_bits());
    }
}

/// `[[…]]`, that many levels of it.
fn nested(levels: usize) -> Value {
    (1..levels).fold(Value::Array(Vec::new()), |inner, _| Value::Array(vec![inner]))
}

/// `{"":{"":…}}`, that many levels of it.
fn nested_object(levels: usize) -> Object {
    (1..levels).fold(Object::new(), |inner, _| Object::new().with("", inner))
}

#[test]
fn what_nests_too_deep_to_be_read_is_refused_where_it_is_sent() {
    for codec in [&Json as &dyn Codec, &Postcard, &Advanced] {
        let mut deepest = 0;
        for levels in (1..200).chain([1_000]) {
            let user = Message::User(nested(levels));
            let internal = nested_object(levels).with("cmd", "NODE_X");
            let mut query = cluster_proto::ListenQuery { data: nested(levels), ..<_>::default() };
            query.extra = nested_object(levels);
            let mut online = match Message::cluster(0, None, cluster_proto::ClusterBody::Online) {
                Message::Cluster(online) => online,
                _ => unreachable!(),
            };
            online.extra = nested_object(levels);
            let query = cluster_proto::ClusterBody::QueryServer(Box::new(query));
            for message in [
                user.clone(),
                Message::Internal(internal),
                Message::Cluster(online),
                Message::cluster(0, None, query),
                user.with_handle(HandleKind::NetNative).with_handle(HandleKind::NetNative),
            ] {
                match encode(codec, &message) {
                    Ok(frame) => {
                        let back = codec.decode(&payload(codec, &frame));
                        assert_eq!(back, Ok(message), "{levels} levels");
                        deepest = levels;
                    }
                    Err(EncodeError::Unsupported { .. }) => {}
                    Err(other) => panic!("{other}"),
                }
            }
        }
        assert!((100..=130).contains(&deepest), "{deepest} levels are let through");
    }
}

#[test]
fn a_message_within_a_handle_is_not_internal() {
    let forged = || Message::User(Object::new().with("cmd", "NODE_HANDLE_ACK").into());
    for codec in [&Json as &dyn Codec, &Postcard, &Advanced] {
        let once = forged().with_handle(HandleKind::NetSocket);
        for message in [forged(), once.clone(), once.with_handle(HandleKind::NetNative)] {
            assert_eq!(encode(codec, &message), Err(EncodeError::Reserved));
        }
    }
}

#[test]
fn a_handle_is_wrapped_twice_and_no_more() {
    let twice = Message::User(1.into())
        .with_handle(HandleKind::NetSocket)
        .with_handle(HandleKind::NetNative);
    for codec in [&Json as &dyn Codec, &Postcard, &Advanced] {
        assert_eq!(round_trip(codec, &twice), twice);
        let thrice = twice.clone().with_handle(HandleKind::NetNative);
        assert_eq!(encode(codec, &thrice), Err(EncodeError::NestedHandle));
    }
}

#[test]
fn unknown_members_cannot_gainsay_the_known_ones() {
    use cluster_proto::{ClusterBody, ClusterMessage};
    let extra = || {
        Object::new()
            .with("new", true)
            .with("seq", 99)
            .with("cmd", "NODE_HANDLE_ACK")
            .with("act", "disconnect")
            .with("ack", 99)
            .with("key", "forged")
    };
    let close = ClusterMessage {
        seq: 1,
        ack: None,
        body: ClusterBody::Close { key: "a".into() },
        extra: extra(),
    };
    let accepted =
        ClusterMessage { seq: 2, ack: Some(3), body: ClusterBody::Accepted(true), extra: extra() };
    for message in [close, accepted] {
        let Message::Cluster(back) = round_trip(&Json, &Message::Cluster(message.clone())) else {
            panic!("it is not the cluster's any more")
        };
        assert_eq!((back.seq, back.ack, &back.body), (message.seq, message.ack, &message.body));
        assert_eq!(back.extra.member("new"), Some(&true.into()));
    }
}

#[test]
fn what_json_has_no_form_for_it_says_so() {
    let encode = |value: Value| encode(&Json, &Message::User(value));
    let with = Object::new().with("gone", Value::undefined()).with("kept", 1);
    assert_eq!(encode(with.into()).unwrap(), b"{\"kept\":1}\n");
    let items = vec![Value::undefined(), 1.into()];
    assert_eq!(encode(items.into()).unwrap(), b"[null,1]\n");
    assert!(matches!(encode(Value::undefined()), Err(EncodeError::Unsupported { .. })));
    let error = encode(vec![Value::buffer([1])].into()).unwrap_err();
    assert!(error.to_string().contains("JSON has no form for a Buffer"), "{error}");
}

#[test]
fn what_no_structured_clone_could_be_is_refused() {
    for odd in [
        StructuredClone::Back(0),
        StructuredClone::Back(1),
        StructuredClone::RegExp { source: "a".into(), flags: "q".into() },
        StructuredClone::Boxed(Box::new(Value::Null)),
        StructuredClone::View { kind: ViewKind::Float64Array, bytes: vec![1] },
        StructuredClone::ArrayBuffer { bytes: vec![1, 2], max_length: Some(1) },
        StructuredClone::Array { length: 1, elements: vec![(1, 1.into())], members: Object::new() },
    ] {
        let refused = encode(&Advanced, &Message::User(odd.clone().into()));
        assert!(matches!(refused, Err(EncodeError::Unsupported { .. })), "{odd:?}: {refused:?}");
    }
}
