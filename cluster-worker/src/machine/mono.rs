//! The machine's time.

/// Time since the driver's start.
pub type Mono = core::time::Duration;
