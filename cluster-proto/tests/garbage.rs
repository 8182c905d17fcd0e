//! Whatever bytes come, the answer is a message or an error: never a panic.

#[path = "fuzz/advanced_messages.rs"]
mod advanced_messages;
#[path = "support/messages.rs"]
mod arbitrary;
#[path = "fuzz/ipc_frames.rs"]
mod ipc_frames;
#[path = "fuzz/json_messages.rs"]
mod json_messages;
#[path = "fuzz/postcard_messages.rs"]
mod postcard_messages;

use cluster_proto::{
    Advanced, ClusterBody, Codec, DecodeError, Deframer, FrameError, Framing, Json, Message,
    Object, Postcard, Value,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// One thing that goes wrong with bytes.
#[derive(Clone, Debug)]
enum Fault {
    Flip(Index, u8),
    Cut(Index),
    Insert(Index, Vec<u8>),
    Repeat(Index, Index),
    /// Brackets, quotes, escapes: what means something.
    Put(Index, &'static [u8]),
}

fn fault() -> impl Strategy<Value = Fault> {
    let telling: [&[u8]; 12] = [
        b"{",
        b"}",
        b"[",
        b"\"",
        b"\\",
        b"\\ud800",
        b":",
        b",",
        b"\n",
        b"NODE_",
        b"null",
        b"\xff\x7f",
    ];
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, by)| Fault::Flip(at, by)),
        any::<Index>().prop_map(Fault::Cut),
        (any::<Index>(), vec(any::<u8>(), 1..5)).prop_map(|(at, what)| Fault::Insert(at, what)),
        (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Fault::Repeat(from, to)),
        (any::<Index>(), prop::sample::select(telling.to_vec()))
            .prop_map(|(at, what)| Fault::Put(at, what)),
    ]
}

fn damage(bytes: &mut Vec<u8>, faults: &[Fault]) {
    for fault in faults {
        if bytes.is_empty() {
            return;
        }
        let place = |at: &Index| at.index(bytes.len());
        match fault {
            Fault::Flip(at, by) => {
                let at = place(at);
                bytes[at] ^= by;
            }
            Fault::Cut(at) => bytes.truncate(place(at)),
            Fault::Insert(at, what) => {
                let at = place(at);
                bytes.splice(at..at, what.iter().copied());
            }
            Fault::Repeat(from, to) => {
                let (from, to) = (place(from).min(place(to)), place(from).max(place(to)));
                let again = bytes[from..to].to_vec();
                bytes.splice(from..from, again);
            }
            Fault::Put(at, what) => {
                let at = place(at);
                let to = (at + what.len()).min(bytes.len());
                bytes.splice(at..to, what.iter().copied());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_bytes_are_a_message_or_an_error(bytes in vec(any::<u8>(), 0..600)) {
        json_messages::run(&bytes);
        postcard_messages::run(&bytes);
        advanced_messages::run(&bytes);
        advanced_messages::run(&[&[0xff, 15], &bytes[..]].concat());
        ipc_frames::run(&bytes);
    }

    #[test]
    fn a_damaged_message_is_a_message_or_an_error(
        message in arbitrary::message(),
        faults in vec(fault(), 1..6),
    ) {
        let mut line = Vec::new();
        Json.encode(&message, &mut line).unwrap();
        line.pop();
        damage(&mut line, &faults);
        json_messages::run(&line);

        let mut frame = Vec::new();
        Postcard.encode(&message, &mut frame).unwrap();
        let mut payload = frame.split_off(4);
        damage(&mut payload, &faults);
        postcard_messages::run(&payload);
    }

    #[test]
    fn a_damaged_structured_clone_is_a_message_or_an_error(
        value in arbitrary::structured_clone(),
        faults in vec(fault(), 1..6),
    ) {
        prop_assume!(!cluster_proto::is_internal(&value));
        let mut frame = Vec::new();
        // A number that JavaScript has not.
        prop_assume!(Advanced.encode(&Message::User(value), &mut frame).is_ok());
        let mut payload = frame.split_off(4);
        damage(&mut payload, &faults);
        advanced_messages::run(&payload);
    }

    #[test]
    fn a_damaged_stream_is_frames_or_an_error(
        plan in vec(any::<u8>(), 2..18),
        messages in vec((arbitrary::message(), any::<bool>()), 1..5),
        faults in vec(fault(), 0..6),
    ) {
        let mut stream = plan;
        for (message, json) in messages {
            let codec: &dyn Codec = if json { &Json } else { &Postcard };
            codec.encode(&message, &mut stream).unwrap();
        }
        damage(&mut stream, &faults);
        ipc_frames::run(&stream);
    }
}

#[test]
fn limits_hold_to_the_byte() {
    for limit in [0, 1, 4, 100] {
        let fits = vec![b'x'; limit];
        let (line, length) = (Framing::Line, Framing::Length);
        let framed = |framing, payload: &[u8]| match framing {
            Framing::Line => [payload, b"\n"].concat(),
            _ => [&(payload.len() as u32).to_be_bytes(), payload].concat(),
        };
        for framing in [line, length] {
            let mut deframer = Deframer::new(framing).max_frame(limit);
            deframer.extend(&framed(framing, &fits));
            assert_eq!(deframer.next_frame().unwrap().unwrap().payload, fits);
            let over = [&fits[..], b"x"].concat();
            deframer.extend(&framed(framing, &over));
            let length = (framing == length).then_some(limit + 1);
            assert_eq!(deframer.next_frame(), Err(FrameError { limit, length }));
        }
    }
}

#[test]
fn messages_that_node_ignores_are_no_errors() {
    for text in [
        r#"{"cmd":"NODE_CLUSTER"}"#,
        r#"{"cmd":"NODE_CLUSTER","act":"unknown"}"#,
        r#"{"cmd":"NODE_CLUSTER","act":"unknown","ack":"x"}"#,
        r#"{"cmd":"NODE_CLUSTER","act":1,"ack":7}"#,
        r#"{"cmd":"NODE_CLUSTER","seq":-1}"#,
        r#"{"cmd":"NODE_CLUSTER","seq":0.5}"#,
        r#"{"cmd":"NODE_CLUSTER","seq":0,"ack":"0"}"#,
        r#"{"cmd":"NODE_CLUSTER","seq":0,"act":"close"}"#,
        r#"{"cmd":"NODE_CLUSTER","seq":0,"act":"newconn","key":7}"#,
    ] {
        match Json.decode(text.as_bytes()) {
            Ok(Message::Cluster(message)) => {
                assert!(matches!(message.body, ClusterBody::Other { .. }), "{text}: {message:?}");
                let mut written = Vec::new();
                let message = Message::Cluster(message);
                Json.encode(&message, &mut written).expect("it can be written");
                let written = written.strip_suffix(b"\n").expect("a line");
                assert_eq!(Json.decode(written), Ok(message), "{text}");
            }
            other => panic!("{text}: {other:?}"),
        }
    }
    for text in [r#"{"cmd":"NODE_SOCKET_COUNT","key":"k"}"#, r#"{"cmd":"NODE_SOCKET_GET_COUNT"}"#] {
        let message = Json.decode(text.as_bytes());
        assert!(matches!(message, Ok(Message::Internal(_))), "{text}: {message:?}");
    }
    // Known ones do what they say, as in Node.
    let online = Json.decode(br#"{"cmd":"NODE_CLUSTER","act":"online"}"#);
    assert_eq!(online, Ok(Message::cluster(0, None, ClusterBody::Online)));
}

#[test]
fn what_a_message_lacks_is_named() {
    for (text, lacks) in [
        (r#"{"cmd":"NODE_CLUSTER","seq":0,"act":"queryServer","port":"eighty"}"#, "port"),
        (r#"{"cmd":"NODE_CLUSTER","seq":0,"act":"queryServer","port":1e10}"#, "port"),
        (r#"{"cmd":"NODE_CLUSTER","seq":0,"act":"queryServer","fd":{}}"#, "fd"),
        (r#"{"cmd":"NODE_CLUSTER","seq":0,"act":"queryServer","addressType":5}"#, "addressType"),
        (r#"{"cmd":"NODE_CLUSTER","seq":0,"act":"listening","index":-1}"#, "index"),
        (r#"{"cmd":"NODE_CLUSTER","seq":0,"ack":1,"key":"k","errno":"x"}"#, "errno"),
        (r#"{"cmd":"NODE_HANDLE","msg":1}"#, "type"),
        (r#"{"cmd":"NODE_HANDLE","type":"net.Socket","key":1,"msg":1}"#, "key"),
        (r#"{"cmd":"NODE_HANDLE","type":"dgram.Socket","msg":1}"#, "dgramType"),
    ] {
        match Json.decode(text.as_bytes()) {
            Err(DecodeError::Member { name, .. }) => assert_eq!(name, lacks, "{text}"),
            other => panic!("{text}: {other:?}"),
        }
    }
    let wrap =
        |inner: &str| format!(r#"{{"cmd":"NODE_HANDLE","type":"net.Native","msg":{inner}}}"#);
    let twice = wrap(&wrap("1"));
    assert!(Json.decode(twice.as_bytes()).is_ok());
    assert_eq!(Json.decode(wrap(&twice).as_bytes()), Err(DecodeError::NestedHandle));
}

/// The bytes of a message that [`Postcard`] would not write: the discriminants are `Wire::Plain`,
/// `Body::Internal` or `Body::User`, and a map of one string.
fn postcard_object(body: u8, cmd: &str) -> Vec<u8> {
    let mut payload = vec![0, body];
    if body == 5 {
        payload.push(7);
    }
    payload.extend([1, 3]);
    payload.extend(b"cmd");
    payload.extend([5, cmd.len() as u8]);
    payload.extend(cmd.as_bytes());
    payload
}

#[test]
fn postcard_lets_nothing_pass_in_a_guise() {
    const INTERNAL: u8 = 4;
    const USER: u8 = 5;
    let object = |cmd: &str| Object::new().with("cmd", cmd);
    // The bytes are what they are meant to be.
    let internal = Message::Internal(object("NODE_X"));
    assert_eq!(Postcard.decode(&postcard_object(INTERNAL, "NODE_X")), Ok(internal));
    let user = Message::User(Value::Object(object("x")));
    assert_eq!(Postcard.decode(&postcard_object(USER, "x")), Ok(user));

    assert!(Postcard.decode(&postcard_object(INTERNAL, "NODE_HANDLE_ACK")).is_err());
    assert!(Postcard.decode(&postcard_object(INTERNAL, "NODE_CLUSTER")).is_err());
    assert!(Postcard.decode(&postcard_object(INTERNAL, "x")).is_err());
    assert!(Postcard.decode(&postcard_object(USER, "NODE_X")).is_err());
}

/// A value within a value, without end, in an encoding that says of nothing how deep it goes.
#[test]
fn rich_values_that_nest_without_end_are_an_error() {
    for unit in [&[8, 7, 0, 0, 1][..], &[8, 5, 0, 0, 1], &[8, 6, 0, 0, 1], &[6, 1]] {
        let payload = [&[0, 5][..], &unit.repeat(200_000), &[0]].concat();
        assert!(Postcard.decode(&payload).is_err());
    }
}
