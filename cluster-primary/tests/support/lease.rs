//! Files that cannot be opened for a while.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;

/// `F_SETSIG`
const SET_SIGNAL: libc::c_int = 10;

/// Holds a file so that a process that opens it (to execute it, for example) waits: as on a file system that does not
/// answer. (The system breaks such a lease after 45 s.)
pub(crate) struct Lease(File);

impl Lease {
    /// As soon as no process has the file open.
    pub(crate) fn take(path: &Path) -> Self {
        // What is open for writing could not be executed.
        let file = File::open(path).expect("it is ours");
        // A waiting process is announced by a signal, which would end this process by default; this one does
        // not.
        assert_eq!(control(&file, SET_SIGNAL, libc::SIGURG), 0);
        while control(&file, libc::F_SETLEASE, libc::F_WRLCK) != 0 {
            // A process that another test has just forked has the file open for a moment.
            std::thread::yield_now();
        }
        Self(file)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        control(&self.0, libc::F_SETLEASE, libc::F_UNLCK);
    }
}

#[allow(unsafe_code, reason = "there is no safe way to a lease")]
fn control(file: &File, command: libc::c_int, value: libc::c_int) -> libc::c_int {
    // SAFETY: both commands take a number, and the descriptor is open.
    unsafe { libc::fcntl(file.as_raw_fd(), command, value) }
}
