//! The files of Unix-domain sockets: their owner, and whether any process still has the socket.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketType};
use serde::{Deserialize, Serialize};

use super::listen::make_socket;
use crate::socket_access::SocketAccess;

/// The file of a Unix-domain socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketFile {
    #[serde(with = "crate::upgrade::text::path")]
    path: PathBuf,
    /// Device, inode and modification time (inodes are reused): another file of that name is
    /// left alone.
    identity: Identity,
}

/// Device, inode, and the time of the last modification.
pub(super) type Identity = (u64, u64, i64, i64);

impl SocketFile {
    /// The socket's file at that path.
    ///
    /// # Errors
    /// If there is none, or another kind of file.
    pub fn new(path: &Path) -> io::Result<Self> {
        let found = std::fs::symlink_metadata(path)?;
        if !found.file_type().is_socket() {
            return Err(Errno::INVAL.into());
        }
        // A change of the mode does not change the modification time.
        let identity = (found.dev(), found.ino(), found.mtime(), found.mtime_nsec());
        Ok(Self { path: path.to_owned(), identity })
    }

    /// The file at that path, as another process identified it.
    #[cfg(target_os = "linux")]
    pub(super) fn found(path: &Path, identity: Identity) -> Self {
        Self { path: path.to_owned(), identity }
    }

    #[cfg(target_os = "linux")]
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    #[cfg(target_os = "linux")]
    pub(super) fn identity(&self) -> Identity {
        self.identity
    }

    /// Removes the file, unless another one is there by now. Returns whether it is gone.
    pub fn remove(&self) -> bool {
        Self::new(&self.path).is_ok_and(|found| found.identity == self.identity)
            && std::fs::remove_file(&self.path).is_ok()
    }
}

/// Removes the file of a socket that no process has open any more, because its owner was killed. Returns whether another
/// socket can be bound there now.
///
/// One that is bound and does not listen yet is open. That of a stranger is left alone if it is
/// another user's, and not the owner's that such files are given to.
pub(super) fn remove_stale(path: &Path, address: &SocketAddrUnix, access: &SocketAccess) -> bool {
    // Identified before the check, so that the removed file is the one that was checked.
    let Ok(file) = SocketFile::new(path) else { return false };
    is_ours(path, access) && is_dead(address) && file.remove()
}

/// Whether no process has the socket open whose file that is. The check is not noticed: to a
/// stream socket the kernel connects no datagram socket, but it says first whether there is one.
pub(crate) fn is_dead(address: &SocketAddrUnix) -> bool {
    let Ok(probe) = make_socket(AddressFamily::UNIX, SocketType::DGRAM) else { return false };
    net::connect(&probe, address) == Err(Errno::CONNREFUSED)
}

fn is_ours(path: &Path, access: &SocketAccess) -> bool {
    let user = rustix::process::geteuid().as_raw();
    let owner = std::fs::symlink_metadata(path).map(|found| found.uid());
    owner.is_ok_and(|owner| owner == user || Some(owner) == access.uid)
}
