//! Where a signal came from, and whether this process was started with it ignored.
#![allow(
    unsafe_code,
    reason = "siginfo_t, sigaction(2) and getsid(2) have no (correct) safe wrappers"
)]

use std::ptr;

use libc::siginfo_t;
use rustix::process::Pid;

/// The sender of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    /// The kernel: the terminal's hang-up, a key, a new window size.
    Kernel,
    /// A process, if it can be seen from this one's PID namespace.
    Process(Option<Pid>),
}

impl Sender {
    /// The pid of the process that sent it, if it is known.
    pub(super) fn pid(self) -> Option<u32> {
        match self {
            Self::Process(Some(pid)) => u32::try_from(pid.as_raw_nonzero().get()).ok(),
            Self::Process(None) | Self::Kernel => None,
        }
    }

    pub(super) fn of(info: &siginfo_t) -> Self {
        if is_kernels(info.si_code) {
            return Self::Kernel;
        }
        // SAFETY: standard signals that were sent by kill(2) and the like have this member, and for all
        // others of those that are handled here it is initialized memory of the same size.
        Self::Process(Pid::from_raw(unsafe { info.si_pid() }.max(0)))
    }
}

/// A child that was stopped, and by which signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stopped {
    pub(crate) pid: u32,
    pub(crate) signal: i32,
}

impl Stopped {
    /// If that is what a `SIGCHLD` says.
    pub(super) fn of(info: &siginfo_t) -> Option<Self> {
        if info.si_signo != libc::SIGCHLD || info.si_code != libc::CLD_STOPPED {
            return None;
        }
        // SAFETY: a SIGCHLD with this code has both members.
        let (pid, signal) = unsafe { (info.si_pid(), info.si_status()) };
        u32::try_from(pid).ok().map(|pid| Self { pid, signal })
    }
}

#[cfg(target_os = "linux")]
fn is_kernels(code: i32) -> bool {
    code == libc::SI_KERNEL
}

/// Other systems do not tell reliably.
#[cfg(not(target_os = "linux"))]
fn is_kernels(_code: i32) -> bool {
    false
}

/// The leader of this process's session, if it can be seen from this process's PID namespace. (rustix takes
/// the 0 for a pid that the kernel answers with otherwise.)
pub(super) fn session_leader() -> Option<Pid> {
    // SAFETY: it takes a number, and changes nothing.
    Pid::from_raw(unsafe { libc::getsid(0) }.max(0))
}

/// Whether this process ignores the signal: before any handler is installed, whether it was started so,
/// as by nohup(1).
pub(super) fn is_ignored(signal: i32) -> bool {
    // SAFETY: all zeros are a valid sigaction.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: it changes nothing, and writes to `action`, which is ours.
    let read = unsafe { libc::sigaction(signal, ptr::null(), &raw mut action) };
    read == 0 && action.sa_sigaction == libc::SIG_IGN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dispositions_are_read() {
        // The Rust runtime ignores this one, and not the other.
        assert!(is_ignored(libc::SIGPIPE));
        assert!(!is_ignored(libc::SIGUSR2));
    }
}
