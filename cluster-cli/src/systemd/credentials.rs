//! Who wrote a datagram, as the kernel has it.
//!
//! (rustix would have it too, but takes it for granted that the number is not 0, which it is for a
//! process that this one's namespace does not know.)
#![cfg_attr(
    target_os = "linux",
    allow(unsafe_code, reason = "recvmsg(2) and its control data have no other form")
)]

use std::io;
use std::os::fd::BorrowedFd;

/// Has the kernel add the sender's credentials to each datagram.
#[cfg(target_os = "linux")]
pub(super) fn ask(socket: BorrowedFd<'_>) -> io::Result<()> {
    Ok(rustix::net::sockopt::set_socket_passcred(socket, true)?)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn ask(_socket: BorrowedFd<'_>) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Room for the credentials of one process, and for nothing else: descriptors that come along find
/// none, and the kernel closes them.
#[cfg(target_os = "linux")]
const SPACE: usize = {
    // SAFETY: it computes a length.
    unsafe { libc::CMSG_SPACE(size_of::<libc::ucred>() as libc::c_uint) as usize }
};

/// As the kernel aligns it.
#[cfg(target_os = "linux")]
#[repr(C, align(16))]
struct Control([u8; SPACE]);

/// Reads a datagram: its length, as far as it fits, and the process that wrote it, if it is known
/// here.
#[cfg(target_os = "linux")]
pub(super) fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
) -> io::Result<(usize, Option<u32>)> {
    use std::os::fd::AsRawFd;
    let mut control = Control([0; SPACE]);
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: all zeros are a message without parts, and without an address.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control.0).cast();
    message.msg_controllen = SPACE as _;
    // SAFETY: the message names memory that lives until the end of this function, with its lengths;
    // the descriptor is borrowed.
    let length =
        unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    // SAFETY: the kernel has filled the message; the header it names, if any, is in `control`.
    let header = unsafe { libc::CMSG_FIRSTHDR(&raw const message).as_ref() };
    let written = header.filter(|header| {
        (header.cmsg_level, header.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_CREDENTIALS)
    });
    let sender = written.map(|header| {
        // SAFETY: by its level and type the header is followed by credentials, for which `control`
        // has room. They need not be aligned.
        unsafe { libc::CMSG_DATA(header).cast::<libc::ucred>().read_unaligned() }
    });
    let pid = sender.and_then(|sender| u32::try_from(sender.pid).ok()).filter(|pid| *pid != 0);
    Ok((length, pid))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn receive(
    _socket: BorrowedFd<'_>,
    _buffer: &mut [u8],
) -> io::Result<(usize, Option<u32>)> {
    Err(io::ErrorKind::Unsupported.into())
}
