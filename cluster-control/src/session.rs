//! One client.

mod state;

use std::collections::{BTreeSet, VecDeque};
use std::io::{self, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use cluster_proto::Object;
use cluster_sched::Mono;
use mio::net::UnixStream;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::backlog::{Backlog, Line, Unfinished};
use crate::params::{EVENTS, USUAL_EVENTS};
use crate::rpc::{self, Request};

pub(super) use state::SessionState;

/// How much may be queued for a client, in bytes, until its own requests are not read any more: their
/// answers would add to it.
const HIGH_WATER: usize = 16 << 20;

/// A client that reads nothing for so long while something is queued for it is cut off. Once it is, it
/// has the same time to read the rest of its line.
const STALL: Duration = Duration::from_secs(10);

/// How much is written before other clients have their turn.
const WRITTEN_PER_WAKE: usize = 4 << 20;

/// How much is written by one call. The system frees a socket's memory by whole writes, so this is the
/// least that counts as progress.
const WRITTEN_AT_ONCE: usize = 16 << 10;

/// How much is read, and how many lines are taken, empty ones too, before other clients have their
/// turn.
const READ_PER_WAKE: usize = 1 << 20;
const LINES_PER_WAKE: usize = 64;

/// The most descriptors that come with one read (`SCM_MAX_FD`).
const MAX_DESCRIPTORS: usize = 253;

/// Reads what a client wrote, and the descriptors that came with it. (Without room for these the system
/// drops them, which can block for as long as the client likes.)
fn receive(
    stream: &UnixStream,
    buffer: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    #[cfg(not(target_vendor = "apple"))]
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    #[cfg(target_vendor = "apple")]
    let flags = RecvFlags::DONTWAIT;
    let received = recvmsg(stream, &mut [IoSliceMut::new(buffer)], &mut control, flags)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            descriptors.extend(fds);
        }
    }
    Ok(received.bytes)
}

/// A client of the server's.
pub(super) struct Session {
    stream: UnixStream,
    /// Descriptors that it sent: no call has one. They are closed with it.
    unwanted: Vec<OwnedFd>,
    /// What came. Lines that were taken stay at its front until there is no whole one left, so
    /// that each byte is moved once at most however short they are.
    input: Vec<u8>,
    /// How much of it was taken.
    taken: usize,
    /// Where in it no newline has been looked for yet.
    searched: usize,
    /// The rest of a line that is too long is passed over.
    skipping: bool,
    /// What of it is the beginning of a line.
    unfinished: Unfinished,
    output: Output,
    /// When it must have read more than was written when that was set, if something is queued.
    deadline: Option<(Mono, u64)>,
    /// What comes is left out: it did not read, and its connection is closed once it has read what is
    /// left.
    cut_off: bool,
    backlog: Backlog,
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
    pub(super) fn new(stream: UnixStream, backlog: &Backlog) -> Self {
        Self {
            stream,
            unwanted: Vec::new(),
            input: Vec::new(),
            taken: 0,
            searched: 0,
            skipping: false,
            unfinished: backlog.unfinished_line(),
            output: Output::default(),
            deadline: None,
            cut_off: false,
            backlog: backlog.clone(),
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
        let mut session = Self::new(ours, &Backlog::default());
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
        let read = self.read_lines();
        self.count_unfinished();
        read
    }

    fn count_unfinished(&mut self) {
        let is_begun = self.searched == self.input.len();
        self.unfinished.set(if is_begun { self.input.len() - self.taken } else { 0 });
    }

    /// Bytes of a line that it has begun.
    pub(super) fn unfinished(&self) -> usize {
        self.unfinished.bytes()
    }

    /// Forgets the line that it has begun, and passes over the rest of it.
    pub(super) fn drop_unfinished(&mut self) {
        self.skipping = true;
        self.input = Vec::new();
        (self.taken, self.searched) = (0, 0);
        self.count_unfinished();
    }

    fn read_lines(&mut self) -> (Vec<Request>, bool) {
        let mut requests = Vec::new();
        let mut lines = 0;
        let mut left = READ_PER_WAKE;
        loop {
            // Of one that reads no answers no more questions are taken.
            if self.cut_off {
                return (requests, false);
            }
            if self.requests_paused() {
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
                    let line = std::mem::take(&mut self.input);
                    requests.push(match line.len() > rpc::COUNTED {
                        true => rpc::read_long(line),
                        false => rpc::read(&line),
                    });
                }
                self.input.clear();
                self.searched = 0;
                return (requests, false);
            }
            if left == 0 {
                return (requests, true);
            }
            let mut chunk = [0; 64 << 10];
            match receive(&self.stream, &mut chunk, &mut self.unwanted) {
                // To close them, or to have the system drop more of them, can block.
                Ok(_) if !self.unwanted.is_empty() => {
                    self.hung_up();
                    return (requests, false);
                }
                Ok(0) => self.said_all = true,
                Ok(length) => {
                    self.input.extend_from_slice(&chunk[..length]);
                    left = left.saturating_sub(length);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return (requests, false);
                }
                // It blocked: descriptors came that there was no room for.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => self.hung_up(),
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
        if at - self.taken > rpc::COUNTED && !self.skipping {
            return Some(Some(rpc::read_long(self.take_long(at))));
        }
        let line = &self.input[self.taken..at];
        self.taken = at + 1;
        self.searched = at + 1;
        if std::mem::take(&mut self.skipping) {
            return Some(None);
        }
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        // An empty line is no request; people who type at a terminal send them.
        Some((!line.is_empty()).then(|| rpc::read(line)))
    }

    /// The line that ends there, in the memory in which it came.
    fn take_long(&mut self, at: usize) -> Vec<u8> {
        let rest = self.input.split_off(at + 1);
        let mut line = std::mem::replace(&mut self.input, rest);
        line.truncate(at);
        if line.ends_with(b"\r") {
            line.pop();
        }
        line.drain(..self.taken);
        (self.taken, self.searched) = (0, 0);
        line
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
    pub(super) fn send(&mut self, line: Vec<u8>) {
        self.share(self.backlog.line(line));
    }

    /// Queues a line that other clients are sent, too.
    pub(super) fn share(&mut self, line: Arc<Line>) {
        if !self.gone && !self.cut_off {
            self.output.push(line);
        }
    }

    /// Whether so much is queued that its requests are not read for now.
    pub(super) fn requests_paused(&self) -> bool {
        !self.gone && !self.cut_off && self.output.len() > HIGH_WATER
    }

    /// Bytes that are queued for it.
    pub(super) fn queued(&self) -> usize {
        self.output.len()
    }

    /// Bytes that were written to it, of all.
    pub(super) fn written(&self) -> u64 {
        self.output.written
    }

    /// Whether it has more to read than the line that it was last sent a part of.
    pub(super) fn is_behind(&self) -> bool {
        !self.gone && !self.cut_off && self.output.lines.len() > 1
    }

    pub(super) fn is_cut_off(&self) -> bool {
        self.cut_off
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

    /// Cuts it off if it has read nothing for `STALL`, and closes it if it was cut off that long ago.
    pub(super) fn check_progress(&mut self, now: Mono) {
        if !self.has_output() {
            self.deadline = None;
            return;
        }
        match self.deadline {
            Some((at, written)) if self.cut_off || self.output.written == written => {
                if now < at {
                    return;
                }
                // The system reports space once most of its buffer is free; less counts as well.
                self.note_writable();
                self.flush();
                if self.cut_off {
                    if self.has_output() {
                        self.hung_up();
                    }
                } else if self.output.written == written {
                    self.cut_off(CutOff::NoProgress);
                    self.deadline = Some((now + STALL, written));
                } else {
                    self.deadline = Some((now + STALL, self.output.written));
                }
            }
            _ => self.deadline = Some((now + STALL, self.output.written)),
        }
    }

    /// Sends nothing more than the rest of the line that it was sent the beginning of, and an event that
    /// says why.
    pub(super) fn cut_off(&mut self, why: CutOff) {
        self.cut_off = true;
        self.deadline = None;
        self.output.keep_first();
        self.output.push(self.backlog.line(rpc::notification(why.event())));
    }

    /// When its [progress](Self::check_progress) is to be checked at the latest.
    pub(super) fn deadline(&self) -> Option<Mono> {
        self.deadline.filter(|_| self.has_output()).map(|(at, _)| at)
    }

    /// Whether something is queued, and its [progress](Self::check_progress) was not checked since.
    pub(super) fn is_unwatched(&self) -> bool {
        self.has_output() && self.deadline.is_none()
    }
}

/// Why a client is cut off.
#[derive(Clone, Copy, Debug)]
pub(super) enum CutOff {
    /// It read nothing for `STALL`.
    NoProgress,
    /// More than `limit` bytes were queued in total, and the most of it for this client.
    TooFarBehind { limit: usize },
}

impl CutOff {
    /// The client's last event.
    fn event(self) -> Object {
        let (reason, message) = match self {
            Self::NoProgress => (
                "noProgress",
                format!(
                    "this client read nothing for {} s while events were queued for it: later events \
                     are left out",
                    STALL.as_secs()
                ),
            ),
            Self::TooFarBehind { limit } => (
                "tooFarBehind",
                format!(
                    "more than {} MiB of events was queued, and this client was the furthest behind: \
                     later events are left out",
                    limit >> 20
                ),
            ),
        };
        Object::new()
            .with("type", "cutOff")
            .with("code", "ERR_CLIENT_TOO_SLOW")
            .with("reason", reason)
            .with("message", message)
    }
}

/// Lines that wait for a client; those of events are the same memory for all clients.
#[derive(Default)]
struct Output {
    lines: VecDeque<Arc<Line>>,
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
    fn push(&mut self, line: Arc<Line>) {
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
            match stream.write(line.piece(self.begun, WRITTEN_AT_ONCE)) {
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
            line.parts().iter().for_each(|part| all.extend_from_slice(part));
            all
        });
        bytes.drain(..self.begun);
        bytes
    }

    /// That waits again.
    fn of(bytes: &[u8], backlog: &Backlog) -> Self {
        let mut output = Self::default();
        let lines = bytes.split_inclusive(|byte| *byte == b'\n');
        lines.for_each(|line| output.push(backlog.line(line.to_vec())));
        output
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// A session, and its client's end, which is never waited for.
    fn session() -> (Session, UnixStream) {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        (Session::new(ours, &Backlog::default()), theirs)
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

    fn line(fill: u8, length: usize) -> Vec<u8> {
        [vec![fill; length], b"\n".to_vec()].concat()
    }

    const START: Mono = Duration::from_secs(1);

    #[test]
    fn a_client_that_does_not_read_is_cut_off_after_a_line() {
        let (mut session, mut client) = session();
        session.send(line(b'a', 2 << 20));
        session.flush();
        for _ in 0..3 {
            session.send(line(b'b', 1000));
        }
        assert!(session.is_unwatched());
        session.check_progress(START);
        assert_eq!(session.deadline(), Some(START + STALL));
        session.check_progress(START + STALL / 2);
        assert!(!session.is_cut_off());
        session.check_progress(START + STALL);
        assert!(session.is_cut_off() && session.wants_nothing() && !session.is_over());
        session.send(line(b'c', 10));
        let heard = lines(&mut client, &mut session);
        assert_eq!(heard.len(), 2, "the line that was begun, and the reason");
        assert_eq!(heard[0], vec![b'a'; 2 << 20]);
        let reason = String::from_utf8_lossy(&heard[1]);
        assert!(reason.contains(CUT_OFF) && reason.contains("noProgress"), "{reason}");
        assert!(session.is_over());
        assert_eq!(session.backlog.bytes(), 0);
    }

    #[test]
    fn one_that_does_not_take_the_rest_of_its_line_is_dropped() {
        for by_limit in [false, true] {
            let (mut session, mut client) = session();
            session.send(line(b'a', 2 << 20));
            session.flush();
            let mut now = START;
            session.check_progress(now);
            if by_limit {
                session.cut_off(CutOff::TooFarBehind { limit: 1 << 20 });
                session.check_progress(now);
            } else {
                now += STALL;
                session.check_progress(now);
            }
            assert!(session.is_cut_off());
            // Part of it is not enough.
            let mut chunk = vec![0; 100 << 10];
            client.read_exact(&mut chunk).expect("something was written");
            session.check_progress(now + STALL / 2);
            assert!(!session.is_over());
            session.check_progress(now + STALL);
            assert!(session.is_over());
        }
    }

    #[test]
    fn a_client_that_reads_slowly_is_not_cut_off() {
        let (mut session, mut client) = session();
        let mut now = START;
        for fill in 0..8 {
            session.send(line(fill + b'a', 1 << 20));
        }
        session.flush();
        let mut heard = 0;
        // So little that the system does not report that its buffer has space.
        let mut chunk = vec![0; 2 * WRITTEN_AT_ONCE];
        while session.has_output() {
            session.check_progress(now);
            now += STALL - Duration::from_millis(1);
            heard += client.read(&mut chunk).expect("something was written");
        }
        while let Ok(length @ 1..) = client.read(&mut chunk) {
            heard += length;
        }
        assert_eq!(heard, 8 * ((1 << 20) + 1));
        assert!(!session.is_cut_off());
    }

    #[test]
    fn what_several_clients_wait_for_counts_once() {
        let backlog = Backlog::default();
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let mut clients = [Session::new(ours, &backlog), Session::new(theirs, &backlog)];
        let shared = backlog.line(line(b'a', 999));
        clients.iter_mut().for_each(|client| client.share(Arc::clone(&shared)));
        drop(shared);
        clients[1].send(line(b'b', 99));
        assert_eq!(backlog.bytes(), 1_100);
        let [first, second] = clients;
        drop(second);
        assert_eq!(backlog.bytes(), 1_000);
        drop(first);
        assert_eq!(backlog.bytes(), 0);
    }
}
