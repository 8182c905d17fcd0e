//! An actor's line to the stage that directs it.

use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use cluster_primary::proto;
use serde_json::{Map, Value, json};

use crate::compat::stage::STAGE;

/// Where the answers and notes go. Each is one write, so that those of several threads do not mix.
pub(super) struct Link {
    stream: UnixStream,
}

/// What an actor is told to do.
pub(super) struct Order {
    /// Its answer bears the same number.
    pub(super) n: u64,
    pub(super) verb: String,
    pub(super) members: Value,
}

impl Link {
    pub(super) fn open(hello: &Value) -> io::Result<Self> {
        let path = env::var_os(STAGE).ok_or_else(|| io::Error::other("the stage starts this"))?;
        let link = Self { stream: UnixStream::connect(path)? };
        link.send(hello);
        Ok(link)
    }

    /// The orders that come in, until the stage is gone.
    pub(super) fn orders(&self) -> io::Result<impl Iterator<Item = Order> + use<>> {
        let lines = BufReader::new(self.stream.try_clone()?).lines();
        Ok(lines.map_while(Result::ok).map_while(|line| {
            let mut members: Map<String, Value> = serde_json::from_str(&line).ok()?;
            let n = members.remove("n")?.as_u64()?;
            let verb = members.remove("do")?.as_str()?.to_owned();
            Some(Order { n, verb, members: members.into() })
        }))
    }

    pub(super) fn note(&self, event: &str, mut members: Value) {
        members["event"] = event.into();
        self.send(&members);
    }

    pub(super) fn answer(&self, n: u64, is: &Value) {
        self.send(&json!({ "n": n, "is": is }));
    }

    fn send(&self, what: &Value) {
        // If the stage is gone, no one listens.
        let _ = (&self.stream).write_all(format!("{what}\n").as_bytes());
    }
}

/// An error as the scenarios see it: its code.
pub(super) fn error(code: impl Into<String>) -> Value {
    json!({ "error": code.into() })
}

/// A message as it stands in a note.
pub(super) fn tagged(message: &proto::Value) -> Value {
    let mut tagged = serde_json::to_value(message.to_tagged()).unwrap_or_default();
    each(&mut tagged, &mut |value| match value {
        // Where an error was made is not the same in two programs.
        Value::Object(object) => drop(object.remove("stack")),
        Value::String(text) if text.len() > 1000 => {
            let first = text.chars().next().unwrap_or_default();
            let times = text.chars().filter(|c| *c == first).count();
            if times == text.chars().count() {
                *value = json!({ TYPE: REPEATED, "value": first, "times": times });
            }
        }
        _ => {}
    });
    tagged
}

/// A message from how it stands in an order.
pub(super) fn untagged(tagged: &Value) -> proto::Value {
    let mut tagged = tagged.clone();
    each(&mut tagged, &mut |value| {
        if value[TYPE] == REPEATED {
            let times = value["times"].as_u64().and_then(|times| times.try_into().ok());
            let text = value["value"].as_str().map(|text| text.repeat(times.unwrap_or(0)));
            *value = text.unwrap_or_default().into();
        }
    });
    let plain = serde_json::from_value(tagged).expect("every JSON is a value");
    proto::Value::from_tagged(plain).expect("the scenarios are right")
}

const TYPE: &str = "$type";

/// A long string of one character, which would clog the line.
const REPEATED: &str = "repeated";

fn each(value: &mut Value, change: &mut impl FnMut(&mut Value)) {
    change(value);
    match value {
        Value::Object(object) => object.values_mut().for_each(|inner| each(inner, change)),
        Value::Array(items) => items.iter_mut().for_each(|inner| each(inner, change)),
        _ => {}
    }
}
