//! Other processes, by their ids.

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

fn pid(id: u32) -> Option<Pid> {
    Pid::from_raw(id.try_into().ok()?)
}

/// Whether it runs. One that has ended and waits to be reaped by a stranger does not.
pub(crate) fn is_there(id: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    pid(id).is_some_and(|pid| test_kill_process(pid).is_ok()) && state != Some('Z')
}

pub(crate) fn signal(id: u32, signal: Signal) {
    if let Some(pid) = pid(id) {
        let _gone = kill_process(pid, signal);
    }
}
