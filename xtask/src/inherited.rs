//! The one place where a descriptor arrives as a bare number.
#![allow(unsafe_code, reason = "an inherited descriptor has no owner that could hand it over")]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use cluster_worker::environment;
use rustix::io::FdFlags;

/// The channel that a Node primary made for us, named by `NODE_CHANNEL_FD`.
///
/// # Errors
///
/// The variable is missing or is not the number of an open descriptor above the standard three.
pub(crate) fn channel() -> io::Result<OwnedFd> {
    let number: RawFd = environment()
        .ok()
        .flatten()
        .map(|env| env.channel_fd)
        .filter(|number| *number > 2)
        .ok_or_else(|| io::Error::other("NODE_CHANNEL_FD names no descriptor"))?;
    // SAFETY: the primary opened this descriptor for us before exec, this process has opened
    // none yet (`main` has only parsed its arguments), and this function is called once, so
    // nothing else owns the number.
    let channel = unsafe { OwnedFd::from_raw_fd(number) };
    // Fails with EBADF if the number was not open, and keeps the channel from the worker.
    if let Err(error) = rustix::io::fcntl_setfd(&channel, FdFlags::CLOEXEC) {
        std::mem::forget(channel);
        return Err(error.into());
    }
    Ok(channel)
}
