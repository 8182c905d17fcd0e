//! The primary's end of an agent's socket.

use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use serde::{Deserialize, Serialize};

use crate::agent::{AgentMessage, MAX_LINE};
use crate::upgrade::{Arriving, Leaving, StateError};

/// Bytes that are read at once, before other sources have their turn.
const CHUNK: usize = 16 << 10;

/// Bytes that may wait for an agent. A command has fewer than a hundred.
const MAX_UNSENT: usize = 16 << 10;

pub(in super::super) struct AgentSocket {
    stream: UnixStream,
    /// The beginning of a line.
    received: Vec<u8>,
    /// The rest of what could not be written.
    unsent: Vec<u8>,
    /// It did not read what it was told.
    given_up: bool,
}

/// What was read.
pub(super) struct Received {
    pub(super) messages: Vec<AgentMessage>,
    pub(super) then: Then,
}

/// What follows.
pub(super) enum Then {
    /// There may be more.
    More,
    /// More comes with the next event.
    Wait,
    /// The agent has closed it.
    Closed,
    /// It cannot be used any more.
    Failed(String),
}

impl AgentSocket {
    /// A socket and the worker's end of it.
    pub(super) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        Ok((Self::new(ours), theirs.into()))
    }

    fn new(stream: std::os::unix::net::UnixStream) -> Self {
        let stream = UnixStream::from_std(stream);
        Self { stream, received: Vec::new(), unsent: Vec::new(), given_up: false }
    }

    pub(in super::super) fn register(
        &mut self,
        registry: &Registry,
        token: Token,
    ) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut self.stream, token, interest)
    }

    pub(super) fn deregister(&mut self, registry: &Registry) {
        // It closes next, which ends the watch too.
        let _ = registry.deregister(&mut self.stream);
    }

    /// Reads once, and writes what is left to write.
    pub(super) fn read(&mut self) -> Received {
        let mut messages = Vec::new();
        if !self.flush() || self.given_up {
            let then = Then::Failed("it does not read what it is told".into());
            return Received { messages, then };
        }
        let mut chunk = [0; CHUNK];
        let then = match self.stream.read(&mut chunk) {
            Ok(0) => Then::Closed,
            Ok(length) => match self.take(&chunk[..length], &mut messages) {
                Ok(()) => Then::More,
                Err(what) => Then::Failed(what),
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Then::Wait,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Then::More,
            // A reset, if the worker left something unread when it ended.
            Err(_) => Then::Closed,
        };
        Received { messages, then }
    }

    fn take(&mut self, bytes: &[u8], messages: &mut Vec<AgentMessage>) -> Result<(), String> {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.received.extend_from_slice(part);
            if self.received.len() > MAX_LINE {
                return Err(format!("a line has more than {MAX_LINE} bytes"));
            }
            if let Some(line) = self.received.strip_suffix(b"\n") {
                messages.push(AgentMessage::read(line).map_err(|error| error.to_string())?);
                self.received.clear();
            }
        }
        Ok(())
    }

    /// Writes a line; whether the agent is still to be reckoned with.
    pub(super) fn write(&mut self, line: &str) -> bool {
        self.unsent.extend_from_slice(line.as_bytes());
        self.given_up |= !self.flush() || self.unsent.len() > MAX_UNSENT;
        !self.given_up
    }

    /// Writes what can be written; `false` if the socket is broken.
    fn flush(&mut self) -> bool {
        while !self.unsent.is_empty() {
            match self.stream.write(&self.unsent) {
                Ok(length) => drop(self.unsent.drain(..length)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                // It has closed its end: what it wrote before is still read.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.unsent.clear(),
                Err(_) => return false,
            }
        }
        true
    }
}

/// An [`AgentSocket`], written down.
#[derive(Debug, Serialize, Deserialize)]
pub(in super::super) struct AgentSocketState {
    socket: usize,
    received: Vec<u8>,
    unsent: Vec<u8>,
}

impl AgentSocket {
    pub(in super::super) fn state(
        &self,
        leaving: &mut Leaving,
    ) -> Result<AgentSocketState, StateError> {
        let (received, unsent) = (self.received.clone(), self.unsent.clone());
        Ok(AgentSocketState { socket: leaving.place(&self.stream)?, received, unsent })
    }

    pub(in super::super) fn from_state(
        state: AgentSocketState,
        arriving: &mut Arriving,
    ) -> Result<Self, StateError> {
        let stream = std::os::unix::net::UnixStream::from(arriving.take(state.socket)?);
        stream.set_nonblocking(true).map_err(StateError::system("socket of an agent"))?;
        let mut socket = Self::new(stream);
        socket.received = state.received;
        socket.unsent = state.unsent;
        Ok(socket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (AgentSocket, std::os::unix::net::UnixStream) {
        let (ours, theirs) = AgentSocket::pair().expect("a pair of sockets");
        (ours, theirs.into())
    }

    #[test]
    fn lines_may_come_in_any_pieces() {
        let (mut ours, mut theirs) = pair();
        let mut heard = Vec::new();
        for piece in ["{\"connec", "tions\":1}\n{\"connections\"", ":2}\n"] {
            theirs.write_all(piece.as_bytes()).expect("it is open");
            heard.extend(ours.read().messages);
        }
        assert_eq!(heard, [AgentMessage::Connections(1), AgentMessage::Connections(2)]);
        assert!(matches!(ours.read().then, Then::Wait));
        drop(theirs);
        assert!(matches!(ours.read().then, Then::Closed));
    }

    #[test]
    fn a_line_without_end_fails() {
        let (mut ours, mut theirs) = pair();
        theirs.write_all(&vec![b'x'; MAX_LINE + 1]).expect("there is room");
        let failed = loop {
            match ours.read().then {
                Then::More => {}
                Then::Failed(what) => break what,
                Then::Wait | Then::Closed => panic!("it is taken for a line"),
            }
        };
        assert!(failed.contains("16384 bytes"), "{failed}");
    }

    #[test]
    fn an_agent_that_does_not_read_is_given_up() {
        let (mut ours, _theirs) = pair();
        let line = format!("{}\n", "x".repeat(4095));
        let mut lines = 0;
        while ours.write(&line) {
            lines += 1;
            assert!(lines < 1024, "it waits without bound");
        }
        assert!(matches!(ours.read().then, Then::Failed(_)));
    }
}
