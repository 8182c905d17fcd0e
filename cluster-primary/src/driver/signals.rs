//! Whether a program handles a signal, as the system tells.

#[cfg(target_os = "linux")]
use super::runtime::Runtime;
use crate::signal::Signal;

/// The signals that Deno catches by itself, and then ends by.
#[cfg(target_os = "linux")]
const DENO_CATCHES: [Signal; 3] = [Signal::TERM, Signal::INT, Signal::HUP];

/// Whether the program of that process handles that signal; `None` if that is unknown.
///
/// Python and Bun catch a signal only if the program asked them to. Node and the JVM catch `SIGTERM` in
/// any case, Go all signals, and Deno, from half a second after its start on, [those that end a
/// program](DENO_CATCHES): of those, and of programs that are not known, the system's answer says
/// nothing.
#[cfg(target_os = "linux")]
pub(super) fn catches(pid: u32, signal: Signal) -> Option<bool> {
    match Runtime::of_process(pid)? {
        Runtime::Node => return None,
        Runtime::Deno if DENO_CATCHES.contains(&signal) => return None,
        Runtime::Deno | Runtime::Bun | Runtime::Python => {}
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_that_are_not_known_tell_nothing() {
        assert_eq!(catches(std::process::id(), Signal::TERM), None);
    }
}
