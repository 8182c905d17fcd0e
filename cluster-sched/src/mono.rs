//! The scheduler's time.

/// Time since the driver's start, whatever that is: the scheduler reads no clock, and only ever adds
/// a pause to the `now` that it is given.
pub type Mono = core::time::Duration;
