//! Whether a peer has read what was written to it.

use std::os::fd::AsFd;

/// Whether nothing is left in a Unix stream socket of what was written to it; `None` where the system
/// does not tell.
pub(super) fn is_all_read(socket: impl AsFd) -> Option<bool> {
    memory(socket).map(|unread| unread == 0)
}

/// How much of the kernel's memory holds what was written to a Unix stream socket and not read; `None` where the
/// system does not tell.
#[cfg(target_os = "linux")]
#[allow(unsafe_code, reason = "rustix has no function for this request")]
pub(super) fn memory(socket: impl AsFd) -> Option<u64> {
    use std::ffi::c_int;

    use rustix::ioctl::{Getter, Opcode, ioctl};
    /// `SIOCOUTQ`, of which libc has the other name only: bytes that the peer has not read.
    const OUTQ: Opcode = libc::TIOCOUTQ as Opcode;
    // SAFETY: the request writes an `int` to its argument, and does nothing else.
    let unread: c_int = unsafe { ioctl(socket, Getter::<OUTQ, c_int>::new()) }.ok()?;
    u64::try_from(unread).ok()
}

#[cfg(not(target_os = "linux"))]
pub(super) fn memory(_socket: impl AsFd) -> Option<u64> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn what_the_peer_has_not_read_is_seen() {
        let (mut ours, mut theirs) = UnixStream::pair().expect("a pair");
        assert_eq!(is_all_read(&ours), Some(true));
        ours.write_all(b"probe").expect("there is room");
        assert_eq!(is_all_read(&ours), Some(false));
        let mut buffer = [0; 3];
        theirs.read_exact(&mut buffer).expect("it is there");
        assert_eq!(is_all_read(&ours), Some(false), "not all of it");
        theirs.read_exact(&mut buffer[..2]).expect("it is there");
        assert_eq!(is_all_read(&ours), Some(true));
    }
}
