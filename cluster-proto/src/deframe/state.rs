//! A deframer, as plain data.

use alloc::vec::Vec;

use super::{Deframer, FrameError, Framing};
use crate::error::StateError;

/// The farthest that a stream is taken to have come, in bytes: no peer has sent as many.
const MAX_POSITION: u64 = 1 << 62;

/// All that a [`Deframer`] knows, to be taken elsewhere: into another process, say.
///
/// With the feature `serde` it has serde's traits; in text the bytes are hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct DeframerState {
    /// How frames are told apart from here on.
    pub framing: Framing,
    /// The longest payload that is taken, in bytes.
    pub max_frame: usize,
    /// What was received, and is in no frame yet.
    #[cfg_attr(feature = "serde", serde(default, with = "crate::hex"))]
    pub bytes: Vec<u8>,
    /// Where they begin in the stream.
    pub position: u64,
    /// What ended it.
    pub failed: Option<FrameError>,
}

impl DeframerState {
    /// Whether a deframer can be in this state.
    ///
    /// # Errors
    /// [`StateError`] if none can.
    pub fn check(&self) -> Result<(), StateError> {
        if self.position > MAX_POSITION {
            return Err(StateError::OutOfRange { what: "a deframer's position" });
        }
        if self.failed.is_some() && !self.bytes.is_empty() {
            return Err(StateError::Contradiction { what: "bytes behind a broken frame" });
        }
        Ok(())
    }
}

impl Deframer {
    /// What it knows: one that is made [from it](Self::from_state) gives the same frames from here
    /// on, at the same places.
    ///
    /// ```
    /// use cluster_proto::{Deframer, Framing};
    ///
    /// let mut deframer = Deframer::new(Framing::Line);
    /// deframer.extend(b"a\n{\"b\"");
    /// assert_eq!(deframer.next_frame()?.unwrap().payload, b"a");
    /// let mut elsewhere = Deframer::from_state(deframer.state())?;
    /// elsewhere.extend(b":2}\n");
    /// assert_eq!(elsewhere.next_frame()?.unwrap().range, 2..10);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn state(&self) -> DeframerState {
        DeframerState {
            framing: self.framing,
            max_frame: self.max_frame,
            bytes: self.buf[self.start..].into(),
            position: self.position,
            failed: self.failed.clone(),
        }
    }

    /// A deframer in that state.
    ///
    /// # Errors
    /// [`StateError`] if there is no such state.
    pub fn from_state(state: DeframerState) -> Result<Self, StateError> {
        state.check()?;
        let DeframerState { framing, max_frame, bytes, position, failed } = state;
        Ok(Self {
            framing,
            max_frame,
            buf: bytes,
            start: 0,
            scanned: 0,
            found: None,
            position,
            failed,
            large: false,
        })
    }
}
