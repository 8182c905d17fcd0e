//! Messages as the objects that Node sends: what `json` writes, and any self-describing codec.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use crate::error::DecodeError;
use crate::field::Field;
use crate::internal::{CMD, MAX_WRAPS, is_internal};
use crate::key::ServerKey;
use crate::listen::{AddressType, Backlog, Family, ListenQuery, ListenReply, SockName};
use crate::message::{
    ClusterBody, ClusterMessage, DgramType, HandleKind, HandleMessage, Message, SocketList,
};
use crate::value::{Object, Value};

/// What every message of the cluster's own may hold.
const HEAD: [&str; 4] = [CMD, "act", "ack", "seq"];
impl Message {
    /// Reads a message out of a decoded frame.
    ///
    /// # Errors
    /// [`DecodeError::Member`] for a message of the protocol's own that lacks what it needs, where Node
    /// would fail too. Members and `act`s that are not known are kept, not refused; so is a message of
    /// the cluster's without a `seq`, which counts as 0.
    pub fn from_value(value: Value) -> Result<Self, DecodeError> {
        read_message(value, MAX_WRAPS)
    }

    /// The message as the object (or, of a user, the value) that Node would send. One that is
    /// [encoded](Self::Encoded) and cannot be decoded is null.
    pub fn to_value(&self) -> Value {
        match self {
            Self::Cluster(message) => write_cluster(message).into(),
            Self::Handle(handle) => write_handle(handle).into(),
            Self::HandleAck => command("NODE_HANDLE_ACK").into(),
            Self::HandleNack => command("NODE_HANDLE_NACK").into(),
            Self::SocketList(list) => write_socket_list(list).into(),
            Self::Internal(object) => object.clone().into(),
            Self::User(value) => value.clone(),
            Self::Encoded(message) => message.value().unwrap_or_default(),
        }
    }
}

fn command(cmd: &str) -> Object {
    Object::new().with(CMD, cmd)
}

fn read_message(value: Value, wraps: usize) -> Result<Message, DecodeError> {
    if !is_internal(&value) {
        return Ok(Message::User(value));
    }
    let Value::Object(mut object) = value else { return Err(member("cmd", "in an object")) };
    // They part company here: one that refers to another would refer to nothing, or to something
    // else where it goes next.
    if !object.iter().all(|(_, value)| value.refers_within_itself()) {
        return Err(member("msg", "a value by itself, as is every member"));
    }
    // With `advanced` Node says of some members that they are undefined. What is in `msg` is the
    // user's.
    object.retain(|name, value| name == "msg" || !value.is_undefined());
    // Texts of the protocol's own, a path say, go into system calls: Node replaces lone surrogates there.
    for (_, value) in object.values_mut().filter(|(name, _)| *name != "msg") {
        if let (Value::StructuredClone(_), Some(text)) = (&*value, value.as_str_lossy()) {
            *value = text.into_owned().into();
        }
    }
    let cmd = object.member(CMD).and_then(Value::as_str).unwrap_or_default();
    Ok(match cmd {
        "NODE_CLUSTER" => Message::Cluster(read_cluster(object)?),
        "NODE_HANDLE" => Message::Handle(read_handle(object, wraps)?),
        "NODE_HANDLE_ACK" => Message::HandleAck,
        "NODE_HANDLE_NACK" => Message::HandleNack,
        // One that lacks what it needs is ignored, as by Node.
        _ => match read_socket_list(cmd, &object) {
            Some(list) => Message::SocketList(list),
            None => Message::Internal(object),
        },
    })
}

fn read_socket_list(cmd: &str, object: &Object) -> Option<SocketList> {
    let key = object.member("key").and_then(Value::as_str)?.into();
    Some(match cmd {
        "NODE_SOCKET_NOTIFY_CLOSE" => SocketList::NotifyClose { key },
        "NODE_SOCKET_ALL_CLOSED" => SocketList::AllClosed { key },
        "NODE_SOCKET_GET_COUNT" => SocketList::GetCount { key },
        "NODE_SOCKET_COUNT" => {
            SocketList::Count { key, count: object.member("count").and_then(Value::as_u64)? }
        }
        _ => return None,
    })
}

fn member(name: &'static str, expected: &'static str) -> DecodeError {
    DecodeError::Member { name, expected }
}

fn read_handle(mut object: Object, wraps: usize) -> Result<HandleMessage, DecodeError> {
    let Some(wraps) = wraps.checked_sub(1) else { return Err(DecodeError::NestedHandle) };
    let kind = match object.member("type").and_then(Value::as_str) {
        Some("net.Native") => HandleKind::NetNative,
        Some("net.Server") => HandleKind::NetServer,
        Some("net.Socket") => HandleKind::NetSocket,
        Some("net.BoundSocket") => HandleKind::NetBoundSocket,
        Some("dgram.Native") => HandleKind::DgramNative,
        Some("dgram.Socket") => {
            HandleKind::DgramSocket(match object.member("dgramType").and_then(Value::as_str) {
                Some("udp4") => DgramType::Udp4,
                Some("udp6") => DgramType::Udp6,
                _ => return Err(member("dgramType", "\"udp4\" or \"udp6\"")),
            })
        }
        Some(other) => HandleKind::Other(other.into()),
        None => return Err(member("type", "a string")),
    };
    let key = match object.remove("key") {
        None | Some(Value::Null) => None,
        Some(Value::String(key)) => Some(key),
        Some(_) => return Err(member("key", "a string")),
    };
    let message = object.remove("msg").unwrap_or_default();
    Ok(HandleMessage { kind, key, message: Box::new(read_message(message, wraps)?) })
}

fn write_handle(handle: &HandleMessage) -> Object {
    let mut object = command("NODE_HANDLE");
    object.insert("type", handle.kind.name());
    object.insert("msg", handle.message.to_value());
    if let HandleKind::DgramSocket(family) = &handle.kind {
        object.insert(
            "dgramType",
            match family {
                DgramType::Udp4 => "udp4",
                DgramType::Udp6 => "udp6",
            },
        );
    }
    if let Some(key) = &handle.key {
        object.insert("key", key.as_str());
    }
    object
}

fn write_socket_list(list: &SocketList) -> Object {
    match list {
        SocketList::NotifyClose { key } => {
            command("NODE_SOCKET_NOTIFY_CLOSE").with("key", key.as_str())
        }
        SocketList::AllClosed { key } => {
            command("NODE_SOCKET_ALL_CLOSED").with("key", key.as_str())
        }
        SocketList::GetCount { key } => command("NODE_SOCKET_GET_COUNT").with("key", key.as_str()),
        SocketList::Count { key, count } => {
            command("NODE_SOCKET_COUNT").with("key", key.as_str()).with("count", *count)
        }
    }
}

fn read_cluster(mut object: Object) -> Result<ClusterMessage, DecodeError> {
    object.remove(CMD);
    // Node looks at `act` and `ack` alone, and ignores what it does not know: a program may have sent
    // such a message itself.
    let seq = object.remove("seq").and_then(|seq| seq.as_u64()).unwrap_or_default();
    let ack = object.remove("ack").and_then(|ack| ack.as_u64());
    let (act, ack) = match object.remove("act") {
        None | Some(Value::Null) => (None, ack),
        Some(Value::String(act)) => (Some(act), ack),
        // An unknown act, and not an answer.
        Some(_) => (None, None),
    };
    let has_key = object.member("key").is_some_and(|key| key.as_str().is_some());
    let body = match (act.as_deref(), ack) {
        (Some("online"), _) => ClusterBody::Online,
        (Some("queryServer"), _) => ClusterBody::QueryServer(Box::new(read_query(&mut object)?)),
        (Some("listening"), _) => ClusterBody::Listening(Box::new(read_query(&mut object)?)),
        (Some("close"), _) if has_key => ClusterBody::Close { key: read_key(&mut object)? },
        (Some("newconn"), _) if has_key => ClusterBody::NewConn { key: read_key(&mut object)? },
        (Some("exitedAfterDisconnect"), _) => ClusterBody::ExitedAfterDisconnect,
        (Some("disconnect"), _) => ClusterBody::Disconnect,
        (None, Some(_)) if object.member("accepted").is_some() => {
            ClusterBody::Accepted(object.remove("accepted").is_some_and(|v| v.is_truthy()))
        }
        (None, Some(_)) if object.member("key").is_some() => {
            ClusterBody::ListenReply(Box::new(read_reply(&mut object)?))
        }
        (None, Some(_)) => ClusterBody::Ack,
        (act, _) => ClusterBody::Other { act: act.unwrap_or_default().into() },
    };
    Ok(ClusterMessage { seq, ack, body, extra: object })
}

fn read_key(object: &mut Object) -> Result<ServerKey, DecodeError> {
    match object.remove("key") {
        Some(Value::String(key)) => Ok(key.into()),
        _ => Err(member("key", "a string")),
    }
}

fn read_field<T>(
    object: &mut Object,
    name: &'static str,
    expected: &'static str,
    read: impl FnOnce(Value) -> Option<T>,
) -> Result<Field<T>, DecodeError> {
    match object.remove(name) {
        None => Ok(Field::Absent),
        Some(Value::Null) => Ok(Field::Null),
        Some(value) => read(value).map(Field::Is).ok_or(member(name, expected)),
    }
}

fn read_i32(value: &Value) -> Option<i32> {
    value.as_i64().and_then(|n| i32::try_from(n).ok())
}

fn read_u32(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|n| u32::try_from(n).ok())
}

fn read_query(object: &mut Object) -> Result<ListenQuery, DecodeError> {
    const NUMBER: &str = "a number";
    Ok(ListenQuery {
        address: read_field(object, "address", "a string", |v| match v {
            Value::String(address) => Some(address),
            _ => None,
        })?,
        // `dgram` passes on what a program took out of its environment; Node's primary makes a number of it.
        port: read_field(object, "port", NUMBER, |v| {
            read_i32(&v).or_else(|| v.as_str().and_then(|text| text.parse().ok()))
        })?,
        address_type: read_field(object, "addressType", "4, 6, -1, \"udp4\" or \"udp6\"", |v| {
            AddressType::from_value(&v)
        })?,
        fd: read_field(object, "fd", NUMBER, |v| read_i32(&v))?,
        flags: read_field(object, "flags", NUMBER, |v| read_u32(&v))?,
        // It only tunes: what is no number means what `false` does, as in Node, where programs
        // give it as a string out of their environment.
        backlog: read_field(object, "backlog", "", |v| {
            let length = read_i32(&v).or_else(|| v.as_str().and_then(|text| text.parse().ok()));
            Some(length.map_or(Backlog::Off, Backlog::Length))
        })?,
        index: match object.remove("index") {
            None | Some(Value::Null) => 0,
            Some(index) => read_u32(&index).ok_or(member("index", NUMBER))?,
        },
        data: object.remove("data").unwrap_or_default(),
        readable_all: read_field(object, "readableAll", "", |v| Some(v.is_truthy()))?,
        writable_all: read_field(object, "writableAll", "", |v| Some(v.is_truthy()))?,
        // Whatever is left of a query belongs to the query.
        extra: core::mem::take(object),
    })
}

fn read_reply(object: &mut Object) -> Result<ListenReply, DecodeError> {
    let errno = match object.remove("errno") {
        None | Some(Value::Null) => None,
        Some(errno) => Some(read_i32(&errno).ok_or(member("errno", "a number"))?),
    };
    Ok(ListenReply {
        errno,
        key: read_key(object)?,
        data: object.remove("data").unwrap_or_default(),
        sockname: object.remove("sockname").and_then(|v| read_sockname(&v)),
    })
}

/// A name without an address says nothing (Node sends `{}` when `getsockname` fails).
fn read_sockname(value: &Value) -> Option<SockName> {
    Some(SockName {
        address: value["address"].as_str()?.into(),
        family: match value["family"].as_str()? {
            "IPv4" => Family::Ipv4,
            "IPv6" => Family::Ipv6,
            _ => return None,
        },
        port: value["port"].as_u64().and_then(|port| u16::try_from(port).ok())?,
    })
}

fn write_cluster(message: &ClusterMessage) -> Object {
    let mut members: Vec<(String, Value)> = Vec::with_capacity(12);
    let mut put = |name: &str, value: Value| members.push((name.into(), value));
    put(CMD, "NODE_CLUSTER".into());
    match &message.body {
        ClusterBody::Online => put("act", "online".into()),
        ClusterBody::QueryServer(query) => write_query("queryServer", query, &mut put),
        ClusterBody::Listening(query) => write_query("listening", query, &mut put),
        ClusterBody::Close { key } => {
            put("act", "close".into());
            put("key", key.as_str().into());
        }
        ClusterBody::NewConn { key } => {
            put("act", "newconn".into());
            put("key", key.as_str().into());
        }
        ClusterBody::ExitedAfterDisconnect => put("act", "exitedAfterDisconnect".into()),
        ClusterBody::Disconnect => put("act", "disconnect".into()),
        ClusterBody::Accepted(accepted) => put("accepted", (*accepted).into()),
        ClusterBody::ListenReply(reply) => write_reply(reply, &mut put),
        ClusterBody::Ack => {}
        ClusterBody::Other { act } if act.is_empty() => {}
        ClusterBody::Other { act } => put("act", act.as_str().into()),
    }
    if let Some(ack) = message.ack {
        put("ack", ack.into());
    }
    put("seq", message.seq.into());
    // What this version does not know must not gainsay what it does, nor make the message another.
    let decisive: &[&str] = match &message.body {
        ClusterBody::Ack => &["accepted", "key"],
        ClusterBody::ListenReply(_) => &["accepted"],
        _ => &[],
    };
    let more = match &message.body {
        // Whatever is left of a query belongs to the query.
        ClusterBody::QueryServer(query) | ClusterBody::Listening(query) => Some(&query.extra),
        _ => None,
    };
    let known = members.len();
    for (name, value) in more.into_iter().chain([&message.extra]).flat_map(Object::iter) {
        let taken = members[..known].iter().any(|(n, _)| n == name);
        if !taken && !HEAD.contains(&name) && !decisive.contains(&name) {
            members.push((name.into(), value.clone()));
        }
    }
    Object::from_members(members)
}

fn write_field<T>(
    put: &mut impl FnMut(&str, Value),
    name: &str,
    field: &Field<T>,
    write: impl FnOnce(&T) -> Value,
) {
    match field {
        Field::Absent => {}
        Field::Null => put(name, Value::Null),
        Field::Is(value) => put(name, write(value)),
    }
}

fn write_query(act: &str, query: &ListenQuery, put: &mut impl FnMut(&str, Value)) {
    put("act", act.into());
    put("index", query.index.into());
    put("data", query.data.clone());
    write_field(put, "address", &query.address, |a| a.as_str().into());
    write_field(put, "port", &query.port, |p| (*p).into());
    write_field(put, "addressType", &query.address_type, |t| t.to_value());
    write_field(put, "fd", &query.fd, |fd| (*fd).into());
    write_field(put, "flags", &query.flags, |flags| (*flags).into());
    write_field(put, "backlog", &query.backlog, |backlog| match backlog {
        Backlog::Length(n) => (*n).into(),
        Backlog::Off => false.into(),
    });
    write_field(put, "readableAll", &query.readable_all, |b| (*b).into());
    write_field(put, "writableAll", &query.writable_all, |b| (*b).into());
}

fn write_reply(reply: &ListenReply, put: &mut impl FnMut(&str, Value)) {
    put("errno", reply.errno.into());
    put("key", reply.key.as_str().into());
    put("data", reply.data.clone());
    if let Some(name) = &reply.sockname {
        let family = match name.family {
            Family::Ipv4 => "IPv4",
            Family::Ipv6 => "IPv6",
        };
        put(
            "sockname",
            Object::new()
                .with("address", name.address.as_str())
                .with("family", family)
                .with("port", name.port)
                .into(),
        );
    }
}

#[cfg(all(test, feature = "json"))]
mod tests {
    use super::*;
    use crate::{Codec, Json};

    #[test]
    fn a_backlog_is_whatever_a_program_may_have_given() {
        for (given, backlog) in [
            ("100", Backlog::Length(100)),
            ("\"100\"", Backlog::Length(100)),
            ("-1", Backlog::Length(-1)),
            ("false", Backlog::Off),
            ("true", Backlog::Off),
            ("\"many\"", Backlog::Off),
            ("1.5", Backlog::Off),
        ] {
            let text = alloc::format!(
                r#"{{"cmd":"NODE_CLUSTER","act":"queryServer","backlog":{given},"seq":0}}"#
            );
            let Ok(Message::Cluster(message)) = Json.decode(text.as_bytes()) else {
                panic!("{text} is a message")
            };
            let ClusterBody::QueryServer(query) = message.body else { panic!("{text} is a query") };
            assert_eq!(query.backlog, Field::Is(backlog), "{given}");
        }
    }
}
