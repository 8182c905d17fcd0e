//! Whether a program handles a signal, as the system tells.

use crate::Signal;

/// Runtimes that catch a signal only if the program asked them to. Node and the JVM catch `SIGTERM` in
/// any case, Go all signals: of those, and of programs that are not known, the system's answer says
/// nothing.
#[cfg(any(target_os = "linux", test))]
const CATCH_ON_REQUEST: [&str; 3] = ["python", "bun", "deno"];

/// Whether the program that runs as that process handles that signal; `None` if that cannot be told.
#[cfg(target_os = "linux")]
pub(super) fn catches(pid: u32, signal: Signal) -> Option<bool> {
    let file = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let name = file.file_name()?.to_str()?;
    if !CATCH_ON_REQUEST.iter().any(|runtime| is_runtime(name, runtime)) {
        return None;
    }
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
    let caught = u64::from_str_radix(caught.trim(), 16).ok()?;
    let bit = u32::try_from(signal.number()).ok()?.checked_sub(1)?;
    Some(caught.checked_shr(bit)? & 1 == 1)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn catches(_pid: u32, _signal: Signal) -> Option<bool> {
    None
}

#[cfg(any(target_os = "linux", test))]
/// `python`, `python3.11`, `bun`, …; a file that was replaced has ` (deleted)` behind its name.
fn is_runtime(name: &str, runtime: &str) -> bool {
    let name = name.strip_suffix(" (deleted)").unwrap_or(name);
    let version = |rest: &str| rest.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    name.strip_prefix(runtime).is_some_and(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_are_known_by_their_names() {
        for name in ["python3.11", "python", "bun", "deno", "python3 (deleted)"] {
            assert!(CATCH_ON_REQUEST.iter().any(|runtime| is_runtime(name, runtime)), "{name}");
        }
        for name in ["node", "pythonic", "bunny", "java", ""] {
            assert!(!CATCH_ON_REQUEST.iter().any(|runtime| is_runtime(name, runtime)), "{name}");
        }
    }

    #[test]
    fn programs_that_are_not_known_tell_nothing() {
        assert_eq!(catches(std::process::id(), Signal::TERM), None);
    }
}
