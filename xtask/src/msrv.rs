//! `cargo xtask msrv`: whether the published crates compile with the Rust version that they declare.
//!
//! cargo refuses a dependency that declares a newer one, so this checks those too. Clippy's `incompatible_msrv` sees what the
//! tests and chores use of the standard library.

use std::io;
use std::process::{Command, ExitCode, Stdio};

use crate::{package, step};

pub(crate) fn run() -> io::Result<ExitCode> {
    match check()? {
        None => Ok(ExitCode::SUCCESS),
        Some(lack) => {
            eprintln!("xtask: {lack}");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Checks; or says what is lacking for that.
pub(crate) fn check() -> io::Result<Option<String>> {
    let version = env!("CARGO_PKG_RUST_VERSION");
    let mut toolchain = Command::new("rustup");
    toolchain.args(["run", version, "cargo"]).current_dir(step::root()).stdin(Stdio::null());
    // That of the cargo that runs this one.
    for name in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
        toolchain.env_remove(name);
    }
    if !is_installed(version) {
        return Ok(Some(format!(
            "NOT CHECKED with Rust {version}: get it with `rustup toolchain install {version} --profile minimal`"
        )));
    }
    let target = step::target_dir().join("msrv");
    toolchain.args(["check", "--locked", "--quiet", "--all-features", "--lib", "--bins"]);
    toolchain.arg("--target-dir").arg(target);
    for package in package::published()? {
        toolchain.args(["--package", &package.name]);
    }
    step::run(&mut toolchain)?;
    Ok(None)
}

fn is_installed(version: &str) -> bool {
    let mut rustc = Command::new("rustup");
    rustc.args(["run", version, "rustc", "--version"]).stdin(Stdio::null());
    rustc.stdout(Stdio::null()).stderr(Stdio::null());
    rustc.status().is_ok_and(|status| status.success())
}
