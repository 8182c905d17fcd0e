//! Exit statuses; `--help` explains them.

pub(crate) const FAILED: u8 = 1;
pub(crate) const USAGE: u8 = 2;
pub(crate) const KILLED: u8 = 3;
pub(crate) const GAVE_UP: u8 = 4;
pub(crate) const NO_WORKER_LEFT: u8 = 5;
