//! What differs from one run to the next by nature, by names that do not: ports, process ids, numbers
//! of descriptors, folders.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;

use serde_json::{Map, Value};

pub(super) struct Names {
    folder: String,
    host: String,
    /// What was met under a member's name, in the order in which it was met.
    met: BTreeMap<&'static str, Vec<i64>>,
}

/// The members that are renamed.
const RENAMED: [&str; 3] = ["port", "pid", "fd"];

impl Names {
    pub(super) fn new(folder: &Path, host: Ipv4Addr) -> Self {
        let folder = folder.to_string_lossy().into_owned();
        Self { folder, host: host.to_string(), met: BTreeMap::new() }
    }

    /// The numbers of that kind are met again.
    pub(super) fn forget(&mut self, kind: &str) {
        self.met.remove(kind);
    }

    pub(super) fn shown(&mut self, value: &Value) -> String {
        self.renamed("", value).to_string()
    }

    pub(super) fn shown_event(&mut self, line: &Value) -> String {
        let (event, members) = split(line, "event");
        self.sentence(event, &members)
    }

    pub(super) fn shown_answer(&mut self, order: &Value, is: &Value) -> String {
        let (verb, members) = split(order, "do");
        let order = self.sentence(verb, &members);
        format!("{order} -> {}", self.renamed("", is))
    }

    fn sentence(&mut self, verb: &str, members: &Value) -> String {
        if members.as_object().is_some_and(Map::is_empty) {
            return verb.to_owned();
        }
        format!("{verb} {}", self.renamed("", members))
    }

    fn renamed(&mut self, name: &str, value: &Value) -> Value {
        match value {
            Value::Object(members) => {
                // `stdio` has 1 and 2 there, which are the same everywhere.
                let standard = members.contains_key("data");
                let renamed = members.iter().map(|(name, value)| {
                    let known = if standard && name == "fd" { "" } else { name };
                    (name.clone(), self.renamed(known, value))
                });
                Value::Object(renamed.collect())
            }
            Value::Array(items) => items.iter().map(|item| self.renamed("", item)).collect(),
            Value::String(text) if *text == self.host => "HOST".into(),
            Value::String(text) => text.replace(&self.folder, "FOLDER").into(),
            Value::Number(number) => {
                let known = RENAMED.iter().find(|known| **known == name);
                match (known, number.as_i64()) {
                    // 0 lets the system choose; −1 is none.
                    (Some(known), Some(number)) if number > 0 => self.name_of(known, number).into(),
                    _ => value.clone(),
                }
            }
            other => other.clone(),
        }
    }

    fn name_of(&mut self, kind: &'static str, number: i64) -> String {
        let met = self.met.entry(kind).or_default();
        let index = met.iter().position(|known| *known == number).unwrap_or_else(|| {
            met.push(number);
            met.len() - 1
        });
        format!("{kind} {}", index + 1)
    }
}

/// A member's text, and the other members.
fn split<'a>(line: &'a Value, name: &str) -> (&'a str, Value) {
    let mut others = line.clone();
    if let Value::Object(members) = &mut others {
        members.remove(name);
    }
    (line[name].as_str().unwrap_or_default(), others)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_same_number_has_the_same_name_and_another_another() {
        let mut names = Names::new(Path::new("/tmp/x"), Ipv4Addr::new(127, 9, 9, 9));
        let answer = names.shown_answer(
            &json!({ "do": "listen", "host": "127.9.9.9", "port": 0, "path": "/tmp/x/y" }),
            &json!({ "port": 4711, "pid": 4711 }),
        );
        assert_eq!(
            answer,
            r#"listen {"host":"HOST","path":"FOLDER/y","port":0} -> {"pid":"pid 1","port":"port 1"}"#
        );
        let event = json!({ "event": "listening", "a": { "port": 4712 }, "b": { "port": 4711 } });
        assert_eq!(
            names.shown_event(&event),
            r#"listening {"a":{"port":"port 2"},"b":{"port":"port 1"}}"#
        );
        assert_eq!(names.shown_event(&json!({ "event": "disconnected" })), "disconnected");
    }

    #[test]
    fn no_port_and_any_port_keep_their_numbers() {
        let mut names = Names::new(Path::new("/tmp/x"), Ipv4Addr::new(127, 9, 9, 9));
        assert_eq!(names.shown(&json!({ "port": -1 })), r#"{"port":-1}"#);
        assert_eq!(names.shown(&json!({ "fd": 1, "data": "x" })), r#"{"data":"x","fd":1}"#);
    }
}
