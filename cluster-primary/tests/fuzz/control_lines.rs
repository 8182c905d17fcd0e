//! The body of the fuzz target `control_lines`: whatever a client of the control API writes, it is a
//! request or is answered with one of JSON-RPC's errors, on one line.

use cluster_primary::control::fuzz_line;
use cluster_primary::proto::{Codec, Json, Message, Value};

/// What happened to the lines.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) requests: u64,
    pub(crate) errors: u64,
}

pub(crate) fn run(bytes: &[u8]) -> Report {
    let mut report = Report::default();
    for line in bytes.split(|byte| *byte == b'\n') {
        let Some(answer) = fuzz_line(line) else {
            report.requests += 1;
            continue;
        };
        report.errors += 1;
        // A notification that is wrong is not answered.
        if answer.is_empty() {
            continue;
        }
        let (end, answer) = answer.split_last().expect("it is not empty");
        assert_eq!(*end, b'\n');
        assert!(!answer.contains(&b'\n'), "an answer is one line");
        let Ok(Message::User(answer)) = Json.decode(answer) else {
            panic!("{answer:?} is no JSON")
        };
        assert_eq!(answer["jsonrpc"].as_str(), Some("2.0"));
        assert!(matches!(answer["id"], Value::Null | Value::Number(_) | Value::String(_)));
        let code = answer["error"]["code"].as_i64();
        assert!(matches!(code, Some(-32700 | -32602..=-32600 | -32000)), "{answer:?}");
        assert!(answer["error"]["message"].as_str().is_some_and(|what| !what.is_empty()));
    }
    report
}
