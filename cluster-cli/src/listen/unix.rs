//! Unix-domain sockets and their files.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use cluster_primary::SocketAccess;
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketType, connect, socket};

/// The file of a socket that was bound here. Dropping it removes it, unless something else is there
/// by now.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: Identity,
}

type Identity = (u64, u64, i64, i64);

impl SocketFile {
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.into(), identity: identity(path)? })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|found| found == self.identity) {
            let _gone = std::fs::remove_file(&self.path);
        }
    }
}

/// Device, inode, and when it was made, for inodes are used again.
fn identity(path: &Path) -> io::Result<Identity> {
    let found = std::fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino(), found.mtime(), found.mtime_nsec()))
}

/// Binds a socket, which does not listen yet; its file has that owner and mode. What somebody left there
/// who was killed is replaced.
pub(super) fn bind(path: &Path, access: &SocketAccess) -> io::Result<(OwnedFd, SocketFile)> {
    let address = SocketAddrUnix::new(path)?;
    let fd = socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
    access.before_bind(&fd);
    match net::bind(&fd, &address) {
        Err(Errno::ADDRINUSE) if remove_stale(path, access) => net::bind(&fd, &address)?,
        bound => bound?,
    }
    let file = SocketFile::new(path)?;
    access.apply(path)?;
    Ok((fd, file))
}

/// Whether there is something that no program listens on, and that cannot be replaced either.
pub(super) fn is_in_the_way(path: &Path) -> bool {
    !is_our_socket(path, &SocketAccess::default()) && !is_answered(path)
}

/// Whether it is a socket of this user's, or of the one that sockets are given to.
pub(super) fn is_our_socket(path: &Path, access: &SocketAccess) -> bool {
    let user = rustix::process::geteuid().as_raw();
    let ours = |owner| owner == user || Some(owner) == access.uid;
    std::fs::symlink_metadata(path)
        .is_ok_and(|found| found.file_type().is_socket() && ours(found.uid()))
}

/// Removes a socket of ours on which nobody listens any more; whether it is gone.
fn remove_stale(path: &Path, access: &SocketAccess) -> bool {
    // Before the question, so that what is removed is what was asked.
    let Ok(before) = identity(path) else { return false };
    is_our_socket(path, access)
        && is_refused(path) == Ok(true)
        && identity(path).is_ok_and(|now| now == before)
        && std::fs::remove_file(path).is_ok()
}

fn is_refused(path: &Path) -> Result<bool, Errno> {
    probe(path).map(|answer| answer == Err(Errno::CONNREFUSED))
}

fn is_answered(path: &Path) -> bool {
    matches!(probe(path), Ok(Ok(()) | Err(Errno::AGAIN)))
}

/// What a client would be told.
fn probe(path: &Path) -> Result<Result<(), Errno>, Errno> {
    let probe = socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    // A full queue must not make us wait: somebody is there.
    rustix::io::ioctl_fionbio(&probe, true)?;
    Ok(connect(&probe, &SocketAddrUnix::new(path)?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    fn bind(path: &Path) -> io::Result<(OwnedFd, SocketFile)> {
        let (fd, file) = super::bind(path, &SocketAccess::default())?;
        net::listen(&fd, 1)?;
        Ok((fd, file))
    }

    /// A process that another test starts holds what was open here until it executes its program.
    fn replace(path: &Path) -> (OwnedFd, SocketFile) {
        for _ in 0..2000 {
            match bind(path) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                bound => return bound.expect("it is replaced"),
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        panic!("{} is never replaced", path.display());
    }

    #[test]
    fn what_nobody_listens_on_is_replaced_and_removed_at_the_end() {
        let path = std::env::temp_dir().join(format!("cluster-listen-{}", std::process::id()));
        // Killed, as it were: the file stays.
        drop(UnixListener::bind(&path).expect("there is room"));
        let (listener, file) = replace(&path);
        let in_use = bind(&path).expect_err("somebody listens");
        assert_eq!(in_use.kind(), io::ErrorKind::AddrInUse);
        // One that is killed while another is there already leaves that one's file alone.
        drop(listener);
        let (_listener, other) = replace(&path);
        drop(file);
        assert!(path.exists(), "it is another one's by now");
        drop(other);
        assert!(!path.exists());
    }
}
