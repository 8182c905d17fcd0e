//! Descriptors that are known by their number only.
#![allow(unsafe_code, reason = "a number is all that a worker, or a worker's settings, can name")]

use std::mem::ManuallyDrop;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::{self, Errno};

/// A duplicate of this process's descriptor of that number.
pub(super) fn duplicate(number: RawFd) -> Result<OwnedFd, Errno> {
    // Node says EINVAL of a number that nothing is open under.
    with(number, |fd| io::fcntl_dupfd_cloexec(fd, 3)).map_err(|_| Errno::INVAL)
}

/// Whether this process came by the descriptor of that number from outside. Whatever it opens itself
/// does not survive an exec: so do this crate and Rust's library see to it.
pub(super) fn is_inherited(number: RawFd) -> bool {
    with(number, |fd| io::fcntl_getfd(fd)).is_ok_and(|flags| !flags.contains(io::FdFlags::CLOEXEC))
}

/// Whether it is the terminal that controls this process's session.
pub(super) fn is_controlling_terminal(number: RawFd) -> bool {
    // Of another terminal, and of no terminal, the system does not tell it.
    with(number, |fd| rustix::termios::tcgetpgrp(fd)).is_ok()
}

fn with<T>(number: RawFd, f: impl FnOnce(BorrowedFd<'_>) -> io::Result<T>) -> Result<T, Errno> {
    if number < 0 {
        return Err(Errno::INVAL);
    }
    // SAFETY: it is borrowed for this call only, and not −1. Should nothing be open under the
    // number the kernel says EBADF.
    f(unsafe { BorrowedFd::borrow_raw(number) })
}

/// Puts a duplicate of `from` at that number, whatever was there. For a child before its exec.
pub(super) fn place(from: BorrowedFd<'_>, number: RawFd) -> Result<(), Errno> {
    // SAFETY: the "owner" is never dropped, so nothing is closed twice; what `dup2` closes under
    // that number has no owner in a child that is about to exec.
    let mut to = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(number) });
    io::dup2(from, &mut to)
}

/// Closes all descriptors that an exec would close, but that one. For a child before its exec.
#[cfg(target_os = "linux")]
pub(super) fn close_others(kept: RawFd) {
    use std::mem::MaybeUninit;
    use std::os::fd::AsRawFd;

    use rustix::fs::{Mode, OFlags, RawDir, open};

    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // Without `/proc` they stay until the exec.
    let Ok(folder) = open(c"/proc/self/fd", flags, Mode::empty()) else { return };
    let mut space = [MaybeUninit::uninit(); 4096];
    let mut entries = RawDir::new(&folder, &mut space);
    while let Some(Ok(entry)) = entries.next() {
        let name = entry.file_name().to_str().ok();
        let Some(number) = name.and_then(|name| name.parse::<RawFd>().ok()) else { continue };
        if number != kept && number != folder.as_raw_fd() && !is_inherited(number) {
            // SAFETY: in a child that is about to exec nothing else uses it; its owners are never dropped
            // there.
            drop(unsafe { OwnedFd::from_raw_fd(number) });
        }
    }
}
