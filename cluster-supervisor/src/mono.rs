//! The clock of the supervisor, which reads none itself.

/// Time since the driver's start: the supervisor reads no clock.
pub type Mono = core::time::Duration;
