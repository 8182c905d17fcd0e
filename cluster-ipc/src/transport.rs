//! What a channel needs of whatever carries it.

use std::io;

/// A stream of bytes that can carry handles beside them, as a Unix stream socket does.
///
/// Implementations: [`Socket`](crate::Socket), and [`memory`](crate::memory) for tests and
/// simulation.
pub trait Transport {
    /// What travels beside the bytes: `OwnedFd`, or a stand-in.
    type Handle;

    /// Writes some of `bytes`, which are not empty, with all of `handles` beside the first of
    /// them, and says how many it wrote: at least one. It must not wait.
    ///
    /// # Errors
    /// `WouldBlock` when there is no room; `BrokenPipe` or `ConnectionReset` when the peer is
    /// gone. With any error nothing was written, neither bytes nor handles.
    fn send(&mut self, bytes: &[u8], handles: &[&Self::Handle]) -> io::Result<usize>;

    /// Reads some bytes into `buf`, which is not empty, and appends the handles that came with
    /// them. It must not wait, and must not read past the first piece of a write that carried
    /// handles.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing yet. The end of the stream is no error but zero bytes.
    fn recv(&mut self, buf: &mut [u8], handles: &mut Vec<Self::Handle>) -> io::Result<RecvMeta>;
}

/// What a [`Transport::recv`] brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecvMeta {
    /// How many bytes; 0 at the end of the stream.
    pub bytes: usize,
    /// Handles were sent with these bytes that could not be received (`MSG_CTRUNC`).
    pub truncated: bool,
}
