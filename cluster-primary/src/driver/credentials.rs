//! The user, the groups and the capabilities of a worker's process, on Linux.
//!
//! The calls are the kernel's, which go by thread, and not the C library's, which have all threads
//! follow: the child of a fork has one thread.

use rustix::io::Errno;
use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::rights::Rights;
use super::step::Step;

/// Made ready before the fork.
pub(super) struct Credentials {
    groups: Groups,
    gid: Option<Gid>,
    uid: Option<Uid>,
    keep_capabilities: bool,
}

enum Groups {
    Kept,
    Set(Vec<Gid>),
    /// As Node does it for a worker of another user: none, where that is permitted.
    Dropped,
}

impl Credentials {
    pub(super) fn of(rights: &Rights) -> Self {
        let groups = match &rights.groups {
            // The kernel refuses what is no group: −1.
            Some(groups) => {
                Groups::Set(groups.iter().copied().map(Gid::from_raw_unchecked).collect())
            }
            None if rights.differ() => Groups::Dropped,
            None => Groups::Kept,
        };
        Self {
            groups,
            gid: rights.gid.map(Gid::from_raw_unchecked),
            uid: rights.uid.map(Uid::from_raw_unchecked),
            keep_capabilities: rights.keep_capabilities,
        }
    }

    /// In the child: allocates nothing, and locks nothing.
    pub(super) fn take(&self) -> Result<(), (Step, Errno)> {
        // Groups first: only root may change them.
        match &self.groups {
            Groups::Kept => {}
            Groups::Set(groups) => {
                rustix::thread::set_thread_groups(groups).map_err(|errno| (Step::Groups, errno))?;
            }
            Groups::Dropped => {
                let _ = rustix::thread::set_thread_groups(&[]);
            }
        }
        if let Some(gid) = self.gid {
            rustix::thread::set_thread_gid(gid).map_err(|errno| (Step::Gid, errno))?;
        }
        if let Some(uid) = self.uid {
            rustix::thread::set_thread_uid(uid).map_err(|errno| (Step::Uid, errno))?;
        }
        if !self.keep_capabilities {
            drop_capabilities().map_err(|errno| (Step::Capabilities, errno))?;
        }
        Ok(())
    }
}

/// Gives up all capabilities that would outlive an exec. A process of root's gets root's by the exec, as
/// ever.
fn drop_capabilities() -> Result<(), Errno> {
    match rustix::thread::clear_ambient_capability_set() {
        // Before Linux 4.3 there is no such set.
        Ok(()) | Err(Errno::INVAL) => {}
        Err(errno) => return Err(errno),
    }
    let none = CapabilitySet::empty();
    let CapabilitySets { mut effective, mut permitted, inheritable } =
        rustix::thread::capabilities(None)?;
    if !geteuid().is_root() {
        // The secure bits may have kept them (`SECBIT_KEEP_CAPS`).
        (effective, permitted) = (none, none);
    } else if inheritable.is_empty() {
        return Ok(());
    }
    rustix::thread::set_capabilities(
        None,
        CapabilitySets { effective, permitted, inheritable: none },
    )
}
