//! What the child does: it becomes the worker's user, creates the sockets, and returns them.
//!
//! Between fork and exit it makes system calls only, with what was made ready before: it neither
//! allocates nor locks.

#![allow(unsafe_code, reason = "close_range(2) is in no safe library")]

use std::ffi::{CStr, CString};
use std::io::IoSlice;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use cluster_ipc::shortest_path;
use cluster_proto::{AddressType, Field, ListenQuery};
use rustix::fs::{CWD, FileType, Mode, OFlags, RawMode, Stat, fchmod, fstat, open, unlinkat};
use rustix::io::Errno;
use rustix::net::{
    self, AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketType,
};
use rustix::process::{DumpableBehavior, geteuid, set_dumpable_behavior, umask};

use super::super::credentials::Credentials;
use super::super::kernel::{GroupOptions, GroupSockets};
use super::super::listen::{Addresses, abstract_socket, make_socket, tcp, udp, wanted_by_all};
use super::super::socket_file::{Identity, SocketFile, is_dead};
use crate::socket_access::SocketAccess;

/// How many descriptors the child returns at most.
pub(in super::super) const MOST_RETURNED: usize = 2;

/// The number of the child's end of the socket pair; the standard ones stay.
const ANSWER: i32 = 3;

/// The child's task, prepared before the fork.
pub(in super::super) enum Recipe {
    Tcp {
        addresses: Addresses,
        bits: u32,
        backlog: Option<i32>,
    },
    Udp {
        addresses: Addresses,
        bits: u32,
    },
    /// The first sockets of a group.
    Group {
        addresses: Addresses,
        options: GroupOptions,
    },
    /// One more of them.
    Slot {
        address: SocketAddr,
        options: GroupOptions,
    },
    Path(PathRecipe),
    Abstract {
        name: SocketAddrUnix,
        backlog: Option<i32>,
    },
    /// Remove files of sockets.
    Remove(Vec<(CString, Identity)>),
}

/// A Unix-domain socket with a file.
pub(in super::super) struct PathRecipe {
    path: CString,
    address: SocketAddrUnix,
    backlog: Option<i32>,
    /// The file's permissions; else as the umask has it,
    mode: Option<u32>,
    /// and these.
    more: u32,
    /// A file that is known to be of a dead socket.
    replace: Option<Identity>,
}

/// Why no socket was created.
pub(super) struct Failure {
    errno: Errno,
    /// The file of the socket that already has the path.
    in_the_way: Option<OwnedFd>,
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self { errno, in_the_way: None }
    }
}

type Made = Result<(OwnedFd, Option<OwnedFd>), Failure>;

impl Recipe {
    /// For a listen of a worker's.
    pub(in super::super) fn of(
        query: &ListenQuery,
        shared: bool,
        access: &SocketAccess,
        replace: Option<Identity>,
    ) -> Result<Self, Errno> {
        let backlog = (!shared).then(|| query.backlog_length());
        let bits = query.flag_bits();
        match query.address_type {
            Field::Is(AddressType::Udp4 | AddressType::Udp6) => {
                Ok(Self::Udp { addresses: Addresses::of(query)?, bits })
            }
            Field::Is(AddressType::Pipe) => {
                if let Some(name) = query.abstract_name() {
                    let name = SocketAddrUnix::new_abstract_name(name.as_bytes())?;
                    return Ok(Self::Abstract { name, backlog });
                }
                let Field::Is(path) = &query.address else { return Err(Errno::INVAL) };
                let path = Path::new(path);
                Ok(Self::Path(PathRecipe {
                    address: SocketAddrUnix::new(shortest_path(path).as_path())?,
                    path: text(path)?,
                    backlog,
                    mode: access.mode.map(|mode| mode & 0o777),
                    more: wanted_by_all(query),
                    replace,
                }))
            }
            _ => Ok(Self::Tcp { addresses: Addresses::of(query)?, bits, backlog }),
        }
    }

    pub(in super::super) fn removal(files: &[SocketFile]) -> Self {
        let file = |file: &SocketFile| Some((text(file.path()).ok()?, file.identity()));
        Self::Remove(files.iter().filter_map(file).collect())
    }

    fn follow(&self) -> Made {
        let one = |fd: OwnedFd| (fd, None);
        match self {
            Self::Tcp { addresses, bits, backlog } => {
                Ok(one(addresses.bind(|address| tcp(address, *bits, *backlog))?))
            }
            Self::Udp { addresses, bits } => {
                Ok(one(addresses.bind(|address| udp(address, *bits))?))
            }
            Self::Group { addresses, options } => {
                let GroupSockets { room, first } = GroupSockets::bind(addresses, *options)?;
                Ok((room, Some(first)))
            }
            Self::Slot { address, options } => Ok(one(options.socket(*address)?)),
            Self::Path(path) => path.bind(),
            Self::Abstract { name, backlog } => Ok(one(abstract_socket(name, *backlog)?)),
            Self::Remove(files) => {
                for (path, identity) in files {
                    remove(path, *identity);
                }
                Err(Errno::NOENT.into())
            }
        }
    }
}

impl PathRecipe {
    fn bind(&self) -> Made {
        let before = umask(Mode::empty()).bits() as u32;
        let mode = self.mode.unwrap_or((0o777 & !before) | self.more);
        let fd = make_socket(AddressFamily::UNIX, SocketType::STREAM)?;
        // The file gets the socket's permissions: no path is followed for them.
        fchmod(&fd, Mode::from_raw_mode(mode as RawMode))?;
        match net::bind(&fd, &self.address) {
            Err(Errno::ADDRINUSE) => self.replace(&fd)?,
            // What Node's programs are told of a folder that is not there.
            Err(Errno::NOENT) => return Err(Errno::ACCESS.into()),
            bound => bound?,
        }
        let (file, found) = find(&self.path)?;
        if !is_socket(&found) || found.st_uid != geteuid().as_raw() {
            return Err(Errno::PERM.into());
        }
        if let Some(backlog) = self.backlog
            && let Err(errno) = net::listen(&fd, backlog)
        {
            remove(&self.path, identity(&found));
            return Err(errno.into());
        }
        Ok((fd, Some(file)))
    }

    /// Binds in the place of a dead socket.
    fn replace(&self, fd: &OwnedFd) -> Result<(), Failure> {
        let (file, found) = find(&self.path)?;
        let is_ours = is_socket(&found) && found.st_uid == geteuid().as_raw();
        let is_dead =
            || self.replace == Some(identity(&found)) || is_ours && is_dead(&self.address);
        if !is_dead() || !remove(&self.path, identity(&found)) {
            return Err(Failure { errno: Errno::ADDRINUSE, in_the_way: Some(file) });
        }
        Ok(net::bind(fd, &self.address)?)
    }
}

fn text(path: &Path) -> Result<CString, Errno> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::INVAL)
}

/// The file at that path itself: a link is not followed.
fn find(path: &CStr) -> Result<(OwnedFd, Stat), Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = open(path, flags, Mode::empty())?;
    let found = fstat(&file)?;
    Ok((file, found))
}

pub(in super::super) fn is_socket(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::Socket
}

pub(in super::super) fn identity(found: &Stat) -> Identity {
    #[allow(clippy::unnecessary_cast, reason = "the types differ by architecture")]
    (found.st_dev as u64, found.st_ino as u64, found.st_mtime as i64, found.st_mtime_nsec as i64)
}

/// Removes a file, unless another is there by now; whether it did.
fn remove(path: &CStr, known: Identity) -> bool {
    find(path).is_ok_and(|(_, found)| identity(&found) == known)
        && unlinkat(CWD, path, rustix::fs::AtFlags::empty()).is_ok()
}

/// All that the child does; its exit status.
pub(in super::super) fn run(recipe: &Recipe, credentials: &Credentials, answer: &OwnedFd) -> i32 {
    let Some(answer) = keep_only(answer) else { return 1 };
    // Its memory is the primary's: no process of the worker's user may read it. The system sets that again
    // when the user changes (fs.suid_dumpable).
    let conceal = || set_dumpable_behavior(DumpableBehavior::NotDumpable);
    if conceal().is_err() {
        return 1;
    }
    let made = match credentials.take() {
        Ok(()) if conceal().is_err() => return 1,
        Ok(()) => recipe.follow(),
        Err((_, errno)) => Err(errno.into()),
    };
    let sent = match &made {
        Ok((first, second)) => send(&answer, 0, Some(first), second.as_ref()),
        Err(failure) => {
            send(&answer, failure.errno.raw_os_error(), failure.in_the_way.as_ref(), None)
        }
    };
    i32::from(sent.is_err())
}

/// Closes all descriptors but the standard ones and that one: as long as a stranger may stop this process
/// it must hold nothing of the primary's open.
fn keep_only(answer: &OwnedFd) -> Option<ManuallyDrop<OwnedFd>> {
    // SAFETY: whatever is open there has no owner in this process, which ends without dropping
    // anything of the primary's.
    let mut kept = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(ANSWER) });
    if answer.as_raw_fd() != ANSWER {
        rustix::io::dup2(answer, &mut kept).ok()?;
    }
    // SAFETY: it takes numbers only; what is closed is not used in this process.
    // (Before Linux 5.9 they stay open.)
    let _ = unsafe { libc::syscall(libc::SYS_close_range, ANSWER + 1, libc::c_int::MAX, 0) };
    Some(kept)
}

fn send(
    answer: &OwnedFd,
    errno: i32,
    first: Option<&OwnedFd>,
    second: Option<&OwnedFd>,
) -> Result<(), Errno> {
    let none = answer.as_fd();
    let fds: [BorrowedFd<'_>; MOST_RETURNED] =
        [first.map_or(none, AsFd::as_fd), second.map_or(none, AsFd::as_fd)];
    let count = usize::from(first.is_some()) + usize::from(second.is_some());
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_RETURNED))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if count > 0 && !control.push(SendAncillaryMessage::ScmRights(&fds[..count])) {
        return Err(Errno::NOBUFS);
    }
    let errno = errno.to_ne_bytes();
    net::sendmsg(answer, &[IoSlice::new(&errno)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}
