//! The body of the fuzz target `postcard_messages`: one frame's payload.

use std::mem::discriminant;

use cluster_proto::{Codec, Encoding, FrameReader, Json, Message, Postcard};

/// Whatever is read is written, and read again as the same; and on a JSON channel it does not
/// become a message of another kind.
pub(crate) fn run(data: &[u8]) {
    let encoded = FrameReader::new(Encoding::Postcard).finish(data.to_vec().into());
    let Ok(message) = Postcard.decode(data) else { return assert!(encoded.is_err()) };
    // By their bytes, since NaN is not equal to itself.
    assert_eq!(written(&encoded.expect("it is a message")), written(&message));
    let first = written(&message);
    let again = Postcard.decode(&first[4..]).expect("what was written can be read");
    assert_eq!(written(&again), first);

    let mut line = Vec::new();
    // It may nest too deep for JSON, or hold what only a newer version could read.
    if Json.encode(&message, &mut line).is_err() {
        return assert!(line.is_empty());
    }
    let text = line.strip_suffix(b"\n").expect("a line ends");
    assert!(!text.contains(&b'\n'), "a frame within a frame");
    if let Ok(json) = Json.decode(text) {
        same_kind(&message, &json);
    }
}

fn written(message: &Message) -> Vec<u8> {
    let mut frame = Vec::new();
    Postcard.encode(message, &mut frame).expect("what was read can be written");
    frame
}

fn same_kind(one: &Message, other: &Message) {
    assert_eq!(discriminant(one), discriminant(other), "{one:?} became {other:?}");
    match (one, other) {
        (Message::Handle(one), Message::Handle(other)) => {
            same_kind(&one.message, &other.message);
        }
        (Message::Cluster(one), Message::Cluster(other)) => {
            assert_eq!((one.seq, one.ack), (other.seq, other.ack));
        }
        _ => {}
    }
}
