//! The body of the fuzz target `advanced_messages`: one frame's payload.

use cluster_proto::{Advanced, Codec, Encoding, FrameReader, Message, Postcard, Value};

/// Whatever is read is written, and read again as the same; by the other ways to carry it too.
pub(crate) fn run(data: &[u8]) {
    let encoded = FrameReader::new(Encoding::Advanced).finish(data.to_vec().into());
    let Ok(message) = Advanced.decode(data) else { return assert!(encoded.is_err()) };
    let first = written(&Advanced, &message);
    assert_eq!(written(&Advanced, &encoded.expect("it is a message")), first);
    let again = Advanced.decode(&first[4..]).expect("what was written can be read");
    // By their bytes, since NaN is not equal to itself.
    assert_eq!(written(&Advanced, &again), first);

    let compact = written(&Postcard, &message);
    let again = Postcard.decode(&compact[4..]).expect("what was written can be read");
    assert_eq!(written(&Advanced, &again), first);
    if let Message::User(value) = message {
        let back = Value::from_tagged(value.to_tagged()).expect("it describes itself");
        assert_eq!(written(&Advanced, &Message::User(back)), first);
    }
}

fn written(codec: &dyn Codec, message: &Message) -> Vec<u8> {
    let mut frame = Vec::new();
    codec.encode(message, &mut frame).expect("what was read can be written");
    frame
}
