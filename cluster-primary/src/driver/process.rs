//! A worker's process, as the primary watches it.

use std::io;

use mio::Token;
use rustix::io::Errno;
use rustix::process::Pid;

use crate::{ExitStatus, KillError, Signal, WorkerId};

#[cfg(not(target_os = "linux"))]
use other as watch;
#[cfg(target_os = "linux")]
use pidfd as watch;

/// A process that was started and not yet waited for; until then its id is nobody else's.
pub(super) struct Process {
    pid: Pid,
    watch: watch::Watch,
}

impl Process {
    /// Begins to watch a child; the token becomes readable when it ends.
    pub(super) fn watch(pid: u32, registry: &mio::Registry, token: Token) -> io::Result<Self> {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)?;
        Ok(Self { pid, watch: watch::Watch::new(pid, registry, token)? })
    }

    /// How it ended, if it has. It is to be asked no more after that.
    pub(super) fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.watch.try_wait(self.pid)
    }

    /// Sends a signal; `false` if the process has ended.
    pub(super) fn signal(&self, worker: WorkerId, signal: Signal) -> Result<bool, KillError> {
        let sent = if signal == Signal::NONE {
            rustix::process::test_kill_process(self.pid)
        } else {
            let Some(sys) = signal.to_sys() else {
                return Err(KillError::UnknownSignal { number: signal.number() });
            };
            // The id cannot have passed to another: nobody has waited for the process.
            rustix::process::kill_process(self.pid, sys)
        };
        match sent {
            Ok(()) => Ok(true),
            Err(Errno::SRCH) => Ok(false),
            Err(errno) => Err(KillError::Refused { worker, error: errno.into() }),
        }
    }

    pub(super) fn deregister(&mut self, registry: &mio::Registry) {
        self.watch.deregister(registry);
    }
}

#[cfg(target_os = "linux")]
mod pidfd {
    use std::io;
    use std::os::fd::{AsFd, AsRawFd, OwnedFd};

    use mio::unix::SourceFd;
    use mio::{Interest, Registry, Token};
    use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};

    use crate::{ExitStatus, Signal};

    /// A process's descriptor, readable when the process has ended.
    pub(in crate::driver) struct Watch(OwnedFd);

    impl Watch {
        pub(in crate::driver) fn new(
            pid: Pid,
            registry: &Registry,
            token: Token,
        ) -> io::Result<Self> {
            let fd = pidfd_open(pid, PidfdFlags::empty())?;
            registry.register(&mut SourceFd(&fd.as_raw_fd()), token, Interest::READABLE)?;
            Ok(Self(fd))
        }

        pub(in crate::driver) fn try_wait(&mut self, _pid: Pid) -> io::Result<Option<ExitStatus>> {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            let Some(status) = waitid(WaitId::PidFd(self.0.as_fd()), options)? else {
                return Ok(None);
            };
            Ok(match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => Some(ExitStatus::Code(code)),
                (_, Some(signal)) => Some(ExitStatus::Signal(Signal::from_number(signal))),
                _ => None,
            })
        }

        pub(in crate::driver) fn deregister(&mut self, registry: &Registry) {
            let _gone = registry.deregister(&mut SourceFd(&self.0.as_raw_fd()));
        }
    }
}

/// Where processes have no descriptors a thread waits for each, and leaves the status to be fetched.
#[cfg(not(target_os = "linux"))]
mod other {
    use std::io;

    use mio::unix::pipe;
    use mio::{Interest, Registry, Token};
    use rustix::process::{Pid, WaitId, WaitIdOptions, WaitOptions, waitid, waitpid};

    use crate::{ExitStatus, Signal};

    /// The end of a pipe that closes when the process has ended.
    pub(in crate::driver) struct Watch(pipe::Receiver);

    impl Watch {
        pub(in crate::driver) fn new(
            pid: Pid,
            registry: &Registry,
            token: Token,
        ) -> io::Result<Self> {
            let (sender, mut receiver) = pipe::new()?;
            registry.register(&mut receiver, token, Interest::READABLE)?;
            std::thread::Builder::new().name(format!("wait {pid:?}")).spawn(move || {
                let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
                while waitid(WaitId::Pid(pid), options) == Err(rustix::io::Errno::INTR) {}
                drop(sender);
            })?;
            Ok(Self(receiver))
        }

        pub(in crate::driver) fn try_wait(&mut self, pid: Pid) -> io::Result<Option<ExitStatus>> {
            let Some((_, status)) = waitpid(Some(pid), WaitOptions::NOHANG)? else {
                return Ok(None);
            };
            Ok(match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => Some(ExitStatus::Code(code)),
                (_, Some(signal)) => Some(ExitStatus::Signal(Signal::from_number(signal))),
                _ => None,
            })
        }

        pub(in crate::driver) fn deregister(&mut self, registry: &Registry) {
            let _gone = registry.deregister(&mut self.0);
        }
    }
}
