//! Messages of an application's own types are what `serde_json` makes of them, and come back as they
//! were.

use std::collections::BTreeMap;

use cluster_proto::{
    BigInt, Codec, IntoMessage, Json, Message, Object, Postcard, StructuredClone, Value,
};
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Kind {
    Plain,
    Wrapped(i64),
    Pair(String, bool),
    Fields { first: Option<u8>, second: Vec<f32> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Id(u32);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Everything {
    kinds: Vec<Kind>,
    by_id: BTreeMap<Id, String>,
    by_truth: BTreeMap<bool, i8>,
    by_letter: BTreeMap<char, u64>,
    maybe: Option<Box<Everything>>,
    nothing: (),
    pair: (u16, char),
    #[serde(rename = "a name with spaces")]
    renamed: f64,
    #[serde(flatten)]
    flattened: BTreeMap<String, i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out: Option<u8>,
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Plain),
        any::<i64>().prop_map(Kind::Wrapped),
        (any::<String>(), any::<bool>()).prop_map(|(text, truth)| Kind::Pair(text, truth)),
        (any::<Option<u8>>(), prop::collection::vec(-1e9f32..1e9, 0..3))
            .prop_map(|(first, second)| Kind::Fields { first, second }),
    ]
}

fn everything() -> impl Strategy<Value = Everything> {
    let leaf = (
        prop::collection::vec(kind(), 0..4),
        prop::collection::btree_map(any::<u32>().prop_map(Id), any::<String>(), 0..3),
        prop::collection::btree_map(any::<bool>(), any::<i8>(), 0..2),
        prop::collection::btree_map(any::<char>(), any::<u64>(), 0..3),
        (any::<u16>(), any::<char>()),
        -1e12f64..1e12,
        prop::collection::btree_map("x[a-z]{1,4}", any::<i32>(), 0..3),
        any::<Option<u8>>(),
    )
        .prop_map(|(kinds, by_id, by_truth, by_letter, pair, renamed, flattened, left_out)| {
            Everything {
                kinds,
                by_id,
                by_truth,
                by_letter,
                maybe: None,
                nothing: (),
                pair,
                renamed,
                flattened,
                left_out,
            }
        });
    leaf.prop_recursive(3, 4, 1, |inner| {
        (inner.clone(), inner)
            .prop_map(|(outer, inner)| Everything { maybe: Some(Box::new(inner)), ..outer })
    })
}

/// What the other end reads of it.
fn over(codec: &dyn Codec, value: Value) -> Value {
    let mut bytes = Vec::new();
    codec.encode(&Message::User(value), &mut bytes).unwrap();
    let mut deframer = cluster_proto::Deframer::new(codec.framing());
    deframer.extend(&bytes);
    match codec.decode(deframer.next_frame().unwrap().unwrap().payload).unwrap() {
        Message::User(value) => value,
        other => panic!("a message became {other:?}"),
    }
}

proptest! {
    #[test]
    fn a_type_is_what_json_makes_of_it_and_comes_back(said in everything()) {
        let value = Value::encode(&said).unwrap();
        let ours = serde_json::to_value(&value).unwrap();
        prop_assert_eq!(ours, serde_json::to_value(&said).unwrap());
        prop_assert_eq!(&value.decode::<Everything>().unwrap(), &said);
        for codec in [&Json as &dyn Codec, &Postcard] {
            let heard: Everything = over(codec, value.clone()).decode().unwrap();
            prop_assert_eq!(&heard, &said);
        }
    }

    /// Whatever a peer says, reading a type from it is a value or an error, and the same as JSON's.
    #[test]
    fn a_value_reads_as_json_would_read_it(said in everything(), at in any::<prop::sample::Index>()) {
        let mut text = serde_json::to_string(&said).unwrap().into_bytes();
        let at = at.index(text.len());
        text[at] = match text[at] { b'0'..=b'9' => b'7', _ => b'0' };
        if let Ok(value) = serde_json::from_slice::<Value>(&text) {
            let json: Result<Everything, _> = serde_json::from_slice(&text);
            prop_assert_eq!(value.decode::<Everything>().ok(), json.ok());
        }
    }
}

#[track_caller]
fn refused<T: DeserializeOwned + std::fmt::Debug>(value: impl Into<Value>, why: &str) {
    let error = value.into().decode::<T>().unwrap_err();
    assert!(error.to_string().contains(why), "{error}");
}

#[test]
fn what_does_not_fit_says_so() {
    refused::<u8>(300, "300");
    refused::<u8>("text", "string \"text\"");
    refused::<u32>(1.5, "1.5");
    refused::<bool>(Value::Null, "null");
    refused::<(u8, u8)>(Value::Array(vec![1.into(), 2.into(), 3.into()]), "length 3");
    refused::<Kind>("Unheard", "unknown variant `Unheard`");
    refused::<Kind>(Object::new().with("Plain", 1).with("Wrapped", 2), "variant's name");
    refused::<Kind>("Wrapped", "a variant that holds a value");
    refused::<Everything>(Object::new(), "missing field");
    refused::<String>(
        StructuredClone::RegExp { source: "a".into(), flags: String::new() },
        "RegExp",
    );
    refused::<Vec<u8>>(StructuredClone::BigInt(BigInt::new(true, vec![1, 1, 1])), "BigInt");
}

#[test]
fn what_json_has_no_form_for_is_refused_where_it_is_sent() {
    let refused = |error: cluster_proto::TypeError, why| assert!(error.to_string().contains(why));
    refused(Value::encode(&BTreeMap::from([((1, 2), 3)])).unwrap_err(), "a map's key");
    refused(Value::encode(&BTreeMap::from([(None::<u8>, 3)])).unwrap_err(), "a map's key");
    refused(Value::encode(&u128::MAX).unwrap_err(), "64 bits");
    refused(Value::encode(&i128::MIN).unwrap_err(), "64 bits");
    refused(Value::encode(&Value::from(StructuredClone::Date(0.0))).unwrap_err(), "Date");
    assert_eq!(Value::encode(&f64::NAN).unwrap(), Value::Null, "as JSON.stringify has it");
}

#[test]
fn what_only_a_structured_clone_carries_is_read_where_a_type_has_room_for_it() {
    let bytes = Value::buffer(vec![1, 2, 3]);
    assert_eq!(bytes.decode::<Vec<u8>>().unwrap(), [1, 2, 3]);
    assert_eq!(
        Value::from(StructuredClone::Date(1e12)).decode::<u64>().unwrap(),
        1_000_000_000_000
    );
    assert_eq!(Value::from(StructuredClone::Date(0.5)).decode::<f64>().unwrap(), 0.5);
    let set = Value::from(StructuredClone::Set(vec!["a".into()]));
    assert_eq!(set.decode::<Vec<String>>().unwrap(), ["a"]);
    let map = Value::from(StructuredClone::Map(vec![(1.into(), "one".into())]));
    assert_eq!(map.decode::<BTreeMap<u8, String>>().unwrap()[&1], "one");
    let big = StructuredClone::BigInt(BigInt::new(true, vec![5]));
    assert_eq!(Value::from(big).decode::<i8>().unwrap(), -5);
    assert_eq!(Value::from(StructuredClone::Undefined).decode::<Option<u8>>().unwrap(), None);
    assert_eq!(Value::from(StructuredClone::Boxed(Box::new(7.into()))).decode::<u8>().unwrap(), 7);
    assert_eq!(Value::from(3.0).decode::<u8>().unwrap(), 3, "JavaScript has one kind of number");
}

/// As `Date.now()` and members that are `undefined` come by the serialization `advanced`.
#[test]
fn whole_doubles_and_undefined_members_are_what_json_would_have_made_of_them() {
    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(tag = "type")]
    enum Says {
        Hit {
            at: u64,
            #[serde(default)]
            tags: Vec<u8>,
        },
    }
    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(untagged)]
    enum Either {
        Whole(i64),
        Other(f64),
    }
    let hit = Object::new()
        .with("type", "Hit")
        .with("at", 1.7e12)
        .with("tags", StructuredClone::Undefined);
    let hit: Says = Value::from(hit).decode().unwrap();
    assert_eq!(hit, Says::Hit { at: 1_700_000_000_000, tags: Vec::new() });
    assert_eq!(Value::from(-3.0).decode::<Either>().unwrap(), Either::Whole(-3));
    assert_eq!(Value::from(0.5).decode::<Either>().unwrap(), Either::Other(0.5));
}

#[test]
fn all_that_can_be_sent_is_a_message() {
    let typed = (&Kind::Plain).into_message().unwrap();
    assert_eq!(typed, "Plain".into_message().unwrap());
    assert_eq!(None::<u8>.into_message().unwrap(), Value::Null);
    assert_eq!((&[1u8, 2][..].to_vec()).into_message().unwrap()[1].as_u64(), Some(2));
    let rich = Value::from(StructuredClone::Date(0.0));
    assert_eq!(rich.clone().into_message().unwrap(), rich);
    assert!((&rich).into_message().is_err(), "by reference it would go through JSON");
}
