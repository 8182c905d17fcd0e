//! `cargo xtask soak`: what CI does a few times, done a hundred times.

use std::io;
use std::process::ExitCode;

use crate::step;

/// Tests of the program that have a long form.
const LONG: [&str; 3] = ["reload", "deaths", "upgrade"];

pub(crate) fn run() -> io::Result<ExitCode> {
    let mut command = step::cargo(["test", "--release", "--package", "cluster-cli"]);
    for test in LONG {
        command.args(["--test", test]);
    }
    // One after the other: what is measured is loss, under all the load that one can bear.
    command.args(["--no-fail-fast", "--", "--nocapture", "--test-threads", "1"]);
    step::run(command.env("CLUSTER_SOAK", "1"))?;
    Ok(ExitCode::SUCCESS)
}
