//! What a worker has done wrong so far.

use serde::{Deserialize, Serialize};

/// What a worker has done wrong so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::machine) struct Faults {
    /// Descriptors in its messages that nothing uses.
    unwanted: u64,
    /// Calls of the primary that it made block.
    blocked: u32,
}

impl Faults {
    pub(in crate::machine) fn is_none(&self) -> bool {
        *self == Self::default()
    }

    pub(in crate::machine) fn has_blocked(&self) -> bool {
        self.blocked > 0
    }

    /// It sent one more descriptor that nothing uses. Returns how many it has sent.
    pub(in crate::machine) fn add_unwanted(&mut self) -> u64 {
        self.unwanted = self.unwanted.saturating_add(1);
        self.unwanted
    }

    /// It made one more call block. Returns how many.
    pub(in crate::machine) fn add_blocked(&mut self) -> u32 {
        self.blocked = self.blocked.saturating_add(1);
        self.blocked
    }
}
