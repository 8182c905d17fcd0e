//! The processor time of a process and its descendants.

use std::fs;
use std::io;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

/// Waits for a process. Its processor time includes that of all its descendants that were waited for; it is unknown where there is
/// no `/proc`.
pub(super) fn wait(child: &mut Child) -> io::Result<(ExitStatus, Option<Duration>)> {
    let pid = Pid::from_child(child);
    // `/proc` has an entry for it until its status is collected.
    waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)?;
    let used = total(&format!("/proc/{}/stat", child.id()), OWN_AND_CHILDREN);
    Ok((child.wait()?, used))
}

/// That of the processes that this one has waited for so far.
pub(super) fn of_children() -> Option<Duration> {
    total("/proc/self/stat", CHILDREN)
}

/// Where `utime`, `stime`, `cutime` and `cstime` are among the fields that follow the program's name; see proc_pid_stat(5).
const OWN_AND_CHILDREN: std::ops::Range<usize> = 11..15;
const CHILDREN: std::ops::Range<usize> = 13..15;

fn total(stat: &str, fields: std::ops::Range<usize>) -> Option<Duration> {
    let ticks = sum(&fs::read_to_string(stat).ok()?, fields)?;
    let per_second = rustix::param::clock_ticks_per_second();
    Some(Duration::from_millis(ticks * 1000 / per_second))
}

fn sum(stat: &str, fields: std::ops::Range<usize>) -> Option<u64> {
    // The name may contain anything, also parentheses.
    let (_, after) = stat.rsplit_once(')')?;
    let values: Vec<_> = after.split_ascii_whitespace().collect();
    values.get(fields)?.iter().map(|ticks| ticks.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "7 (a) b) S 1 7 7 0 -1 4194304 100 200 0 0 11 22 33 44 20 0 1 0 5 0 0\n";

    #[test]
    fn times_are_found_after_any_name() {
        assert_eq!(sum(STAT, OWN_AND_CHILDREN), Some(110));
        assert_eq!(sum(STAT, CHILDREN), Some(77));
        assert_eq!(sum("7 (a) S 1", CHILDREN), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_process_that_ended_has_its_childrens_time_too() {
        let busy = "n=0; while [ $n -lt 100000 ]; do n=$((n + 1)); done";
        let script = format!("sh -c '{busy}'; exit 3");
        let mut child =
            std::process::Command::new("sh").args(["-c", &script]).spawn().expect("sh runs");
        let (status, used) = wait(&mut child).expect("it ends");
        assert_eq!(status.code(), Some(3));
        assert!(used.expect("/proc tells") > Duration::ZERO);
    }
}
