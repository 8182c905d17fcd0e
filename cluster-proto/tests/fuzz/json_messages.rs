//! The body of the fuzz target `json_messages`: one frame's payload.

#[path = "agreement.rs"]
mod agreement;

use cluster_proto::{BunJson, Codec, DecodeError, Encoding, Json, Message, Postcard};

/// Whatever is read is written, and read again as the same; and a frame reader reads the same.
pub(crate) fn run(data: &[u8]) {
    agreement::check(&Json, Encoding::Json, data, 1 + data.len() % 7);
    let message = match Json.decode(data) {
        Ok(message) => message,
        Err(DecodeError::Malformed { what, .. }) => return assert!(!what.is_empty()),
        Err(_) => return,
    };
    let mut line = Vec::new();
    Json.encode(&message, &mut line).expect("what was read can be written");
    let text = line.strip_suffix(b"\n").expect("a line ends");
    assert!(!text.contains(&b'\n'), "a frame within a frame");
    assert_eq!(Json.decode(text).as_ref(), Ok(&message));
    // Nothing was left out that the first writing had.
    assert_eq!(Message::from_value(message.to_value()).as_ref(), Ok(&message));

    // Bun's dialect says less of a descriptor, but says it again in the same words.
    let in_bun_json = |message: &Message| {
        let mut line = Vec::new();
        BunJson.encode(message, &mut line).expect("Bun's dialect holds all that Node's does");
        line
    };
    let line = in_bun_json(&message);
    let text = line.strip_suffix(b"\n").expect("a line ends");
    assert!(!text.contains(&b'\n'), "a frame within a frame");
    let again = Json.decode(text).expect("what was written can be read");
    assert_eq!(in_bun_json(&again), line);

    let mut frame = Vec::new();
    Postcard.encode(&message, &mut frame).expect("Postcard holds all that JSON does");
    assert_eq!(Postcard.decode(&frame[4..]), Ok(message));
}
