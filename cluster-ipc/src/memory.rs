//! A transport without an operating system, for tests and simulation.
//!
//! Two ends in one process, with anything for handles. It cuts the stream where it is told to, or
//! by a seed, so that a run can be repeated exactly; and it treats handles as Linux treats
//! `SCM_RIGHTS`: they come with the first piece of the bytes they were sent with, and no read goes
//! on behind a write that carried some.
//!
//! ```
//! use std::sync::Arc;
//! use cluster_ipc::memory::{self, Chunks};
//! use cluster_ipc::proto::{HandleKind, Message};
//! use cluster_ipc::{Channel, ChannelConfig, Outgoing, Recv};
//!
//! let (a, mut b) = memory::pair::<&str>();
//! b.set_recv_chunks(Chunks::Seeded { seed: 7, max: 5 });
//! let mut a = Channel::with_transport(a, ChannelConfig::default());
//! let mut b = Channel::with_transport(b, ChannelConfig::default());
//!
//! a.send(&Message::User("hi".into()), Some(Outgoing::new(HandleKind::NetNative, "a socket")))?;
//! a.flush()?;
//! let Recv::Message(received) = b.recv()? else { panic!("it is all there") };
//! assert_eq!(received.handle.unwrap().handle, "a socket");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::transport::{RecvMeta, Transport};

/// How many bytes may be under way in each direction unless told otherwise: Linux's default.
pub const DEFAULT_CAPACITY: usize = 212_992;

/// Two connected ends. A handle is given on as a clone of it, as a descriptor is a new one for the
/// same file.
pub fn pair<H>() -> (MemoryTransport<H>, MemoryTransport<H>) {
    let (one, two) = (Shared::default(), Shared::default());
    (MemoryTransport::new(one.clone(), two.clone()), MemoryTransport::new(two, one))
}

/// One end of a [`pair`]. Dropping it closes it.
#[derive(Debug)]
pub struct MemoryTransport<H> {
    incoming: Shared<H>,
    outgoing: Shared<H>,
    send_chunks: Chunks,
    recv_chunks: Chunks,
    handle_limit: usize,
}

/// How many bytes a call takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Chunks {
    /// All that fit.
    #[default]
    Whole,
    /// At most that many; 0 counts as 1.
    AtMost(usize),
    /// A number from 1 to `max` for each call, the same sequence for the same seed.
    Seeded {
        /// The state of the sequence.
        seed: u64,
        /// The most; 0 counts as 1.
        max: usize,
    },
}

impl Chunks {
    fn next_limit(&mut self) -> usize {
        match self {
            Self::Whole => usize::MAX,
            Self::AtMost(n) => (*n).max(1),
            Self::Seeded { seed, max } => {
                // SplitMix64: one addition and a mix of bits.
                *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut z = *seed;
                z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                z ^= z >> 31;
                (z % (*max).max(1) as u64) as usize + 1
            }
        }
    }
}

impl<H> MemoryTransport<H> {
    fn new(incoming: Shared<H>, outgoing: Shared<H>) -> Self {
        Self {
            incoming,
            outgoing,
            send_chunks: Chunks::Whole,
            recv_chunks: Chunks::Whole,
            handle_limit: usize::MAX,
        }
    }

    /// Sets how many bytes each write of this end takes. Default: all for which there is room.
    pub fn set_send_chunks(&mut self, chunks: Chunks) {
        self.send_chunks = chunks;
    }

    /// Sets how many bytes each read of this end brings. Default: all that are there.
    pub fn set_recv_chunks(&mut self, chunks: Chunks) {
        self.recv_chunks = chunks;
    }

    /// Sets how many bytes of this end's may be under way. Default: [`DEFAULT_CAPACITY`].
    pub fn set_capacity(&mut self, bytes: usize) {
        self.outgoing.pipe().capacity = bytes;
    }

    /// Sets how many handles each read of this end can take, as if it had too many open files
    /// for more; the rest is lost, and the read says so. Default: no limit.
    pub fn set_handle_limit(&mut self, handles: usize) {
        self.handle_limit = handles;
    }

    /// Bytes that wait to be read by this end.
    pub fn readable(&self) -> usize {
        self.incoming.pipe().used
    }

    /// Whether a read of this end would bring something, the end of the stream included.
    pub fn is_readable(&self) -> bool {
        let pipe = self.incoming.pipe();
        pipe.used > 0 || pipe.writer_closed
    }

    /// Whether a write of this end would do something, failing included.
    pub fn is_writable(&self) -> bool {
        let pipe = self.outgoing.pipe();
        pipe.used < pipe.capacity || pipe.reader_closed
    }

    /// Closes this end: what is unread here is lost; what was written the peer still reads.
    pub fn close(&mut self) {
        self.outgoing.pipe().writer_closed = true;
        let unread = {
            let mut pipe = self.incoming.pipe();
            pipe.reader_closed = true;
            pipe.used = 0;
            std::mem::take(&mut pipe.writes)
        };
        // Handles may do anything when they are dropped: not under the lock.
        drop(unread);
    }
}

impl<H> Drop for MemoryTransport<H> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<H: Clone> Transport for MemoryTransport<H> {
    type Handle = H;

    fn send(&mut self, bytes: &[u8], handles: &[&H]) -> io::Result<usize> {
        let limit = self.send_chunks.next_limit();
        let mut pipe = self.outgoing.pipe();
        if pipe.reader_closed || pipe.writer_closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let sent = bytes.len().min(limit).min(pipe.capacity.saturating_sub(pipe.used));
        if sent == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        pipe.used += sent;
        pipe.writes.push_back(Write {
            bytes: bytes[..sent].to_vec(),
            read: 0,
            handles: handles.iter().map(|handle| (*handle).clone()).collect(),
        });
        Ok(sent)
    }

    fn recv(&mut self, buf: &mut [u8], handles: &mut Vec<H>) -> io::Result<RecvMeta> {
        let limit = self.recv_chunks.next_limit().min(buf.len());
        let mut lost = Vec::new();
        let mut pipe = self.incoming.pipe();
        if pipe.reader_closed {
            return Ok(RecvMeta::default());
        }
        let mut bytes = 0;
        while bytes < limit {
            let Some(write) = pipe.writes.front_mut() else { break };
            let rest = &write.bytes[write.read..];
            let piece = rest.len().min(limit - bytes);
            buf[bytes..bytes + piece].copy_from_slice(&rest[..piece]);
            bytes += piece;
            write.read += piece;
            let whole = write.read == write.bytes.len();
            let carried = std::mem::take(&mut write.handles);
            if whole {
                pipe.writes.pop_front();
            }
            if !carried.is_empty() {
                let mut carried = carried.into_iter();
                handles.extend(carried.by_ref().take(self.handle_limit));
                lost.extend(carried);
                break;
            }
        }
        pipe.used -= bytes;
        if bytes == 0 && !pipe.writer_closed {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        drop(pipe);
        Ok(RecvMeta { bytes, truncated: !lost.is_empty() })
    }
}

/// One direction.
#[derive(Debug)]
struct Pipe<H> {
    writes: VecDeque<Write<H>>,
    used: usize,
    capacity: usize,
    writer_closed: bool,
    reader_closed: bool,
}

#[derive(Debug)]
struct Write<H> {
    bytes: Vec<u8>,
    read: usize,
    /// Until the first piece is read.
    handles: Vec<H>,
}

#[derive(Debug)]
struct Shared<H>(Arc<Mutex<Pipe<H>>>);

impl<H> Shared<H> {
    fn pipe(&self) -> MutexGuard<'_, Pipe<H>> {
        // A clone of a handle may panic; the pipe is whole all the same.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<H> Clone for Shared<H> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<H> Default for Shared<H> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Pipe {
            writes: VecDeque::new(),
            used: 0,
            capacity: DEFAULT_CAPACITY,
            writer_closed: false,
            reader_closed: false,
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(end: &mut MemoryTransport<u32>, most: usize) -> (String, Vec<u32>) {
        let (mut buf, mut handles) = (vec![0; most], Vec::new());
        let meta = end.recv(&mut buf, &mut handles).unwrap();
        buf.truncate(meta.bytes);
        (String::from_utf8(buf).unwrap(), handles)
    }

    #[test]
    fn a_read_ends_behind_a_write_with_handles_and_they_come_with_its_first_piece() {
        let (mut a, mut b) = pair();
        a.send(b"ab", &[]).unwrap();
        a.send(b"cd", &[]).unwrap();
        a.send(b"ef", &[&1]).unwrap();
        a.send(b"gh", &[]).unwrap();
        a.send(b"ij", &[&2]).unwrap();
        a.send(b"kl", &[&3]).unwrap();
        assert_eq!(read(&mut b, 100), ("abcdef".into(), vec![1]));
        assert_eq!(read(&mut b, 3), ("ghi".into(), vec![2]));
        // The rest of a write whose handles are gone is like any bytes.
        assert_eq!(read(&mut b, 100), ("jkl".into(), vec![3]));
        assert_eq!(b.recv(&mut [0], &mut vec![]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_full_pipe_takes_a_part_and_then_nothing() {
        let (mut a, mut b) = pair::<u32>();
        a.set_capacity(5);
        assert_eq!(a.send(b"abc", &[]).unwrap(), 3);
        assert_eq!(a.send(b"defg", &[]).unwrap(), 2);
        assert!(!a.is_writable());
        assert_eq!(a.send(b"fg", &[&1]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(read(&mut b, 1).0, "a");
        assert_eq!(a.send(b"fg", &[&1]).unwrap(), 1);
        assert_eq!((b.readable(), read(&mut b, 100)), (5, ("bcdef".into(), vec![1])));
    }

    #[test]
    fn what_was_written_is_read_after_the_writer_closed() {
        let (mut a, mut b) = pair();
        a.send(b"abc", &[&1]).unwrap();
        b.send(b"lost", &[&2]).unwrap();
        drop(a);
        assert_eq!(b.send(b"x", &[]).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(read(&mut b, 2), ("ab".into(), vec![1]));
        assert_eq!(read(&mut b, 2), ("c".into(), vec![]));
        assert_eq!(read(&mut b, 2), (String::new(), vec![]));
    }

    #[test]
    fn handles_over_the_limit_are_lost_and_the_read_says_so() {
        let (mut a, mut b) = pair();
        b.set_handle_limit(1);
        a.send(b"a", &[&1, &2]).unwrap();
        let mut handles = Vec::new();
        let meta = b.recv(&mut [0; 9], &mut handles).unwrap();
        assert_eq!((meta, handles), (RecvMeta { bytes: 1, truncated: true }, vec![1]));
    }

    #[test]
    fn a_seed_cuts_the_same_way_again_and_not_always_alike() {
        let mut one = Chunks::Seeded { seed: 1, max: 10 };
        let mut two = one;
        let limits: Vec<usize> = (0..100).map(|_| one.next_limit()).collect();
        assert!(limits.iter().all(|limit| (1..=10).contains(limit)));
        assert!(limits.contains(&1) && limits.contains(&10));
        assert_eq!(limits, (0..100).map(|_| two.next_limit()).collect::<Vec<_>>());
    }
}
