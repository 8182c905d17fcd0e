//! The primary's ends of an agent's two pipes.
//!
//! Pipes, and not a socket: descriptors can be passed over a socket, and the system closes those that
//! are not asked for when the primary reads or closes it, which takes as long as their sender likes (a
//! connection with `SO_LINGER` and unsent data). Over a pipe come bytes alone.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};

use mio::unix::pipe::{Receiver, Sender};
use mio::{Interest, Registry, Token};
use serde::{Deserialize, Serialize};

use crate::agent::{AgentMessage, MAX_LINE};
use crate::upgrade::{Arriving, Leaving, StateError};

/// Bytes that are read at once, before other sources have their turn.
const CHUNK: usize = 16 << 10;

/// Bytes that may wait for an agent. A command has fewer than a hundred.
const MAX_UNSENT: usize = 16 << 10;

pub(in super::super) struct AgentPipes {
    commands: Sender,
    reports: Receiver,
    /// The beginning of a line.
    received: Vec<u8>,
    /// The rest of what could not be written.
    unsent: Vec<u8>,
    /// It did not read what it was told.
    given_up: bool,
}

/// What was read.
pub(in super::super) struct Received {
    pub(in super::super) messages: Vec<AgentMessage>,
    pub(in super::super) then: Then,
}

/// What follows.
pub(in super::super) enum Then {
    /// There may be more.
    More,
    /// More comes with the next event.
    Wait,
    /// The agent has closed it.
    Closed,
    /// It cannot be used any more.
    Failed(String),
}

/// The worker's ends.
pub(super) struct WorkerEnds {
    /// Commands come by it.
    pub(super) commands: OwnedFd,
    /// Reports go by it.
    pub(super) reports: OwnedFd,
}

impl AgentPipes {
    /// Two pipes, and the worker's ends of them.
    pub(super) fn new() -> io::Result<(Self, WorkerEnds)> {
        let (commands, ours) = io::pipe()?;
        let (reports, theirs) = io::pipe()?;
        let ends = WorkerEnds { commands: commands.into(), reports: theirs.into() };
        Ok((Self::of(ours.into(), reports.into())?, ends))
    }

    /// Each end is an open file of its own: the worker cannot change how these behave.
    fn of(commands: OwnedFd, reports: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&commands, true)?;
        rustix::io::ioctl_fionbio(&reports, true)?;
        Ok(Self {
            commands: Sender::from(commands),
            reports: Receiver::from(reports),
            received: Vec::new(),
            unsent: Vec::new(),
            given_up: false,
        })
    }

    pub(in super::super) fn register(
        &mut self,
        registry: &Registry,
        token: Token,
    ) -> io::Result<()> {
        registry.register(&mut self.reports, token, Interest::READABLE)?;
        registry.register(&mut self.commands, token, Interest::WRITABLE)
    }

    pub(in super::super) fn deregister(&mut self, registry: &Registry) {
        // They close next, which ends the watch too.
        let _ = registry.deregister(&mut self.reports);
        let _ = registry.deregister(&mut self.commands);
    }

    /// Reads once, and writes what is left to write.
    pub(in super::super) fn read(&mut self) -> Received {
        let mut messages = Vec::new();
        if !self.flush() || self.given_up {
            let then = Then::Failed("it does not read its commands".into());
            return Received { messages, then };
        }
        let mut chunk = [0; CHUNK];
        let then = match self.reports.read(&mut chunk) {
            Ok(0) => Then::Closed,
            Ok(length) => match self.take(&chunk[..length], &mut messages) {
                Ok(()) => Then::More,
                Err(what) => Then::Failed(what),
            },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Then::Wait,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Then::More,
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

    /// Writes a line; `false` if the agent does not read what it is sent.
    pub(in super::super) fn write(&mut self, line: &str) -> bool {
        self.unsent.extend_from_slice(line.as_bytes());
        self.given_up |= !self.flush() || self.unsent.len() > MAX_UNSENT;
        !self.given_up
    }

    /// Writes what can be written; `false` if the pipe is broken.
    fn flush(&mut self) -> bool {
        while !self.unsent.is_empty() {
            match self.commands.write(&self.unsent) {
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

/// [`AgentPipes`], written down.
#[derive(Debug, Serialize, Deserialize)]
pub(in super::super) struct AgentPipesState {
    commands: usize,
    reports: usize,
    received: Vec<u8>,
    unsent: Vec<u8>,
}

impl AgentPipes {
    pub(in super::super) fn state(
        &self,
        leaving: &mut Leaving,
    ) -> Result<AgentPipesState, StateError> {
        Ok(AgentPipesState {
            commands: leaving.place(self.commands.as_fd())?,
            reports: leaving.place(self.reports.as_fd())?,
            received: self.received.clone(),
            unsent: self.unsent.clone(),
        })
    }

    pub(in super::super) fn from_state(
        state: AgentPipesState,
        arriving: &mut Arriving,
    ) -> Result<Self, StateError> {
        let (commands, reports) = (arriving.take(state.commands)?, arriving.take(state.reports)?);
        let pipes = Self::of(commands, reports).map_err(StateError::system("pipe of an agent"))?;
        Ok(Self { received: state.received, unsent: state.unsent, ..pipes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (AgentPipes, std::fs::File, OwnedFd) {
        let (ours, ends) = AgentPipes::new().expect("two pipes");
        (ours, ends.reports.into(), ends.commands)
    }

    #[test]
    fn lines_may_come_in_any_pieces() {
        let (mut ours, mut theirs, _commands) = pair();
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
        let (mut ours, mut theirs, _commands) = pair();
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
        let (mut ours, _reports, _commands) = pair();
        let line = format!("{}\n", "x".repeat(4095));
        let mut lines = 0;
        while ours.write(&line) {
            lines += 1;
            assert!(lines < 1024, "it waits without bound");
        }
        assert!(matches!(ours.read().then, Then::Failed(_)));
    }
}
