//! Finds the frames in a stream of bytes.

mod state;

use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use bytes::Bytes;

pub use state::DeframerState;

/// How frames are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Framing {
    /// A newline ends each frame (`json`).
    Line,
    /// Four bytes of big-endian length precede each frame (`advanced`, `postcard`).
    Length,
}

impl Framing {
    const HEADER: usize = 4;
}

/// The longest frame that a [`Deframer`] takes unless told otherwise: 64 MiB.
pub const DEFAULT_MAX_FRAME: usize = 64 << 20;

/// Takes bytes in any split, and gives frames, one at a time.
///
/// Frames carry their place in the stream, by which descriptors find the frame that they came
/// with. As each frame is asked for, the framing may change between two of them.
///
/// ```
/// use cluster_proto::{Deframer, Framing};
///
/// let mut deframer = Deframer::new(Framing::Line);
/// deframer.extend(b"{\"a\":1}\n{\"b\"");
/// assert_eq!(deframer.next_frame().unwrap().unwrap().payload, b"{\"a\":1}");
/// assert!(deframer.next_frame().unwrap().is_none());
/// deframer.extend(b":2}\n");
/// let frame = deframer.next_frame().unwrap().unwrap();
/// assert_eq!((frame.payload, frame.range), (&b"{\"b\":2}"[..], 8..16));
/// ```
#[derive(Debug)]
pub struct Deframer {
    framing: Framing,
    max_frame: usize,
    /// What was received and not yet given out lies from `start` on.
    buf: Vec<u8>,
    start: usize,
    /// Bytes behind `start` that are known to hold no newline.
    scanned: usize,
    /// The next frame, if it is known where it ends: its payload behind `start`, and its whole length.
    found: Option<(Range<usize>, usize)>,
    /// The place of `buf[start]` in the stream.
    position: u64,
    /// A frame was given out, since room was last made, for which more memory is wanted than is kept
    /// when nothing waits.
    large: bool,
    failed: Option<FrameError>,
}

/// A frame that is taken: where its payload lies in the buffer, and the frame in the stream.
struct Taken {
    payload: Range<usize>,
    range: Range<u64>,
}

/// One frame.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The frame without its framing.
    pub payload: &'a [u8],
    /// Where the frame lies in the stream, framing included; the first byte ever is 0.
    pub range: Range<u64>,
}

impl Deframer {
    /// A deframer at the start of a stream, with [`DEFAULT_MAX_FRAME`].
    pub fn new(framing: Framing) -> Self {
        Self {
            framing,
            max_frame: DEFAULT_MAX_FRAME,
            buf: Vec::new(),
            start: 0,
            scanned: 0,
            found: None,
            position: 0,
            large: false,
            failed: None,
        }
    }

    /// Sets the longest payload that is taken, in bytes.
    #[must_use]
    pub fn max_frame(mut self, max_frame: usize) -> Self {
        self.max_frame = max_frame;
        self
    }

    /// Changes the framing from the next frame on.
    pub fn set_framing(&mut self, framing: Framing) {
        self.framing = framing;
        self.scanned = 0;
        self.found = None;
    }

    /// Takes received bytes. After an error they are of no use, and are dropped.
    pub fn extend(&mut self, bytes: &[u8]) {
        if self.failed.is_some() {
            return;
        }
        if self.start > 0 && (self.start == self.buf.len() || self.start >= self.buf.len() / 2) {
            self.buf.drain(..self.start);
            self.start = 0;
            // A large message must not hold its memory forever; but after one comes another, most
            // likely, and memory that is allocated again costs more than the bytes that it is for.
            let large = core::mem::take(&mut self.large);
            if !large && self.buf.len() < RETAINED && self.buf.capacity() > 2 * RETAINED {
                self.buf.shrink_to(RETAINED);
            }
        }
        self.buf.extend_from_slice(bytes);
    }

    /// Received bytes that no frame has used yet.
    pub fn buffered(&self) -> usize {
        self.buf.len() - self.start
    }

    /// How many bytes the frames given out so far took: the place at which the next one starts.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next whole frame, if it is there.
    ///
    /// # Errors
    /// [`FrameError`] for a frame over the limit, as soon as that is known; the stream is of no
    /// use from there on, and the error stays.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        let Some(Taken { payload, range }) = self.take()? else { return Ok(None) };
        Ok(Some(Frame { payload: &self.buf[payload], range }))
    }

    /// So much of the next frame's payload as has been received, and whether that is all of it.
    ///
    /// # Errors
    /// As [`next_frame`](Self::next_frame).
    pub fn peek(&mut self) -> Result<(&[u8], bool), FrameError> {
        let whole = self.find()?;
        let payload = match &self.found {
            Some((payload, _)) => self.start + payload.start..self.start + payload.end,
            None => {
                let header = if self.framing == Framing::Length { Framing::HEADER } else { 0 };
                (self.start + header).min(self.buf.len())..self.buf.len()
            }
        };
        Ok((&self.buf[payload], whole))
    }

    /// As [`next_frame`](Self::next_frame), the payload by itself: a long one is not copied.
    ///
    /// # Errors
    /// As [`next_frame`](Self::next_frame).
    pub fn next_owned(&mut self) -> Result<Option<(Bytes, Range<u64>)>, FrameError> {
        let Some(Taken { payload, range }) = self.take()? else { return Ok(None) };
        if payload.len() < RETAINED {
            return Ok(Some((Bytes::copy_from_slice(&self.buf[payload]), range)));
        }
        // The memory goes with it; what follows starts over.
        let rest = self.buf[self.start..].to_vec();
        let mut bytes = core::mem::replace(&mut self.buf, rest);
        self.start = 0;
        self.large = false;
        bytes.truncate(payload.end);
        Ok(Some((Bytes::from(bytes).slice(payload), range)))
    }

    /// Takes the next frame, if it is there: where its payload lies, and its place in the stream.
    fn take(&mut self) -> Result<Option<Taken>, FrameError> {
        self.find()?;
        let Some((payload, whole)) = self.found.take() else { return Ok(None) };
        let payload = self.start + payload.start..self.start + payload.end;
        let from = self.position;
        self.position += whole as u64;
        self.start += whole;
        self.scanned = 0;
        self.large |= whole > RETAINED;
        Ok(Some(Taken { payload, range: from..self.position }))
    }

    /// Finds out where the next frame ends, if it is there; whether it is.
    fn find(&mut self) -> Result<bool, FrameError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        if self.found.is_some() {
            return Ok(true);
        }
        let found = match self.framing {
            Framing::Line => self.find_line(),
            Framing::Length => self.find_length(),
        };
        match found {
            Ok(found) => {
                self.found = found;
                Ok(self.found.is_some())
            }
            Err(error) => {
                self.failed = Some(error.clone());
                // Nothing behind it can be told apart: none of it is kept.
                (self.buf, self.start) = (Vec::new(), 0);
                Err(error)
            }
        }
    }

    /// Where the payload lies behind `start`, and how long the whole frame is.
    fn find_line(&mut self) -> Result<Option<(Range<usize>, usize)>, FrameError> {
        let fresh = &self.buf[self.start..];
        let end = fresh[self.scanned..].iter().position(|b| *b == b'\n').map(|n| self.scanned + n);
        if end.unwrap_or(fresh.len()) > self.max_frame {
            return Err(FrameError { limit: self.max_frame, length: None });
        }
        self.scanned = fresh.len();
        Ok(end.map(|end| (0..end, end + 1)))
    }

    fn find_length(&mut self) -> Result<Option<(Range<usize>, usize)>, FrameError> {
        let fresh = &self.buf[self.start..];
        let Some(header) = fresh.first_chunk::<{ Framing::HEADER }>() else { return Ok(None) };
        let length = u32::from_be_bytes(*header) as usize;
        if length > self.max_frame {
            return Err(FrameError { limit: self.max_frame, length: Some(length) });
        }
        let whole = Framing::HEADER + length;
        Ok((fresh.len() >= whole).then_some((Framing::HEADER..whole, whole)))
    }
}

/// Buffer that is kept when nothing waits.
const RETAINED: usize = 256 << 10;

/// A frame is longer than the channel takes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct FrameError {
    /// The limit, in bytes.
    pub limit: usize,
    /// The frame's length, where it was announced.
    pub length: Option<usize>,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.length {
            Some(n) => write!(f, "a frame of {n} bytes is over the limit of {}", self.limit),
            None => write!(f, "a frame is over the limit of {} bytes", self.limit),
        }
    }
}

impl core::error::Error for FrameError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endless_line_is_an_error_before_its_end_and_stays_one() {
        let mut deframer = Deframer::new(Framing::Line).max_frame(10);
        deframer.extend(b"0123456789\n");
        assert_eq!(deframer.next_frame().unwrap().unwrap().payload, b"0123456789");
        deframer.extend(b"0123456789a");
        let error = deframer.next_frame().unwrap_err();
        assert_eq!(error, FrameError { limit: 10, length: None });
        deframer.extend(b"\nok\n");
        assert_eq!(deframer.next_frame(), Err(error));
    }

    #[test]
    fn a_hostile_length_is_an_error_at_once() {
        let mut deframer = Deframer::new(Framing::Length).max_frame(10);
        deframer.extend(&[0xff, 0xff, 0xff]);
        assert_eq!(deframer.next_frame(), Ok(None));
        deframer.extend(&[0xff]);
        let error = FrameError { limit: 10, length: Some(0xffff_ffff) };
        assert_eq!(deframer.next_frame(), Err(error));
    }

    #[test]
    fn the_framing_may_change_between_two_frames() {
        let mut deframer = Deframer::new(Framing::Line);
        deframer.extend(b"a\n\0\0\0\x02\n\nb\n");
        assert_eq!(deframer.next_frame().unwrap().unwrap().payload, b"a");
        deframer.set_framing(Framing::Length);
        let frame = deframer.next_frame().unwrap().unwrap();
        assert_eq!((frame.payload, frame.range), (&b"\n\n"[..], 2..8));
        deframer.set_framing(Framing::Line);
        assert_eq!(deframer.next_frame().unwrap().unwrap().payload, b"b");
    }

    #[test]
    fn memory_of_a_large_frame_is_given_back() {
        let mut deframer = Deframer::new(Framing::Line);
        deframer.extend(&alloc::vec![b'x'; 4 << 20]);
        deframer.extend(b"\n");
        assert!(deframer.next_frame().unwrap().is_some());
        // Another one would find its memory, but not what comes then.
        deframer.extend(b"y\n");
        assert!(deframer.next_frame().unwrap().is_some());
        assert!(deframer.buf.capacity() > 2 * RETAINED);
        deframer.extend(b"z\n");
        assert!(deframer.next_frame().unwrap().is_some());
        assert!(deframer.buf.capacity() <= 2 * RETAINED);
    }
}
