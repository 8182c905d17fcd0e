//! Users' messages, as they came.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::String;
use core::fmt;
use core::ops::Range;

use bytes::Bytes;

use crate::encoding::part::Part;
use crate::error::DecodeError;
use crate::internal::is_internal;
use crate::request::{self, Exchange};
use crate::value::Value;

/// A user's message that is decoded when it is asked for: a received one is the bytes that came.
///
/// What a peer sends costs its receiver no more than these bytes until the receiver looks into it:
/// [`value`](Self::value) and [`decode`](Self::decode) do that each time that they are called. Then a byte
/// may become some sixty bytes of [`Value`]s (in `advanced` some two hundred), if the message is made for
/// that. [`value_within`](Self::value_within) has a limit.
///
/// ```
/// use cluster_proto::{Object, UserMessage};
///
/// let message = UserMessage::from(Object::new().with("count", 3));
/// assert_eq!(message.value()?["count"].as_u64(), Some(3));
/// assert_eq!(UserMessage::from("ready"), "ready");
/// # Ok::<(), cluster_proto::DecodeError>(())
/// ```
#[derive(Clone)]
pub struct UserMessage(Repr);

#[derive(Clone)]
enum Repr {
    Decoded(Value),
    Encoded(Encoded),
}

#[derive(Clone)]
struct Encoded {
    bytes: Bytes,
    form: Form,
    exchange: Option<Box<Outer>>,
}

/// How a message is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// A JSON text that was found to be one.
    Json,
    /// A structured clone. Of a part of one: its version, and how many objects stood before it.
    Advanced(Option<Part>),
    /// A value in postcard.
    Postcard,
}

/// That a message is a request or an answer, and where the parts of it lie.
#[derive(Clone, Debug)]
struct Outer {
    id: u64,
    asks: bool,
    body: Option<Encoded>,
    error: Option<Encoded>,
}

/// The longest reason for a refusal that is read, in bytes.
const MAX_REASON: usize = 64 << 10;

impl UserMessage {
    /// A JSON text that was scanned; the ranges are of its bytes.
    #[cfg(feature = "json")]
    pub(crate) fn json(text: Bytes, outer: Option<(bool, [Option<Range<usize>>; 3])>) -> Self {
        let part = |range: Range<usize>| Encoded::new(text.slice(range), Form::Json);
        let exchange = outer.and_then(|(asks, [id, body, error])| {
            // No number of ours is longer.
            let id = id.filter(|id| id.len() <= 64)?;
            let id = crate::encoding::json::parse(&text[id]).ok()?.as_u64()?;
            Some(Box::new(Outer { id, asks, body: body.map(part), error: error.map(part) }))
        });
        Self(Repr::Encoded(Encoded { exchange, ..Encoded::new(text.clone(), Form::Json) }))
    }

    /// A frame's payload in `advanced` that was not looked at.
    #[cfg(feature = "advanced")]
    pub(crate) fn advanced(payload: Bytes) -> Self {
        Self(Repr::Encoded(Encoded::new(payload, Form::Advanced(None))))
    }

    /// A request, or the answer to one, in `advanced`, whose body is that part of it.
    #[cfg(feature = "advanced")]
    pub(crate) fn advanced_exchange(
        payload: &Bytes,
        (asks, id): (bool, u64),
        part: Part,
        body: Range<usize>,
    ) -> Self {
        let form = Form::Advanced(Some(part));
        let body = Some(Encoded::new(payload.slice(body), form));
        let exchange = Some(Box::new(Outer { id, asks, body, error: None }));
        let whole = Encoded::new(payload.clone(), Form::Advanced(None));
        Self(Repr::Encoded(Encoded { exchange, ..whole }))
    }

    /// A value in postcard that was not looked at.
    #[cfg(feature = "postcard")]
    pub(crate) fn postcard(value: Bytes) -> Self {
        Self(Repr::Encoded(Encoded::new(value, Form::Postcard)))
    }

    /// A request, or the answer to one, in postcard, whose body is that part of it.
    #[cfg(feature = "postcard")]
    pub(crate) fn postcard_exchange(
        value: &Bytes,
        (asks, id): (bool, u64),
        body: Range<usize>,
    ) -> Self {
        let body = Some(Encoded::new(value.slice(body), Form::Postcard));
        let exchange = Some(Box::new(Outer { id, asks, body, error: None }));
        Self(Repr::Encoded(Encoded { exchange, ..Encoded::new(value.clone(), Form::Postcard) }))
    }

    /// The message as a tree of values.
    ///
    /// # Errors
    /// [`DecodeError`] if it is not what its encoding allows, or nests too deep. Of a message that came as
    /// JSON this is known before it is delivered; of a long one in another encoding only now.
    pub fn value(&self) -> Result<Value, DecodeError> {
        self.value_within(usize::MAX)
    }

    /// As [`value`](Self::value), if there are no more than that many values in it, of all kinds and at all
    /// depths. (A text or a buffer is one value, however long.)
    ///
    /// # Errors
    /// As [`value`](Self::value), and [`DecodeError::TooManyValues`].
    pub fn value_within(&self, values: usize) -> Result<Value, DecodeError> {
        match &self.0 {
            Repr::Decoded(value) => Ok(value.clone()),
            Repr::Encoded(encoded) => encoded.value(values),
        }
    }

    /// As [`value`](Self::value), of a message that is not needed any more.
    ///
    /// # Errors
    /// As [`value`](Self::value).
    pub fn into_value(self) -> Result<Value, DecodeError> {
        match self.0 {
            Repr::Decoded(value) => Ok(value),
            Repr::Encoded(encoded) => encoded.value(usize::MAX),
        }
    }

    /// The type that JSON would read from it: see [`Value::decode`].
    ///
    /// # Errors
    /// [`TypeError`](crate::TypeError) if it is no such thing, or cannot be decoded at all.
    #[cfg(feature = "serde")]
    pub fn decode<T: serde::de::DeserializeOwned>(&self) -> Result<T, crate::typed::TypeError> {
        match &self.0 {
            Repr::Decoded(value) => value.decode(),
            Repr::Encoded(encoded) => {
                let value = encoded.value(usize::MAX);
                value.map_err(serde::de::Error::custom)?.decode()
            }
        }
    }

    /// The text, if the message is one that UTF-8 can hold. Nothing is decoded if it is none.
    pub fn as_str(&self) -> Option<Cow<'_, str>> {
        match &self.0 {
            Repr::Decoded(value) => value.as_str().map(Cow::Borrowed),
            Repr::Encoded(encoded) => encoded.as_str(),
        }
    }

    /// The message as the JSON text as which it came, if it came so: valid JSON, without a newline if it
    /// came in a frame. Of members with one name the last one counts.
    pub fn as_json(&self) -> Option<&[u8]> {
        match &self.0 {
            Repr::Encoded(Encoded { bytes, form: Form::Json, .. }) => Some(bytes),
            _ => None,
        }
    }

    /// As [`as_json`](Self::as_json): a share of the memory that the message is in.
    pub fn to_json(&self) -> Option<Bytes> {
        match &self.0 {
            Repr::Encoded(Encoded { bytes, form: Form::Json, .. }) => Some(bytes.clone()),
            _ => None,
        }
    }

    /// How many bytes it came as; none if it is decoded already.
    pub fn encoded_len(&self) -> Option<usize> {
        match &self.0 {
            Repr::Decoded(_) => None,
            Repr::Encoded(encoded) => Some(encoded.bytes.len()),
        }
    }

    /// The number by which a message asks for an answer (`true`) or is one (`false`), if it does or is: see
    /// [`Exchange`].
    pub fn exchange_id(&self) -> Option<(u64, bool)> {
        match &self.0 {
            Repr::Decoded(value) => Exchange::id_of(value),
            Repr::Encoded(encoded) => encoded.exchange.as_ref().map(|outer| (outer.id, outer.asks)),
        }
    }

    /// What it is to requests. Nothing is decoded of it but the reason of a refusal.
    pub fn into_exchange(self) -> Exchange<UserMessage> {
        match self.0 {
            Repr::Decoded(value) => match Exchange::of(value) {
                Exchange::Request { id, body } => Exchange::Request { id, body: body.into() },
                Exchange::Response { id, answer } => {
                    Exchange::Response { id, answer: answer.map(Self::from) }
                }
                Exchange::Message(value) => Exchange::Message(value.into()),
            },
            Repr::Encoded(mut encoded) => {
                let Some(outer) = encoded.exchange.take() else {
                    return Exchange::Message(Self(Repr::Encoded(encoded)));
                };
                let Outer { id, asks, body, error } = *outer;
                let body = || body.map_or(Value::Null.into(), |body| Self(Repr::Encoded(body)));
                if asks {
                    return Exchange::Request { id, body: body() };
                }
                let answer = match error.and_then(Encoded::into_reason) {
                    None => Ok(body()),
                    Some(reason) => Err(reason),
                };
                Exchange::Response { id, answer }
            }
        }
    }
}

impl Encoded {
    fn new(bytes: Bytes, form: Form) -> Self {
        Self { bytes, form, exchange: None }
    }

    fn value(&self, values: usize) -> Result<Value, DecodeError> {
        match self.form {
            Form::Json => json(&self.bytes, values),
            Form::Advanced(part) => no_internal(advanced(&self.bytes, part, values)?),
            Form::Postcard => no_internal(postcard(&self.bytes, values)?),
        }
    }

    fn as_str(&self) -> Option<Cow<'_, str>> {
        if !is_text(self.form, &self.bytes) {
            return None;
        }
        match self.value(usize::MAX).ok()? {
            Value::String(text) => Some(Cow::Owned(text)),
            _ => None,
        }
    }

    /// Why there is no answer: this is the `error` of one. None if it is null.
    fn into_reason(self) -> Option<String> {
        if self.bytes.len() > MAX_REASON {
            return Some(String::from("its reason is too long to be read"));
        }
        let error = self.value(usize::MAX).unwrap_or_default();
        if error.is_null() || error.is_undefined() {
            return None;
        }
        Some(request::reason(error))
    }
}

/// A user may not speak for the protocol.
fn no_internal(value: Value) -> Result<Value, DecodeError> {
    if is_internal(&value) {
        return Err(DecodeError::Member { name: "cmd", expected: "no name of the protocol's own" });
    }
    Ok(value)
}

#[cfg(feature = "json")]
fn json(text: &[u8], values: usize) -> Result<Value, DecodeError> {
    // Each value but the first has a byte before it.
    if text.len() / 2 >= values && crate::scan::JsonScanner::scan(text)?.values > values {
        return Err(DecodeError::TooManyValues { limit: values });
    }
    crate::encoding::json::parse(text)
}

#[cfg(feature = "advanced")]
use crate::encoding::advanced::value as advanced;

#[cfg(feature = "postcard")]
use crate::encoding::postcard::value as postcard;

#[cfg(not(feature = "json"))]
fn json(_: &[u8], _: usize) -> Result<Value, DecodeError> {
    Err(unknown("JSON"))
}

#[cfg(not(feature = "advanced"))]
fn advanced(_: &[u8], _: Option<Part>, _: usize) -> Result<Value, DecodeError> {
    Err(unknown("a structured clone"))
}

#[cfg(not(feature = "postcard"))]
fn postcard(_: &[u8], _: usize) -> Result<Value, DecodeError> {
    Err(unknown("postcard"))
}

#[cfg(not(all(feature = "json", feature = "advanced", feature = "postcard")))]
fn unknown(encoding: &'static str) -> DecodeError {
    DecodeError::Malformed { encoding, what: "this program does not read it".into() }
}

/// Whether it may be a text by itself.
fn is_text(form: Form, bytes: &[u8]) -> bool {
    match form {
        Form::Json => bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'"'),
        #[cfg(feature = "advanced")]
        Form::Advanced(None) => crate::encoding::advanced::is_text(bytes),
        #[cfg(feature = "postcard")]
        Form::Postcard => crate::encoding::postcard::is_text(bytes),
        #[cfg_attr(not(feature = "postcard"), allow(unreachable_patterns))]
        _ => true,
    }
}

impl<T: Into<Value>> From<T> for UserMessage {
    fn from(value: T) -> Self {
        Self(Repr::Decoded(value.into()))
    }
}

#[cfg(feature = "serde")]
impl crate::typed::IntoMessage for UserMessage {
    fn into_message(self) -> Result<Value, crate::error::EncodeError> {
        let unreadable = |error: DecodeError| crate::error::EncodeError::Unsupported {
            encoding: "a message",
            what: alloc::string::ToString::to_string(&error),
        };
        self.into_value().map_err(unreadable)
    }
}

/// By their values; those that cannot be decoded are equal to none.
impl PartialEq for UserMessage {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Repr::Decoded(one), Repr::Decoded(other)) => one == other,
            (Repr::Encoded(one), Repr::Encoded(other))
                if (one.form, &one.bytes) == (other.form, &other.bytes) =>
            {
                true
            }
            _ => match (self.value(), other.value()) {
                (Ok(one), Ok(other)) => one == other,
                _ => false,
            },
        }
    }
}

/// Whether it is that text; nothing is decoded that is longer than it could be.
impl PartialEq<str> for UserMessage {
    fn eq(&self, text: &str) -> bool {
        // An escape takes six bytes, a character of an escape one at the least.
        let too_long = self.encoded_len().is_some_and(|bytes| bytes > text.len() * 6 + 16);
        !too_long && self.as_str().is_some_and(|own| own == text)
    }
}

impl PartialEq<&str> for UserMessage {
    fn eq(&self, text: &&str) -> bool {
        self == *text
    }
}

/// A short one as its value.
impl fmt::Debug for UserMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Decoded(value) => value.fmt(f),
            Repr::Encoded(encoded) => encoded.fmt(f),
        }
    }
}

/// The longest message that is decoded to be shown, in bytes.
const SHOWN: usize = 4 << 10;

impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value(SHOWN) {
            Ok(value) if self.bytes.len() <= SHOWN => value.fmt(f),
            _ => write!(f, "UserMessage({} bytes, {:?})", self.bytes.len(), self.form),
        }
    }
}
