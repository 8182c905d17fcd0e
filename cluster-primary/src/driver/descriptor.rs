//! The descriptor that an event loop of the program's own polls.
#![expect(unsafe_code, reason = "mio's poll has a number, and lends no descriptor")]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use super::base::Primary;

/// The descriptor is readable when there is something to do.
impl AsFd for Primary {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the poll owns the descriptor and keeps it open as long as it lives, which is at least as long as the
        // primary is borrowed.
        unsafe { BorrowedFd::borrow_raw(self.poll.as_raw_fd()) }
    }
}

/// As [`AsFd`].
impl AsRawFd for Primary {
    fn as_raw_fd(&self) -> RawFd {
        self.poll.as_raw_fd()
    }
}
