//! How a payload begins.

use core::ops::Range;

use crate::encoding::part::Part;

/// The latest version, and that which is written.
pub(super) const VERSION: u32 = 15;
/// The earliest that is read: Node 12's.
pub(super) const OLDEST: u32 = 13;

/// What kind of message a long one is, as far as its beginning tells.
pub(crate) enum Head {
    /// One of the protocol's own.
    Internal,
    /// A request, or the answer to one, and where its body lies.
    Exchange { asks: bool, id: u64, part: Part, body: Range<usize> },
    /// A user's, or none at all.
    Other,
}
