//! The body of the fuzz target `control_lines`: whatever a client of the control API writes, it is a
//! request or is answered with one of JSON-RPC's errors, on one line; and in whatever pieces it comes,
//! it is the same lines.

use cluster_control::{fuzz_line, fuzz_session};
use cluster_primary::proto::{Codec, Json, Message, Value};

/// What happened to the lines.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) requests: u64,
    pub(crate) errors: u64,
}

pub(crate) fn run(bytes: &[u8]) -> Report {
    let mut report = Report::default();
    let mut lines: Vec<_> = bytes.split(|byte| *byte == b'\n').collect();
    // What stands behind the last newline is a line all the same, as it is: its end did not come.
    let last = lines.pop().filter(|line| !line.is_empty());
    let whole = lines.into_iter().map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let lines = whole.filter(|line| !line.is_empty()).chain(last);
    let answers: Vec<_> = lines.map(fuzz_line).collect();
    let piece = bytes.first().map_or(1, |byte| usize::from(*byte) + 1);
    assert_eq!(fuzz_session(bytes, piece).expect("sockets"), answers, "in pieces of {piece}");
    for answer in answers {
        let Some(answer) = answer else {
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
