//! The process of a trial: forked without waiting for its exec, and examined before it is waited for.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use cluster_primary::embed::spawn_without_signals;
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal as NixSignal, signal};
use rustix::io::{Errno, FdFlags};
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, kill_process, kill_process_group, setpgid,
    waitid, waitpid,
};

use super::candidate::{self, Candidate, Texts};
use super::handed::Handed;
use super::variables::TRIAL;

/// A child in a process group of its own, which is killed when this is dropped.
#[derive(Debug)]
pub(super) struct TrialChild {
    pid: Pid,
    is_waited_for: bool,
}

/// What has been started.
pub(super) struct Started {
    pub(super) child: TrialChild,
    /// What it writes to its standard output and error. It does not block.
    pub(super) output: File,
    /// Closes at the exec; the number of the error comes by it if that fails. It does not block.
    pub(super) report: OwnedFd,
}

/// What has come by the report.
pub(super) enum Exec {
    NotYet,
    Done,
    Failed(Errno),
}

/// How much a child reports.
const REPORT: usize = size_of::<i32>();

pub(super) fn read_report(report: &OwnedFd) -> Exec {
    let mut bytes = [0; REPORT];
    match rustix::io::read(report, &mut bytes) {
        Err(Errno::AGAIN | Errno::INTR) => Exec::NotYet,
        Ok(REPORT) => Exec::Failed(Errno::from_raw_os_error(i32::from_ne_bytes(bytes))),
        // A child that was killed before the exec looks the same; its exit status tells.
        Ok(_) | Err(_) => Exec::Done,
    }
}

/// Forks a child that executes the open file, the state on its standard input, with descriptors of ours
/// under the same numbers.
///
/// # Errors
/// If there is no child. What fails in the child is reported.
pub(super) fn start(program: &Candidate, handed: &Handed) -> io::Result<Started> {
    let state = handed.write()?;
    let (output, their_output) = io::pipe()?;
    let (report, their_report) = io::pipe()?;
    let (output, report) = (File::from(OwnedFd::from(output)), OwnedFd::from(report));
    rustix::io::ioctl_fionbio(&output, true)?;
    rustix::io::ioctl_fionbio(&report, true)?;

    let text = |text: &OsStr| CString::new(text.as_bytes());
    let arguments: Result<Vec<_>, _> = std::env::args_os().map(|word| text(&word)).collect();
    let variables = std::env::vars_os().filter(|(name, _)| name != TRIAL);
    let variables = variables.map(|(name, value)| [name, value].join(OsStr::new("=")));
    let variables = variables.chain([OsString::from(format!("{TRIAL}={}", std::process::id()))]);
    let variables: Result<Vec<_>, _> = variables.map(|variable| text(&variable)).collect();

    let kept: Vec<_> = handed.descriptors().chain(program.stays_open()).collect();
    let needed = [program.number(), their_report.as_raw_fd()];
    let mut open: Vec<_> = kept.iter().copied().chain([0, 1, 2]).chain(needed).collect();
    open.sort_unstable();
    let child = BeforeExec {
        stdio: [state.as_raw_fd(), their_output.as_raw_fd(), their_output.as_raw_fd()],
        kept,
        open,
        program: program.number(),
        arguments: Texts::new(arguments?),
        variables: Texts::new(variables?),
    };
    let pid = fork(|| {
        let error = child.execute();
        // If the primary has ended, the report is of no use.
        let _ = rustix::io::write(&their_report, &error.raw_os_error().to_ne_bytes());
    })?;
    Ok(Started { child: TrialChild { pid, is_waited_for: false }, output, report })
}

/// All that the child needs, made ready before the fork.
struct BeforeExec {
    /// What becomes its standard input, output and error.
    stdio: [RawFd; 3],
    /// The descriptors that stay open over the exec.
    kept: Vec<RawFd>,
    /// Those that stay open until then, in order.
    open: Vec<RawFd>,
    program: RawFd,
    arguments: Texts,
    variables: Texts,
}

impl BeforeExec {
    /// It returns only if the program could not be executed. It makes system calls only.
    #[expect(unsafe_code, reason = "descriptors are handed over by their numbers")]
    fn execute(&self) -> Errno {
        let failed = |error: &io::Error| Errno::from_io_error(error).unwrap_or(Errno::IO);
        if let Err(errno) = setpgid(None, None) {
            return errno;
        }
        for (number, at) in self.stdio.iter().zip(0..) {
            // SAFETY: a child's standard descriptors are its own.
            if unsafe { libc::dup2(*number, at) } == -1 {
                return failed(&io::Error::last_os_error());
            }
        }
        for number in &self.kept {
            // SAFETY: it was open at the fork, and in the child nothing closes it.
            let descriptor = unsafe { BorrowedFd::borrow_raw(*number) };
            if let Err(errno) = rustix::io::fcntl_setfd(descriptor, FdFlags::empty()) {
                return errno;
            }
        }
        // The exec may take long, and connections must not stay open for its sake.
        close_others(&self.open);
        for number in NixSignal::iterator() {
            // SAFETY: no handler is installed, and this process has one thread. (It fails for two signals,
            // which have no other disposition.)
            let _ = unsafe { signal(number, SigHandler::SigDfl) };
        }
        // It cannot fail with a valid set.
        let _ = SigSet::empty().thread_set_mask();
        failed(&candidate::execute(self.program, &self.arguments, &self.variables))
    }
}

/// Closes what is open between these numbers and above them, where the system can do that.
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "descriptors are known by their numbers")]
fn close_others(open: &[RawFd]) {
    let close = |first: RawFd, last: u32| {
        if u32::try_from(first).is_ok_and(|first| first <= last) {
            // SAFETY: in a child before its exec nothing uses them. On an old kernel they are closed by the
            // exec.
            unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        }
    };
    let mut first = 0;
    for number in open {
        if let Ok(last) = u32::try_from(number.saturating_sub(1)) {
            close(first, last);
        }
        first = number.saturating_add(1);
    }
    close(first, u32::MAX);
}

#[cfg(not(target_os = "linux"))]
fn close_others(_open: &[RawFd]) {}

/// Forks a child that does that and exits.
#[expect(unsafe_code, reason = "std waits for the exec of what it starts")]
fn fork(child: impl FnOnce()) -> io::Result<Pid> {
    // No handler of this process may run in the child.
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    // SAFETY: the child makes system calls only, with what was made ready before; it neither allocates nor
    // locks.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        child();
        // SAFETY: it ends the process, and runs nothing of it.
        unsafe { libc::_exit(127) }
    }
    let error = io::Error::last_os_error();
    // It cannot fail with a set that was in force.
    let _ = before.thread_set_mask();
    Pid::from_raw(pid).filter(|_| pid > 0).ok_or(error)
}

impl TrialChild {
    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().cast_unsigned()
    }

    /// Whether the process has ended. It has not been waited for then, so its number stays its own.
    pub(super) fn has_ended(&self) -> io::Result<bool> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        Ok(waitid(WaitId::Pid(self.pid), options)?.is_some())
    }

    /// Kills what a process that has ended has left behind in its group, and waits for that process: its
    /// status, and whether it has left anything.
    pub(super) fn finish(&mut self) -> io::Result<(ExitStatus, bool)> {
        let left_before = has_members(self.pid);
        self.kill_group();
        let waited = waitpid(Some(self.pid), WaitOptions::NOHANG)?;
        self.is_waited_for = true;
        let (_, status) = waited.ok_or_else(|| io::Error::other("it has not ended"))?;
        // Only asked, not killed: the number could be another group's by now.
        let left = left_before
            .unwrap_or_else(|| rustix::process::test_kill_process_group(self.pid).is_ok());
        Ok((ExitStatus::from_raw(status.as_raw()), left))
    }

    fn kill_group(&self) {
        // It is an error if the child has no group of its own yet.
        let _ = kill_process_group(self.pid, Signal::KILL);
    }
}

/// Whether a process group has members that have not ended, beside its leader; `None` where the system does
/// not tell.
#[cfg(target_os = "linux")]
fn has_members(leader: Pid) -> Option<bool> {
    use cluster_primary::tree::ProcessStat;

    let leader = leader.as_raw_nonzero().get().cast_unsigned();
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    let mut stats = processes
        .filter(|entry| entry.file_name().as_bytes().first().is_some_and(u8::is_ascii_digit))
        .filter_map(|entry| ProcessStat::parse(&std::fs::read(entry.path().join("stat")).ok()?));
    Some(stats.any(|stat| stat.group == leader && stat.id.pid != leader && stat.is_alive()))
}

#[cfg(not(target_os = "linux"))]
fn has_members(_leader: Pid) -> Option<bool> {
    None
}

/// Kills the process with its group. It is waited for, but not here: it may be stuck in a system call.
impl Drop for TrialChild {
    fn drop(&mut self) {
        if self.is_waited_for {
            return;
        }
        self.kill_group();
        let pid = self.pid;
        // It has not been waited for, so the number is its own.
        let _ = kill_process(pid, Signal::KILL);
        if matches!(waitpid(Some(pid), WaitOptions::NOHANG), Ok(None)) {
            let wait = move || {
                while let Err(Errno::INTR) = waitpid(Some(pid), WaitOptions::empty()) {}
            };
            // Without a thread it stays a zombie until this process ends.
            let _ = spawn_without_signals("wait", wait);
        }
    }
}
