//! How the program exits; `cluster run --help` explains the statuses.

use std::process::ExitCode;

use cluster_supervisor::driver::Outcome;

pub(crate) const FAILED: u8 = 1;
pub(crate) const USAGE: u8 = 2;
const KILLED: u8 = 3;
const GAVE_UP: u8 = 4;
const NO_WORKER_LEFT: u8 = 5;

/// The status for how the cluster ended.
pub(super) fn of(outcome: Outcome) -> ExitCode {
    match outcome {
        Outcome::AsAsked => ExitCode::SUCCESS,
        Outcome::Killed => ExitCode::from(KILLED),
        Outcome::GaveUp => ExitCode::from(GAVE_UP),
        Outcome::NobodyLeft => ExitCode::from(NO_WORKER_LEFT),
        _ => ExitCode::from(FAILED),
    }
}
