//! A worker's process, as the primary watches it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use mio::unix::{SourceFd, pipe};
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, WaitOptions};

use crate::error::KillError;
use crate::event::ExitStatus;
use crate::id::WorkerId;
use crate::signal::Signal;

/// A process that was started and not yet waited for; until then its id is not reused.
pub(super) struct Process {
    pid: Pid,
    watch: Watch,
}

enum Watch {
    /// The process's descriptor, readable when the process has ended (Linux).
    Descriptor(OwnedFd),
    /// Where processes have no descriptors a thread waits for each, and closes its end of a pipe.
    Thread(pipe::Receiver),
    /// It has ended, or cannot be watched: its exit status cannot be learned.
    Lost,
}

impl Process {
    /// Begins to watch a child; the token becomes readable when it ends.
    pub(super) fn watch(pid: u32, registry: &Registry, token: Token) -> io::Result<Self> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
        let watch = match open(pid) {
            Ok(fd) => {
                registry.register(&mut SourceFd(&fd.as_raw_fd()), token, Interest::READABLE)?;
                Watch::Descriptor(fd)
            }
            // An old kernel, a strict sandbox, or another system.
            Err(Errno::NOSYS | Errno::PERM | Errno::INVAL) => {
                let mut receiver = wait_in_a_thread(pid)?;
                registry.register(&mut receiver, token, Interest::READABLE)?;
                Watch::Thread(receiver)
            }
            Err(errno) => return Err(errno.into()),
        };
        Ok(Self { pid, watch })
    }

    /// Watches a process that this one did not start itself: a child of an earlier image, or one that was adopted. One that is not there
    /// any more is found to have ended when it is reaped.
    pub(super) fn watch_again(pid: u32, registry: &Registry, token: Token) -> io::Result<Self> {
        match Self::watch(pid, registry, token) {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::SRCH) => {
                let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(error)?;
                Ok(Self { pid, watch: Watch::Lost })
            }
            watched => watched,
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }

    /// How it ended, if it has. Must not be called again after that.
    ///
    /// # Errors
    /// If other code waited for it.
    pub(super) fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        let (code, signal) = match &self.watch {
            #[cfg(target_os = "linux")]
            Watch::Descriptor(fd) => {
                let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
                let waited = rustix::process::waitid(WaitId::PidFd(fd.as_fd()), options)?;
                let Some(status) = waited else { return Ok(None) };
                (status.exit_status(), status.terminating_signal())
            }
            // Its id may belong to another process by now.
            Watch::Lost => return Err(Errno::CHILD.into()),
            _ => {
                let waited = rustix::process::waitpid(Some(self.pid), WaitOptions::NOHANG)?;
                let Some((_, status)) = waited else { return Ok(None) };
                (status.exit_status(), status.terminating_signal())
            }
        };
        Ok(match (code, signal) {
            (Some(code), _) => Some(ExitStatus::Code(code)),
            (_, Some(signal)) => Some(ExitStatus::Signal(Signal::from_number(signal))),
            _ => None,
        })
    }

    /// Sends a signal; `false` if the process has ended.
    pub(super) fn signal(&self, worker: WorkerId, signal: Signal) -> Result<bool, KillError> {
        match self.send(signal)? {
            Ok(()) => Ok(true),
            Err(Errno::SRCH) => Ok(false),
            Err(errno) => Err(KillError::Refused { worker, error: errno.into() }),
        }
    }

    fn send(&self, signal: Signal) -> Result<Result<(), Errno>, KillError> {
        if let Watch::Lost = self.watch {
            return Ok(Err(Errno::SRCH));
        }
        if signal == Signal::NONE {
            return Ok(rustix::process::test_kill_process(self.pid));
        }
        let Some(sys) = signal.to_sys() else {
            return Err(KillError::UnknownSignal { number: signal.number() });
        };
        Ok(match &self.watch {
            #[cfg(target_os = "linux")]
            Watch::Descriptor(fd) => rustix::process::pidfd_send_signal(fd, sys),
            // The id cannot have passed to another unless other code waits for our children.
            _ => rustix::process::kill_process(self.pid, sys),
        })
    }

    /// Kills it.
    #[cfg(target_os = "linux")]
    pub(super) fn kill(&self) {
        // It may have ended.
        let _ = self.send(Signal::KILL);
    }

    /// The process's descriptor, where the system has them.
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match &self.watch {
            Watch::Descriptor(fd) => Some(fd.as_fd()),
            Watch::Thread(_) | Watch::Lost => None,
        }
    }

    /// As [`descriptor`](Self::descriptor), owned.
    pub(super) fn into_descriptor(self) -> Option<OwnedFd> {
        match self.watch {
            Watch::Descriptor(fd) => Some(fd),
            Watch::Thread(_) | Watch::Lost => None,
        }
    }

    /// Sends `SIGTERM` to what is left in the group of a process that has ended, while its number cannot
    /// be another group's, as it has not been waited for.
    pub(super) fn end_group(&self) {
        if !matches!(self.watch, Watch::Lost) {
            // An empty group is an error, which does not matter.
            let _ = rustix::process::kill_process_group(self.pid, rustix::process::Signal::TERM);
        }
    }

    pub(super) fn deregister(&mut self, registry: &Registry) {
        let _ = match &mut self.watch {
            Watch::Descriptor(fd) => registry.deregister(&mut SourceFd(&fd.as_raw_fd())),
            Watch::Thread(receiver) => registry.deregister(receiver),
            Watch::Lost => Ok(()),
        };
    }
}

#[cfg(target_os = "linux")]
fn open(pid: Pid) -> Result<OwnedFd, Errno> {
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
}

#[cfg(not(target_os = "linux"))]
fn open(_pid: Pid) -> Result<OwnedFd, Errno> {
    Err(Errno::NOSYS)
}

/// The read end of a pipe that closes when the process has ended; the process still has to be waited for.
fn wait_in_a_thread(pid: Pid) -> io::Result<pipe::Receiver> {
    let (sender, receiver) = pipe::new()?;
    let name = format!("wait {}", pid.as_raw_nonzero());
    super::thread::spawn_without_signals(&name, move || {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while let Err(Errno::INTR) = rustix::process::waitid(WaitId::Pid(pid), options) {}
        drop(sender);
    })?;
    Ok(receiver)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::zombie_processes, reason = "it is waited for by its id")]
    fn a_thread_waits_as_well_as_a_descriptor() {
        let mut poll = mio::Poll::new().unwrap();
        let child = std::process::Command::new("sh").args(["-c", "exit 7"]).spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        let mut receiver = wait_in_a_thread(pid).unwrap();
        poll.registry().register(&mut receiver, Token(1), Interest::READABLE).unwrap();
        let mut process = Process { pid, watch: Watch::Thread(receiver) };
        let mut events = mio::Events::with_capacity(1);
        while events.is_empty() {
            match poll.poll(&mut events, None) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => panic!("{error}"),
                _ => {}
            }
        }
        assert_eq!(process.try_wait().unwrap(), Some(ExitStatus::Code(7)));
    }
}
