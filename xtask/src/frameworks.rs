//! `cargo xtask frameworks`: whether the workers on other frameworks compile (`examples/frameworks`).
//!
//! They are a workspace of their own, so that a build of this one does not build what the frameworks depend on.

use std::io;
use std::process::ExitCode;

use crate::step;

pub(crate) fn run() -> io::Result<ExitCode> {
    let mut check = step::cargo(["check", "--locked", "--quiet"]);
    check.args(["--manifest-path", "examples/frameworks/Cargo.toml"]);
    step::run(check.arg("--target-dir").arg(step::target_dir().join("frameworks")))?;
    Ok(ExitCode::SUCCESS)
}
