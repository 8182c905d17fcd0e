//! What a worker's process does to itself between fork and exec.
//!
//! There other threads' locks are held forever, the allocator's among them: nothing here allocates
//! or locks. It is system calls only, with what was made ready before the fork.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd, RawFd};

use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use rustix::io::Errno;
use rustix::process::{Rlimit, chdir, setpgid};

#[cfg(target_os = "linux")]
use super::privileges::Privileges;
use super::step::Step;
use super::{inherited, limits};

/// All that is to be done.
pub(super) struct BeforeExec {
    /// Which descriptor goes to which number.
    pub(super) places: Vec<(RawFd, OwnedFd)>,
    pub(super) limit: Rlimit,
    pub(super) cwd: Option<CString>,
    /// The script that is to be run, as a path from the primary's working directory.
    pub(super) script: Option<CString>,
    #[cfg(target_os = "linux")]
    pub(super) privileges: Privileges,
    #[cfg(not(target_os = "linux"))]
    pub(super) uid: Option<u32>,
    #[cfg(not(target_os = "linux"))]
    pub(super) gid: Option<u32>,
}

impl BeforeExec {
    /// Does it; `report` is to stay open until the exec.
    ///
    /// # Errors
    /// What failed, and why.
    pub(super) fn run(&self, report: RawFd) -> Result<(), (Step, Errno)> {
        let no = |step| move |errno| (step, errno);
        for (at, source) in &self.places {
            inherited::place(source.as_fd(), *at).map_err(no(Step::Descriptors))?;
        }
        limits::restore(self.limit);
        forget_signals();
        // Before users other than root may stop this process: it must not hold connections open then, or
        // other workers' channels.
        #[cfg(target_os = "linux")]
        inherited::close_others(report);
        #[cfg(not(target_os = "linux"))]
        let _ = report;
        if let Some(script) = &self.script {
            check_script(script).map_err(no(Step::Script))?;
        }
        if let Some(cwd) = &self.cwd {
            chdir(cwd.as_c_str()).map_err(no(Step::Cwd))?;
        }
        // A group of its own: Ctrl-C on the terminal is for the primary alone.
        setpgid(None, None).map_err(no(Step::Group))?;
        self.take_credentials()
    }

    #[cfg(target_os = "linux")]
    fn take_credentials(&self) -> Result<(), (Step, Errno)> {
        self.privileges.run()
    }

    #[cfg(not(target_os = "linux"))]
    fn take_credentials(&self) -> Result<(), (Step, Errno)> {
        let no = |step| move |errno: nix::Error| (step, Errno::from_raw_os_error(errno as i32));
        if let Some(gid) = self.gid {
            nix::unistd::setgid(gid.into()).map_err(no(Step::Gid))?;
        }
        if let Some(uid) = self.uid {
            #[cfg(not(target_vendor = "apple"))]
            if nix::unistd::geteuid().is_root() {
                nix::unistd::setgroups(&[]).map_err(no(Step::Groups))?;
            }
            nix::unistd::setuid(uid.into()).map_err(no(Step::Uid))?;
        }
        Ok(())
    }
}

/// Whether it is a file that can be read. (A pipe would make us wait for its writer.)
fn check_script(script: &CString) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = open(script.as_c_str(), flags, Mode::empty())?;
    match FileType::from_raw_mode(fstat(&file)?.st_mode) {
        FileType::RegularFile => Ok(()),
        FileType::Directory => Err(Errno::ISDIR),
        _ => Err(Errno::INVAL),
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
        let _ = unsafe { signal(number, SigHandler::SigDfl) };
    }
    // (It cannot fail with a set that is one.)
    let _ = SigSet::empty().thread_set_mask();
}
