//! Workers that have been forked and do not execute their programs yet.
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
use super::step::{REPORT, Step, failure};
use super::tokens::Source;
use super::{Primary, aside};
use crate::error::WorkerError;
use crate::id::WorkerId;
use crate::machine::Input;
use crate::signal::Signal;
use crate::upgrade::{Arriving, Leaving, StateError, text};

/// How long a fork waits for the exec.
const PATIENCE: Duration = Duration::from_millis(20);
/// And as long as there is no worker, which would have to wait: what cannot be executed at all is the fork's
/// error then, also where the system is busy.
const FIRST_PATIENCE: Duration = Duration::from_secs(1);

/// A worker's start that is not over.
#[derive(Debug)]
pub(super) struct Start {
    /// Closes at the exec; what failed comes by it.
    report: OwnedFd,
    /// What it is to execute.
    program: PathBuf,
    deadline: Mono,
    /// The child has copies of descriptors that workers made: see [`PausedClosing`].
    _paused: Option<PausedClosing>,
}

/// What is known of a start.
#[derive(Debug)]
pub(super) enum Started {
    Executed,
    Failed(Step, Errno),
    NotYet,
}

/// A [`Start`], written down.
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

    /// Has nothing closed until it is over.
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

/// What has come by the pipe.
fn read(report: &OwnedFd) -> Started {
    let mut bytes = [0; REPORT];
    match rustix::io::read(report, &mut bytes) {
        Err(Errno::AGAIN | Errno::INTR) => Started::NotYet,
        Ok(REPORT) => match Step::read(bytes) {
            Some((step, errno)) => Started::Failed(step, errno),
            None => Started::Executed,
        },
        // What has been killed on its way looks so, too: its end tells.
        Ok(_) | Err(_) => Started::Executed,
    }
}

/// Waits for the exec, but not for long.
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

impl Primary {
    /// A worker does not execute its program yet.
    pub(super) fn add_start(&mut self, worker: WorkerId, mut start: Start) -> io::Result<()> {
        start.deadline = self.clock.now() + self.settings.limits.start_timeout;
        start.register(self.poll.registry(), self.tokens.token(Source::Start(worker)))?;
        if let Some(child) = self.children.get_mut(&worker) {
            child.start = Some(start);
        }
        Ok(())
    }

    /// When the first of those workers has taken too long.
    pub(super) fn starts_due(&self) -> Option<Mono> {
        self.children.values().filter_map(|child| Some(child.start.as_ref()?.deadline)).min()
    }

    /// Looks what has become of a worker's start.
    pub(super) fn read_start(&mut self, worker: WorkerId) {
        let start = self.children.get(&worker).and_then(|child| child.start.as_ref());
        match start.map(|start| read(&start.report)) {
            None | Some(Started::NotYet) => {}
            Some(Started::Executed) => drop(self.take_start(worker)),
            Some(Started::Failed(step, errno)) => {
                let Some(start) = self.take_start(worker) else { return };
                let settings = &self.settings;
                let error = failure(settings, step, &start.program, errno);
                // Some of what it says about files is looked up.
                let what = aside::ask(move || error.to_string());
                let what = what.unwrap_or_else(|| {
                    format!("cannot execute {}: {errno}", start.program.display())
                });
                self.not_started(worker, what);
            }
        }
    }

    /// Kills workers that take too long to execute their programs.
    pub(super) fn end_late_starts(&mut self, now: Mono) {
        if self.starts_due().is_none_or(|at| at > now) {
            return;
        }
        let is_late = |start: &Start| start.deadline <= now;
        let late =
            self.children.iter().filter(|(_, child)| child.start.as_ref().is_some_and(is_late));
        for worker in late.map(|(id, _)| *id).collect::<Vec<_>>() {
            // It may just have made it.
            self.read_start(worker);
            let Some(start) = self.take_start(worker) else { continue };
            if let Some(process) = self.children.get(&worker).and_then(|c| c.process.as_ref()) {
                // Its end is reported as usual.
                let _ = process.signal(worker, Signal::KILL);
            }
            let patience = self.settings.limits.start_timeout;
            let program = start.program.display();
            self.not_started(
                worker,
                format!(
                    "{program} was not executed within {patience:?}, and its process was killed: either a \
                     file system does not respond, or a process of the worker's user stopped it"
                ),
            );
        }
    }

    fn take_start(&mut self, worker: WorkerId) -> Option<Start> {
        let start = self.children.get_mut(&worker)?.start.take()?;
        let _ = self.poll.registry().deregister(&mut SourceFd(&start.report.as_raw_fd()));
        self.tokens.forget(Source::Start(worker));
        Some(start)
    }

    fn not_started(&mut self, worker: WorkerId, what: String) {
        let error = WorkerError::Start { what };
        self.machine.handle_input(self.clock.now(), Input::Failed { worker, error });
    }
}
