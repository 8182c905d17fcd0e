//! What has to be known about runtimes that do not report it themselves.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use crate::settings::{Placement, Settings};

/// A runtime, known by its executable's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Runtime {
    Node,
    Bun,
    Deno,
    Python,
}

const ALL: [(Runtime, &str); 5] = [
    (Runtime::Node, "node"),
    (Runtime::Node, "nodejs"),
    (Runtime::Bun, "bun"),
    (Runtime::Deno, "deno"),
    (Runtime::Python, "python"),
];

impl Runtime {
    /// `python`, `python3.11`, `bun`, …; a file that was replaced has ` (deleted)` behind its name.
    pub(super) fn of_file(file: &Path) -> Option<Self> {
        let name = file.file_name()?.to_str()?;
        let name = name.strip_suffix(" (deleted)").unwrap_or(name);
        let version = |rest: &str| rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let known =
            ALL.into_iter().find(|(_, known)| name.strip_prefix(known).is_some_and(version));
        known.map(|(runtime, _)| runtime)
    }

    /// The program of that process, as far as the system tells.
    #[cfg(target_os = "linux")]
    pub(super) fn of_process(pid: u32) -> Option<Self> {
        Self::of_file(&std::fs::read_link(format!("/proc/{pid}/exe")).ok()?)
    }
}

/// The runtime's name if what runs as that process cannot serve a socket that it is sent, under that
/// placement.
///
/// - Deno acknowledges the socket, says that it listens there, and listens at a port of its own.
/// - Bun cannot be handed connections besides, as [`Placement::Kernel`] needs it, unless what it
///   preloads as its agent sees to that.
pub(super) fn that_cannot_listen(pid: u32, settings: &Settings) -> Option<&'static str> {
    match runtime(pid, settings)? {
        Runtime::Deno => Some("Deno"),
        Runtime::Bun if settings.placement == Placement::Kernel && !settings.node_agent => {
            Some("Bun, without --node-agent,")
        }
        Runtime::Node | Runtime::Bun | Runtime::Python => None,
    }
}

/// Whether the program of that process is known to answer probes, however late.
pub(super) fn answers_probes(pid: u32, settings: &Settings) -> bool {
    matches!(runtime(pid, settings), Some(Runtime::Node | Runtime::Bun))
}

#[cfg(target_os = "linux")]
fn runtime(pid: u32, _settings: &Settings) -> Option<Runtime> {
    Runtime::of_process(pid)
}

/// On other systems the settings tell, unless the script's first line names the runtime.
#[cfg(not(target_os = "linux"))]
fn runtime(_pid: u32, settings: &Settings) -> Option<Runtime> {
    Runtime::of_file(settings.program())
}

/// Whether the program of that process has servers of its own that take no part in `node:cluster`.
#[cfg(target_os = "linux")]
pub(super) fn serves_aside(pid: u32) -> bool {
    matches!(Runtime::of_process(pid), Some(Runtime::Bun | Runtime::Deno))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn serves_aside(_pid: u32) -> bool {
    false
}

/// What an interpreter needs before the arguments that the settings have for it, so that it runs a
/// script as Node does: Deno must be told to `run`, and grants a program nothing of its own accord.
pub(super) fn implied_arguments(
    interpreter: &Path,
    exec_argv: &[OsString],
) -> &'static [&'static str] {
    if Runtime::of_file(interpreter) != Some(Runtime::Deno) {
        return &[];
    }
    let is_flag = |argument: &OsString| argument.as_encoded_bytes().starts_with(b"-");
    if exec_argv.first().is_some_and(|first| !is_flag(first)) {
        // A subcommand: `run`, `serve`, `task`.
        return &[];
    }
    if exec_argv.iter().any(|argument| is_about_permissions(argument)) {
        &["run"]
    } else {
        &["run", "-A"]
    }
}

fn is_about_permissions(argument: &OsStr) -> bool {
    let Some(argument) = argument.to_str() else { return false };
    let name = argument.split('=').next().unwrap_or_default();
    let long = ["--allow-", "--deny-", "--permission-set"];
    if long.iter().any(|flag| name.starts_with(flag)) {
        return true;
    }
    // `-A`, `-P`, and the short names of `--allow-read` and so on.
    matches!(name, "-A" | "-P" | "-R" | "-W" | "-N" | "-E" | "-S" | "-I") || name.starts_with("-P")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_are_known_by_their_names() {
        let of = |name: &str| Runtime::of_file(Path::new(name));
        for name in ["python3.11", "/usr/bin/python", "python3 (deleted)"] {
            assert_eq!(of(name), Some(Runtime::Python), "{name}");
        }
        assert_eq!((of("/opt/bun"), of("deno")), (Some(Runtime::Bun), Some(Runtime::Deno)));
        for name in ["/usr/bin/node", "nodejs", "node22", "node (deleted)"] {
            assert_eq!(of(name), Some(Runtime::Node), "{name}");
        }
        for name in ["node-wrapper", "nodemon", "pythonic", "bunny", "deno-wrapper", "java", ""] {
            assert_eq!(of(name), None, "{name}");
        }
    }

    #[test]
    fn deno_is_told_to_run_and_may_do_everything_unless_the_user_says_what() {
        let implied = |interpreter: &str, arguments: &[&str]| {
            let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
            implied_arguments(Path::new(interpreter), &arguments)
        };
        assert_eq!(implied("deno", &[]), ["run", "-A"]);
        assert_eq!(implied("/opt/deno", &["--cached-only"]), ["run", "-A"]);
        for permissions in ["--allow-net=:8000", "--deny-env", "-A", "-N=localhost", "-P"] {
            assert_eq!(implied("deno", &["--quiet", permissions]), ["run"], "{permissions}");
        }
        assert!(implied("deno", &["run", "--quiet"]).is_empty());
        assert!(implied("deno", &["serve"]).is_empty());
        assert!(implied("node", &[]).is_empty() && implied("bun", &[]).is_empty());
    }
}
