//! Who may connect to Unix-domain sockets: the owner and the mode of their files.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Gid, Mode, RawMode, Stat, Uid, fchmod};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// The permission bits that a socket's file can have.
const PERMISSIONS: u32 = 0o777;

/// Owner and permissions of the files of Unix-domain sockets. What is `None` is as the
/// system makes it: owned by the primary's user and group, with all permissions that the umask lets
/// through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct SocketAccess {
    /// The permission bits, such as `0o660`. To connect takes the permission to write. With this a
    /// worker's `readableAll` and `writableAll` have no effect.
    pub mode: Option<u32>,
    /// The owner. To give a file to another user takes root, or `CAP_CHOWN`.
    pub uid: Option<u32>,
    /// The group. One that the primary's user is a member of needs no privilege.
    pub gid: Option<u32>,
}

impl SocketAccess {
    /// To be called before the socket is bound: its file then never has more permissions than
    /// [`mode`](Self::mode). (On Linux. Elsewhere it has no effect.)
    pub fn before_bind(&self, socket: impl AsFd) {
        if let Some(mode) = self.permissions() {
            // What is missing then, `apply` adds; systems that cannot do it return an error.
            let _ = fchmod(socket, mode);
        }
    }

    /// Sets mode and owner of the socket's file at that path, which this process has just bound. Links
    /// are not followed: what is no socket, or not this user's, is left alone.
    ///
    /// # Errors
    /// If it is something else than that, or may not be changed.
    pub fn apply(&self, path: &Path) -> io::Result<()> {
        self.apply_in(CWD, path)
    }

    /// As [`apply`](Self::apply), of a file with that name in a folder that is held open: whatever is done
    /// to the path that leads there.
    ///
    /// # Errors
    /// As `apply`.
    pub fn apply_in(&self, folder: impl AsFd, name: &Path) -> io::Result<()> {
        if self.is_default() {
            return Ok(());
        }
        let (file, _) = own_socket(folder.as_fd(), name)?;
        // The mode first: after the owner has changed, only the new owner may change it.
        if let Some(mode) = self.permissions() {
            file.set_mode(mode)?;
        }
        if self.uid.is_some() || self.gid.is_some() {
            file.set_owner(self.uid.map(Uid::from_raw), self.gid.map(Gid::from_raw))?;
        }
        Ok(())
    }

    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Adds permissions to those that the file of a socket has that was just bound.
    pub(crate) fn add(path: &Path, permissions: u32) -> io::Result<()> {
        let (file, found) = own_socket(CWD, path)?;
        let more = Mode::from_raw_mode((permissions & PERMISSIONS) as RawMode);
        Ok(file.set_mode(Mode::from_raw_mode(found.st_mode) | more)?)
    }

    fn permissions(&self) -> Option<Mode> {
        let bits = |mode: u32| Mode::from_raw_mode((mode & PERMISSIONS) as RawMode);
        self.mode.map(bits)
    }
}

/// The file at that path, if it is a socket's, and this user's.
fn own_socket<'a>(
    folder: BorrowedFd<'a>,
    path: &Path,
) -> rustix::io::Result<(sys::File<'a>, Stat)> {
    let file = sys::File::find(folder, path)?;
    let found = file.stat()?;
    let is_own = FileType::from_raw_mode(found.st_mode) == FileType::Socket
        && found.st_uid == rustix::process::geteuid().as_raw();
    if is_own { Ok((file, found)) } else { Err(Errno::PERM) }
}

#[cfg(target_os = "linux")]
mod sys {
    use std::marker::PhantomData;
    use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
    use std::path::Path;

    use rustix::fs::{AtFlags, Gid, Mode, OFlags, Stat, Uid, chmod, chownat, fstat, openat};
    use rustix::io::Result;

    /// The file itself, whatever stands at its path later.
    pub(super) struct File<'a>(OwnedFd, PhantomData<BorrowedFd<'a>>);

    impl<'a> File<'a> {
        pub(super) fn find(folder: BorrowedFd<'a>, path: &Path) -> Result<Self> {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = openat(folder, path, flags, Mode::empty())?;
            Ok(Self(file, PhantomData))
        }

        pub(super) fn stat(&self) -> Result<Stat> {
            fstat(&self.0)
        }

        pub(super) fn set_mode(&self, mode: Mode) -> Result<()> {
            // Linux before 6.6 changes the mode by no descriptor of this kind.
            chmod(format!("/proc/self/fd/{}", self.0.as_raw_fd()), mode)
        }

        pub(super) fn set_owner(&self, uid: Option<Uid>, gid: Option<Gid>) -> Result<()> {
            chownat(&self.0, "", uid, gid, AtFlags::EMPTY_PATH)
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod sys {
    use std::os::fd::BorrowedFd;
    use std::path::{Path, PathBuf};

    use rustix::fs::{AtFlags, Gid, Mode, Stat, Uid, chmodat, chownat, statat};
    use rustix::io::Result;

    /// The file at that path; no link is followed.
    pub(super) struct File<'a>(BorrowedFd<'a>, PathBuf);

    impl<'a> File<'a> {
        pub(super) fn find(folder: BorrowedFd<'a>, path: &Path) -> Result<Self> {
            Ok(Self(folder, path.to_owned()))
        }

        pub(super) fn stat(&self) -> Result<Stat> {
            statat(self.0, &self.1, AtFlags::SYMLINK_NOFOLLOW)
        }

        pub(super) fn set_mode(&self, mode: Mode) -> Result<()> {
            chmodat(self.0, &self.1, mode, AtFlags::SYMLINK_NOFOLLOW)
        }

        pub(super) fn set_owner(&self, uid: Option<Uid>, gid: Option<Gid>) -> Result<()> {
            chownat(self.0, &self.1, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::symlink_metadata(path).expect("it is there").permissions().mode() & 0o777
    }

    #[test]
    fn only_sockets_of_ones_own_are_changed_and_no_link_is_followed() {
        let folder = std::env::temp_dir().join(format!("cluster-access-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let [socket, file, link] = ["socket", "file", "link"].map(|name| folder.join(name));
        let _listener = UnixListener::bind(&socket).expect("a socket");
        std::fs::write(&file, "").expect("a file");
        let access = SocketAccess { mode: Some(0o4601), ..SocketAccess::default() };
        access.apply(&socket).expect("it is ours");
        assert_eq!(mode(&socket), 0o601, "and no bit but permissions");
        SocketAccess::add(&socket, 0o066).expect("it is ours");
        assert_eq!(mode(&socket), 0o667);
        let before = mode(&file);
        symlink(&socket, &link).expect("a link");
        for other in [&file, &link, &folder] {
            access.apply(other).expect_err("not a socket");
        }
        assert_eq!((mode(&file), mode(&socket)), (before, 0o667));
        if rustix::process::geteuid().is_root() {
            let given = SocketAccess { mode: Some(0o660), uid: Some(65534), gid: Some(65533) };
            given.apply(&socket).expect("root may");
            let found = std::fs::symlink_metadata(&socket).expect("it is there");
            assert_eq!((found.uid(), found.gid(), mode(&socket)), (65534, 65533, 0o660));
            access.apply(&socket).expect_err("it belongs to another user");
        }
        std::fs::remove_dir_all(&folder).expect("it is ours");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_file_never_has_more_permissions_than_it_is_to_have() {
        use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, socket};
        let path = std::env::temp_dir().join(format!("cluster-before-{}", std::process::id()));
        let fd = socket(AddressFamily::UNIX, SocketType::STREAM, None).expect("a socket");
        SocketAccess { mode: Some(0o600), ..SocketAccess::default() }.before_bind(&fd);
        bind(&fd, &SocketAddrUnix::new(&path).expect("it fits")).expect("the path is free");
        assert_eq!(mode(&path) & !0o600, 0);
        std::fs::remove_file(&path).expect("it is ours");
    }
}
