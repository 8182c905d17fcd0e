//! A limit of what a channel's state may say.

/// More than any channel has counted.
pub(crate) const MAX_COUNT: u64 = 1 << 62;
