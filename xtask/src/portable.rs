//! `cargo xtask portable`: whether the crates compile for platforms on which the tests are not run.
//!
//! To check a crate for another system takes only that system's standard library, which rustup has by name.
//! Nothing is linked, so that no program of that system is needed.

use std::env;
use std::env::consts::ARCH;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use crate::{package, step};

/// Systems that have all that the crates need of one.
const SYSTEMS: [&str; 3] =
    ["aarch64-apple-darwin", "x86_64-unknown-freebsd", "x86_64-unknown-netbsd"];

/// Those that are `no_std` with all their features.
const BARE: [&str; 2] = ["cluster-proto", "cluster-sched"];
/// Those that are without any.
const BARE_WITHOUT_FEATURES: [&str; 1] = ["cluster-supervisor"];

pub(crate) fn run() -> io::Result<ExitCode> {
    let published = package::published()?;
    let all: Vec<_> = published.iter().map(|package| package.name.as_str()).collect();
    let bare = bare_target();
    check(&[&bare], &BARE, "--all-features")?;
    check(&[&bare], &BARE_WITHOUT_FEATURES, "--no-default-features")?;
    check(&SYSTEMS, &all, "--all-features")?;
    Ok(ExitCode::SUCCESS)
}

/// This machine without a system.
fn bare_target() -> String {
    format!("{ARCH}-unknown-none")
}

/// Lints the crates, with those features, as what they would be on each of those targets; all targets in one go, so that
/// no processor waits for the last crate of each.
fn check(targets: &[&str], crates: &[&str], features: &str) -> io::Result<()> {
    let mut command = step::cargo(["clippy", "--quiet", features]);
    let mut any = false;
    for target in targets {
        if is_installed(target)? {
            command.args(["--target", target]);
            any = true;
        } else {
            println!("!!! NOT CHECKED for {target}: get it with `rustup target add {target}`");
        }
    }
    if !any {
        return Ok(());
    }
    command.args(crates.iter().flat_map(|name| ["--package", *name]));
    step::run(command.args(["--lib", "--bins", "--", "-D", "warnings"]))
}

/// Whether the toolchain has that target's standard library, or its `core` and `alloc`.
fn is_installed(target: &str) -> io::Result<bool> {
    Ok(holds_a_library(&library_of(&["--target", target])?))
}

/// Where the toolchain has, or would have, the standard library of a target.
fn library_of(target: &[&str]) -> io::Result<PathBuf> {
    let mut command = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    command.args(["--print", "target-libdir"]).args(target).stderr(Stdio::inherit());
    let asked = command.output().map_err(|error| step::not_started(&command, &error))?;
    package::succeeded("rustc --print target-libdir", &asked)?;
    Ok(PathBuf::from(String::from_utf8_lossy(&asked.stdout).trim()))
}

fn holds_a_library(folder: &Path) -> bool {
    let Ok(entries) = folder.read_dir() else { return false };
    entries.flatten().any(|entry| entry.path().extension() == Some(OsStr::new("rlib")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_installed_if_its_library_is_there() {
        assert!(holds_a_library(&library_of(&[]).expect("there is a rustc")));
        assert!(!holds_a_library(Path::new("/nonexistent")));
        assert!(!holds_a_library(step::root()));
    }
}
