//! Explains what went over a cluster's channel, a line for each frame.
//!
//! ```text
//! cargo run -p cluster-proto --example explain_channel -- cluster-proto/tests/golden/node26-rr.jsonl
//! ```
//!
//! It reads a file, or standard input, of frames as they are on the wire (JSON), or of recordings
//! such as `tests/golden` holds: `{"dir":"W>P","handle":null,"frame":…}`.

use std::env;
use std::error::Error;
use std::fs::File;
use std::io::{self, Read, Write};

use cluster_proto::{
    ClusterBody, ClusterMessage, Codec, Deframer, Field, Json, ListenQuery, ListenReply, Message,
    Object, SocketList, Value,
};

fn main() -> Result<(), Box<dyn Error>> {
    let mut input: Box<dyn Read> = match env::args_os().nth(1) {
        Some(path) => Box::new(File::open(path)?),
        None => Box::new(io::stdin().lock()),
    };
    let mut out = io::stdout().lock();
    let mut deframer = Deframer::new(Json.framing());
    let mut buffer = [0; 16 << 10];
    loop {
        let n = input.read(&mut buffer)?;
        deframer.extend(&buffer[..n]);
        while let Some(frame) = deframer.next_frame()? {
            match Json.decode(frame.payload) {
                Ok(message) => {
                    let (direction, message) = unwrap_recording(message)?;
                    writeln!(out, "{direction:4} {}", explain(&message))?;
                }
                Err(error) => writeln!(out, "bytes {:?}: {error}", frame.range)?,
            }
        }
        if n == 0 {
            return Ok(());
        }
    }
}

/// The direction and the frame of a recording's line; any other message is the frame itself.
fn unwrap_recording(message: Message) -> Result<(String, Message), Box<dyn Error>> {
    let Message::User(Value::Object(mut line)) = message else {
        return Ok((String::new(), message));
    };
    match (line.member("dir").and_then(Value::as_str).map(String::from), line.remove("frame")) {
        (Some(direction), Some(frame)) => Ok((direction, Message::from_value(frame)?)),
        (Some(direction), None) => {
            let bytes = Object::new().with("bytes", line.remove("raw").unwrap_or_default());
            Ok((direction, Message::User(bytes.into())))
        }
        (None, Some(frame)) => Ok((String::new(), Message::User(line.with("frame", frame).into()))),
        (None, None) => Ok((String::new(), Message::User(line.into()))),
    }
}

fn explain(message: &Message) -> String {
    match message {
        Message::Cluster(message) => explain_cluster(message),
        Message::Handle(handle) => {
            format!("{} [with a {}]", explain(&handle.message), handle.kind)
        }
        Message::HandleAck => "the handle arrived".into(),
        Message::HandleNack => "the handle did not arrive".into(),
        Message::SocketList(SocketList::Count { key, count }) => {
            format!("{count} connections of {key} are open")
        }
        Message::SocketList(list) => format!("about a server's connections: {list:?}"),
        Message::User(value) => {
            let text = format!("{value:?}");
            let shown: String = text.chars().take(100).collect();
            format!("the user's: {shown}{}", if shown == text { "" } else { "…" })
        }
        other => format!("unknown: {other:?}"),
    }
}

fn explain_cluster(message: &ClusterMessage) -> String {
    let ClusterMessage { seq, ack, body, .. } = message;
    let to = ack.map_or(String::new(), |ack| format!(" (answers {ack})"));
    let what = match body {
        ClusterBody::Online => "the worker runs".into(),
        ClusterBody::QueryServer(query) => format!("wants to listen on {}", place(query)),
        ClusterBody::Listening(query) => format!("listens on {}", place(query)),
        ClusterBody::Close { key } => format!("closed the server {key}"),
        ClusterBody::ExitedAfterDisconnect => "the worker leaves voluntarily".into(),
        ClusterBody::Accepted(true) => "took the connection".into(),
        ClusterBody::Accepted(false) => "refused the connection".into(),
        ClusterBody::ListenReply(reply) => explain_reply(reply),
        ClusterBody::NewConn { key } => format!("a connection for {key}"),
        ClusterBody::Disconnect => "the worker shall close its servers and go".into(),
        ClusterBody::Ack => "acknowledged".into(),
        other => format!("unknown: {other:?}"),
    };
    format!("#{seq}{to} {what}")
}

fn place(query: &ListenQuery) -> String {
    let ListenQuery { address, port, .. } = query;
    if let Some(fd) = query.primary_fd() {
        return format!("the primary's descriptor {fd}");
    }
    match (address, port, query.address_type) {
        (Field::Is(path), Field::Is(-1), _) => path.clone(),
        (Field::Is(address), port, Field::Is(family)) if family.is_udp() => {
            format!("{address}, port {port}, UDP")
        }
        (Field::Is(address), port, _) => format!("{address}, port {port}"),
        (_, port, _) => format!("every address, port {port}"),
    }
}

fn explain_reply(reply: &ListenReply) -> String {
    match (reply.error(), &reply.sockname) {
        (Some(errno), _) => format!("{} failed with errno {errno}", reply.key),
        (None, Some(name)) => format!("{} is bound to {} {}", reply.key, name.address, name.port),
        (None, None) => format!("{} is bound", reply.key),
    }
}
