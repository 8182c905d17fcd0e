//! Workers that make calls of the primary block: what is noted of them, and what is done about it.
//!
//! Each such call is [interrupted](super::call_timer). A worker that did it once has its connections
//! closed in the background from then on; one that goes on loses its channel. So what a worker can
//! take of the loop's time in its life has a limit.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::call_timer::CallLog;
use super::child::Child;
use super::closer::{self, ClosingState, PausedClosing};
use super::handles::Handles;
use super::{Primary, Write, listen};
use crate::error::WorkerError;
use crate::event::EventHandle;
use crate::id::WorkerId;
use crate::machine::Input;

/// How long the end waits until descriptors of others are closed. (When a process ends the kernel lets
/// none linger.)
const LAST_CLOSES: Duration = Duration::from_secs(1);

/// What is known of the loop's time.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Blocking {
    pub(super) calls: CallLog,
    /// How long the loop worked between two waits, at most.
    pub(super) longest_wake: Duration,
    /// Calls of `accept` among the interrupted ones.
    accepts: u64,
    /// Closes that were stuck under former images of this process.
    stuck_closes: u64,
    /// A connection that no worker had taken made its close block.
    #[serde(skip)]
    shed_blocked: bool,
}

impl Blocking {
    pub(super) fn is_empty(&self) -> bool {
        self.calls.is_empty() && self.longest_wake.is_zero() && self.stuck_closes == 0
    }

    /// With the closes that were stuck so far.
    pub(super) fn with_closes(self, closing: ClosingState) -> Self {
        Self { stuck_closes: self.stuck_closes + closing.stuck, ..self }
    }

    pub(super) fn stuck_closes(&self) -> u64 {
        self.stuck_closes
    }

    pub(super) fn note_wake(&mut self, took: Duration) {
        self.longest_wake = self.longest_wake.max(took);
    }
}

/// A call that a worker can make block.
#[derive(Clone, Copy, Debug)]
pub(super) enum Call {
    Accept,
    Close,
    Receive,
}

impl Call {
    fn name(self) -> &'static str {
        match self {
            Self::Accept => "accept4",
            Self::Close => "close",
            Self::Receive => "recvmsg",
        }
    }
}

impl Primary {
    /// Closes the primary's copy of a connection that is done with; `worker` has taken it.
    pub(super) fn close_connection(&mut self, worker: Option<WorkerId>, connection: OwnedFd) {
        let in_background = match worker {
            Some(worker) => self.children.get(&worker).is_none_or(Child::blocks),
            None => self.blocking.shed_blocked,
        };
        // A child that does not execute its program yet has a copy of it.
        if in_background || self.closer.is_paused() {
            return self.closer.close(connection);
        }
        let ((), interrupted) = self.blocking.calls.time(|| drop(connection));
        match worker {
            Some(worker) if interrupted => self.blame(worker, Call::Close),
            _ => self.blocking.shed_blocked |= interrupted,
        }
    }

    /// Closes a descriptor that came with a message of a worker's and has no use; too many of them cost
    /// the worker its channel.
    pub(super) fn discard_handle(&mut self, worker: WorkerId, handle: OwnedFd) {
        self.handles.note_unexpected(1);
        self.closer.close_from(worker, handle);
        self.check_stuck_closes(worker);
        self.machine.handle_input(self.clock.now(), Input::Unwanted { worker });
    }

    /// A worker whose descriptors cannot be closed must not send more of them; whether it was stopped from
    /// doing so.
    pub(super) fn check_stuck_closes(&mut self, worker: WorkerId) -> bool {
        let stuck = self.closer.stuck_from(worker);
        if stuck < closer::MAX_STUCK || !self.machine.hears(worker) {
            return false;
        }
        let what = format!(
            "the system has not closed {stuck} descriptors that it sent for longer than a second, as with \
             files of a FUSE file system that does not answer"
        );
        self.fail_channel(worker, WorkerError::Channel { what });
        true
    }

    /// Closes a descriptor of an [event](crate::Event::Message) that the program has no use for, in the
    /// background: its sender can make that take long. It counts among the
    /// [unexpected](crate::Stats::unexpected_handles) ones.
    pub fn refuse_handle(&mut self, worker: WorkerId, handle: EventHandle) {
        self.discard_handle(worker, handle.handle);
        self.settle(Write::Now);
    }

    /// Closes a descriptor of an [event](crate::Event::Message), in the background, without holding it against
    /// its worker: for a program that could not take the event in time.
    pub fn close_handle(&mut self, worker: WorkerId, handle: EventHandle) {
        self.closer.close_from(worker, handle.handle);
        self.check_stuck_closes(worker);
        self.settle(Write::Now);
    }

    /// Has the primary close none of the descriptors that workers made, for as long as that exists, up to
    /// a second. For a program that forks: the child has copies, closes them when it executes its
    /// program, and would be blocked by them if it were the last to have them. (A primary does it itself
    /// when it starts a worker.)
    pub fn pause_closing(&self) -> PausedClosing {
        self.closer.pause()
    }

    /// Waits until descriptors are closed that workers sent and nothing uses, but no longer than that;
    /// how many are left. For a process that is about to execute another program: it would wait for
    /// each to close, without bound.
    pub fn finish_closing(&self, patience: Duration) -> usize {
        self.closer.finish(patience)
    }

    /// Accepts a connection, or says `INTR`, if that blocked.
    pub(super) fn accept_one(
        &mut self,
        listener: &OwnedFd,
    ) -> Result<(OwnedFd, Option<u32>), Errno> {
        let accept = || listen::accept(listener);
        let was_interrupted = |result: &Result<_, _>| matches!(result, Err(Errno::INTR));
        let (accepted, interrupted) = self.blocking.calls.time_if(accept, was_interrupted);
        if interrupted {
            self.blocking.accepts += 1;
            // A process that shares the socket has made it blocking.
            let _ = rustix::io::ioctl_fionbio(listener, true);
        }
        accepted
    }

    /// How often accepting was interrupted.
    pub(super) fn interrupted_accepts(&self) -> u64 {
        self.blocking.accepts
    }

    /// A worker made a call block.
    pub(super) fn blame(&mut self, worker: WorkerId, call: Call) {
        if let Some(child) = self.children.get_mut(&worker) {
            child.note_blocks();
            let input = Input::Blocked { worker, call: call.name() };
            self.machine.handle_input(self.clock.now(), input);
        }
    }

    /// Closes all that others may have made.
    pub(super) fn discard_all(&mut self) {
        for (worker, child) in std::mem::take(&mut self.children) {
            self.closer.discard_from(worker, child);
        }
        let rest = (
            std::mem::take(&mut self.conns),
            std::mem::replace(&mut self.handles, Handles::after(0, 0)),
            std::mem::take(&mut self.told),
        );
        if !(rest.0.is_empty() && rest.1.is_empty() && rest.2.is_empty()) {
            self.closer.discard(rest);
        }
        self.closer.finish(LAST_CLOSES);
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::TcpListener;

    use rustix::fs::{OFlags, fcntl_getfl};

    use super::super::call_timer;
    use super::*;
    use crate::Settings;

    /// What happens if a worker takes the connection between the look at the queue and the `accept4`.
    #[test]
    fn to_accept_from_a_listener_that_was_made_blocking_does_not_block() {
        let mut primary = Primary::new(Settings::new("/bin/true")).expect("a poll");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let listener = OwnedFd::from(listener);
        let _bounded = call_timer::bounded();
        let accepted = primary.accept_one(&listener);
        assert_eq!(accepted.map(|_| ()), Err(Errno::INTR));
        assert_eq!(primary.interrupted_accepts(), 1);
        assert_eq!(primary.stats().interrupted_calls, 1);
        let flags = fcntl_getfl(&listener).expect("it is open");
        assert!(flags.contains(OFlags::NONBLOCK), "it does not block again by itself: {flags:?}");
        let _client = std::net::TcpStream::connect(address).expect("it listens");
        assert!(primary.accept_one(&listener).is_ok());
    }
}
