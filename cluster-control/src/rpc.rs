//! JSON-RPC 2.0, without I/O: a line to a request, and answers to lines.

use bytes::Bytes;
use cluster_proto::{DecodeError, Encoding, FrameReader, Json, Message, Object, Value};
use serde::Deserialize;

use crate::params::{self, Call};
use crate::text::Text;

/// What a client wants.
pub(super) struct Request {
    /// None for a notification, which is not answered. A line that is no request at all is
    /// answered under `null`.
    pub(super) id: Option<Value>,
    pub(super) call: Result<Call, Failure>,
}

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    code: i64,
    message: String,
    /// A name for programs: `ERR_…`, or that of an errno.
    name: Option<String>,
}

impl Failure {
    /// The line is no JSON.
    fn parse(what: impl std::fmt::Display) -> Self {
        Self { code: -32700, message: format!("not a line of JSON: {what}"), name: None }
    }

    /// It is no request.
    fn request(what: &str) -> Self {
        Self { code: -32600, message: format!("not a request: {what}"), name: None }
    }

    /// There is no such method.
    pub(super) fn method(name: &str) -> Self {
        let known = params::METHODS.join(", ");
        let message = format!("there is no method {name:?}; there are {known}");
        Self { code: -32601, message, name: None }
    }

    /// The parameters do not fit.
    pub(super) fn params(what: impl Into<String>) -> Self {
        Self { code: -32602, message: what.into(), name: None }
    }

    /// The verb could not be carried out.
    pub(super) fn verb(name: impl Into<String>, message: impl std::fmt::Display) -> Self {
        Self { code: -32000, message: message.to_string(), name: Some(name.into()) }
    }
}

/// The longest line, in bytes.
pub(super) const MAX_LINE: usize = 64 << 20;

/// Bytes of all lines that clients have begun and not ended: one of the longest, and some more.
pub(super) const MAX_UNFINISHED: usize = MAX_LINE + (8 << 20);

/// Values that a line may hold, of all kinds.
const MAX_VALUES: usize = 1 << 20;

/// Lines that are shorter are read whatever they hold. Longer ones are not copied.
pub(super) const COUNTED: usize = 4 << 20;

/// What is answered to a line that is given up because all clients together have begun too much.
pub(super) fn too_much() -> Failure {
    Failure::parse(format_args!(
        "the unfinished lines of all clients together are longer than {MAX_UNFINISHED} bytes, and this \
         was the longest"
    ))
}

/// What is answered to a line that is longer.
pub(super) fn too_long() -> Failure {
    Failure::parse(format_args!("it is longer than {MAX_LINE} bytes"))
}

/// Reads a line, without its newline.
pub(super) fn read(line: &[u8]) -> Request {
    match line.len() > COUNTED {
        true => read_long(line.to_vec()),
        false => request(Json::value(line), line),
    }
}

/// As [`read`], of a long line in memory of its own. That is freed before the request is carried out.
pub(super) fn read_long(line: Vec<u8>) -> Request {
    let line = Bytes::from(line);
    request(parse(&line), &line)
}

fn request(value: Result<Value, DecodeError>, line: &[u8]) -> Request {
    let no_request = |failure| Request { id: Some(Value::Null), call: Err(failure) };
    let value = match value {
        Ok(value) => value,
        Err(error) => {
            let failure = match error {
                DecodeError::Malformed { what, .. } => Failure::parse(what),
                error => Failure::parse(error),
            };
            return Request { id: Some(id_of(line)), call: Err(failure) };
        }
    };
    let mut object = match value {
        Value::Object(object) => object,
        Value::Array(_) => return no_request(Failure::request("batches are not taken")),
        _ => return no_request(Failure::request("it should be an object")),
    };
    let id = object.remove("id");
    let call = call(&mut object, id.as_ref());
    // Who sends nonsense without an `id` is told so all the same: it may have meant a request.
    let id = if call.as_ref().is_err_and(|f| f.code == -32600) {
        Some(id.filter(is_id).unwrap_or_default())
    } else {
        id
    };
    Request { id, call }
}

/// The values of a long line, if they are not so many that their tree would be too large.
fn parse(line: &Bytes) -> Result<Value, DecodeError> {
    let mut reader = FrameReader::new(Encoding::Json);
    match reader.finish(line.clone())? {
        Message::Encoded(message) => message.value_within(MAX_VALUES),
        _ => Json::value(line),
    }
}

/// The `id` of a request that could not be read, if it is JSON as far as that goes: one that nests
/// too deep, say. Else null.
fn id_of(line: &[u8]) -> Value {
    /// What is passed over is not read, however deep.
    #[derive(Deserialize)]
    struct Envelope {
        id: Value,
    }
    match serde_json::from_slice(line) {
        Ok(Envelope { id }) if is_id(&id) => id,
        _ => Value::Null,
    }
}

fn is_id(id: &Value) -> bool {
    matches!(id, Value::Null | Value::Number(_) | Value::String(_))
}

fn call(object: &mut Object, id: Option<&Value>) -> Result<Call, Failure> {
    if object.member("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return Err(Failure::request("\"jsonrpc\" should be \"2.0\""));
    }
    if id.is_some_and(|id| !is_id(id)) {
        return Err(Failure::request("\"id\" should be a string, a number or null"));
    }
    let Some(Value::String(method)) = object.remove("method") else {
        return Err(Failure::request("\"method\" should be a string"));
    };
    let params = match object.remove("params") {
        None => Object::new(),
        Some(Value::Object(params)) => params,
        Some(Value::Array(list)) if list.is_empty() => Object::new(),
        Some(Value::Array(_)) => {
            return Err(Failure::params("parameters are passed by name, in an object"));
        }
        Some(_) => return Err(Failure::request("\"params\" should be an object")),
    };
    params::call(&method, params)
}

fn line(object: Object) -> Vec<u8> {
    let mut line = text(object);
    line.push(b'\n');
    line
}

/// An object as JSON.
pub(super) fn text(object: Object) -> Vec<u8> {
    let object = Value::from(object);
    // What JSON has no form for should have been described before; it is better late than lost.
    let text = Json::text(&object).or_else(|_| Json::text(&object.to_tagged()));
    text.unwrap_or_default().into_bytes()
}

fn head() -> Object {
    Object::new().with("jsonrpc", "2.0")
}

/// The answer to a request.
pub(super) fn result(id: &Value, result: Value) -> Vec<u8> {
    line(head().with("id", id.clone()).with("result", result))
}

/// The answer to one that failed.
pub(super) fn failed(id: Option<&Value>, failure: &Failure) -> Vec<u8> {
    let mut error =
        Object::new().with("code", failure.code).with("message", failure.message.as_str());
    if let Some(name) = &failure.name {
        error.insert("data", Object::new().with("code", name.as_str()));
    }
    line(head().with("id", id.cloned().unwrap_or_default()).with("error", error))
}

/// An event.
pub(super) fn notification(params: Object) -> Vec<u8> {
    line(head().with("method", "event").with("params", params))
}

/// As [`notification`], of an event that is a text already.
pub(super) fn notification_of(event: Text) -> Text {
    event.within(br#"{"jsonrpc":"2.0","method":"event","params":"#, b"}\n")
}

#[cfg(test)]
mod tests {
    use cluster_proto::StructuredClone;

    use super::*;

    fn answer(text: &str) -> String {
        let request = read(text.as_bytes());
        let failure = request.call.err().expect("it is nonsense");
        String::from_utf8(failed(request.id.as_ref(), &failure)).expect("JSON")
    }

    #[test]
    fn nonsense_has_json_rpcs_own_errors() {
        for (text, id, code) in [
            ("", "null", -32700),
            ("{", "null", -32700),
            ("\u{1}", "null", -32700),
            ("[]", "null", -32600),
            (r#"[{"jsonrpc":"2.0","id":1,"method":"version"}]"#, "null", -32600),
            ("7", "null", -32600),
            (r#"{"id":5}"#, "5", -32600),
            (r#"{"jsonrpc":"1.0","id":5,"method":"version"}"#, "5", -32600),
            (r#"{"jsonrpc":"2.0","id":{},"method":"version"}"#, "null", -32600),
            (r#"{"jsonrpc":"2.0","id":"a","method":1}"#, "\"a\"", -32600),
            (r#"{"jsonrpc":"2.0","id":5,"method":"version","params":1}"#, "5", -32600),
            (r#"{"jsonrpc":"2.0","id":5,"method":"dance"}"#, "5", -32601),
            (r#"{"jsonrpc":"2.0","id":5,"method":"send","params":[1]}"#, "5", -32602),
            (r#"{"jsonrpc":"2.0","id":5,"method":"send","params":{}}"#, "5", -32602),
        ] {
            let said = answer(text);
            assert!(said.contains(&format!("\"id\":{id},")), "{text}: {said}");
            assert!(said.contains(&format!("\"code\":{code},")), "{text}: {said}");
        }
        assert!(read(b"\xff").call.is_err());
    }

    #[test]
    fn what_there_is_is_said() {
        for method in params::METHODS {
            let known =
                read(format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}"}}"#).as_bytes());
            let unknown = Failure::method(method);
            assert_ne!(
                known.call.err().map(|failure| failure.code),
                Some(unknown.code),
                "{method}"
            );
            assert!(unknown.message.contains(&format!(" {method},")) || method == "upgrade");
        }
        let said =
            answer(r#"{"jsonrpc":"2.0","id":1,"method":"subscribe","params":{"events":["boo"]}}"#);
        assert!(said.contains("boo") && said.contains("there are setup, fork, "), "{said}");
    }

    #[test]
    fn half_a_surrogate_pair_is_read_as_from_a_worker() {
        // What JSON.stringify makes of a string that was cut in the middle of a character.
        let line =
            r#"{"jsonrpc":"2.0","id":1,"method":"send","params":{"worker":1,"message":"a\ud83d"}}"#;
        let request = read(line.as_bytes());
        assert_eq!(request.id, Some(1.into()));
        let Ok(Call::Send { message, .. }) = request.call else { panic!("{line}") };
        assert_eq!(message, StructuredClone::Utf16(vec![0x61, 0xD83D]).into());
        let line = String::from_utf8(result(&1.into(), message)).expect("JSON");
        assert!(line.contains(r#""result":"a\ud83d""#), "{line}");
    }

    #[test]
    fn a_request_that_cannot_be_read_is_answered_under_its_id() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        for id in ["7", "\"a\""] {
            let said = answer(&format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"send","params":{{"message":{deep}}}}}"#
            ));
            assert!(said.contains(&format!("\"id\":{id},")), "{said}");
            assert!(said.contains("\"code\":-32700,"), "{said}");
        }
        let said = answer(&format!(r#"{{"id":{deep},"method":{deep}}}"#));
        assert!(said.contains("\"id\":null,"), "{said}");
        let mut broken = br#"{"jsonrpc":"2.0","method":"send","params":{"message":""#.to_vec();
        broken.extend_from_slice(b"\xff\"},\"id\":3}");
        assert_eq!(read(&broken).id, Some(3.into()), "it is no UTF-8, but the id is");
    }

    #[test]
    fn notifications_have_no_id() {
        let request = read(br#"{"jsonrpc":"2.0","method":"version"}"#);
        assert!(request.id.is_none() && request.call.is_ok());
        let request = read(br#"{"jsonrpc":"2.0","id":null,"method":"version"}"#);
        assert_eq!(request.id, Some(Value::Null), "null is an id, if a poor one");
    }

    #[test]
    fn failures_of_a_verb_have_names() {
        let failure = Failure::verb("ENOENT", "no such program");
        let line = String::from_utf8(failed(Some(&7.into()), &failure)).expect("JSON");
        assert_eq!(
            line,
            "{\"jsonrpc\":\"2.0\",\"id\":7,\"error\":{\"code\":-32000,\"message\":\"no such \
             program\",\"data\":{\"code\":\"ENOENT\"}}}\n"
        );
    }
}
