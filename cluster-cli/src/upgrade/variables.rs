//! The variables of the environment by which one image speaks to the next.

/// Names the descriptor of the memory file.
pub(super) const STATE: &str = "CLUSTER_UPGRADE";
/// Says why the program that was executed could not go on, to the old one.
pub(super) const FAILED: &str = "CLUSTER_UPGRADE_FAILED";

/// Says to a process that it is on trial, the state on its standard input; the value is the process that
/// wants to know. (Earlier versions said 1.)
pub(super) const TRIAL: &str = "CLUSTER_UPGRADE_TRIAL";

/// What one image says to the next, or to one on trial, in its environment. No other process is to get it.
pub(crate) const VARIABLES: [&str; 3] = [STATE, FAILED, TRIAL];
