//! A socket for each slot, and the kernel's choice among them: `Placement::Kernel` with I/O.

#[cfg(target_os = "linux")]
mod chooser;
#[cfg(target_os = "linux")]
mod group;
#[cfg(not(target_os = "linux"))]
#[path = "elsewhere.rs"]
mod group;
mod state;
#[cfg(target_os = "linux")]
mod sys;
#[cfg(all(test, target_os = "linux"))]
mod tests;

pub(super) use group::{Group, OpenError, Opened};
#[cfg(target_os = "linux")]
pub(super) use group::{GroupOptions, GroupSockets};
pub(super) use state::GroupState;
