//! The message that asks a program to stop.

use std::fmt;
use std::str::FromStr;

use cluster_primary::Value;

use super::written::{Written, wanted};

/// A message: text as it is, or any value of JSON's where it begins as an object, a list or a text in
/// quotes does.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StopMessage(pub(crate) Value);

fn is_json(text: &str) -> bool {
    text.starts_with(['{', '[', '"'])
}

impl Written for StopMessage {
    fn takes() -> String {
        "a message: text such as shutdown, or JSON such as {\"cmd\":\"stop\"}".into()
    }
}

impl FromStr for StopMessage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err(wanted::<Self>());
        }
        if !is_json(text) {
            return Ok(Self(text.into()));
        }
        let value = serde_json::from_str(text);
        value.map(Self).map_err(|error| format!("{}; {error}", wanted::<Self>()))
    }
}

impl fmt::Display for StopMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_str().filter(|text| !text.is_empty() && !is_json(text)) {
            Some(text) => f.write_str(text),
            None => f.write_str(&crate::line::line(&self.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_text_and_json_is_json() {
        let read = |text: &str| text.parse::<StopMessage>().expect(text).0;
        assert_eq!(read("shutdown"), Value::from("shutdown"));
        assert_eq!(read("7"), Value::from("7"), "a number is text too");
        assert_eq!(read(r#"{"cmd":"stop"}"#)["cmd"], Value::from("stop"));
        assert_eq!(read(r#""{""#), Value::from("{"));
        for text in ["", "{", "[1,", "\"x"] {
            assert!(text.parse::<StopMessage>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn it_is_read_as_it_is_written() {
        for text in ["shutdown", r#"{"cmd":"stop"}"#, r#""{""#, r#"["a",1]"#] {
            let message: StopMessage = text.parse().expect(text);
            assert_eq!(message.to_string().parse(), Ok(message), "{text}");
        }
    }
}
