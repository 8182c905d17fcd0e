//! Unix-domain sockets and their files.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use cluster_primary::SocketAccess;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, open, statat, unlinkat};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketType, connect, socket};

/// The file of a socket that was bound here. Dropping it removes it, unless something else is there
/// by now.
///
/// Its folder is held open: one of the workers' user may be swapped for a link at any time, and nothing
/// that a link leads to is changed or removed.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    folder: OwnedFd,
    identity: Identity,
}

/// Device, inode, and the time of the last modification, for inodes are used again.
pub(crate) type Identity = (u64, u64, i64, i64);

impl SocketFile {
    fn bound(path: &Path, folder: OwnedFd) -> io::Result<Self> {
        let identity = identity(&folder, path)?.ok_or(Errno::INVAL)?;
        Ok(Self { path: path.into(), folder, identity })
    }

    /// The file of that name in the folder, as it was known before.
    pub(crate) fn known(path: &Path, folder: OwnedFd, identity: Identity) -> Self {
        Self { path: path.into(), folder, identity }
    }

    /// The file that stands at that path now.
    pub(crate) fn new(path: &Path) -> io::Result<Self> {
        Self::bound(path, folder(path)?)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn folder(&self) -> BorrowedFd<'_> {
        self.folder.as_fd()
    }

    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.folder, &self.path).is_ok_and(|found| found == Some(self.identity)) {
            // Where it cannot be removed it is replaced by the next one.
            let _ = unlinkat(&self.folder, name(&self.path), AtFlags::empty());
        }
    }
}

/// The folder of a file.
fn folder(path: &Path) -> rustix::io::Result<OwnedFd> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    #[cfg(target_os = "linux")]
    let flags = flags | OFlags::PATH;
    open(parent.unwrap_or(Path::new(".")), flags, Mode::empty())
}

fn name(path: &Path) -> &Path {
    path.file_name().map_or(path, Path::new)
}

/// `None` if it is no socket.
fn identity(folder: &OwnedFd, path: &Path) -> io::Result<Option<Identity>> {
    let found = statat(folder, name(path), AtFlags::SYMLINK_NOFOLLOW)?;
    #[allow(clippy::unnecessary_cast, reason = "the types differ by system")]
    let identity = (
        found.st_dev as u64,
        found.st_ino as u64,
        found.st_mtime as i64,
        found.st_mtime_nsec as i64,
    );
    let is_socket = FileType::from_raw_mode(found.st_mode) == FileType::Socket;
    Ok(is_socket.then_some(identity))
}

/// Binds a socket, which does not listen yet; its file has that owner and mode. A socket file that
/// a killed process left behind is replaced.
pub(super) fn bind(path: &Path, access: &SocketAccess) -> io::Result<(OwnedFd, SocketFile)> {
    let address = SocketAddrUnix::new(path)?;
    let fd = socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    rustix::io::fcntl_setfd(&fd, rustix::io::FdFlags::CLOEXEC)?;
    access.before_bind(&fd);
    let folder = folder(path)?;
    match net::bind(&fd, &address) {
        Err(Errno::ADDRINUSE) if remove_stale(&folder, path, access) => net::bind(&fd, &address)?,
        bound => bound?,
    }
    let file = SocketFile::bound(path, folder)?;
    access.apply_in(&file.folder, name(path))?;
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

/// Removes a socket of ours on which no process listens any more; returns whether it is gone.
fn remove_stale(folder: &OwnedFd, path: &Path, access: &SocketAccess) -> bool {
    // Before the question, so that what is removed is what was asked.
    let Ok(Some(before)) = identity(folder, path) else { return false };
    is_our_socket(path, access)
        && is_refused(path) == Ok(true)
        && identity(folder, path).is_ok_and(|now| now == Some(before))
        && unlinkat(folder, name(path), AtFlags::empty()).is_ok()
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
    // A full queue must not make us wait: a process listens there.
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
    fn an_abandoned_socket_is_replaced_and_removed_at_the_end() {
        let path = std::env::temp_dir().join(format!("cluster-listen-{}", std::process::id()));
        // Killed, as it were: the file stays.
        drop(UnixListener::bind(&path).expect("there is room"));
        let (listener, file) = replace(&path);
        let in_use = bind(&path).expect_err("a process listens");
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
