//! One client.

mod state;

use std::collections::{BTreeSet, VecDeque};
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use cluster_proto::Object;
use cluster_sched::Mono;
use mio::net::UnixStream;

use super::params::{EVENTS, USUAL_EVENTS};
use super::rpc::{self, Request};

pub(super) use state::SessionState;

/// How much may wait for a client, in bytes, until it holds up those that make more: workers whose
/// messages it is sent are not read, nor are its own requests.
const HIGH_WATER: usize = 16 << 20;

/// A client that holds others up is cut off unless it takes so many bytes...
const PROGRESS: usize = 256 << 10;
/// ... within this time.
const STALL: Duration = Duration::from_secs(10);

/// How much is written before other clients have their turn.
const WRITTEN_PER_WAKE: usize = 4 << 20;

/// How much is read, and how many lines are taken, empty ones too, before other clients have their
/// turn.
const READ_PER_WAKE: usize = 1 << 20;
const LINES_PER_WAKE: usize = 64;

/// A client of the server's.
pub(super) struct Session {
    stream: UnixStream,
    /// What came. Lines that were taken stay at its front until there is no whole one left, so
    /// that each byte is moved once at the most however short they are.
    input: Vec<u8>,
    /// How much of it was taken.
    taken: usize,
    /// Where in it no newline has been looked for yet.
    searched: usize,
    /// The rest of a line that is too long is passed over.
    skipping: bool,
    output: Output,
    /// When it must have taken how much of all that was written, if it holds others up.
    deadline: Option<(Mono, u64)>,
    /// What comes is left out: it did not read, and is hung up on once it has read what is left.
    cut_off: bool,
    /// The types of events that it wants.
    subscription: BTreeSet<String>,
    /// It will say nothing more, but may still listen.
    said_all: bool,
    gone: bool,
    /// It has closed its end altogether: what it said before is still heard.
    pub(super) leaving: bool,
    /// Answers that it waits for.
    pub(super) awaits: usize,
}

impl Session {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            input: Vec::new(),
            taken: 0,
            searched: 0,
            skipping: false,
            output: Output::default(),
            deadline: None,
            cut_off: false,
            subscription: BTreeSet::new(),
            said_all: false,
            gone: false,
            leaving: false,
            awaits: 0,
        }
    }

    /// What a client calls for that says this, in pieces of that length, and goes.
    pub(super) fn of(said: &[u8], piece: usize) -> io::Result<Vec<Request>> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut session = Self::new(ours);
        let mut theirs = Some(theirs);
        let mut requests = Vec::new();
        let mut pieces = said.chunks(piece.clamp(1, 16 << 10));
        while let Some(client) = &mut theirs {
            match pieces.next() {
                // It fits: all that was said before has been read.
                Some(piece) => client.write_all(piece)?,
                None => theirs = None,
            }
            loop {
                let (more, again) = session.read();
                requests.extend(more);
                if !again {
                    break;
                }
            }
        }
        Ok(requests)
    }

    pub(super) fn stream(&mut self) -> &mut UnixStream {
        &mut self.stream
    }

    pub(super) fn subscribe(&mut self, events: Option<BTreeSet<String>>) {
        let usual = || EVENTS[..USUAL_EVENTS].iter().map(|name| (*name).to_owned()).collect();
        self.subscription.append(&mut events.unwrap_or_else(usual));
    }

    pub(super) fn wants_nothing(&self) -> bool {
        self.gone || self.cut_off || self.subscription.is_empty()
    }

    pub(super) fn wants(&self, event: &str) -> bool {
        !self.gone && !self.cut_off && self.subscription.contains(event)
    }

    /// The other end is closed altogether.
    pub(super) fn hung_up(&mut self) {
        self.said_all = true;
        self.gone = true;
    }

    /// Whether there is nothing more to do for it.
    pub(super) fn is_over(&self) -> bool {
        if self.cut_off && self.output.is_empty() {
            return true;
        }
        let listens = self.awaits > 0 || !self.subscription.is_empty() || !self.output.is_empty();
        let wants = self.taken < self.input.len();
        self.gone || (self.said_all && !listens && !wants)
    }

    /// What is called for, up to a limit; whether there may be more.
    pub(super) fn read(&mut self) -> (Vec<Request>, bool) {
        let mut requests = Vec::new();
        let mut lines = 0;
        let mut left = READ_PER_WAKE;
        loop {
            // Of one that reads no answers no more questions are taken.
            if self.cut_off {
                return (requests, false);
            }
            if self.holds_up() {
                return (requests, true);
            }
            while let Some(line) = self.next_line() {
                requests.extend(line);
                lines += 1;
                if lines == LINES_PER_WAKE {
                    return (requests, true);
                }
            }
            self.forget_taken();
            if self.said_all {
                // What a client says before it goes is said, with or without a newline.
                if !self.input.is_empty() && !self.skipping {
                    requests.push(rpc::read(&std::mem::take(&mut self.input)));
                }
                self.input.clear();
                self.searched = 0;
                return (requests, false);
            }
            if left == 0 {
                return (requests, true);
            }
            let mut chunk = [0; 64 << 10];
            match self.stream.read(&mut chunk) {
                Ok(0) => self.said_all = true,
                Ok(length) => {
                    self.input.extend_from_slice(&chunk[..length]);
                    left = left.saturating_sub(length);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return (requests, false);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.hung_up(),
            }
        }
    }

    /// Takes the next line, if a whole one is there, and says what it calls for: nothing, if it is
    /// empty or the end of one that was too long.
    fn next_line(&mut self) -> Option<Option<Request>> {
        let newline = self.input[self.searched..].iter().position(|byte| *byte == b'\n');
        let Some(at) = newline.map(|at| self.searched + at) else {
            self.searched = self.input.len();
            if self.skipping {
                self.taken = self.input.len();
            } else if self.input.len() - self.taken > rpc::MAX_LINE {
                self.skipping = true;
                self.taken = self.input.len();
                let id = Some(cluster_proto::Value::Null);
                return Some(Some(Request { id, call: Err(rpc::too_long()) }));
            }
            return None;
        };
        let line = &self.input[self.taken..at];
        self.taken = at + 1;
        self.searched = at + 1;
        if std::mem::take(&mut self.skipping) {
            return Some(None);
        }
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        // An empty line is nobody's request; who types at a terminal sends them.
        Some((!line.is_empty()).then(|| rpc::read(line)))
    }

    /// Moves what was not taken to the front.
    fn forget_taken(&mut self) {
        self.input.drain(..self.taken);
        self.searched -= self.taken;
        self.taken = 0;
        // One long line must not hold its memory for as long as its client stays.
        if self.input.capacity() > READ_PER_WAKE && self.input.len() <= READ_PER_WAKE {
            self.input.shrink_to(READ_PER_WAKE);
        }
    }

    /// Queues a line.
    pub(super) fn say(&mut self, line: impl Into<Arc<[u8]>>) {
        if !self.gone && !self.cut_off {
            self.output.push(line.into());
        }
    }

    /// Whether so much waits that those who make more have to wait.
    pub(super) fn holds_up(&self) -> bool {
        !self.gone && !self.cut_off && self.output.len() > HIGH_WATER
    }

    /// Whether something waits to be written.
    pub(super) fn has_output(&self) -> bool {
        !self.gone && !self.output.is_empty()
    }

    /// Whether more can be written than was.
    pub(super) fn can_write(&self) -> bool {
        self.has_output() && !self.output.blocked
    }

    /// Its socket may take more.
    pub(super) fn note_writable(&mut self) {
        self.output.blocked = false;
    }

    /// Writes what goes without waiting, up to a limit.
    pub(super) fn flush(&mut self) {
        if !self.gone && self.output.write(&mut self.stream).is_err() {
            self.hung_up();
        }
    }

    /// Cuts it off if it holds others up and does not read: after the line that it has had the beginning of,
    /// and one that says why.
    pub(super) fn look_after(&mut self, now: Mono) {
        if !self.holds_up() {
            self.deadline = None;
            return;
        }
        let due = self.output.written.saturating_add(PROGRESS as u64);
        match self.deadline {
            Some((at, wanted)) if self.output.written < wanted => {
                if now >= at {
                    self.cut_off = true;
                    self.output.keep_first();
                    self.output.push(rpc::notification(cut_off()).into());
                }
            }
            _ => self.deadline = Some((now + STALL, due)),
        }
    }

    /// When it is to be [looked after](Self::look_after) at the latest.
    pub(super) fn deadline(&self) -> Option<Mono> {
        self.deadline.filter(|_| self.holds_up()).map(|(at, _)| at)
    }
}

/// The last event for a client that does not read.
fn cut_off() -> Object {
    let (waiting, time) = (HIGH_WATER >> 20, STALL.as_secs());
    Object::new()
        .with("type", "cutOff")
        .with("code", "ERR_CLIENT_TOO_SLOW")
        .with(
            "message",
            format!(
                "more than {waiting} MiB waited for this client, and it read less than {} KiB of that in \
                 {time} s: later events are left out",
                PROGRESS >> 10
            ),
        )
}

/// Lines that wait for a client; those of events are the same memory for all clients.
#[derive(Default)]
struct Output {
    lines: VecDeque<Arc<[u8]>>,
    /// How much of the first line is written.
    begun: usize,
    /// Bytes that wait.
    waiting: usize,
    /// Bytes that were written, of all.
    written: u64,
    /// The socket takes no more for now.
    blocked: bool,
}

impl Output {
    fn push(&mut self, line: Arc<[u8]>) {
        self.waiting += line.len();
        self.lines.push_back(line);
    }

    fn len(&self) -> usize {
        self.waiting
    }

    fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Drops all lines but the first, which may have been written in part.
    fn keep_first(&mut self) {
        self.lines.truncate(1);
        self.waiting = self.lines.front().map_or(0, |line| line.len() - self.begun);
    }

    fn write(&mut self, stream: &mut UnixStream) -> io::Result<()> {
        let mut left = WRITTEN_PER_WAKE;
        while let Some(line) = self.lines.front().filter(|_| left > 0) {
            match stream.write(&line[self.begun..]) {
                Ok(length) => {
                    left = left.saturating_sub(length);
                    self.begun += length;
                    self.waiting -= length;
                    self.written += length as u64;
                    if self.begun == line.len() {
                        self.lines.pop_front();
                        self.begun = 0;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked = true;
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// All that waits.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.lines.iter().fold(Vec::new(), |mut all, line| {
            all.extend_from_slice(line);
            all
        });
        bytes.drain(..self.begun);
        bytes
    }

    /// That waits again.
    fn of(bytes: &[u8]) -> Self {
        let mut output = Self::default();
        bytes.split_inclusive(|byte| *byte == b'\n').for_each(|line| output.push(line.into()));
        output
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A session, and its client's end, which is never waited for.
    fn session() -> (Session, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        (Session::new(ours), theirs)
    }

    const CALL: &[u8] = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"version\"}";

    #[test]
    fn empty_lines_count_as_others_do() {
        let (mut session, mut client) = session();
        let mut said = vec![b'\n'; 10 * LINES_PER_WAKE];
        said.extend_from_slice(CALL);
        said.push(b'\n');
        client.write_all(&said).expect("it fits");
        for _ in 0..10 {
            let (requests, more) = session.read();
            assert!(requests.is_empty() && more, "others have their turn");
        }
        let (requests, more) = session.read();
        assert!(requests.len() == 1 && requests[0].call.is_ok() && !more);
        assert!(session.input.is_empty(), "nothing is kept of it");
    }

    #[test]
    fn what_was_taken_is_moved_once_for_all_lines() {
        let (mut session, mut client) = session();
        client.write_all(&[b'\n'; 5 * LINES_PER_WAKE]).expect("it fits");
        client.write_all(&CALL[..10]).expect("it fits");
        for wake in 1..=5 {
            assert!(session.read().1);
            // Were each line removed by itself, those behind it would be moved each time.
            assert_eq!(
                (session.taken, session.input.len()),
                (wake * LINES_PER_WAKE, 5 * LINES_PER_WAKE + 10,)
            );
        }
        assert!(!session.read().1);
        assert_eq!((session.taken, session.searched), (0, 10));
        assert_eq!(session.input, &CALL[..10], "the beginning of the next one");
        client.write_all(&CALL[10..]).expect("it fits");
        client.write_all(b"\r\n").expect("it fits");
        let (requests, _) = session.read();
        assert!(requests.len() == 1 && requests[0].call.is_ok());
    }

    const CUT_OFF: &str = "ERR_CLIENT_TOO_SLOW";

    fn lines(client: &mut UnixStream, session: &mut Session) -> Vec<Vec<u8>> {
        let mut heard = Vec::new();
        let mut chunk = vec![0; 1 << 20];
        loop {
            session.note_writable();
            session.flush();
            match client.read(&mut chunk) {
                Ok(length) => heard.extend_from_slice(&chunk[..length]),
                Err(_) if !session.has_output() => break,
                Err(error) => panic!("{error} with more to read"),
            }
        }
        assert_eq!(heard.last(), Some(&b'\n'), "it ends at the end of a line");
        heard.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).filter(|l| !l.is_empty()).collect()
    }

    #[test]
    fn a_client_that_does_not_read_is_cut_off_after_a_line() {
        let (mut session, mut client) = session();
        let line = |fill: u8, length| [vec![fill; length], b"\n".to_vec()].concat();
        session.say(line(b'a', HIGH_WATER + (1 << 20)));
        session.flush();
        for _ in 0..3 {
            session.say(line(b'b', 1000));
        }
        let start = Duration::from_secs(1);
        session.look_after(start);
        assert!(session.holds_up() && session.deadline().is_some());
        session.look_after(start + STALL / 2);
        assert!(session.holds_up());
        session.look_after(start + STALL);
        assert!(!session.holds_up() && session.wants_nothing() && !session.is_over());
        session.say(line(b'c', 10));
        let heard = lines(&mut client, &mut session);
        assert_eq!(heard.len(), 2, "the line that was begun, and why nothing follows");
        assert_eq!(heard[0], vec![b'a'; HIGH_WATER + (1 << 20)]);
        assert!(String::from_utf8_lossy(&heard[1]).contains(CUT_OFF));
        assert!(session.is_over());
    }

    #[test]
    fn a_client_that_reads_loses_nothing_however_much_waits() {
        let (mut session, mut client) = session();
        let mut now = Duration::from_secs(1);
        let line = [vec![b'x'; 4 << 20], b"\n".to_vec()].concat();
        (0..8).for_each(|_| session.say(line.clone()));
        session.flush();
        let mut heard = 0;
        let mut chunk = vec![0; 1 << 20];
        while session.has_output() {
            session.look_after(now);
            // It takes long, but not for ever.
            now += STALL / 4;
            for _ in 0..8 {
                session.note_writable();
                session.flush();
                heard += client.read(&mut chunk).unwrap_or_default();
            }
        }
        while let Ok(length @ 1..) = client.read(&mut chunk) {
            heard += length;
        }
        assert_eq!(heard, 8 * line.len());
        assert!(!session.cut_off);
    }
}
