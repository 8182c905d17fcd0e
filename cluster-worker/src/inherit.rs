//! What a process inherits: the channel's descriptor.
//!
//! All of this crate's unsafe code is here and in `environment`.
#![expect(unsafe_code, reason = "an inherited descriptor is a bare number")]

use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use cluster_proto::env::{UNIQUE_ID, WorkerEnv};
use rustix::fs::FileType;
use rustix::io::{Errno, FdFlags};
use rustix::net::{AddressFamily, SocketType};

use crate::environment::environment;
use crate::error::{ChannelProblem, StartError};

/// Whether the channel has been taken.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// Whether this process is a worker of some cluster (`cluster.isWorker`).
///
/// Depends only on the environment variable `NODE_UNIQUE_ID`, as it was when the process started.
pub fn is_worker() -> bool {
    TAKEN.load(Ordering::Acquire) || crate::environment::is_set(UNIQUE_ID)
}

/// The channel that the environment names, if this process is a worker, and what else it says.
pub(crate) fn channel() -> Result<Option<(WorkerEnv, OwnedFd)>, StartError> {
    if TAKEN.load(Ordering::Acquire) {
        return Err(StartError::AlreadyStarted);
    }
    let Some(env) = environment()? else { return Ok(None) };
    check(env.channel_fd).map_err(|problem| StartError::Channel { fd: env.channel_fd, problem })?;
    if TAKEN.swap(true, Ordering::AcqRel) {
        return Err(StartError::AlreadyStarted);
    }
    // SAFETY: `check` has found the descriptor open and a Unix stream socket. The environment says
    // that it was inherited for this very purpose, so nothing in this process owns it, and the
    // swap of `TAKEN` lets it be taken once.
    let fd = unsafe { OwnedFd::from_raw_fd(env.channel_fd) };
    let flags = rustix::io::fcntl_getfd(&fd).map_err(std::io::Error::from)?;
    rustix::io::fcntl_setfd(&fd, flags | FdFlags::CLOEXEC).map_err(std::io::Error::from)?;
    crate::environment::remove();
    Ok(Some((env, fd)))
}

fn check(fd: RawFd) -> Result<(), ChannelProblem> {
    // SAFETY: the borrow ends with this function, and each call on it only looks: on a number that
    // is not open the first one fails with EBADF.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    let stat = rustix::fs::fstat(fd).map_err(|error| match error {
        Errno::BADF => ChannelProblem::NotOpen,
        other => ChannelProblem::Io(other.into()),
    })?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
        return Err(ChannelProblem::NotASocket);
    }
    let kind = rustix::net::sockopt::socket_type(fd).map_err(|e| ChannelProblem::Io(e.into()))?;
    let name = rustix::net::getsockname(fd).map_err(|e| ChannelProblem::Io(e.into()))?;
    if kind != SocketType::STREAM || name.address_family() != AddressFamily::UNIX {
        return Err(ChannelProblem::NotUnixStream);
    }
    Ok(())
}

/// A duplicate of a poll's descriptor.
#[cfg(feature = "tokio")]
pub(crate) fn duplicate(of: &mio::Poll) -> std::io::Result<OwnedFd> {
    // SAFETY: it is open as long as the poll lives, which is borrowed here.
    unsafe { BorrowedFd::borrow_raw(std::os::fd::AsRawFd::as_raw_fd(of)) }.try_clone_to_owned()
}
