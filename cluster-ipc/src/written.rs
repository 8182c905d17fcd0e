//! How much was written to a channel.

/// What was written to a [`Channel`](crate::Channel) since it was made, or since it was taken up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs, reason = "these are all that a write has")]
pub struct Written {
    /// Writes: calls of the system.
    pub writes: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Handles that went with them.
    pub handles: u64,
}

impl Written {
    pub(crate) fn count(&mut self, bytes: usize, handles: usize) {
        *self = self.and(Self { writes: 1, bytes: bytes as u64, handles: handles as u64 });
    }

    /// What was written since it was `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            writes: self.writes - before.writes,
            bytes: self.bytes - before.bytes,
            handles: self.handles - before.handles,
        }
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            writes: self.writes + other.writes,
            bytes: self.bytes + other.bytes,
            handles: self.handles + other.handles,
        }
    }
}
