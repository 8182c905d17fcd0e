//! What two Rust ends say to each other beyond Node's wire: how they agree on it, and frames that
//! hold many connections, or many answers, at once.
//!
//! ```text
//! worker                                                   primary
//!   │ {cmd:"NODE_CLUSTER",act:"online",…,native:1}            │  Node ignores the last member
//!   ├────────────────────────────────────────────────────────►│
//!   │          {cmd:"NODE_CLUSTER_NATIVE",version:1}, the marker: all behind it is native
//!   │◄────────────────────────────────────────────────────────┤
//!   │ the marker, likewise                                    │
//!   ├────────────────────────────────────────────────────────►│
//!   │ [connections: key, seq 7, 9, 11] + three descriptors    │
//!   │◄────────────────────────────────────────────────────────┤
//!   │ [answers: 7 accepted, 9 accepted, 11 refused]           │
//!   ├────────────────────────────────────────────────────────►│
//! ```
//!
//! A native stream is that of [`Postcard`](crate::Postcard), with two more kinds of frame, told by
//! the first byte of their payload ([`Batch::is_one`]). Numbers are LEB128, as in postcard:
//!
//! | frame | payload |
//! | --- | --- |
//! | [`Connections`] | 3, length of the key, the key, the first `seq`, then for each further one how much higher it is |
//! | [`Answers`] | 4, the first answer's own `seq`, then for each, how far its `ack` is from the one before (zigzag) times two, plus one if it accepts |
//!
//! A primary that chooses by loads asks each native worker for its own ([`ask_held`]), which the
//! worker tells from then on ([`held`]).
//!
//! An entry ends where the next begins, and the last where the payload ends: so a frame can grow
//! while it waits to be written. Descriptors need no `NODE_HANDLE_ACK` here: the stream keeps their
//! order, and one that did not arrive is answered as refused.

use alloc::vec::Vec;

use crate::error::DecodeError;
use crate::key::ServerKey;
use crate::message::{ClusterBody, ClusterMessage, Message};
use crate::value::Object;

/// The newest version of the native wire that this crate speaks.
pub const VERSION: u32 = 1;

/// The most connections in one frame: as many descriptors as Linux lets one write carry
/// (`SCM_MAX_FD`).
pub const MAX_CONNECTIONS: usize = 253;

/// The most answers in one frame.
pub const MAX_ANSWERS: usize = 1024;

/// The longest payload of a [`Batch`], in bytes.
pub const MAX_BATCH: usize = 64 << 10;

/// Where an `online` says which version its sender speaks.
const OFFER: &str = "native";
const CMD: &str = "NODE_CLUSTER_NATIVE";
const ASK_HELD: &str = "NODE_CLUSTER_ASK_HELD";
const HELD: &str = "NODE_CLUSTER_HELD";
const ENCODING: &str = "native";

const CONNECTIONS: u8 = 3;
const ANSWERS: u8 = 4;
/// Bytes of length before each frame.
const HEADER: usize = 4;
/// Higher ones would not fit beside the bit that says whether it was accepted; nor does JavaScript
/// count on.
const MAX_SEQ: u64 = 1 << 53;

/// The version that a worker offers by its `online`; none if it speaks Node's wire only.
pub fn offered(message: &ClusterMessage) -> Option<u32> {
    let offer = message.extra.member(OFFER).filter(|_| message.body == ClusterBody::Online)?;
    offer.as_u64().and_then(|version| u32::try_from(version).ok()).filter(|version| *version > 0)
}

/// Adds the offer to an `online`.
pub fn offer(message: &mut ClusterMessage) {
    message.extra.insert(OFFER, VERSION);
}

/// The version that two ends speak of which the other one has offered that: the newest that both
/// know.
pub const fn agreed(offered: u32) -> u32 {
    if offered < VERSION { offered } else { VERSION }
}

/// The last message on Node's wire in one direction: what follows is of that version.
pub fn marker(version: u32) -> Message {
    Message::Internal(Object::new().with("cmd", CMD).with("version", version))
}

/// The version that a [`marker`] names, if the message is one.
pub fn marked(message: &Message) -> Option<u32> {
    let (_, object) = command(message).filter(|(cmd, _)| *cmd == CMD)?;
    object.member("version")?.as_u64().and_then(|version| u32::try_from(version).ok())
}

/// Asks a worker to say how many connections it holds ([`held`]) whenever that has changed.
pub fn ask_held() -> Message {
    Message::Internal(Object::new().with("cmd", ASK_HELD))
}

/// Whether a message is [`ask_held`].
pub fn asks_held(message: &Message) -> bool {
    command(message).is_some_and(|(cmd, _)| cmd == ASK_HELD)
}

/// How many connections a worker holds.
pub fn held(connections: u32) -> Message {
    Message::Internal(Object::new().with("cmd", HELD).with("held", connections))
}

/// The number that a [`held`] names, if the message is one.
pub fn said_held(message: &Message) -> Option<u32> {
    let (_, object) = command(message).filter(|(cmd, _)| *cmd == HELD)?;
    object.member("held")?.as_u64().and_then(|held| u32::try_from(held).ok())
}

fn command(message: &Message) -> Option<(&str, &Object)> {
    let Message::Internal(object) = message else { return None };
    Some((object.member("cmd")?.as_str()?, object))
}

/// A connection for a server, as it stands in a [`Connections`]: what else such a message could say
/// needs a frame of its own.
pub fn as_connection(message: &Message) -> Option<(u64, &ServerKey)> {
    match message {
        Message::Cluster(ClusterMessage {
            seq,
            ack: None,
            body: ClusterBody::NewConn { key },
            extra,
        }) if extra.is_empty() && *seq < MAX_SEQ && key.as_str().len() <= MAX_KEY => {
            Some((*seq, key))
        }
        _ => None,
    }
}

/// An answer to a connection, as it stands in an [`Answers`].
pub fn as_answer(message: &Message) -> Option<Answer> {
    match message {
        &Message::Cluster(ClusterMessage {
            seq,
            ack: Some(ack),
            body: ClusterBody::Accepted(accepted),
            ref extra,
        }) if extra.is_empty() && seq < MAX_SEQ && ack < MAX_SEQ => {
            Some(Answer { seq, ack, accepted })
        }
        _ => None,
    }
}

/// The longest key that shares a frame.
const MAX_KEY: usize = 8 << 10;

/// What became of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Answer {
    /// The answer's own number.
    pub seq: u64,
    /// The number of the message that brought the connection.
    pub ack: u64,
    /// Whether the worker took it.
    pub accepted: bool,
}

impl Answer {
    /// The message that it stands for.
    pub fn message(self) -> Message {
        Message::cluster(self.seq, Some(self.ack), ClusterBody::Accepted(self.accepted))
    }
}

/// Appends a frame of connections for one server; at most [`MAX_CONNECTIONS`], in rising order.
pub fn write_connections(key: &str, seqs: impl IntoIterator<Item = u64>, out: &mut Vec<u8>) {
    let start = begin(CONNECTIONS, out);
    put(key.len() as u64, out);
    out.extend_from_slice(key.as_bytes());
    let mut before = 0;
    for seq in seqs {
        put(seq.wrapping_sub(before), out);
        before = seq;
    }
    end(start, out);
}

/// A frame of answers at the end of a buffer, which may grow.
#[derive(Debug)]
pub struct OpenAnswers {
    start: usize,
    next: Answer,
    count: usize,
}

impl OpenAnswers {
    /// Begins a frame with that answer.
    pub fn begin(first: Answer, out: &mut Vec<u8>) -> Self {
        let start = begin(ANSWERS, out);
        put(first.seq, out);
        let next = Answer { seq: first.seq, ack: 0, accepted: false };
        let mut open = Self { start, next, count: 0 };
        // A frame without answers has room for one.
        let _ = open.push(first, out);
        open
    }

    /// Adds an answer to the frame, which still ends the buffer; false if it needs one of its own.
    pub fn push(&mut self, answer: Answer, out: &mut Vec<u8>) -> bool {
        if answer.seq != self.next.seq || self.count == MAX_ANSWERS {
            return false;
        }
        let far = answer.ack.wrapping_sub(self.next.ack).cast_signed();
        let zigzag = ((far << 1) ^ (far >> 63)).cast_unsigned();
        put(zigzag << 1 | u64::from(answer.accepted), out);
        end(self.start, out);
        self.next = Answer { seq: answer.seq + 1, ..answer };
        self.count += 1;
        true
    }
}

fn begin(kind: u8, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    out.push(kind);
    start
}

fn end(start: usize, out: &mut [u8]) {
    let length = u32::try_from(out.len() - start - HEADER).unwrap_or(u32::MAX);
    out[start..start + HEADER].copy_from_slice(&length.to_be_bytes());
}

fn put(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Takes a number off the front.
fn take(bytes: &mut &[u8]) -> Result<u64, DecodeError> {
    let mut number = 0;
    for (at, byte) in bytes.iter().enumerate().take(9) {
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            *bytes = &bytes[at + 1..];
            return Ok(number);
        }
    }
    Err(malformed("a number that has no end"))
}

/// How many numbers there are: each ends with the byte that has no higher bit.
fn count(numbers: &[u8]) -> usize {
    numbers.iter().filter(|byte| **byte & 0x80 == 0).count()
}

fn malformed(what: &str) -> DecodeError {
    DecodeError::Malformed { encoding: ENCODING, what: what.into() }
}

/// A frame that holds many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch<'a> {
    /// Connections for one server.
    Connections(Connections<'a>),
    /// What became of connections.
    Answers(Answers<'a>),
}

impl<'a> Batch<'a> {
    /// Whether a payload of the native wire is a batch; else it is a message in
    /// [`Postcard`](crate::Postcard).
    pub fn is_one(payload: &[u8]) -> bool {
        matches!(payload.first(), Some(&(CONNECTIONS | ANSWERS)))
    }

    /// Reads the head of a batch; what it holds is read one by one.
    ///
    /// # Errors
    /// [`DecodeError`] if it is none, or is over [`MAX_BATCH`].
    pub fn read(payload: &'a [u8]) -> Result<Self, DecodeError> {
        if payload.len() > MAX_BATCH {
            return Err(malformed("a batch that is too long"));
        }
        let (kind, mut rest) = payload.split_first().ok_or_else(|| malformed("nothing"))?;
        match *kind {
            CONNECTIONS => {
                let length = take(&mut rest)?;
                let length = usize::try_from(length).ok().filter(|length| *length <= rest.len());
                let length = length.ok_or_else(|| malformed("a key that has no end"))?;
                let (key, entries) = rest.split_at(length);
                let key = core::str::from_utf8(key).map_err(|_| malformed("a key not in UTF-8"))?;
                let count = count(entries);
                if count == 0 || count > MAX_CONNECTIONS {
                    return Err(malformed("too many connections, or none"));
                }
                Ok(Self::Connections(Connections { key, count, entries, last: 0 }))
            }
            ANSWERS => {
                let seq = take(&mut rest)?;
                if count(rest) > MAX_ANSWERS {
                    return Err(malformed("too many answers"));
                }
                Ok(Self::Answers(Answers { next: Answer { seq, ack: 0, accepted: false }, rest }))
            }
            _ => Err(malformed("no batch")),
        }
    }
}

/// Connections for one server: the numbers of the messages that they stand for, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections<'a> {
    /// The server's key.
    pub key: &'a str,
    /// How many there are, and so how many descriptors go with them.
    pub count: usize,
    entries: &'a [u8],
    last: u64,
}

impl Iterator for Connections<'_> {
    type Item = Result<u64, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.entries.is_empty() {
            return None;
        }
        let further = take(&mut self.entries);
        if further.is_err() {
            self.entries = &[];
        }
        Some(further.map(|further| {
            self.last = self.last.wrapping_add(further);
            self.last
        }))
    }
}

/// What became of connections, in the order in which it was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answers<'a> {
    next: Answer,
    rest: &'a [u8],
}

impl Iterator for Answers<'_> {
    type Item = Result<Answer, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let entry = take(&mut self.rest);
        if entry.is_err() {
            self.rest = &[];
        }
        Some(entry.map(|entry| {
            let zigzag = entry >> 1;
            let far = (zigzag >> 1) ^ (zigzag & 1).wrapping_neg();
            let ack = self.next.ack.wrapping_add(far);
            let answer = Answer { ack, accepted: entry & 1 == 1, ..self.next };
            self.next = Answer { seq: answer.seq.wrapping_add(1), ..answer };
            answer
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::HandleKind;

    fn payload(frame: &[u8]) -> &[u8] {
        let (length, payload) = frame.split_first_chunk::<HEADER>().unwrap();
        assert_eq!(u32::from_be_bytes(*length) as usize, payload.len());
        payload
    }

    #[test]
    fn connections_come_back_as_they_went() {
        let seqs = [0, 1, 300, 301, MAX_SEQ - 1];
        let mut frame = Vec::new();
        write_connections("127.0.0.1:80:4::0", seqs, &mut frame);
        assert!(Batch::is_one(payload(&frame)));
        let Ok(Batch::Connections(connections)) = Batch::read(payload(&frame)) else { panic!() };
        assert_eq!((connections.key, connections.count), ("127.0.0.1:80:4::0", 5));
        assert_eq!(connections.collect::<Result<Vec<_>, _>>().unwrap(), seqs);
    }

    #[test]
    fn a_frame_of_answers_grows_while_their_numbers_follow() {
        let answer = |seq, ack, accepted| Answer { seq, ack, accepted };
        let all = [answer(7, 40, true), answer(8, 30, false), answer(9, MAX_SEQ - 1, true)];
        let mut frame = b"before".to_vec();
        let mut open = OpenAnswers::begin(all[0], &mut frame);
        assert!(open.push(all[1], &mut frame) && open.push(all[2], &mut frame));
        let length = frame.len();
        assert!(!open.push(answer(11, 1, true), &mut frame));
        assert_eq!(frame.len(), length);
        let Ok(Batch::Answers(answers)) = Batch::read(payload(&frame[6..])) else { panic!() };
        assert_eq!(answers.collect::<Result<Vec<_>, _>>().unwrap(), all);
    }

    #[test]
    fn what_is_no_batch_is_an_error() {
        let long = [&[ANSWERS, 1][..], &[0x80; 9]].concat();
        let Ok(Batch::Answers(mut answers)) = Batch::read(&long) else { panic!() };
        assert!(matches!(answers.next(), Some(Err(_))));
        assert_eq!(answers.next(), None);
        for bad in [&[][..], &[9], &[CONNECTIONS], &[CONNECTIONS, 5, b'k'], &[CONNECTIONS, 0]] {
            assert!(Batch::read(bad).is_err(), "{bad:?}");
        }
        let many = [&[CONNECTIONS, 0][..], &[1; MAX_CONNECTIONS + 1]].concat();
        assert!(Batch::read(&many).is_err());
        assert!(Batch::read(&[&[ANSWERS][..], &[0; MAX_ANSWERS + 2]].concat()).is_err());
        assert!(Batch::read(&[&[ANSWERS][..], &[0x80; MAX_BATCH]].concat()).is_err());
    }

    #[test]
    fn the_offer_and_the_markers_are_read_as_they_are_written() {
        let Message::Cluster(mut online) = Message::cluster(0, None, ClusterBody::Online) else {
            unreachable!()
        };
        assert_eq!(offered(&online), None);
        offer(&mut online);
        assert_eq!(offered(&online), Some(VERSION));
        online.body = ClusterBody::Disconnect;
        assert_eq!(offered(&online), None, "an online says it");
        assert_eq!(marked(&marker(3)), Some(3));
        assert_eq!((agreed(VERSION), agreed(VERSION + 5)), (VERSION, VERSION));
        assert_eq!(marked(&Message::HandleAck), None);
        assert!(asks_held(&ask_held()) && !asks_held(&held(1)));
        assert_eq!((said_held(&held(7)), said_held(&ask_held())), (Some(7), None));
    }

    #[test]
    fn only_what_says_nothing_else_shares_a_frame() {
        let key = ServerKey::from("k");
        let connection = Message::cluster(5, None, ClusterBody::NewConn { key: key.clone() });
        assert_eq!(as_connection(&connection), Some((5, &key)));
        assert_eq!(as_connection(&connection.clone().with_handle(HandleKind::NetNative)), None);
        let Message::Cluster(mut odd) = connection else { unreachable!() };
        odd.extra.insert("more", true);
        assert_eq!(as_connection(&Message::Cluster(odd)), None);
        let answer = Answer { seq: 1, ack: 2, accepted: true };
        assert_eq!(as_answer(&answer.message()), Some(answer));
        assert_eq!(as_answer(&Message::HandleAck), None);
    }
}
