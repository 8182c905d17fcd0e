//! Descriptors that are known by their number only.
#![allow(unsafe_code, reason = "a number is all that a worker, or a worker's settings, can name")]

use std::mem::ManuallyDrop;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::{self, Errno};

/// A duplicate of this process's descriptor of that number.
pub(super) fn duplicate(number: RawFd) -> Result<OwnedFd, Errno> {
    if number < 0 {
        return Err(Errno::INVAL);
    }
    // SAFETY: it is borrowed for this call only, and not −1. Should nothing be open under the
    // number the kernel says EBADF.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    // Node says EINVAL of a number that nothing is open under.
    io::fcntl_dupfd_cloexec(fd, 3).map_err(|_| Errno::INVAL)
}

/// Puts a duplicate of `from` at that number, whatever was there. For a child before its exec.
pub(super) fn place(from: BorrowedFd<'_>, number: RawFd) -> Result<(), Errno> {
    // SAFETY: the "owner" is never dropped, so nothing is closed twice; what `dup2` closes under
    // that number belongs to nobody in a child that is about to exec.
    let mut to = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(number) });
    io::dup2(from, &mut to)
}
