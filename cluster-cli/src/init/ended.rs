//! Children that have ended, without waiting for them.
#![allow(unsafe_code, reason = "rustix does not say whom waitid(2) has found")]

/// Some child that has ended; the same one until it has been waited for.
pub(super) fn any() -> Option<u32> {
    // SAFETY: all zeros are one, about no process.
    let mut found: libc::siginfo_t = unsafe { std::mem::zeroed() };
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: it writes to `found`, which is ours.
    while unsafe { libc::waitid(libc::P_ALL, 0, &raw mut found, options) } == -1 {
        let error = std::io::Error::last_os_error();
        if error.kind() != std::io::ErrorKind::Interrupted {
            // There are no children.
            return None;
        }
    }
    // SAFETY: this member is set by `waitid`, and was zero before.
    let pid = unsafe { found.si_pid() };
    u32::try_from(pid).ok().filter(|pid| *pid != 0)
}

/// All children, ended or not, of any thread.
#[cfg(target_os = "linux")]
pub(super) fn children() -> impl Iterator<Item = u32> {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists = threads.filter_map(|t| std::fs::read_to_string(t.path().join("children")).ok());
    let pids: Vec<_> = lists
        .flat_map(|list| list.split_ascii_whitespace().map(str::parse).collect::<Vec<_>>())
        .flatten()
        .collect();
    pids.into_iter()
}

/// Where they are not listed.
#[cfg(not(target_os = "linux"))]
pub(super) fn children() -> impl Iterator<Item = u32> {
    std::iter::empty()
}
