//! What is known of a worker between its fork and its program.
//!
//! That usually takes a millisecond, and is waited for. Where a file system does not answer, or a process of
//! the worker's user stops it on its way, the loop goes on without it.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use cluster_sched::Mono;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::clock::Clock;
use super::closer::PausedClosing;
use super::step::{REPORT, Step};
use crate::upgrade::{Arriving, Leaving, StateError, text};

/// How long a fork waits for the exec.
pub(super) const PATIENCE: Duration = Duration::from_millis(20);
/// The limit while there is no other worker that would have to wait: a program that cannot be executed is then
/// reported as the fork's error even if the system is busy.
const FIRST_PATIENCE: Duration = Duration::from_secs(1);

/// A worker's start that has not finished.
#[derive(Debug)]
pub(super) struct Start {
    /// A pipe that closes at the exec and otherwise brings the error.
    pub(super) report: OwnedFd,
    /// The program to execute.
    pub(super) program: PathBuf,
    pub(super) deadline: Mono,
    /// The child has copies of descriptors that workers made: see [`PausedClosing`].
    pub(super) _paused: Option<PausedClosing>,
}

/// What is known of a start.
#[derive(Debug)]
pub(super) enum Started {
    Executed,
    Failed(Step, Errno),
    NotYet,
}

/// The state of a [`Start`] for an in-place upgrade.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StartState {
    report: usize,
    #[serde(with = "text::path")]
    program: PathBuf,
    deadline: Mono,
}

impl Start {
    pub(super) fn new(report: OwnedFd, program: PathBuf) -> Self {
        Self { report, program, deadline: Mono::MAX, _paused: None }
    }

    /// Pauses closing until it has finished.
    pub(super) fn with_closing_paused(self, paused: PausedClosing) -> Self {
        Self { _paused: Some(paused), ..self }
    }

    pub(super) fn register(&self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut SourceFd(&self.report.as_raw_fd()), token, Interest::READABLE)
    }

    pub(super) fn state(&self, leaving: &mut Leaving) -> Result<StartState, StateError> {
        let (program, deadline) = (self.program.clone(), self.deadline);
        Ok(StartState { report: leaving.place(&self.report)?, program, deadline })
    }

    pub(super) fn from_state(
        state: StartState,
        arriving: &mut Arriving,
    ) -> Result<Self, StateError> {
        let StartState { report, program, deadline } = state;
        Ok(Self { report: arriving.take(report)?, program, deadline, _paused: None })
    }
}

/// Reads the pipe.
pub(super) fn read(report: &OwnedFd) -> Started {
    let mut bytes = [0; REPORT];
    match rustix::io::read(report, &mut bytes) {
        Err(Errno::AGAIN | Errno::INTR) => Started::NotYet,
        Ok(REPORT) => match Step::read(bytes) {
            Some((step, errno)) => Started::Failed(step, errno),
            None => Started::Executed,
        },
        // A killed child looks like this, too; its exit will tell.
        Ok(_) | Err(_) => Started::Executed,
    }
}

/// Waits a short time for the exec.
pub(super) fn await_exec(report: &OwnedFd, is_first: bool) -> Started {
    let clock = Clock::start();
    let patience = if is_first { FIRST_PATIENCE } else { PATIENCE };
    loop {
        let left = patience.saturating_sub(clock.now());
        let timeout = Timespec::try_from(left).unwrap_or_default();
        match poll(&mut [PollFd::new(report, PollFlags::IN)], Some(&timeout)) {
            Err(Errno::INTR) if !left.is_zero() => {}
            _ => return read(report),
        }
    }
}
