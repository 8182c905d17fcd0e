//! What a worker's process does to itself between fork and exec.
//!
//! There other threads' locks are held for ever, the allocator's among them: nothing here allocates
//! or locks. It is system calls only, with what was made ready before the fork.

use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};

use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use rustix::io::Errno;
use rustix::process::Rlimit;

#[cfg(target_os = "linux")]
use super::becoming::Becoming;
use super::{inherited, limits};

/// All that is to be done.
pub(super) struct BeforeExec {
    /// Which descriptor goes to which number.
    pub(super) places: Vec<(RawFd, OwnedFd)>,
    pub(super) limit: Rlimit,
    #[cfg(target_os = "linux")]
    pub(super) becoming: Becoming,
}

impl BeforeExec {
    /// Does it.
    ///
    /// # Errors
    /// Those that [`failed_step`] takes apart.
    pub(super) fn run(&self) -> io::Result<()> {
        for (at, source) in &self.places {
            inherited::place(source.as_fd(), *at)
                .map_err(|errno| Step::Descriptors.failed(errno))?;
        }
        limits::restore(self.limit);
        forget_signals();
        #[cfg(target_os = "linux")]
        self.becoming.run().map_err(|(step, errno)| step.failed(errno))?;
        Ok(())
    }
}

/// As Node's children have it: whatever the thread holds back that forks, and whatever the primary was
/// started to ignore (by a shell in the background, or `nohup`), a worker holds back nothing, and
/// ignores no standard signal. (Real-time signals stay as they are.)
#[allow(unsafe_code, reason = "a signal's disposition is the whole process's")]
fn forget_signals() {
    for number in Signal::iterator() {
        // SAFETY: no handler is installed, and this process has one thread.
        // It cannot be done for two, and cannot fail for others.
        let _kill_and_stop = unsafe { signal(number, SigHandler::SigDfl) };
    }
    // (It cannot fail with a set that is one.)
    let _all_let_through = SigSet::empty().thread_set_mask();
}

/// What can fail of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Descriptors = 1,
    Affinity,
    Groups,
    Gid,
    Uid,
    NoNewPrivs,
    DieWithPrimary,
}

const STEPS: [Step; 7] = [
    Step::Descriptors,
    Step::Affinity,
    Step::Groups,
    Step::Gid,
    Step::Uid,
    Step::NoNewPrivs,
    Step::DieWithPrimary,
];

/// A number is all that std brings back from the child. Those of errors are below 4096, so there is
/// room above them for what it was.
const SHIFT: u32 = 16;

impl Step {
    fn failed(self, errno: Errno) -> io::Error {
        io::Error::from_raw_os_error(((self as i32) << SHIFT) | errno.raw_os_error())
    }
}

/// What failed before the exec, and why; `None` if it was the exec itself, or the fork.
pub(super) fn failed_step(error: &io::Error) -> Option<(Step, io::Error)> {
    let number = error.raw_os_error()?;
    let step = STEPS.into_iter().find(|step| *step as i32 == number >> SHIFT)?;
    Some((step, io::Error::from_raw_os_error(number & ((1 << SHIFT) - 1))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_comes_back_with_why() {
        for step in STEPS {
            for errno in [Errno::PERM, Errno::INVAL, Errno::from_raw_os_error(4095)] {
                let (found, error) = failed_step(&step.failed(errno)).expect("it was a step");
                assert_eq!((found, error.raw_os_error()), (step, Some(errno.raw_os_error())));
            }
        }
    }

    #[test]
    fn what_fails_otherwise_is_no_step() {
        for number in [1, 2, 13, 4095] {
            assert_eq!(failed_step(&io::Error::from_raw_os_error(number)).map(|(s, _)| s), None);
        }
        assert!(failed_step(&io::Error::other("no number")).is_none());
    }
}
