//! A frame reader finds in a frame what a codec finds there, in bounded memory and any number of steps.

#[path = "fuzz/agreement.rs"]
mod agreement;
#[path = "support/messages.rs"]
mod arbitrary;

use cluster_proto::{
    Advanced, Codec, DecodeError, Encoding, Exchange, FrameReader, HandleMessage, Json,
    MAX_INTERNAL, Message, Object, Postcard, StructuredClone, UserMessage, Value,
};
use proptest::collection::vec;
use proptest::prelude::*;

/// What JSON is made of, and what it is nearly made of.
fn token() -> impl Strategy<Value = Vec<u8>> {
    let tokens: Vec<&'static [u8]> = vec![
        b"{",
        b"}",
        b"[",
        b"]",
        b":",
        b",",
        b"\"",
        b" ",
        b"\t",
        b"\r",
        b"null",
        b"true",
        b"false",
        b"nul",
        b"0",
        b"-",
        b"-0",
        b"01",
        b"1.",
        b"1.5",
        b"1e",
        b"1e5",
        b"1e400",
        b"0e400",
        b"1E-9",
        b"\"cmd\":",
        b"\"c\\u006dd\":",
        b"\"msg\":",
        b"\"id\":7,",
        b"\"body\":",
        b"\"error\":",
        b"\"NODE_HANDLE\"",
        b"\"NODE_CLUSTER\"",
        b"\"NODE_\"",
        b"\"NODE_\\ud800\"",
        b"\"\\u004eODE_X\"",
        b"\"CLUSTER_REQUEST\"",
        b"\"CLUSTER_RESPONSE\"",
        b"\"type\":\"net.Socket\",",
        b"\"a\":1,",
        b"\\",
        b"\\u",
        b"\\ud800",
        b"\\udc00",
        b"\\n",
        b"\\x",
        b"\xff",
        b"\xc3\xa9",
        b"\xed\xa0\x80",
        b"\xf4\x8f\xbf\xbf",
        b"\xf4\x90\x80\x80",
        b"\xe2\x82",
        b"\x1f",
        b"\x7f",
        b"\x02",
        b"x",
        b"{\"cmd\":\"NODE_HANDLE\",\"type\":\"net.Native\",\"msg\":",
        b"{\"cmd\":\"CLUSTER_REQUEST\",\"id\":3,\"body\":",
        b"{\"cmd\":\"CLUSTER_RESPONSE\",\"id\":3,\"error\":",
    ];
    prop_oneof![
        20 => prop::sample::select(tokens).prop_map(<[u8]>::to_vec),
        1 => (120..135_usize).prop_map(|levels| b"[".repeat(levels)),
        1 => (120..135_usize).prop_map(|levels| b"]".repeat(levels)),
        1 => number(),
    ]
}

/// A number around the largest one, or any other.
fn number() -> impl Strategy<Value = Vec<u8>> {
    let largest =
        "17976931348623158079372897140530341507993413271003782693617377898044496829276475";
    let digits = (0..largest.len(), "[0-9]{0,12}")
        .prop_map(|(length, rest)| format!("{}{rest}", &largest[..length]));
    let digits = prop_oneof![digits, "[0-9]{0,25}", "0{0,20}[1-9]{0,3}0{0,340}"];
    let exponent = prop_oneof![Just(String::new()), (-400..400_i64).prop_map(|e| format!("e{e}"))];
    ("-?", digits.clone(), prop::option::of(digits), exponent).prop_map(
        |(sign, whole, fraction, exponent)| {
            let fraction = fraction.map_or(String::new(), |fraction| format!(".{fraction}"));
            format!("{sign}{whole}{fraction}{exponent}").into_bytes()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_bytes_are_valid_to_both_or_to_neither(
        tokens in vec(token(), 0..25),
        piece in 1..9_usize,
    ) {
        agreement::check(&Json, Encoding::Json, &tokens.concat(), piece);
    }

    #[test]
    fn numbers_are_in_range_to_both_or_to_neither(number in number()) {
        agreement::check(&Json, Encoding::Json, &number, 3);
    }

    #[test]
    fn messages_are_the_same_to_both(message in arbitrary::message(), piece in 1..9_usize) {
        let codecs: [(&dyn Codec, Encoding, bool); 3] = [
            (&Json, Encoding::Json, false),
            (&Advanced, Encoding::Advanced, true),
            (&Postcard, Encoding::Postcard, true),
        ];
        for (codec, encoding, length) in codecs {
            let mut frame = Vec::new();
            // A number that JavaScript has not.
            if codec.encode(&message, &mut frame).is_err() {
                continue;
            }
            let payload = if length { &frame[4..] } else { &frame[..frame.len() - 1] };
            agreement::check(codec, encoding, payload, piece);
        }
    }
}

#[test]
fn the_largest_number_is_the_largest_one() {
    let largest = format!("{:.0}", f64::MAX);
    let limit = "179769313486231580793728971405303415079934132710037826936173778980444968292764750946649017977587207096330286416692887910946555547851940402630657488671505820681908902000708383676273854845817711531764475730270069855571366959622842914819860834936475292719074168444365510704342711559699508093042880177904174497792";
    let below = limit.replace("497792", "497791.999999999");
    let scaled = |digits: &str, zeros: usize| {
        format!("0.{}{digits}e{}", "0".repeat(zeros), digits.len() + zeros)
    };
    for (text, is_finite) in [
        (largest.clone(), true),
        (limit.to_owned(), false),
        (format!("{limit}.000"), false),
        (below, true),
        (scaled(&largest, 2000), true),
        (scaled(limit, 2000), false),
        (format!("{largest}{}e-5000", "0".repeat(5000)), true),
        (format!("{limit}{}e-5000", "0".repeat(5000)), false),
        ("1e308".into(), true),
        ("1e309".into(), false),
        ("0e99999999999999999999".into(), true),
        ("1e-99999999999999999999".into(), true),
        ("1e99999999999999999999".into(), false),
    ] {
        assert_eq!(text.parse::<f64>().is_ok_and(f64::is_finite), is_finite, "{text}");
        for text in [text.clone(), format!("-{text}")] {
            let read = FrameReader::new(Encoding::Json).finish(text.clone().into());
            assert_eq!(read.is_ok(), is_finite, "{text}");
            agreement::check(&Json, Encoding::Json, text.as_bytes(), 1);
        }
    }
}

fn read(encoding: Encoding, payload: &[u8]) -> Result<Message, DecodeError> {
    FrameReader::new(encoding).finish(payload.to_vec().into())
}

fn users(message: Message) -> UserMessage {
    match message {
        Message::Encoded(message) => message,
        other => panic!("not a user's: {other:?}"),
    }
}

#[test]
fn what_a_handle_goes_with_is_a_users_of_any_length() {
    let long = "x".repeat(2 * MAX_INTERNAL);
    let text = format!(
        r#"{{"cmd":"NODE_HANDLE","type":"net.Socket","msg":{{"long":"{long}"}},"key":"k"}}"#
    );
    let Ok(Message::Handle(HandleMessage { key, message, .. })) =
        read(Encoding::Json, text.as_bytes())
    else {
        panic!("it is one")
    };
    assert_eq!(key.as_deref(), Some("k"));
    assert_eq!(users(*message).value().unwrap()["long"].as_str(), Some(&*long));
}

#[test]
fn the_protocols_own_messages_have_limits() {
    let long = "x".repeat(MAX_INTERNAL);
    let many = "0,".repeat(200_000);
    for text in [
        format!(r#"{{"cmd":"NODE_CLUSTER","act":"online","seq":0,"more":"{long}"}}"#),
        format!(r#"{{"more":"{long}","cmd":"NODE_CLUSTER","act":"online","seq":0}}"#),
        format!("\u{2}{{\"act\":\"online\",\"more\":\"{long}\"}}"),
        format!(r#"{{"cmd":"NODE_HANDLE","type":"net.Socket","more":"{long}","msg":1}}"#),
        format!(
            r#"{{"cmd":"NODE_HANDLE","type":"net.Socket","msg":{{"cmd":"NODE_X","y":"{long}"}}}}"#
        ),
    ] {
        let error = read(Encoding::Json, text.as_bytes()).expect_err("it is too long");
        assert!(matches!(error, DecodeError::TooLong { limit: MAX_INTERNAL, .. }), "{error}");
    }
    for text in [
        format!(r#"{{"cmd":"NODE_CLUSTER","act":"online","seq":0,"more":[{many}0]}}"#),
        format!(r#"{{"cmd":"NODE_HANDLE","type":"net.Socket","more":[{many}0],"msg":1}}"#),
    ] {
        let error = read(Encoding::Json, text.as_bytes()).expect_err("these are too many");
        assert!(matches!(error, DecodeError::TooManyValues { .. }), "{error}");
    }
    let framed = |codec: &dyn Codec, message: &Message| {
        let mut frame = Vec::new();
        codec.encode(message, &mut frame).expect("it can be written");
        frame.split_off(4)
    };
    let own = |more: Value| Message::Internal(Object::new().with("cmd", "NODE_X").with("m", more));
    let zeros = Value::Array(vec![Value::Null; 200_000]);
    for (codec, encoding) in
        [(&Advanced as &dyn Codec, Encoding::Advanced), (&Postcard, Encoding::Postcard)]
    {
        let payload = framed(codec, &own(long.as_str().into()));
        let error = read(encoding, &payload).expect_err("it is too long");
        assert!(matches!(error, DecodeError::TooLong { .. }), "{error}");
    }
    let error = read(Encoding::Advanced, &framed(&Advanced, &own(zeros))).expect_err("too many");
    assert!(matches!(error, DecodeError::TooManyValues { .. }), "{error}");
}

/// Long ones are told apart by their beginning.
#[test]
fn long_messages_of_other_encodings_are_what_they_begin_with() {
    let body =
        Value::from(vec![Value::from("x".repeat(100_000)), StructuredClone::Date(1.5).into()]);
    let twice = Value::Array(vec![
        body.clone(),
        Value::from(Object::new()),
        StructuredClone::Back(1).into(),
    ]);
    let sayings = |body: &Value| {
        [
            Exchange::Request { id: 7, body: body.clone() },
            Exchange::Response { id: 300, answer: Ok(body.clone()) },
            Exchange::Message(body.clone()),
        ]
    };
    for said in sayings(&body).into_iter().chain(sayings(&twice)) {
        let message = Message::User(said.clone().into_message());
        for (codec, encoding) in
            [(&Advanced as &dyn Codec, Encoding::Advanced), (&Postcard, Encoding::Postcard)]
        {
            let mut frame = Vec::new();
            codec.encode(&message, &mut frame).expect("it can be written");
            agreement::check(codec, encoding, &frame[4..], 1000);
            let read = users(read(encoding, &frame[4..]).expect("it is a message"));
            assert!(matches!(read.value_within(2), Err(DecodeError::TooManyValues { limit: 2 })));
            assert!(read.value_within(12).is_ok());
        }
    }
    // What is broken is only found out when it is asked for; the driver is never misled by it.
    for (head, encoding) in [
        (&b"\xff\x0fo\"\x03cmd\"\x01x"[..], Encoding::Advanced),
        (&[0, 5, 7, 1, 3, b'c', b'm', b'd', 9], Encoding::Postcard),
    ] {
        let payload = [head, &[0xee; 100_000]].concat();
        let message = users(read(encoding, &payload).expect("it may be one"));
        assert!(matches!(message.value(), Err(DecodeError::Malformed { .. })));
        assert_eq!(message.as_str(), None);
        assert_ne!(message, "x");
    }
}

#[test]
fn a_text_is_known_without_decoding_what_is_none() {
    for (payload, text) in [
        (r#""ready""#, Some("ready")),
        (r#" "r\u0065ady" "#, Some("ready")),
        (r#"["ready"]"#, None),
        (r#""\ud800""#, None),
    ] {
        let message = users(read(Encoding::Json, payload.as_bytes()).unwrap());
        assert_eq!(message.as_str().as_deref(), text, "{payload}");
        assert_eq!(message == "ready", text.is_some());
        assert_eq!(message.as_json(), Some(payload.as_bytes()));
    }
    let (text, number) = (UserMessage::from("ready"), UserMessage::from(1));
    assert!(text == "ready" && number != "1");
}

#[test]
fn what_is_not_decoded_is_written_as_it_came() {
    let payload = br#"{ "b" : 1.50, "a":"\ud800", "b":2 }"#;
    let message = read(Encoding::Json, payload).unwrap();
    let mut line = Vec::new();
    Json.encode(&message, &mut line).unwrap();
    assert_eq!(line, [&payload[..], b"\n"].concat());
    // By another way it is the value that it is.
    let mut frame = Vec::new();
    Postcard.encode(&message, &mut frame).unwrap();
    let Ok(Message::User(value)) = Postcard.decode(&frame[4..]) else { panic!("it is a user's") };
    assert_eq!(Message::User(value), Json.decode(payload).unwrap());
    // A line within a line would be two.
    let spaced = read(Encoding::Json, b"[\n1]").unwrap();
    line.clear();
    Json.encode(&spaced, &mut line).unwrap();
    assert_eq!(line, b"[1]\n");
}
