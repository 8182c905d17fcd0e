//! A client of the control API.
#![allow(dead_code, reason = "each test takes what it needs")]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{self, eventually};

/// A client that knows nothing but lines.
pub(crate) struct Client {
    pub(crate) lines: BufReader<UnixStream>,
    last: u64,
    pub(crate) events: Vec<Value>,
}

impl Client {
    pub(crate) fn connect(path: &Path) -> Self {
        let stream = eventually("a process listens", || UnixStream::connect(path).ok());
        stream.set_read_timeout(Some(support::PATIENCE)).expect("a socket");
        Self { lines: BufReader::new(stream), last: 0, events: Vec::new() }
    }

    pub(crate) fn write(&mut self, text: &str) {
        self.lines.get_mut().write_all(text.as_bytes()).expect("it reads");
    }

    pub(crate) fn read(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.lines.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(serde_json::from_str(&line).expect("a line of JSON")),
            Err(error) => panic!("no line: {error}"),
        }
    }

    /// Sends a request; its answer, which must be the next line that is no event.
    pub(crate) fn request(&mut self, method: &str, params: Value) -> Value {
        self.last += 1;
        let id = self.last;
        self.write(&format!(
            "{}\n",
            json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
        ));
        loop {
            let line = self.read().expect("it does not hang up");
            if line["method"] == "event" {
                self.events.push(line["params"].clone());
                continue;
            }
            assert_eq!(line["id"], id, "{line}");
            return line;
        }
    }

    #[track_caller]
    pub(crate) fn call(&mut self, method: &str, params: Value) -> Value {
        let answer = self.request(method, params);
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].clone()
    }

    #[track_caller]
    pub(crate) fn fails(&mut self, method: &str, params: Value) -> (i64, Value) {
        let answer = self.request(method, params);
        let error = &answer["error"];
        assert!(error["message"].as_str().is_some_and(|m| !m.is_empty()), "{answer}");
        (error["code"].as_i64().expect("a code"), error["data"]["code"].clone())
    }

    /// Waits for an event, and takes all that came before it.
    pub(crate) fn until(&mut self, kind: &str) -> Value {
        loop {
            if !self.events.is_empty() {
                let event = self.events.remove(0);
                if event["type"] == kind {
                    return event;
                }
                continue;
            }
            let line = self.read().expect("it does not hang up");
            assert_eq!(line["method"], "event", "{line}");
            self.events.push(line["params"].clone());
        }
    }
}
