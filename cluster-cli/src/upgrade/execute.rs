//! `execve`, forth and back.

use std::convert::Infallible;
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};
use rustix::io::FdFlags;

use super::candidate::{self, Candidate, Texts};
use super::handed::{Handed, Inherited};
use super::variables::{FAILED, STATE};
use crate::descriptor::duplicate;

/// The program of this process: where it was when it was started, and itself, whatever has become of
/// its file since.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    itself: File,
}

impl Program {
    /// # Errors
    /// Where a process cannot find its own program.
    pub(crate) fn own() -> io::Result<Self> {
        let path = std::env::current_exe()?;
        let itself =
            File::open(if cfg!(target_os = "linux") { "/proc/self/exe".as_ref() } else { &*path })?;
        Ok(Self { path, itself })
    }

    /// Its number, for a return to it.
    pub(crate) fn number(&self) -> RawFd {
        self.itself.as_raw_fd()
    }
}

/// Gives this process the name that it had: one that was executed by a descriptor is called by that's number.
pub(crate) fn restore_name() {
    #[cfg(target_os = "linux")]
    if let Ok(path) = std::env::current_exe()
        && let Some(name) = path.file_name()
    {
        let name = name.as_bytes().iter().take_while(|byte| **byte != b' ').copied().take(15);
        if let Ok(name) = CString::new(name.collect::<Vec<_>>()) {
            // It is for people who list processes.
            let _ = nix::sys::prctl::set_name(&name);
        }
    }
}

/// Signals wait from here on, for this thread and those that it starts: one that comes while the
/// program changes is for the next one.
pub(crate) fn hold_signals() -> io::Result<()> {
    let mut held = SigSet::all();
    // What happens for a mistake of our own cannot wait.
    for signal in [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGILL, Signal::SIGFPE, Signal::SIGABRT]
    {
        held.remove(signal);
    }
    Ok(pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&held), None)?)
}

/// They wait no more.
pub(crate) fn release_signals() -> io::Result<()> {
    Ok(pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?)
}

/// Executes the program that was tried in this process, with what is handed over to it. Signals are
/// [held](hold_signals) for it. It returns only if that could not be, and then nothing has changed.
pub(crate) fn hand_over(program: &Candidate, handed: &Handed) -> io::Error {
    let outcome = program
        .is_unchanged()
        .and_then(|()| handed.write())
        .and_then(|file| execute(program.number(), handed, &file, None));
    let Err(error) = outcome;
    error
}

/// Executes the program that handed over, since this one cannot go on. It returns only if that could
/// not be.
pub(crate) fn give_back(inherited: &Inherited, why: &str) -> io::Error {
    let Some(program) = inherited.handed.program else {
        return super::handed::invalid("there is no program to go back to");
    };
    let Err(error) = execute(program, &inherited.handed, &inherited.file, Some(why));
    error
}

fn execute(
    program: RawFd,
    handed: &Handed,
    file: &File,
    failed: Option<&str>,
) -> io::Result<Infallible> {
    let numbers = handed.descriptors().chain([file.as_raw_fd()]);
    let numbers: Vec<_> = numbers.collect();
    for number in &numbers {
        stays(*number, true)?;
    }
    let text = |text: &OsStr| CString::new(text.as_bytes());
    let arguments: Result<Vec<_>, _> =
        std::env::args_os().map(|argument| text(&argument)).collect();
    let ours = [STATE, FAILED];
    let mut variables: Vec<_> = std::env::vars_os()
        .filter(|(name, _)| !ours.iter().any(|our| name == our))
        .map(|(name, value)| [name, value].join(OsStr::new("=")))
        .collect();
    variables.push(format!("{STATE}={}", file.as_raw_fd()).into());
    variables.extend(failed.map(|why| format!("{FAILED}={}", why.replace('\0', " ")).into()));
    let variables: Result<Vec<_>, _> = variables.iter().map(|variable| text(variable)).collect();
    let error = candidate::execute(program, &Texts::new(arguments?), &Texts::new(variables?));
    for number in numbers {
        stays(number, false)?;
    }
    Err(error)
}

/// Whether a descriptor stays open when another program is executed.
#[expect(unsafe_code, reason = "descriptors are handed over by their numbers")]
fn stays(number: RawFd, open: bool) -> io::Result<()> {
    // One that is not open is an error, before the number is taken for a descriptor's.
    drop(duplicate(number)?);
    // SAFETY: it is open, as was just seen, and nothing in this process closes it meanwhile: its owner
    // has lent it for this call.
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    let flags = if open { FdFlags::empty() } else { FdFlags::CLOEXEC };
    Ok(rustix::io::fcntl_setfd(descriptor.as_fd(), flags)?)
}
