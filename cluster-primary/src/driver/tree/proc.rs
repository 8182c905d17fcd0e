//! Processes, as `proc(5)` shows them.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};

use crate::signal::Signal;
use crate::tree::{ProcessId, ProcessStat};

/// Generations of a process tree that are followed, and processes: bounds for a tree that grows while it
/// is read.
const MAX_DEPTH: usize = 64;
const MAX_PROCESSES: usize = 4096;

/// What is known of the process of that pid.
pub(in super::super) fn stat(pid: u32) -> Option<ProcessStat> {
    ProcessStat::parse(&fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// Whether this process has descriptors left to read `/proc` with. Without, processes that run would look
/// as if they had ended.
pub(in super::super) fn can_look() -> bool {
    // A folder and a file in it are open at a time.
    let open = || fs::File::open("/dev/null");
    open().and_then(|first| open().map(|second| drop((first, second)))).is_ok()
}

/// All processes.
pub(in super::super) fn list() -> Vec<ProcessStat> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(stat).collect()
}

/// Those of these processes that still run, and all their descendants.
pub(in super::super) fn trace(from: &[ProcessId]) -> BTreeSet<ProcessId> {
    let still = |process: &&ProcessId| is_same(**process);
    let mut found: BTreeSet<ProcessId> = from.iter().filter(still).copied().collect();
    let mut generation: Vec<_> = found.iter().copied().collect();
    for _ in 0..MAX_DEPTH {
        let mut next = Vec::new();
        for parent in generation {
            let children = children(parent.pid).into_iter().filter_map(stat);
            // (Its pid may have passed to another process since.)
            let own = |child: &ProcessStat| {
                child.is_alive() && child.parent == parent.pid && child.id.start >= parent.start
            };
            next.extend(children.filter(own).map(|c| c.id).filter(|id| found.insert(*id)));
        }
        if next.is_empty() || found.len() >= MAX_PROCESSES {
            break;
        }
        generation = next;
    }
    found
}

fn is_same(process: ProcessId) -> bool {
    stat(process.pid).is_some_and(|stat| stat.id == process && stat.is_alive())
}

/// The children of each thread of a process.
fn children(pid: u32) -> Vec<u32> {
    let mut children = Vec::new();
    let mut buffer = String::new();
    for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        use std::io::Read;
        let Ok(mut file) = fs::File::open(task.path().join("children")) else { continue };
        buffer.clear();
        // A thread that has ended meanwhile has no more children.
        let _ = file.read_to_string(&mut buffer);
        children.extend(buffer.split_ascii_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
    }
    children
}

/// The process of that pid, its parent, and so on.
pub(in super::super) fn ancestry(pid: u32) -> Vec<ProcessId> {
    let mut ancestry = Vec::new();
    let mut next = pid;
    while let Some(stat) = stat(next).filter(|_| ancestry.len() < MAX_DEPTH) {
        ancestry.push(stat.id);
        next = stat.parent;
    }
    ancestry
}

/// Sends a signal to that very process, if it still runs.
pub(in super::super) fn signal(process: ProcessId, signal: Signal) {
    let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw);
    let Some((pid, signal)) = pid.zip(signal.to_sys()) else { return };
    match pidfd_open(pid, PidfdFlags::empty()) {
        // What the descriptor names cannot change; if it is another process than the one that was
        // meant its start time is another.
        Ok(fd) if is_same(process) => {
            // One that has ended, or is not ours to signal, is found at the next look.
            let _ = pidfd_send_signal(&fd, signal);
        }
        Ok(_) => {}
        // Before Linux 5.3, or in a strict sandbox.
        Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) if is_same(process) => {
            let _ = rustix::process::kill_process(pid, signal);
        }
        Err(_) => {}
    }
}

/// Whether the process group that this process led has members (also such as have ended and were not
/// waited for); `None` where the system cannot tell (before Linux 6.9).
#[allow(unsafe_code, reason = "rustix has not this flag")]
pub(in super::super) fn group_exists(leader: BorrowedFd<'_>) -> Option<bool> {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    let flag = libc::PIDFD_SIGNAL_PROCESS_GROUP;
    // SAFETY: signal 0 is only checked, no memory is passed, and the descriptor is open.
    let result =
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, leader.as_raw_fd(), 0, no_info, flag) };
    if result == 0 {
        return Some(true);
    }
    match std::io::Error::last_os_error().raw_os_error() {
        Some(libc::ESRCH) => Some(false),
        // There are members, but none that may be signalled.
        Some(libc::EPERM) => Some(true),
        _ => None,
    }
}
