//! The channel to the primary, as bytes.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{
    RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recv, send, sendmsg,
};

use crate::Outcome;

const ONLINE: &str = r#"{"cmd":"NODE_CLUSTER","act":"online","seq":0}"#;

/// The most descriptors that one message may carry (`SCM_MAX_FD`).
pub(crate) const MAX_DESCRIPTORS: usize = 253;

pub(crate) struct RawChannel(OwnedFd);

#[allow(dead_code, reason = "each attack uses its part of it")]
impl RawChannel {
    /// Takes the descriptor that `NODE_CHANNEL_FD` names.
    #[allow(unsafe_code, reason = "the descriptor is inherited, and only its number is known")]
    pub(crate) fn open() -> io::Result<Self> {
        // Not in the environment any more, as this program is linked with cluster-worker.
        let worker = cluster_worker::environment().map_err(io::Error::other)?;
        let number = worker.ok_or_else(|| io::Error::other("not started by a primary"))?.channel_fd;
        // SAFETY: the primary placed the channel there, and nothing else in this process uses it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(number) }))
    }

    pub(crate) fn say_online(&self) -> io::Result<()> {
        self.send(ONLINE)
    }

    /// Writes a line.
    pub(crate) fn send(&self, line: &str) -> io::Result<()> {
        self.write(format!("{line}\n").as_bytes())
    }

    /// Writes all of that; it waits where the channel is full.
    pub(crate) fn write(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let sent = retry_on_intr(|| send(&self.0, bytes, SendFlags::NOSIGNAL))?;
            bytes = &bytes[sent..];
        }
        Ok(())
    }

    /// Writes that with descriptors (up to [`MAX_DESCRIPTORS`]), which come with its first byte.
    pub(crate) fn write_with(
        &self,
        bytes: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let sent = send_with(&self.0, bytes, descriptors)?;
        self.write(&bytes[sent..])
    }

    /// Reads until that was among what was read.
    pub(crate) fn read_until(&self, text: &[u8]) -> io::Result<()> {
        let mut read = Vec::new();
        let mut buffer = vec![0; 64 << 10];
        while !read.windows(text.len()).any(|window| window == text) {
            let (_, length) = recv(&self.0, &mut buffer, RecvFlags::empty())?;
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            read.extend_from_slice(&buffer[..length]);
        }
        Ok(())
    }

    /// Reads lines, as long as `each` wants more of them and there are any. Descriptors that come are ignored.
    pub(crate) fn each_line(&self, mut each: impl FnMut(&str) -> bool) -> Outcome {
        let (mut line, mut byte) = (Vec::new(), [0]);
        loop {
            match recv(&self.0, &mut byte, RecvFlags::empty()) {
                Ok((_, 0)) | Err(Errno::CONNRESET) => return Ok(()),
                Ok(_) if byte == *b"\n" => {
                    if !each(&String::from_utf8_lossy(&line)) {
                        return Ok(());
                    }
                    line.clear();
                }
                Ok(_) => line.extend(byte),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Reads, and ignores, everything until the primary closes the channel.
    pub(crate) fn read_to_end(&self) -> Outcome {
        let mut buffer = vec![0; 64 << 10];
        loop {
            match recv(&self.0, &mut buffer, RecvFlags::empty()) {
                Ok((_, 0)) | Err(Errno::CONNRESET) => return Ok(()),
                Ok(_) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl AsFd for RawChannel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Writes to a Unix socket, with descriptors; how much was written.
#[allow(dead_code, reason = "for attacks by descriptors")]
pub(crate) fn send_with(
    socket: impl AsFd,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("too many descriptors for one message"));
    }
    let parts = [IoSlice::new(bytes)];
    Ok(retry_on_intr(|| sendmsg(&socket, &parts, &mut control, SendFlags::NOSIGNAL))?)
}
