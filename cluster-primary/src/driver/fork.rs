//! `fork(2)`, and what a child is allowed to do.

#![allow(unsafe_code, reason = "std forks only to execute a program, and waits until that is done")]

use std::io;

use nix::sys::signal::{SigSet, SigmaskHow};
use nix::unistd::ForkResult;
use rustix::process::Pid;

/// Makes a child of this process, which runs `child` and exits with what that returns. There all
/// signals that can be blocked are, so that no handler of this process runs in it.
///
/// # Safety
/// `child` allocates nothing and locks nothing: other threads may hold the locks at the moment of the
/// fork, forever as far as the child goes. (System calls, with what was made ready before.)
pub(super) unsafe fn fork(child: impl FnOnce() -> i32) -> io::Result<Pid> {
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    // SAFETY: what the child does the caller has promised.
    let forked = unsafe { nix::unistd::fork() };
    if let Ok(ForkResult::Child) = forked {
        let status = child();
        // SAFETY: it ends the process, and runs nothing of it.
        unsafe { nix::libc::_exit(status) }
    }
    // It cannot fail with a set that was in force.
    let _ = before.thread_set_mask();
    match forked? {
        ForkResult::Parent { child } => Pid::from_raw(child.as_raw())
            .ok_or_else(|| io::Error::other("the system made a child without a number")),
        ForkResult::Child => unreachable!("it has exited"),
    }
}

/// Sends a child `SIGKILL`, and sees to it that it is waited for, without waiting for it here: it may be
/// stuck in a system call.
pub(super) fn abandon(pid: Pid) {
    use rustix::process::{Signal, WaitOptions, kill_process, waitpid};
    // Not waited for yet, so the number is still that child's.
    let _ = kill_process(pid, Signal::KILL);
    if matches!(waitpid(Some(pid), WaitOptions::NOHANG), Ok(None)) {
        let wait = move || {
            while let Err(rustix::io::Errno::INTR) = waitpid(Some(pid), WaitOptions::empty()) {}
        };
        // Without a thread it stays a zombie until this process ends.
        let _ = super::thread::spawn_without_signals("wait", wait);
    }
}
