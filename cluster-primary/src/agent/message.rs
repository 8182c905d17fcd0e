//! What the agent and the primary say to each other: one JSON object a line.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The longest line that is read from an agent, in bytes. The longest that an agent writes has about
/// two hundred.
pub const MAX_LINE: usize = 16 << 10;

/// What an agent says.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum AgentMessage {
    /// It runs. Said once, before the program does.
    Hello {
        /// The version of this protocol that it speaks.
        protocol: u32,
    },
    /// What it measured, on a timer.
    Report(AgentReport),
    /// The number of open connections has changed.
    Connections(u32),
    /// What the worker, which is to leave, still has to do.
    Work(Work),
    /// How many listeners `process` has for the event that was asked about.
    Listeners {
        /// The question's number.
        id: u64,
        /// How many.
        count: u32,
    },
    /// Something that a later agent may say.
    Unknown,
}

/// HTTP work of a worker that is to leave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(default)]
pub struct Work {
    /// Requests (and HTTP/2 streams) in progress, those that are being received included.
    pub requests: u32,
    /// Those of them whose response headers have been sent.
    pub started: u32,
    /// Open connections of the program's servers.
    pub connections: u32,
    /// Requests that have begun since the worker's start: another one may have come and gone.
    pub total: u64,
}

/// What an agent measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(default)]
pub struct AgentReport {
    /// Open connections of the program's servers, upgraded ones (WebSockets) included.
    pub connections: u32,
    /// HTTP requests (and HTTP/2 streams) that have ended since the worker's start.
    pub requests: u64,
    /// Those in progress.
    pub active: u32,
    /// Event-loop delay in the last ten seconds: how late timers fired. The median.
    pub delay_p50: Duration,
    /// The 99th percentile.
    pub delay_p99: Duration,
    /// The longest.
    pub delay_max: Duration,
    /// Bytes that the JavaScript heap uses.
    pub heap_used: u64,
    /// Bytes of memory resident.
    pub rss: u64,
}

/// A line that no agent writes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BadAgentLine {
    /// What is wrong with it.
    pub what: String,
}

impl fmt::Display for BadAgentLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a line of the agent's protocol: {}", self.what)
    }
}

impl std::error::Error for BadAgentLine {}

/// As it is written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    hello: Option<HelloLine>,
    report: Option<ReportLine>,
    connections: Option<u32>,
    work: Option<Work>,
    listeners: Option<ListenersLine>,
}

#[derive(Deserialize)]
struct HelloLine {
    protocol: u32,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct ReportLine {
    connections: u32,
    requests: u64,
    active: u32,
    delay: DelayLine,
    heap_used: u64,
    rss: u64,
}

/// In milliseconds.
#[derive(Deserialize, Default)]
#[serde(default)]
struct DelayLine {
    p50: f64,
    p99: f64,
    max: f64,
}

#[derive(Deserialize)]
struct ListenersLine {
    id: u64,
    count: u32,
}

impl AgentMessage {
    /// Reads a line, without its end.
    ///
    /// # Errors
    /// [`BadAgentLine`] if it is not a JSON object with members of the right types.
    pub fn read(line: &[u8]) -> Result<Self, BadAgentLine> {
        let line: Line = serde_json::from_slice(line)
            .map_err(|error| BadAgentLine { what: error.to_string() })?;
        Ok(match line {
            Line { hello: Some(HelloLine { protocol }), .. } => Self::Hello { protocol },
            Line { report: Some(report), .. } => Self::Report(report.into()),
            Line { connections: Some(connections), .. } => Self::Connections(connections),
            Line { work: Some(work), .. } => Self::Work(work),
            Line { listeners: Some(ListenersLine { id, count }), .. } => {
                Self::Listeners { id, count }
            }
            _ => Self::Unknown,
        })
    }
}

impl From<ReportLine> for AgentReport {
    fn from(line: ReportLine) -> Self {
        Self {
            connections: line.connections,
            requests: line.requests.min(MOST),
            active: line.active,
            delay_p50: milliseconds(line.delay.p50),
            delay_p99: milliseconds(line.delay.p99),
            delay_max: milliseconds(line.delay.max),
            heap_used: line.heap_used.min(MOST),
            rss: line.rss.min(MOST),
        }
    }
}

/// The largest whole number that JavaScript has. Sums of a few of them are numbers still.
const MOST: u64 = 1 << 53;

/// What is no duration counts as none.
fn milliseconds(milliseconds: f64) -> Duration {
    Duration::try_from_secs_f64(milliseconds / 1000.0).unwrap_or_default()
}

/// What an agent is told.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AgentCommand {
    /// How often to report, and how soon a changed number of connections; zero is never.
    Configure {
        /// The time between two reports.
        report: Duration,
        /// The shortest time between two [`AgentMessage::Connections`].
        connections: Duration,
    },
    /// The worker is to leave: finish HTTP work, keep no connection alive, and tell the progress.
    Leave {
        /// Accept nothing more from listening sockets that the worker accepts from itself.
        stop_accepting: bool,
    },
    /// How many listeners has `process` for that event?
    Listeners {
        /// The question's number, which the answer repeats.
        id: u64,
        /// The event: a signal's name, or `message`.
        event: String,
    },
}

impl AgentCommand {
    /// The line that says it, with its end.
    pub fn to_line(&self) -> String {
        let value = match self {
            Self::Configure { report, connections } => serde_json::json!({"configure": {
                "report": whole_milliseconds(*report),
                "connections": whole_milliseconds(*connections),
            }}),
            Self::Leave { stop_accepting } => {
                serde_json::json!({"leave": {"stopAccepting": stop_accepting}})
            }
            Self::Listeners { id, event } => {
                serde_json::json!({"listeners": {"id": id, "event": event}})
            }
        };
        format!("{value}\n")
    }
}

fn whole_milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> AgentMessage {
        AgentMessage::read(line.as_bytes()).expect(line)
    }

    #[test]
    fn lines_are_read() {
        let hello = r#"{"hello":{"protocol":1,"runtime":"node","version":"20.20.2"}}"#;
        assert_eq!(read(hello), AgentMessage::Hello { protocol: 1 });
        assert_eq!(read(r#"{"connections":7}"#), AgentMessage::Connections(7));
        let work = Work { requests: 2, started: 1, connections: 3, total: 9 };
        let line = r#"{"work":{"requests":2,"started":1,"connections":3,"total":9}}"#;
        assert_eq!(read(line), AgentMessage::Work(work));
        let line = r#"{"listeners":{"id":4,"count":1}}"#;
        assert_eq!(read(line), AgentMessage::Listeners { id: 4, count: 1 });
        assert_eq!(read(r#"{"later":1}"#), AgentMessage::Unknown);
        let line = r#"{"report":{"connections":1,"requests":9,"active":2,
            "delay":{"p50":0.25,"p99":12,"max":-1},"heapUsed":10,"rss":20}}"#;
        let AgentMessage::Report(report) = read(line) else { panic!("it is a report") };
        assert_eq!((report.requests, report.active, report.rss), (9, 2, 20));
        assert_eq!(report.delay_p50, Duration::from_micros(250));
        assert_eq!(report.delay_p99, Duration::from_millis(12));
        assert_eq!(report.delay_max, Duration::ZERO, "a negative delay counts as none");
    }

    #[test]
    fn garbage_is_an_error() {
        for line in ["", "7", "{", "[]", r#"{"hello":{}}"#, r#"{"connections":-1}"#, "\u{0}"] {
            assert!(AgentMessage::read(line.as_bytes()).is_err(), "{line:?}");
        }
        assert!(AgentMessage::read(b"{\"hello\":\xff}").is_err());
    }

    #[test]
    fn commands_are_one_line() {
        let leave = AgentCommand::Leave { stop_accepting: true };
        assert_eq!(leave.to_line(), "{\"leave\":{\"stopAccepting\":true}}\n");
        let second = Duration::from_secs(1);
        let configure = AgentCommand::Configure { report: second, connections: Duration::ZERO };
        let line = configure.to_line();
        assert_eq!(line, "{\"configure\":{\"connections\":0,\"report\":1000}}\n");
        let ask = AgentCommand::Listeners { id: 1, event: "a\n\"b".into() };
        assert_eq!(ask.to_line().matches('\n').count(), 1, "{ask:?}");
    }
}
