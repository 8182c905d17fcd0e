//! One client.

mod state;

use std::collections::{BTreeSet, VecDeque};
use std::io::{self, Read, Write};

use mio::net::UnixStream;

use super::params::{EVENTS, USUAL_EVENTS};
use super::rpc::{self, Request};

pub(super) use state::SessionState;

/// How much may wait for a client before the newest event, in bytes; one that leaves more unread is
/// hung up on.
const MAX_WAITING: usize = 16 << 20;

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
    output: VecDeque<u8>,
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
            output: VecDeque::new(),
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
        self.gone || self.subscription.is_empty()
    }

    pub(super) fn wants(&self, event: &str) -> bool {
        !self.gone && self.subscription.contains(event)
    }

    /// The other end is closed altogether.
    pub(super) fn hung_up(&mut self) {
        self.said_all = true;
        self.gone = true;
    }

    /// Whether there is nothing more to do for it.
    pub(super) fn is_over(&self) -> bool {
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

    /// Queues a line. A client that leaves too much unread is hung up on.
    pub(super) fn say(&mut self, line: &[u8]) {
        if self.output.len() > MAX_WAITING {
            self.hung_up();
        }
        if !self.gone {
            self.output.extend(line);
        }
    }

    /// Whether something waits to be written.
    pub(super) fn has_output(&self) -> bool {
        !self.gone && !self.output.is_empty()
    }

    /// Writes what goes without waiting.
    pub(super) fn flush(&mut self) {
        while !self.gone && !self.output.is_empty() {
            match self.stream.write(self.output.as_slices().0) {
                Ok(length) => drop(self.output.drain(..length)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.hung_up(),
            }
        }
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
}
