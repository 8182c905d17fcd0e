//! Who a worker's process is, where it runs and what ends it: what it makes of itself before its
//! exec, on Linux.
//!
//! The calls are the kernel's, which go by thread, and not the C library's, which have all threads
//! follow: the child of a fork has one thread.

use rustix::io::Errno;
use rustix::process::{Pid, Signal, getpid, getppid, kill_process};
use rustix::thread::{CpuSet, sched_setaffinity};

use super::affinity;
use super::credentials::Credentials;
use super::rights::Rights;
use super::step::Step;
use crate::error::ForkError;
use crate::scheduling;
use crate::settings::Settings;

/// Made ready before the fork.
pub(super) struct Privileges {
    cpus: Option<CpuSet>,
    /// The thread that forks gives way to others; workers do not.
    waits: bool,
    credentials: Credentials,
    no_new_privs: bool,
    /// The primary's process, whose end is to be the worker's.
    dies_with: Option<Pid>,
}

impl Privileges {
    pub(super) fn new(settings: &Settings, slot: u32) -> Result<Self, ForkError> {
        let cpus = settings.affinity.as_ref().map(|affinity| affinity::cpus(affinity, slot));
        let no = |errno| super::step::failure(settings, Step::Affinity, settings.program(), errno);
        Ok(Self {
            cpus: cpus.transpose().map_err(no)?,
            waits: scheduling::gives_way(),
            credentials: Credentials::of(&Rights::of(settings)),
            no_new_privs: settings.no_new_privs,
            dies_with: settings.die_with_primary.then(getpid),
        })
    }

    /// In the child: allocates nothing, and locks nothing.
    pub(super) fn run(&self) -> Result<(), (Step, Errno)> {
        if let Some(cpus) = &self.cpus {
            sched_setaffinity(None, cpus).map_err(|errno| (Step::Affinity, errno))?;
        }
        if self.waits {
            scheduling::wait_for_no_process();
        }
        self.credentials.take()?;
        if self.no_new_privs {
            rustix::thread::set_no_new_privs(true).map_err(|errno| (Step::NoNewPrivs, errno))?;
        }
        if let Some(primary) = self.dies_with {
            die_with(primary).map_err(|errno| (Step::DieWithPrimary, errno))?;
        }
        Ok(())
    }
}

/// Has the kernel kill this process when its parent ends. The last thing: the kernel forgets it when
/// the user changes.
fn die_with(primary: Pid) -> Result<(), Errno> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    // The end of a parent that ended before this request is not reported; then the parent is another process.
    if getppid() != Some(primary) {
        kill_process(getpid(), Signal::KILL)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::Command;

    use super::*;

    #[allow(unsafe_code, reason = "it is what is tested")]
    fn child_of(primary: Pid) -> std::process::ExitStatus {
        let mut command = Command::new("true");
        // SAFETY: system calls only.
        unsafe { command.pre_exec(move || Ok(die_with(primary)?)) };
        command.status().expect("it is started")
    }

    #[test]
    fn a_child_whose_primary_has_gone_already_goes_too() {
        assert!(child_of(getpid()).success());
        // Its parent is this process, and so not that one any more.
        let gone = getppid().expect("the tests have a parent");
        assert_eq!(child_of(gone).signal(), Some(Signal::KILL.as_raw()));
    }
}
