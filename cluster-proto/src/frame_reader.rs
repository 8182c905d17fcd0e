//! Frames to messages, of which users' stay as they came.

use alloc::boxed::Box;
use core::ops::Range;

use bytes::Bytes;

use crate::codec::{self, BunJson, Codec, Json};
use crate::codec::{Advanced, Postcard};
use crate::encoding::{advanced, postcard};
use crate::error::DecodeError;
use crate::internal::{MAX_WRAPS, may_be_internal};
use crate::message::{HandleMessage, Message};
use crate::scan::{Command, Flaw, JsonScanner, Outline};
use crate::user_message::UserMessage;
use crate::value::Value;

/// The encoding of a [`FrameReader`]'s frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Encoding {
    /// [`Json`], and Bun's dialect of it.
    Json,
    /// [`Advanced`]
    Advanced,
    /// [`Postcard`]
    Postcard,
}

/// The longest message of the protocol's own that a [`FrameReader`] takes, in bytes. What a handle goes
/// with does not count.
pub const MAX_INTERNAL: usize = 1 << 20;

/// How many values such a message may hold.
const MAX_INTERNAL_VALUES: usize = 128 << 10;

/// Messages in an encoding other than JSON that are longer are not checked before they are decoded.
const CHECKED: usize = 64 << 10;

/// Reads messages from a peer that may be hostile: in memory that is bounded by the length of a frame, and
/// in as many steps as the caller likes.
///
/// Users' messages become [`Message::Encoded`], also those that a handle goes with. They are not decoded.
/// Those in JSON are checked all the same, byte by byte while they arrive: what is delivered can be
/// decoded. Of those in `advanced` and postcard this is so up to 64 KiB; whether a longer one can be decoded
/// turns out when someone [asks for its value](UserMessage::value). Messages of the protocol's own are decoded at once,
/// and have limits for it: 1 MiB ([`MAX_INTERNAL`]) and 131,072 values.
///
/// ```
/// use cluster_proto::{Encoding, FrameReader, Message};
///
/// let mut reader = FrameReader::new(Encoding::Json);
/// let payload = br#"{"count":[1,2,3]}"#;
/// // It arrives in two pieces, and is looked at four bytes at a time.
/// for arrived in [&payload[..10], payload] {
///     while reader.looked_at() < arrived.len() {
///         reader.look(arrived, 4);
///     }
/// }
/// let message = reader.finish(payload.to_vec().into())?;
/// let Message::Encoded(message) = message else { panic!("it is a user's") };
/// assert_eq!(message.value()?["count"][2].as_u64(), Some(3));
/// # Ok::<(), cluster_proto::DecodeError>(())
/// ```
#[derive(Debug)]
pub struct FrameReader {
    encoding: Encoding,
    scanner: JsonScanner,
    /// What need not be scanned was seen.
    skipped: usize,
}

impl FrameReader {
    /// A reader at the beginning of a frame.
    pub const fn new(encoding: Encoding) -> Self {
        Self { encoding, scanner: JsonScanner::new(), skipped: 0 }
    }

    /// How many bytes of the frame's payload were looked at.
    pub fn looked_at(&self) -> usize {
        self.scanner.at() + self.skipped
    }

    /// Looks at so much of the frame's payload as has arrived, but no more than `most` bytes further than
    /// before.
    pub fn look(&mut self, arrived: &[u8], most: usize) {
        if self.encoding != Encoding::Json || BunJson::is_marked(arrived) {
            self.skipped = arrived.len();
            return;
        }
        let rest = &arrived[self.scanner.at()..];
        self.scanner.push(&rest[..rest.len().min(most)]);
    }

    /// The message of a whole frame, if that is seen at a glance: what most frames between a primary and a
    /// worker are. [`finish`](Self::finish) is for all others.
    pub fn at_once(&self, payload: &[u8]) -> Option<Message> {
        let is_new = self.encoding == Encoding::Json && self.looked_at() == 0;
        if is_new { codec::at_once(payload) } else { None }
    }

    /// The message, now that the frame is whole. The next call begins another frame.
    ///
    /// # Errors
    /// [`DecodeError`] if it is none.
    pub fn finish(&mut self, payload: Bytes) -> Result<Message, DecodeError> {
        self.look(&payload, usize::MAX);
        let done = core::mem::replace(self, Self::new(self.encoding));
        match self.encoding {
            Encoding::Json if BunJson::is_marked(&payload) => {
                check_length(payload.len())?;
                Json.decode(&payload)
            }
            Encoding::Json => match done.scanner.finish() {
                Ok(outline) => read_json(&payload, &outline, 0, 0..payload.len()),
                Err(Flaw::TooDeep) if may_be_internal(&payload) => {
                    let what = "a message of the protocol's own that nests too deep".into();
                    Err(DecodeError::Malformed { encoding: "JSON", what })
                }
                Err(flaw) => Err(flaw.into()),
            },
            Encoding::Advanced => read_advanced(payload),
            Encoding::Postcard => read_postcard(payload),
        }
    }
}

fn check_length(length: usize) -> Result<(), DecodeError> {
    if length <= MAX_INTERNAL {
        return Ok(());
    }
    Err(DecodeError::TooLong { limit: MAX_INTERNAL, length })
}

/// The message at that place in the text, in so many handles.
fn read_json(
    payload: &Bytes,
    outline: &Outline,
    wraps: usize,
    range: Range<usize>,
) -> Result<Message, DecodeError> {
    let envelope = &outline.envelopes[wraps];
    let text = &payload[range.clone()];
    match envelope.command {
        Command::None => Ok(Message::Encoded(UserMessage::json(payload.slice(range), None))),
        Command::Request | Command::Response => {
            let parts = [&envelope.id, &envelope.body, &envelope.error];
            let inner = |part: &Option<Range<usize>>| {
                part.as_ref().map(|part| part.start - range.start..part.end - range.start)
            };
            let exchange = (envelope.command == Command::Request, parts.map(inner));
            Ok(Message::Encoded(UserMessage::json(payload.slice(range.clone()), Some(exchange))))
        }
        Command::Internal => {
            check_length(text.len())?;
            check_values(outline.values)?;
            Message::from_value(Json::value(text)?)
        }
        Command::Handle if wraps == MAX_WRAPS => Err(DecodeError::NestedHandle),
        Command::Handle => {
            let (shell, inner) = match &envelope.msg {
                Some(msg) => {
                    let (before, after) = (range.start..msg.start, msg.end..range.end);
                    check_length(before.len() + after.len())?;
                    let shell = [&payload[before], b"null", &payload[after]].concat();
                    (shell, read_json(payload, outline, wraps + 1, msg.clone())?)
                }
                None => {
                    check_length(text.len())?;
                    (text.to_vec(), Message::User(Value::Null))
                }
            };
            wrap(&shell, inner)
        }
    }
}

fn check_values(values: usize) -> Result<(), DecodeError> {
    if values <= MAX_INTERNAL_VALUES {
        return Ok(());
    }
    Err(DecodeError::TooManyValues { limit: MAX_INTERNAL_VALUES })
}

/// That message, in the handle that the text speaks of.
fn wrap(shell: &[u8], inner: Message) -> Result<Message, DecodeError> {
    if shell.len() > 2 * MAX_INTERNAL_VALUES {
        check_values(JsonScanner::scan(shell)?.values)?;
    }
    match Message::from_value(Json::value(shell)?)? {
        Message::Handle(handle) => {
            Ok(Message::Handle(HandleMessage { message: Box::new(inner), ..handle }))
        }
        other => Ok(other),
    }
}

/// A user's message that was decoded to check it, as it came.
fn as_it_came(message: Message, encoded: impl FnOnce() -> UserMessage) -> Message {
    match message {
        // A text takes no more memory.
        Message::User(text @ Value::String(_)) => Message::Encoded(text.into()),
        Message::User(value) => match UserMessage::from(value) {
            exchange if exchange.exchange_id().is_some() => Message::Encoded(exchange),
            _ => Message::Encoded(encoded()),
        },
        other => other,
    }
}

fn read_advanced(payload: Bytes) -> Result<Message, DecodeError> {
    if payload.len() <= CHECKED {
        return Ok(as_it_came(Advanced.decode(&payload)?, || UserMessage::advanced(payload)));
    }
    match advanced::head(&payload) {
        advanced::Head::Internal => {
            check_length(payload.len())?;
            Message::from_value(advanced::value(&payload, None, MAX_INTERNAL_VALUES)?)
        }
        advanced::Head::Exchange { asks, id, part, body } => {
            Ok(Message::Encoded(UserMessage::advanced_exchange(&payload, (asks, id), part, body)))
        }
        advanced::Head::Other => Ok(Message::Encoded(UserMessage::advanced(payload))),
    }
}

fn read_postcard(payload: Bytes) -> Result<Message, DecodeError> {
    let value = postcard::user(&payload).map(|value| payload.slice(value));
    match value {
        Some(value) if payload.len() > CHECKED => {
            let exchange = postcard::exchange(&value);
            Ok(Message::Encoded(match exchange {
                Some((exchange, body)) => UserMessage::postcard_exchange(&value, exchange, body),
                None => UserMessage::postcard(value),
            }))
        }
        value => {
            check_length(payload.len())?;
            let message = Postcard.decode(&payload)?;
            Ok(match value {
                Some(value) => as_it_came(message, || UserMessage::postcard(value)),
                None => message,
            })
        }
    }
}
