//! How the program exits, by how the cluster ended.

use std::process::ExitCode;

use cluster_supervisor::driver::Outcome;

use crate::exit_status::{FAILED, GAVE_UP, KILLED, NO_WORKER_LEFT};

/// The status for how the cluster ended.
pub(super) fn of(outcome: Outcome) -> ExitCode {
    match outcome {
        Outcome::AsAsked => ExitCode::SUCCESS,
        Outcome::Killed => ExitCode::from(KILLED),
        Outcome::GaveUp => ExitCode::from(GAVE_UP),
        Outcome::NoWorkerLeft => ExitCode::from(NO_WORKER_LEFT),
        _ => ExitCode::from(FAILED),
    }
}
