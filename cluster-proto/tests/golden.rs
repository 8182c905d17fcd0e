//! Everything that real Nodes were recorded to say on their channels is understood, and said again
//! in the same words.

#[path = "support/golden.rs"]
mod recorded;

use std::collections::{BTreeMap, BTreeSet};

use cluster_proto::{
    Advanced, ClusterBody, ClusterMessage, Codec, Deframer, Framing, HandleKind, Json, ListenQuery,
    Message, Postcard, ServerKey, Value,
};
use recorded::{Direction, Line, Recording, recordings};

/// The message itself, out of whatever handles it is wrapped in.
fn innermost(message: &Message) -> &Message {
    match message {
        Message::Handle(handle) => innermost(&handle.message),
        other => other,
    }
}

/// What an independent reader sees in it, once lone surrogates are replaced as promised.
fn value(text: &str) -> serde_json::Value {
    let (mut mended, mut units) = (String::new(), Vec::<u16>::new());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        mended.push_str(&rest[..at]);
        rest = &rest[at..];
        while let Some(digits) = rest.strip_prefix("\\u") {
            units.push(u16::from_str_radix(&digits[..4], 16).unwrap());
            rest = &digits[4..];
        }
        if units.is_empty() {
            mended.push_str(&rest[..2]);
            rest = &rest[2..];
        }
        for unit in char::decode_utf16(units.drain(..)) {
            let unit = unit.unwrap_or(char::REPLACEMENT_CHARACTER);
            mended.extend(unit.encode_utf16(&mut [0; 2]).iter().map(|u| format!("\\u{u:04x}")));
        }
    }
    mended.push_str(rest);
    serde_json::from_str(&mended).unwrap_or_else(|error| panic!("{error}: {mended}"))
}

/// Each message of a recording of frames, with its line.
fn messages(recording: &Recording) -> impl Iterator<Item = (&Line, Message)> {
    recording.lines.iter().filter_map(|line| {
        let frame = line.frame.as_ref()?;
        let message = Json
            .decode(frame.as_bytes())
            .unwrap_or_else(|error| panic!("{}: {error}: {frame}", recording.name));
        Some((line, message))
    })
}

/// Feeds the stream in pieces of lengths drawn from the seed.
fn deframe(framing: Framing, stream: &[u8], seed: u64, mut frame: impl FnMut(&[u8])) {
    let mut deframer = Deframer::new(framing);
    let (mut rest, mut state) = (stream, seed);
    while !rest.is_empty() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let most = [1, 3, 60, 5000][(seed % 4) as usize];
        let (piece, later) = rest.split_at(rest.len().min(1 + (state >> 33) as usize % most));
        deframer.extend(piece);
        rest = later;
        while let Some(found) = deframer.next_frame().unwrap() {
            frame(found.payload);
        }
    }
    assert_eq!(deframer.buffered(), 0, "the recording ends within a frame");
}

#[test]
fn the_recordings_are_there() {
    let recordings = recordings();
    let count = |is: &dyn Fn(&Recording) -> bool| recordings.iter().filter(|r| is(r)).count();
    let majors: BTreeSet<u32> = recordings.iter().map(|r| r.major).collect();
    assert!(majors.is_superset(&[20, 24, 26].into()), "only of Node {majors:?}");
    assert!(count(&|r| !r.advanced) >= 80, "too few of JSON");
    assert!(count(&|r| r.advanced) >= 25, "too few of structured clones");
    assert!(recordings.iter().map(|r| r.lines.len()).sum::<usize>() >= 4000);
    for recording in &recordings {
        assert!(recording.lines.len() >= 3, "{} is all but empty", recording.name);
    }
}

#[test]
fn every_frame_becomes_a_typed_message() {
    let (mut bodies, mut kinds) = (BTreeSet::new(), BTreeSet::new());
    for recording in recordings() {
        for (line, message) in messages(&recording) {
            let at = || format!("{}: {:?}", recording.name, line.frame);
            let is_handle = matches!(message, Message::Handle(_));
            assert_eq!(line.handle.is_some(), is_handle, "{}", at());
            if let Message::Handle(handle) = &message {
                kinds.insert(handle.kind.name().to_owned());
                assert!(!matches!(handle.kind, HandleKind::Other(_)), "{}", at());
            }
            match innermost(&message) {
                Message::Cluster(ClusterMessage { body, extra, .. }) => {
                    assert!(!matches!(body, ClusterBody::Other { .. }), "{}", at());
                    assert!(extra.is_empty(), "{extra:?} is not known: {}", at());
                    if let ClusterBody::QueryServer(query) | ClusterBody::Listening(query) = body {
                        assert!(query.extra.is_empty(), "{:?} is not known: {}", query.extra, at());
                    }
                    let name = format!("{body:?}");
                    bodies.insert(name.split([' ', '(', '{']).next().unwrap().to_owned());
                }
                // The recording's own, to see that it is not delivered.
                Message::Internal(object) => {
                    let cmd = object.member("cmd").unwrap().as_str();
                    assert_eq!(cmd, Some("NODE_UNHEARD"), "{}", at());
                }
                other => {
                    let name = format!("{other:?}");
                    bodies.insert(name.split([' ', '(', '{']).next().unwrap().to_owned());
                }
            }
        }
    }
    // That nothing is taken for something else shows only if everything occurs.
    let expected = [
        "Accepted",
        "Ack",
        "Close",
        "Disconnect",
        "ExitedAfterDisconnect",
        "HandleAck",
        "HandleNack",
        "ListenReply",
        "Listening",
        "NewConn",
        "Online",
        "QueryServer",
        "SocketList",
        "User",
    ];
    assert!(bodies.iter().eq(expected.iter()), "{bodies:?}");
    let expected = [
        "dgram.Native",
        "dgram.Socket",
        "net.BoundSocket",
        "net.Native",
        "net.Server",
        "net.Socket",
    ];
    assert!(kinds.iter().eq(expected.iter()), "{kinds:?}");
}

#[test]
fn every_message_is_said_again_in_the_same_words() {
    for recording in recordings() {
        for (line, message) in messages(&recording) {
            let frame = line.frame.as_ref().unwrap();
            let mut out = Vec::new();
            Json.encode(&message, &mut out).unwrap();
            let again = value(std::str::from_utf8(&out).unwrap());
            assert_eq!(again, value(frame), "{}", recording.name);
        }
    }
}

#[test]
fn every_message_survives_postcard() {
    for recording in recordings() {
        for (_, message) in messages(&recording) {
            let mut out = Vec::new();
            Postcard.encode(&message, &mut out).unwrap();
            let mut frames = 0;
            deframe(Framing::Length, &out, out.len() as u64, |payload| {
                assert_eq!(Postcard.decode(payload).as_ref(), Ok(&message));
                frames += 1;
            });
            assert_eq!(frames, 1);
        }
    }
}

#[test]
fn every_stream_comes_out_of_the_deframer_in_the_same_frames() {
    for recording in recordings().iter().filter(|r| !r.advanced) {
        let mut expected = BTreeMap::<_, Vec<&str>>::new();
        for line in &recording.lines {
            if let Some(frame) = &line.frame {
                expected.entry(line.stream).or_default().push(frame);
            }
        }
        for (stream, expected) in recording.json_streams().iter().zip(expected.into_values()) {
            for seed in 0..8 {
                let mut at = 0;
                deframe(Framing::Line, stream, seed, |payload| {
                    assert_eq!(payload, expected[at].as_bytes(), "{}", recording.name);
                    at += 1;
                });
                assert_eq!(at, expected.len());
            }
        }
    }
}

#[test]
fn bytes_as_they_were_read_decode_however_they_are_cut() {
    let (mut chunked, mut frames) = (0, 0);
    for recording in recordings().iter().filter(|r| !r.advanced) {
        let streams = recording.raw_streams();
        chunked += usize::from(!streams.is_empty());
        for stream in streams {
            for seed in 0..4 {
                deframe(Framing::Line, &stream, seed, |payload| {
                    let message = Json.decode(payload).unwrap();
                    let mut out = Vec::new();
                    Json.encode(&message, &mut out).unwrap();
                    let sent = value(std::str::from_utf8(payload).unwrap());
                    assert_eq!(value(std::str::from_utf8(&out).unwrap()), sent);
                    frames += 1;
                });
            }
        }
    }
    assert!(chunked >= 6 && frames >= 500, "{chunked} recordings, {frames} frames");
}

#[test]
fn structured_clones_are_told_apart_by_their_lengths() {
    let mut frames = 0;
    for recording in recordings().iter().filter(|r| r.advanced) {
        let chunks = recording.name.ends_with(".chunks");
        for stream in recording.raw_streams() {
            for seed in 0..4 {
                deframe(Framing::Length, &stream, seed, |payload| {
                    // The version of V8's format that all of them write.
                    assert_eq!(payload[..2], [0xff, 0x0f], "{}", recording.name);
                    frames += 1;
                });
            }
        }
        for line in recording.lines.iter().filter(|_| !chunks) {
            let mut deframer = Deframer::new(Framing::Length);
            let raw = line.raw.as_ref().unwrap();
            deframer.extend(raw);
            let frame = deframer.next_frame().unwrap().unwrap();
            assert_eq!((frame.payload, frame.range), (&raw[4..], 0..raw.len() as u64));
        }
    }
    assert!(frames >= 4000, "{frames}");
}

#[test]
fn every_structured_clone_becomes_a_typed_message_and_is_said_again() {
    let (mut compared, mut same_bytes, mut seen) = (0, 0, BTreeSet::new());
    for recording in recordings().iter().filter(|r| r.advanced) {
        for line in recording.lines.iter().filter(|_| !recording.name.ends_with(".chunks")) {
            let raw = line.raw.as_ref().unwrap();
            let at = || format!("{}: {:?} {:?}", recording.name, line.frame, line.what);
            let message = Advanced.decode(&raw[4..]).unwrap_or_else(|e| panic!("{e}: {}", at()));
            assert_eq!(line.handle.is_some(), matches!(message, Message::Handle(_)), "{}", at());
            if let Message::Cluster(message) = innermost(&message) {
                assert!(!matches!(message.body, ClusterBody::Other { .. }), "{}", at());
                assert!(message.extra.is_empty(), "{:?} is not known: {}", message.extra, at());
            }
            if let Message::User(value) = innermost(&message) {
                note_kinds(value, &mut seen);
            }
            let mut out = Vec::new();
            Advanced.encode(&message, &mut out).unwrap_or_else(|e| panic!("{e}: {}", at()));
            // By its bytes, since NaN is not equal to itself.
            let (again, mut twice) = (Advanced.decode(&out[4..]).unwrap(), Vec::new());
            Advanced.encode(&again, &mut twice).unwrap();
            assert_eq!(twice, out, "{}", at());
            same_bytes += usize::from(out == *raw);
            // What JSON can say of it is the same in JSON, but for halves of surrogate pairs.
            let halves = |text: &&String| text.contains("\\ud8") || text.contains("\\udc");
            if let Some(frame) = line.frame.as_ref().filter(|frame| !halves(frame)) {
                let by_json = Json.decode(frame.as_bytes()).unwrap();
                let mut text = Vec::new();
                if let Err(error) = Json.encode(&message, &mut text) {
                    // Two of one object are two alike in JSON.
                    assert!(error.to_string().contains("a reference"), "{error}: {}", at());
                    continue;
                }
                let text = text.strip_suffix(b"\n").unwrap();
                assert_eq!(Json.decode(text), Ok(by_json), "{}", at());
                compared += 1;
            }
        }
    }
    assert!(compared >= 500 && same_bytes >= 100, "{compared}, {same_bytes}");
    let expected = [
        "Array",
        "ArrayBuffer",
        "BigInt",
        "Buffer",
        "Date",
        "Error",
        "Map",
        "Object",
        "RegExp",
        "Set",
        "String",
        "TypeError",
        "Uint8Array",
        "reference",
        "undefined",
    ];
    for kind in expected {
        assert!(seen.contains(kind), "no {kind} among {seen:?}");
    }
}

fn note_kinds(value: &Value, seen: &mut BTreeSet<&'static str>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| note_kinds(item, seen)),
        Value::Object(object) => object.iter().for_each(|(_, member)| note_kinds(member, seen)),
        Value::StructuredClone(rich) => {
            seen.insert(rich.name());
            rich.parts().for_each(|part| note_kinds(part, seen));
        }
        _ => {}
    }
}

#[test]
fn keys_are_the_ones_that_each_node_makes() {
    let mut checked = BTreeMap::new();
    for recording in recordings() {
        let mut queries = BTreeMap::<(u64, u64), ListenQuery>::new();
        for (line, message) in messages(&recording) {
            let Message::Cluster(message) = innermost(&message) else { continue };
            let (worker, direction) = line.stream;
            match (&message.body, message.ack) {
                (ClusterBody::QueryServer(query), _) => {
                    assert_eq!(direction, Direction::ToPrimary);
                    queries.insert((worker, message.seq), (**query).clone());
                }
                (ClusterBody::ListenReply(reply), Some(ack)) => {
                    assert_eq!(direction, Direction::ToWorker);
                    let query = &queries[&(worker, ack)];
                    let key = match recording.major {
                        // What Node 25 brought came to Node 24 as well, by 24.21.
                        ..24 => ServerKey::node20(query),
                        _ => ServerKey::node25(query),
                    };
                    assert_eq!(key, reply.key, "{}: {query:?}", recording.name);
                    *checked.entry(recording.major).or_insert(0) += 1;
                }
                _ => {}
            }
        }
    }
    assert!(checked.len() >= 3 && checked.values().all(|n| *n >= 30), "{checked:?}");
}
