//! One command of a chore: announced, run at the root of the workspace, judged by its status.

use std::env;
use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::tally::Tally;

/// Its value does not matter: set, it tells tests that every program of the workspace is built already.
pub(crate) const BUILT: &str = "CLUSTER_TEST_BUILT";

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask/ is in the workspace's root")
}

/// Where cargo puts what it builds for this workspace.
pub(crate) fn target_dir() -> PathBuf {
    // A relative one is relative to where cargo was started, which for `cargo xtask` is here.
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// The cargo that runs us, with these arguments.
pub(crate) fn cargo<I: AsRef<OsStr>>(args: impl IntoIterator<Item = I>) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(root()).stdin(Stdio::null());
    command
}

/// Whether cargo has that subcommand.
pub(crate) fn has_subcommand(name: &str) -> bool {
    cargo([name, "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Announces a command, runs it, and says how long it took.
///
/// # Errors
/// If it cannot be started, or does not succeed.
pub(crate) fn run(command: &mut Command) -> io::Result<()> {
    let shown = announce(command);
    let begun = now();
    let status = command.status().map_err(|error| not_started(command, &error))?;
    if !status.success() {
        return Err(io::Error::other(format!("{shown}: {status}; why stands above")));
    }
    println!("    took {:.1} s", begun.elapsed().as_secs_f64());
    Ok(())
}

/// Announces and runs a command that runs tests, passes its output on, and counts. One that fails without having counted a
/// failure counts as one.
///
/// # Errors
/// If it cannot be started.
pub(crate) fn tests(command: &mut Command) -> io::Result<Tally> {
    announce(command);
    let spawned = command.stdout(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|error| not_started(command, &error))?;
    let output = child.stdout.take().expect("stdout is piped above");
    let mut tally = Tally::default();
    for line in BufReader::new(output).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        tally.count(&line);
    }
    if !child.wait()?.success() {
        tally.failed = tally.failed.max(1);
    }
    Ok(tally)
}

/// Why a command does not run at all, by its program's name.
pub(crate) fn not_started(command: &Command, error: &io::Error) -> io::Error {
    let program = command.get_program().display();
    io::Error::other(match error.kind() {
        io::ErrorKind::NotFound => format!("cannot run {program}: {error}; is it on PATH?"),
        _ => format!("cannot run {program}: {error}"),
    })
}

/// Prints a command as one would type it, and gives it.
pub(crate) fn announce(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words: Vec<_> = std::iter::once(program.to_string_lossy())
        .chain(command.get_args().map(OsStr::to_string_lossy))
        .collect();
    let shown = words.join(" ");
    println!("==> {shown}");
    shown
}

#[expect(clippy::disallowed_methods, reason = "chores are timed by the clock")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
