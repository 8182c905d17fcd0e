//! Arbitrary messages, of the kind that both codecs promise to carry unchanged.
//!
//! A message can say one thing in two ways (an [`Object`] of the protocol's own as
//! [`Message::Internal`], a member that is known among the unknown ones): what is made here says
//! each thing in the way in which it is read back.
#![allow(dead_code, reason = "each test uses a part of it")]

use cluster_proto::{
    AddressType, Backlog, BigInt, ClusterBody, ClusterMessage, DgramType, ErrorClass, ErrorValue,
    Family, Field, HandleKind, HandleMessage, ListenQuery, ListenReply, Message, Object, ServerKey,
    SockName, SocketList, StructuredClone, Value, ViewKind, is_internal,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

/// Every member that some message of the protocol's own knows.
const KNOWN: [&str; 18] = [
    "cmd",
    "act",
    "seq",
    "ack",
    "key",
    "accepted",
    "index",
    "data",
    "address",
    "port",
    "addressType",
    "fd",
    "flags",
    "backlog",
    "readableAll",
    "writableAll",
    "errno",
    "sockname",
];

/// Any message.
pub(crate) fn message() -> BoxedStrategy<Message> {
    prop_oneof![
        6 => plain(),
        2 => (head(), plain()).prop_map(|(head, inner)| wrap(head, inner)),
        1 => (head(), head(), plain())
            .prop_map(|(outer, inner, plain)| wrap(outer, wrap(inner, plain))),
    ]
    .boxed()
}

/// Any text, the awkward ones often.
pub(crate) fn text() -> BoxedStrategy<String> {
    prop_oneof![
        2 => any::<String>(),
        2 => "[a-z:0-9]{0,12}",
        1 => prop::sample::select(vec![
            "", "\n", "\r\n", "\0", "\u{7f}", "\u{2028}\u{2029}", "\u{feff}", "\u{fffd}", "\"", "\\",
            "\\ud800", "\\\\ud800", "\\u", "/", "😀", "ünï", "__proto__", "cmd", "undefined", "null",
            "NODE_", "NODE_HANDLE_ACK", "\u{10ffff}",
        ])
        .prop_map(String::from),
        1 => (0_usize..3000).prop_map(|n| "x\n".repeat(n)),
    ].boxed()
}

/// Any value, but for a number that JSON has not.
pub(crate) fn value() -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        count().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-10_i64..10).prop_map(Value::from),
        any::<f64>().prop_filter("JSON has it not", |n| n.is_finite()).prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            vec((text(), inner), 0..6).prop_map(|m| Object::from_members(m).into()),
        ]
    })
    .boxed()
}

/// Any value, also of those that JSON has no form for.
pub(crate) fn structured_clone() -> BoxedStrategy<Value> {
    let number = || any::<f64>().prop_filter("unlike itself", |n| !n.is_nan());
    let words = vec(any::<u64>(), 0..4);
    let big_int = || (any::<bool>(), words.clone()).prop_map(|(sign, w)| BigInt::new(sign, w));
    let bytes = || vec(any::<u8>(), 0..40);
    let view = (proptest::sample::select(ViewKind::ALL), vec(any::<u64>(), 0..5)).prop_map(
        |(kind, words)| {
            let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            bytes.truncate(bytes.len() / kind.element_size() * kind.element_size());
            StructuredClone::View { kind, bytes }
        },
    );
    // With half of a pair at its end.
    let halves = vec(any::<u16>(), 0..5).prop_map(|mut units| {
        units.push(0xd800);
        StructuredClone::Utf16(units)
    });
    let primitive = prop_oneof![
        any::<bool>().prop_map(Value::from),
        number().prop_map(Value::from),
        text().prop_map(Value::from),
        big_int().prop_map(Value::from),
        halves.clone().prop_map(Value::from),
    ];
    let leaf = prop_oneof![
        3 => value(),
        1 => Just(Value::undefined()),
        1 => big_int().prop_map(Value::from),
        1 => halves.clone().prop_map(Value::from),
        1 => number().prop_map(|time| StructuredClone::Date(time).into()),
        1 => (text(), "d?g?i?m?s?y?")
            .prop_map(|(source, flags)| StructuredClone::RegExp { source, flags }.into()),
        1 => primitive.prop_map(|value| StructuredClone::Boxed(Box::new(value)).into()),
        1 => (bytes(), option::of(40_u32..99))
            .prop_map(|(bytes, max_length)| StructuredClone::ArrayBuffer { bytes, max_length }.into()),
        1 => view.prop_map(Value::from),
    ];
    let error_text = prop_oneof![text().prop_map(Value::from), halves.prop_map(Value::from)];
    leaf.prop_recursive(4, 30, 6, move |inner| {
        let pairs = vec((inner.clone(), inner.clone()), 0..4);
        let class = proptest::sample::select(&ErrorClass::ALL[..]);
        let texts = (option::of(error_text.clone()), option::of(error_text.clone()));
        let error = (class, texts, option::of(inner.clone())).prop_map(
            |(class, (message, stack), cause)| ErrorValue { class, message, stack, cause }.into(),
        );
        // With a hole, so that it is no plain array.
        let elements = proptest::collection::btree_map(0_u32..1000, inner.clone(), 0..4);
        let members = vec(("x[a-z]{0,3}", inner.clone()), 0..3);
        let array = (elements, members).prop_map(|(elements, members)| {
            let elements = elements.into_iter().collect();
            let members = Object::from_members(members);
            StructuredClone::Array { length: 1001, elements, members }.into()
        });
        prop_oneof![
            2 => vec(inner.clone(), 0..6).prop_map(Value::from),
            2 => vec((text(), inner.clone()), 0..6).prop_map(|m| Object::from_members(m).into()),
            1 => pairs.prop_map(|entries| StructuredClone::Map(entries).into()),
            1 => vec(inner.clone(), 0..4).prop_map(|values| StructuredClone::Set(values).into()),
            1 => error,
            1 => array,
            // The array itself, in itself.
            1 => inner.prop_map(|value| Value::from(vec![StructuredClone::Back(1).into(), value])),
        ]
    })
    .boxed()
}

fn plain() -> BoxedStrategy<Message> {
    prop_oneof![
        6 => cluster().prop_map(Message::Cluster),
        1 => Just(Message::HandleAck),
        1 => Just(Message::HandleNack),
        1 => socket_list().prop_map(Message::SocketList),
        1 => internal().prop_map(Message::Internal),
        3 => user().prop_map(Message::User),
    ]
    .boxed()
}

fn user() -> BoxedStrategy<Value> {
    let cmd = prop_oneof![
        text(),
        Just("NODE_".into()),
        Just("node_x".into()),
        Just("NODE".into()),
        Just(" NODE_X".into())
    ];
    let command = (cmd, object()).prop_map(|(cmd, rest)| Value::from(rest.with("cmd", cmd)));
    prop_oneof![3 => value(), 1 => command]
        .prop_filter("the protocol's own", |v| !is_internal(v))
        .boxed()
}

/// `NODE_` and a name that is not known.
fn internal() -> BoxedStrategy<Object> {
    ("[a-z]{1,8}", object())
        .prop_map(|(name, rest)| {
            let mut object = rest;
            object.insert("cmd", format!("NODE_{name}"));
            object
        })
        .boxed()
}

fn object() -> BoxedStrategy<Object> {
    vec((text(), value()), 0..4).prop_map(Object::from_members).boxed()
}

/// Members that are not known.
fn extra() -> BoxedStrategy<Object> {
    prop_oneof![2 => Just(Object::new()), 1 => object()]
        .prop_map(|mut object| {
            for name in KNOWN {
                object.remove(name);
            }
            object
        })
        .boxed()
}

fn head() -> BoxedStrategy<(HandleKind, Option<String>)> {
    let family = prop_oneof![Just(DgramType::Udp4), Just(DgramType::Udp6)];
    let kind = prop_oneof![
        Just(HandleKind::NetNative),
        Just(HandleKind::NetServer),
        Just(HandleKind::NetSocket),
        Just(HandleKind::NetBoundSocket),
        Just(HandleKind::DgramNative),
        family.prop_map(HandleKind::DgramSocket),
        "[a-z.]{0,8}".prop_map(HandleKind::Other),
    ];
    (kind, option::of(text())).boxed()
}

fn wrap((kind, key): (HandleKind, Option<String>), message: Message) -> Message {
    Message::Handle(HandleMessage { kind, key, message: Box::new(message) })
}

/// A number that counts messages: any, but mostly such as there are.
fn count() -> BoxedStrategy<u64> {
    prop_oneof![1 => any::<u64>(), 8 => 0..1_u64 << 53].boxed()
}

fn socket_list() -> BoxedStrategy<SocketList> {
    (text(), count(), 0..4)
        .prop_map(|(key, count, which)| match which {
            0 => SocketList::NotifyClose { key },
            1 => SocketList::AllClosed { key },
            2 => SocketList::GetCount { key },
            _ => SocketList::Count { key, count },
        })
        .boxed()
}

fn cluster() -> BoxedStrategy<ClusterMessage> {
    let key = || text().prop_map(ServerKey::from);
    let acts = prop_oneof![
        Just(ClusterBody::Online),
        Just(ClusterBody::ExitedAfterDisconnect),
        Just(ClusterBody::Disconnect),
        key().prop_map(|key| ClusterBody::Close { key }),
        key().prop_map(|key| ClusterBody::NewConn { key }),
        "x[a-z]{0,8}".prop_map(|act| ClusterBody::Other { act }),
    ];
    let queries = (any::<bool>(), query()).prop_map(|(listening, query)| match listening {
        true => ClusterBody::Listening(Box::new(query)),
        false => ClusterBody::QueryServer(Box::new(query)),
    });
    let answers = prop_oneof![
        any::<bool>().prop_map(ClusterBody::Accepted),
        reply().prop_map(|reply| ClusterBody::ListenReply(Box::new(reply))),
        Just(ClusterBody::Ack),
    ];
    let message = |seq, ack, body, extra| ClusterMessage { seq, ack, body, extra };
    prop_oneof![
        (count(), option::of(count()), acts, extra())
            .prop_map(move |(seq, ack, body, extra)| message(seq, ack, body, extra)),
        // What is left of a query belongs to the query.
        (count(), option::of(count()), queries).prop_map(move |(seq, ack, body)| message(
            seq,
            ack,
            body,
            Object::new()
        )),
        // Without an `ack` it would be no answer…
        (count(), count(), answers, extra()).prop_map(move |(seq, ack, body, extra)| message(
            seq,
            Some(ack),
            body,
            extra
        )),
        // …nor, with one, something that says nothing.
        (count(), extra()).prop_map(move |(seq, extra)| {
            message(seq, None, ClusterBody::Other { act: String::new() }, extra)
        }),
    ]
    .boxed()
}

fn field<T: Clone + std::fmt::Debug + 'static>(
    value: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<Field<T>> {
    prop_oneof![
        1 => Just(Field::Absent),
        1 => Just(Field::Null),
        3 => value.prop_map(Field::Is),
    ]
    .boxed()
}

/// Any query.
pub(crate) fn query() -> BoxedStrategy<ListenQuery> {
    let address_type = prop_oneof![
        Just(AddressType::Tcp4),
        Just(AddressType::Tcp6),
        Just(AddressType::Pipe),
        Just(AddressType::Udp4),
        Just(AddressType::Udp6),
    ];
    let backlog = prop_oneof![any::<i32>().prop_map(Backlog::Length), Just(Backlog::Off)];
    let numbers = (field(any::<i32>()), field(any::<i32>()), field(any::<u32>()), any::<u32>());
    let switches = (field(any::<bool>()), field(any::<bool>()));
    let rest = (field(text()), field(address_type), field(backlog), value(), extra());
    (numbers, switches, rest)
        .prop_map(
            |(
                (port, fd, flags, index),
                (readable_all, writable_all),
                (address, address_type, backlog, data, extra),
            )| ListenQuery {
                address,
                port,
                address_type,
                fd,
                flags,
                backlog,
                index,
                data,
                readable_all,
                writable_all,
                extra,
            },
        )
        .boxed()
}

fn reply() -> BoxedStrategy<ListenReply> {
    let family = prop_oneof![Just(Family::Ipv4), Just(Family::Ipv6)];
    let sockname = (text(), family, any::<u16>()).prop_map(|(address, family, port)| SockName {
        address,
        family,
        port,
    });
    (option::of(any::<i32>()), text(), value(), option::of(sockname))
        .prop_map(|(errno, key, data, sockname)| ListenReply {
            errno,
            key: key.into(),
            data,
            sockname,
        })
        .boxed()
}
