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

/// How much is read, and how many calls are taken, before other clients have their turn.
const READ_PER_WAKE: usize = 1 << 20;
const CALLS_PER_WAKE: usize = 64;

/// A client of the server's.
pub(super) struct Session {
    stream: UnixStream,
    /// What came and is no whole line yet, or was not taken yet.
    input: Vec<u8>,
    /// How much of it holds no newline.
    searched: usize,
    /// The rest of a line that is too long is passed over.
    skipping: bool,
    output: VecDeque<u8>,
    /// The types of events that it wants.
    subscription: BTreeSet<String>,
    /// It has said something: who only looks whether somebody listens here says nothing.
    pub(super) has_spoken: bool,
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
            searched: 0,
            skipping: false,
            output: VecDeque::new(),
            subscription: BTreeSet::new(),
            has_spoken: false,
            said_all: false,
            gone: false,
            leaving: false,
            awaits: 0,
        }
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
        let wants = !self.input.is_empty();
        self.gone || (self.said_all && !listens && !wants)
    }

    /// What is called for, up to a limit; whether there may be more.
    pub(super) fn read(&mut self) -> (Vec<Request>, bool) {
        let mut requests = Vec::new();
        let mut left = READ_PER_WAKE;
        loop {
            while let Some(request) = self.next_line() {
                requests.push(request);
                if requests.len() == CALLS_PER_WAKE {
                    return (requests, true);
                }
            }
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
                    self.has_spoken = true;
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

    fn next_line(&mut self) -> Option<Request> {
        loop {
            let newline = self.input[self.searched..].iter().position(|byte| *byte == b'\n');
            let Some(at) = newline.map(|at| self.searched + at) else {
                self.searched = self.input.len();
                if self.skipping {
                    self.input.clear();
                    self.searched = 0;
                } else if self.input.len() > rpc::MAX_LINE {
                    self.skipping = true;
                    self.input = Vec::new();
                    self.searched = 0;
                    let id = Some(cluster_proto::Value::Null);
                    return Some(Request { id, call: Err(rpc::too_long()) });
                }
                return None;
            };
            let line: Vec<u8> = self.input.drain(..=at).collect();
            self.searched = 0;
            // One long line must not hold its memory for as long as its client stays.
            if self.input.capacity() > READ_PER_WAKE && self.input.len() <= READ_PER_WAKE {
                self.input.shrink_to(READ_PER_WAKE);
            }
            if std::mem::take(&mut self.skipping) {
                continue;
            }
            let line = line.strip_suffix(b"\n").unwrap_or(&line);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            // An empty line is nobody's request; who types at a terminal sends them.
            if !line.is_empty() {
                return Some(rpc::read(line));
            }
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
