//! What a worker that is passed sockets is first: it says that they are meant for it, and becomes
//! the program.

use std::convert::Infallible;
use std::ffi::OsString;
use std::io::{self, ErrorKind, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

/// The process that sockets are passed to.
pub(super) const LISTEN_PID: &str = "LISTEN_PID";

/// The hidden verb.
pub(crate) const VERB: &str = "listen-shim";

/// As shells have it.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

/// The words that go before a command, for it to be run so.
pub(super) fn command(program: &Path) -> Vec<OsString> {
    vec![program.into(), VERB.into(), "--".into()]
}

/// Becomes that program.
pub(crate) fn run(command: &[OsString]) -> ExitCode {
    let Some((program, args)) = command.split_first() else {
        warn(&format!("{VERB}: a program follows it"));
        return ExitCode::from(NOT_FOUND);
    };
    let Err(error) = become_program(program, args);
    warn(&format!("cannot execute {}: {error}", Path::new(program).display()));
    ExitCode::from(if error.kind() == ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE })
}

/// In one piece: others may write there too.
fn warn(what: &str) {
    let _ = io::stderr().write_all(format!("cluster: {what}\n").as_bytes());
}

fn become_program(program: &OsString, args: &[OsString]) -> io::Result<Infallible> {
    let pid = std::process::id().to_string();
    let mut command = Command::new(program);
    command.args(args).env(LISTEN_PID, pid);
    // The program is the worker, not this one.
    Err(cluster_worker::restore(&mut command).exec())
}
