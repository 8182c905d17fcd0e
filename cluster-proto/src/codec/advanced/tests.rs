use alloc::boxed::Box;
use alloc::format;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::structured_clone::{BigInt, ErrorClass, ErrorValue, StructuredClone, ViewKind};
use crate::value::{MAX_DEPTH, Object, Value};

fn written(value: impl Into<Value>) -> Vec<u8> {
    let mut out = Vec::new();
    Advanced.encode(&Message::User(value.into()), &mut out).unwrap();
    assert_eq!(out[..4], u32::try_from(out.len() - 4).unwrap().to_be_bytes());
    assert_eq!(out[4..6], [0xff, 15]);
    out.split_off(6)
}

fn read(bytes: &[u8]) -> Result<Value, DecodeError> {
    match Advanced.decode(&[&[0xff, 15], bytes].concat())? {
        Message::User(value) => Ok(value),
        other => panic!("not a user's message: {other:?}"),
    }
}

#[track_caller]
fn both(value: impl Into<Value>, bytes: &[u8]) {
    let value = value.into();
    assert_eq!(written(value.clone()), bytes);
    assert_eq!(read(bytes), Ok(value));
}

#[test]
fn each_kind_has_v8s_bytes() {
    both(Value::Null, b"0");
    both(true, b"T");
    both(false, b"F");
    both(Value::undefined(), b"_");
    both(1, b"I\x02");
    both(-1, b"I\x01");
    both(i64::from(i32::MIN), b"I\xff\xff\xff\xff\x0f");
    both(1.5, b"N\0\0\0\0\0\0\xf8\x3f");
    both(1u64 << 31, b"N\0\0\0\0\0\0\xe0\x41");
    both("a\u{e9}", b"\"\x02a\xe9");
    both(BigInt::from(-1i64), b"Z\x11\x01\0\0\0\0\0\0\0");
    both(StructuredClone::Date(1.5), b"D\0\0\0\0\0\0\xf8\x3f");
    both(StructuredClone::RegExp { source: "a".into(), flags: "gi".into() }, b"R\"\x01a\x03");
    both(vec![Value::from(1)], b"A\x01I\x02$\0\x01");
    both(Object::new().with("a", 1), b"o\"\x01aI\x02{\x01");
    both(StructuredClone::Map(vec![(1.into(), 2.into())]), b";I\x02I\x04:\x02");
    both(StructuredClone::Set(vec![1.into()]), b"'I\x02,\x01");
    both(StructuredClone::ArrayBuffer { bytes: vec![7], max_length: None }, b"B\x01\x07");
    both(StructuredClone::ArrayBuffer { bytes: vec![7], max_length: Some(9) }, b"~\x01\x09\x07");
    both(Value::buffer([1, 2]), b"\\\0\x0a\x02\x01\x02");
    both(
        StructuredClone::View { kind: ViewKind::Int16Array, bytes: vec![1, 2] },
        b"\\\0\x03\x02\x01\x02",
    );
    both(StructuredClone::Boxed(Box::new(true.into())), b"y");
    both(StructuredClone::Boxed(Box::new("a".into())), b"s\"\x01a");
}

#[test]
fn letters_of_two_bytes_stand_at_even_places() {
    // Behind four bytes of length and two of version the tag stands at 6, the letters at 8.
    both("\u{20ac}", b"c\x02\xac\x20");
    // Here the array and its length push them on by two.
    both(vec![Value::from("\u{20ac}")], b"A\x01c\x02\xac\x20$\0\x01");
    both(vec![true.into(), Value::from("\u{20ac}")], b"A\x02T\0c\x02\xac\x20$\0\x02");
    both(StructuredClone::Utf16(vec![0xd800]), b"c\x02\x00\xd8");
}

#[test]
fn the_cause_of_an_error_stands_last_and_is_read_anywhere() {
    let error = ErrorValue {
        class: ErrorClass::TypeError,
        message: Some("m".into()),
        stack: Some("s".into()),
        cause: Some(1.into()),
    };
    both(error.clone(), b"rTm\"\x01ms\"\x01scI\x02.");
    assert_eq!(read(b"rTm\"\x01mcI\x02s\"\x01s."), Ok(error.into()));
    both(ErrorValue::default(), b"r.");
}

#[test]
fn an_object_that_stands_twice_is_one() {
    let shared = Value::from(Object::new());
    let twice = vec![shared, StructuredClone::Back(1).into(), StructuredClone::Back(2).into()];
    both(twice, b"A\x03o{\0^\x01^\0$\0\x03");
    assert!(read(b"^\0").is_err() && read(b"A\x01^\x01$\0\x01").is_err());
}

#[test]
fn holes_and_names_in_arrays_are_kept() {
    let array = |length, elements, members| StructuredClone::Array { length, elements, members };
    // As V8 writes a dense one with a hole, and one with a name.
    let hole = array(2, vec![(1, 1.into())], Object::new());
    assert_eq!(read(b"A\x02-I\x02$\0\x02"), Ok(hole.clone().into()));
    let named = array(1, vec![(0, 1.into())], Object::new().with("a", 2));
    assert_eq!(read(b"A\x01I\x02\"\x01aI\x04$\x01\x01"), Ok(named.clone().into()));
    both(hole, b"a\x02I\x02I\x02@\x01\x02");
    both(named, b"a\x01I\0I\x02\"\x01aI\x04@\x02\x01");
    // A sparse one that is full.
    assert_eq!(read(b"a\x01I\0T@\x01\x01"), Ok(vec![Value::from(true)].into()));
    // Four billion places, and nothing in them.
    let vast = array(u32::MAX, Vec::new(), Object::new());
    both(vast, b"a\xff\xff\xff\xff\x0f@\0\xff\xff\xff\xff\x0f");
}

#[test]
fn what_other_writers_may_send_is_read() {
    assert_eq!(read(b"S\x02\xc3\xa9"), Ok("\u{e9}".into()));
    assert_eq!(read(b"U\x05"), Ok(5.into()));
    assert_eq!(read(b"?\x01I\x02"), Ok(1.into()));
    assert_eq!(read(b"oI\x02T{\x01"), Ok(Object::new().with("1", true).into()));
    // A view behind the buffer that it shows a part of.
    let view = StructuredClone::View { kind: ViewKind::Uint8Array, bytes: vec![2, 3] };
    assert_eq!(read(b"B\x03\x01\x02\x03VB\x01\x02\0"), Ok(view.into()));
    // An object of Node's own, as its plain copy; what stands behind refers to either.
    let plain = Object::new().with("a", 1);
    let three =
        vec![plain.into(), StructuredClone::Back(1).into(), StructuredClone::Back(1).into()];
    assert_eq!(read(b"A\x03\\\x01o\"\x01aI\x02{\x01^\x01^\x02$\0\x03"), Ok(three.into()));
}

#[test]
fn what_cannot_be_read_says_why() {
    for (bytes, why) in [
        (&b""[..], "it ends too early"),
        (b"I\x80", "it ends too early"),
        (b"\"\xff\xff\xff\xff\x0fa", "it ends too early"),
        (b"A\xff\xff\xff\xff\x0f", "it ends too early"),
        (b"I\xff\xff\xff\xff\xff\x01", "a number that does not end"),
        (b"c\x01a", "half a letter"),
        (b"TT", "1 bytes too many"),
        (b"o{\x01", "0 members where 1 are announced"),
        (b"A\0$\0\x01", "an array with two lengths"),
        (b"^\0", "a reference to nothing (0)"),
        (b"\\\x01^\0", "a reference to nothing (0)"),
        (b"u\0", "a SharedArrayBuffer, which no channel carries"),
        (b"w\0", "a WebAssembly module, which no channel carries"),
        (b"\\\0\x08\x01\x00", "1 bytes are no Float64Array"),
        (b"\\\0\x63\0", "an unknown view (number 99)"),
        (b"\\\x02", "an unknown object of the host's (number 2)"),
        (b"B\x01\x07VB\x01\x01\0", "a view of what is not there"),
        (b"!", "an unknown tag '!'"),
        (b"rx", "an error with 'x'"),
        (b"o0T{\x01", "something else where a text should be"),
    ] {
        match read(bytes) {
            Err(error @ DecodeError::Malformed { .. }) => {
                assert_eq!(
                    error.to_string(),
                    format!("the frame is not a structured clone: {why}")
                );
            }
            other => panic!("{bytes:?}: {other:?}"),
        }
    }
    let version = |bytes: &[u8]| Advanced.decode(bytes).unwrap_err();
    assert!(alloc::format!("{}", version(&[0xff, 16, b'0'])).contains("version 16"));
    assert!(alloc::format!("{}", version(b"{}")).contains("does not begin with a version"));
}

#[test]
fn deep_nesting_is_an_error_and_no_overflow() {
    for unit in [&b"A\x01"[..], b"o\"\x01a", b";0", b"'", b"rc", b"\\\x01"] {
        assert!(read(&unit.repeat(100_000)).is_err());
    }
}

#[test]
fn members_that_are_undefined_are_none_to_the_protocol() {
    let text = Object::new()
        .with("cmd", "NODE_CLUSTER")
        .with("act", "queryServer")
        .with("fd", Value::undefined())
        .with("data", Value::undefined())
        .with("seq", 0);
    let Ok(Message::Cluster(message)) = Message::from_value(text.into()) else { panic!() };
    let crate::ClusterBody::QueryServer(query) = message.body else { panic!() };
    assert_eq!(query, Box::default());
}

/// That many arrays around it.
fn within(levels: usize, value: impl Into<Value>) -> Value {
    (0..levels).fold(value.into(), |inner, _| Value::Array(vec![inner]))
}

#[test]
fn what_holds_nothing_counts_as_a_level_where_it_could_hold_something() {
    let empty: [(Value, usize); 6] = [
        (StructuredClone::Set(vec![]).into(), 1),
        (StructuredClone::Map(vec![]).into(), 1),
        (ErrorValue::default().into(), 1),
        (StructuredClone::Array { length: 1, elements: vec![], members: Object::new() }.into(), 1),
        (StructuredClone::Boxed(Box::new(true.into())).into(), 0),
        (StructuredClone::Date(0.0).into(), 0),
    ];
    for (value, own) in empty {
        let fits = Message::User(within(MAX_DEPTH - own, value.clone()));
        let mut frame = Vec::new();
        Advanced.encode(&fits, &mut frame).unwrap();
        assert_eq!(Advanced.decode(&frame[4..]), Ok(fits));
        let deeper = Message::User(within(MAX_DEPTH - own + 1, value));
        assert!(Advanced.encode(&deeper, &mut frame).is_err(), "{deeper:?}");
    }
}

#[test]
fn what_is_there_twice_or_out_of_order_is_refused() {
    // {a: {}, a: []}, a sparse array of 1 and 0, an error with two causes.
    for bytes in
        [&b"o\"\x01ao{\0\"\x01aA\0$\0\0{\x02"[..], b"a\x03I\x020I\x000@\x02\x03", b"rc0c0."]
    {
        assert!(matches!(read(bytes), Err(DecodeError::Malformed { .. })), "{bytes:?}");
    }
    assert!(read(b"a\x03I\x000I\x020@\x02\x03").is_ok());
    assert!(read(b"rc0.").is_ok());
}

#[test]
fn a_host_s_object_is_an_object() {
    assert!(read(b"\\\x01o{\0").is_ok());
    assert!(read(b"\\\x01I\x02").is_err());
}

#[test]
fn a_number_that_is_an_object_is_not_rounded_either() {
    let boxed = StructuredClone::Boxed(Box::new(u64::MAX.into()));
    assert!(Advanced.encode(&Message::User(boxed.into()), &mut Vec::new()).is_err());
}

/// The parts of a protocol's message go different ways: none may refer to another.
#[test]
fn what_refers_to_another_part_of_a_message_is_refused() {
    let head = || Object::new().with("cmd", "NODE_CLUSTER").with("seq", 1);
    let query = head().with("act", "queryServer");
    let object = || Value::from(Object::new());
    let itself = within(1, StructuredClone::Back(1));
    assert!(Message::from_value(query.clone().with("data", itself.clone()).into()).is_ok());
    for data in [
        StructuredClone::Back(1).into(),
        StructuredClone::Back(2).into(),
        within(1, StructuredClone::Back(2)),
    ] {
        let message = query.clone().with("x", object()).with("data", data);
        assert!(Message::from_value(message.into()).is_err());
    }
    let handle = Object::new().with("cmd", "NODE_HANDLE").with("type", "net.Native");
    assert!(Message::from_value(handle.clone().with("msg", itself).into()).is_ok());
    let outside = handle.with("x", object()).with("msg", StructuredClone::Back(1));
    assert!(Message::from_value(outside.into()).is_err());
}

/// Node looks at the member of any object, be it an array, and at any string.
#[test]
fn what_poses_as_the_protocol_s_is_not_a_users() {
    let members = || Object::new().with("cmd", "NODE_HANDLE_ACK");
    let array = StructuredClone::Array { length: 0, elements: vec![], members: members() };
    assert!(Advanced.encode(&Message::User(array.into()), &mut Vec::new()).is_err());
    assert!(read(b"A\0\"\x03cmd\"\x0fNODE_HANDLE_ACK$\x01\0").is_err());
    let units = "NODE_HANDLE_ACK".encode_utf16().collect();
    let object = Object::new().with("cmd", StructuredClone::Utf16(units));
    assert!(Advanced.encode(&Message::User(object.into()), &mut Vec::new()).is_err());
}

#[test]
fn many_small_values_are_too_many() {
    let unit = b"y";
    let count = 4 << 20;
    let mut bytes = vec![b'\''];
    bytes.extend(unit.repeat(count));
    let error = read(&bytes).unwrap_err();
    assert!(alloc::format!("{error}").contains("too many small values"), "{error}");
}
