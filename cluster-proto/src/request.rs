//! Requests with answers, on top of users' messages.
//!
//! Neither Node nor its wire knows of them: a request is a message like any other, and the peer, a
//! program of Node.js say, answers by a message.
//!
//! ```text
//! worker                                                             primary
//!   │ {"cmd":"CLUSTER_REQUEST","id":1,"body":{"user":7}}                │
//!   ├──────────────────────────────────────────────────────────────────►│
//!   │ {"cmd":"CLUSTER_RESPONSE","id":1,"body":{"name":"Ada"}}           │
//!   │◄──────────────────────────────────────────────────────────────────┤
//!   │                         or, if it cannot be made:  │
//!   │ {"cmd":"CLUSTER_RESPONSE","id":1,"error":"no such user"}          │
//!   │◄──────────────────────────────────────────────────────────────────┤
//! ```
//! Either side asks; ids are the asker's, and count for nothing on the other side. An answer to what
//! is not waited for any more is passed over.

mod state;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

pub use state::{OpenRequest, RequestsState};

use crate::value::{Object, Value};

const REQUEST: &str = "CLUSTER_REQUEST";
const RESPONSE: &str = "CLUSTER_RESPONSE";

/// A user's message, by what it is to requests.
///
/// `B` is what a body is: a [`Value`], or a [`UserMessage`](crate::UserMessage) that is not decoded.
#[derive(Clone, Debug, PartialEq)]
pub enum Exchange<B = Value> {
    /// The peer asks.
    Request {
        /// The asker's number of it, which its answer bears.
        id: u64,
        /// What it asks.
        body: B,
    },
    /// The peer answers.
    Response {
        /// The number of the request.
        id: u64,
        /// The answer, or why there is none.
        answer: Result<B, String>,
    },
    /// Neither.
    Message(B),
}

impl Exchange {
    /// What that message is.
    pub fn of(message: Value) -> Self {
        let Value::Object(mut object) = message else { return Self::Message(message) };
        // Most messages are neither, and are looked at no further.
        let asks = match object.member("cmd").and_then(Value::as_str) {
            Some(REQUEST) => true,
            Some(RESPONSE) => false,
            _ => return Self::Message(object.into()),
        };
        match object.member("id").and_then(Value::as_u64) {
            Some(id) if asks => {
                Self::Request { id, body: object.remove("body").unwrap_or_default() }
            }
            Some(id) => {
                // A structured clone has members that are undefined; to JSON they are absent.
                let there = |error: &Value| !error.is_null() && !error.is_undefined();
                let answer = match object.remove("error").filter(there) {
                    None => Ok(object.remove("body").unwrap_or_default()),
                    Some(error) => Err(reason(error)),
                };
                Self::Response { id, answer }
            }
            None => Self::Message(object.into()),
        }
    }

    /// The number of that message, and whether it asks: if it is a request or an answer.
    pub(crate) fn id_of(message: &Value) -> Option<(u64, bool)> {
        let asks = match message["cmd"].as_str()? {
            REQUEST => true,
            RESPONSE => false,
            _ => return None,
        };
        message["id"].as_u64().map(|id| (id, asks))
    }

    /// The message that says it.
    pub fn into_message(self) -> Value {
        let frame = |cmd, id: u64| Object::new().with("cmd", cmd).with("id", id);
        match self {
            Self::Request { id, body } => frame(REQUEST, id).with("body", body).into(),
            Self::Response { id, answer: Ok(body) } => {
                frame(RESPONSE, id).with("body", body).into()
            }
            Self::Response { id, answer: Err(reason) } => {
                frame(RESPONSE, id).with("error", reason).into()
            }
            Self::Message(message) => message,
        }
    }
}

/// What a program says: a text, or instead of it an `Error`'s message, or an object's.
pub(crate) fn reason(error: Value) -> String {
    let text = match &error {
        Value::String(reason) => Some(reason.as_str()),
        Value::StructuredClone(rich) => match &**rich {
            crate::structured_clone::StructuredClone::Error(error) => {
                error.message.as_ref().and_then(Value::as_str)
            }
            _ => None,
        },
        other => other["message"].as_str(),
    };
    text.unwrap_or("it gives no reason").into()
}

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoAnswer {
    /// None came in time. The peer may have done what it was asked all the same.
    TimedOut {
        /// How long it was waited for.
        after: Duration,
    },
    /// The channel closed before one came. The peer may have done what it was asked all the same.
    Disconnected,
    /// The peer says that it has none.
    Refused {
        /// Why, in its words.
        reason: String,
    },
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut { after } => write!(f, "no answer came within {after:?}"),
            Self::Disconnected => f.write_str("the channel closed before an answer came"),
            Self::Refused { reason } => write!(f, "it was refused: {reason}"),
        }
    }
}

impl core::error::Error for NoAnswer {}

/// The requests that wait for their answers, each of a peer `K`. Reads no clock: deadlines are in the
/// caller's time.
#[derive(Clone, Debug)]
pub struct Requests<K = ()> {
    last: u64,
    open: BTreeMap<u64, OpenRequest<K>>,
    deadlines: BTreeSet<(Duration, u64)>,
}

impl<K> Default for Requests<K> {
    fn default() -> Self {
        Self { last: 0, open: BTreeMap::new(), deadlines: BTreeSet::new() }
    }
}

impl<K: Copy + Eq> Requests<K> {
    /// The id of a new request to that peer, which waits no longer than that. (Beyond the end of time
    /// it waits forever.)
    pub fn begin(&mut self, now: Duration, peer: K, timeout: Duration) -> u64 {
        self.last += 1;
        let deadline = now.checked_add(timeout);
        self.open.insert(self.last, OpenRequest { peer, timeout, deadline });
        self.deadlines.extend(deadline.map(|deadline| (deadline, self.last)));
        self.last
    }

    /// Whether that request was ever begun here. An answer to one that was not belongs to the program:
    /// it may write such messages by hand.
    pub fn has_begun(&self, id: u64) -> bool {
        (1..=self.last).contains(&id)
    }

    /// That request waits no longer: it is answered, or given up. `false` if it did not, or is another
    /// peer's.
    pub fn end(&mut self, id: u64, peer: K) -> bool {
        let Some(open) = self.open.get(&id).filter(|open| open.peer == peer) else { return false };
        if let Some(deadline) = open.deadline {
            self.deadlines.remove(&(deadline, id));
        }
        self.open.remove(&id).is_some()
    }

    /// The next request that has waited for as long as it may, to whom, and how long that was. It waits
    /// no longer.
    pub fn next_overdue(&mut self, now: Duration) -> Option<(u64, K, NoAnswer)> {
        let &(deadline, id) = self.deadlines.first()?;
        if deadline > now {
            return None;
        }
        self.deadlines.pop_first();
        let OpenRequest { peer, timeout, .. } = self.open.remove(&id)?;
        Some((id, peer, NoAnswer::TimedOut { after: timeout }))
    }

    /// Those of a peer that is gone: they wait no longer.
    pub fn end_all(&mut self, peer: K) -> Vec<u64> {
        let of = |(id, open): (&u64, &OpenRequest<K>)| (open.peer == peer).then_some(*id);
        let ids: Vec<u64> = self.open.iter().filter_map(of).collect();
        for id in &ids {
            self.end(*id, peer);
        }
        ids
    }

    /// When the next one has waited for as long as it may.
    pub fn poll_timeout(&self) -> Option<Duration> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;
    use alloc::vec;

    const fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn what_is_said_is_understood() {
        for said in [
            Exchange::Request { id: 1, body: Value::Null },
            Exchange::Response { id: u64::MAX, answer: Ok("yes".into()) },
            Exchange::Response { id: 0, answer: Err("no".into()) },
            Exchange::Message("neither".into()),
        ] {
            assert_eq!(Exchange::of(said.clone().into_message()), said);
        }
    }

    #[test]
    fn what_is_only_like_a_request_is_a_message() {
        for id in [Value::Null, "1".into(), (-1).into(), 1.5.into()] {
            let message = Value::from(Object::new().with("cmd", REQUEST).with("id", id));
            assert_eq!(Exchange::of(message.clone()), Exchange::Message(message));
        }
        let bare = Object::new().with("cmd", REQUEST).with("id", 1.0);
        assert_eq!(Exchange::of(bare.into()), Exchange::Request { id: 1, body: Value::Null });
    }

    #[test]
    fn an_error_is_told_in_words() {
        let error = |error: Value| {
            let said = Object::new().with("cmd", RESPONSE).with("id", 1).with("error", error);
            match Exchange::of(said.into()) {
                Exchange::Response { answer: Err(reason), .. } => reason,
                other => panic!("it became {other:?}"),
            }
        };
        assert_eq!(error("gone".into()), "gone");
        assert_eq!(error(Object::new().with("message", "gone").into()), "gone");
        assert_eq!(error(7.into()), "it gives no reason");
        let both = Object::new().with("cmd", RESPONSE).with("id", 1).with("body", "yes");
        let both = both.with("error", crate::StructuredClone::Undefined);
        let answered = Exchange::Response { id: 1, answer: Ok("yes".into()) };
        assert_eq!(Exchange::of(both.into()), answered, "undefined is no error");
    }

    #[test]
    fn a_request_ends_once_and_by_its_own_peer() {
        let mut requests = Requests::default();
        let first = requests.begin(seconds(0), 'a', seconds(5));
        let second = requests.begin(seconds(0), 'b', seconds(3));
        assert!(!requests.end(first, 'b'), "another's answer");
        assert!(requests.end(first, 'a'));
        assert!(!requests.end(first, 'a'));
        assert_eq!(requests.poll_timeout(), Some(seconds(3)));
        assert_eq!(requests.next_overdue(seconds(2)), None);
        let overdue = (second, 'b', NoAnswer::TimedOut { after: seconds(3) });
        assert_eq!(requests.next_overdue(seconds(3)), Some(overdue));
        assert_eq!(requests.next_overdue(seconds(9)), None);
        assert!(requests.is_empty() && requests.poll_timeout().is_none());
    }

    #[test]
    fn a_peer_takes_its_requests_with_it() {
        let mut requests = Requests::default();
        let ids = ['a', 'b', 'a'].map(|peer| requests.begin(seconds(1), peer, Duration::MAX));
        assert_eq!(requests.poll_timeout(), None, "for ever");
        assert_eq!(requests.end_all('a'), vec![ids[0], ids[2]]);
        assert_eq!(requests.len(), 1);
    }

    #[test]
    fn no_answer_says_why() {
        let after = Duration::from_millis(1500);
        assert_eq!(NoAnswer::TimedOut { after }.to_string(), "no answer came within 1.5s");
    }
}
