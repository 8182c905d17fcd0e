//! `execve(2)`, made ready before the fork.

#![allow(unsafe_code, reason = "to execute in a child of one's own there is no safe way")]

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;

use nix::libc::{self, c_char};
use rustix::io::Errno;

/// Where programs are sought without a `PATH`, as by execvp(3).
const DEFAULT_PATH: &str = "/bin:/usr/bin";
/// What runs a file that is no program and has no first line that says what does, as by execvp(3).
const SHELL: &std::ffi::CStr = c"/bin/sh";

/// A program with its arguments and its environment.
pub(super) struct Image {
    /// Where it may be, the first place first.
    files: Vec<CString>,
    /// The texts that the pointers below point to.
    _texts: Vec<CString>,
    /// The shell, a place for the file, and the arguments without the first; null at the end.
    by_shell: Vec<*const c_char>,
    arguments: Vec<*const c_char>,
    environment: Vec<*const c_char>,
}

impl Image {
    /// # Errors
    /// If a text holds a zero byte.
    pub(super) fn new(
        program: &OsStr,
        arguments: &[OsString],
        environment: &BTreeMap<OsString, OsString>,
    ) -> io::Result<Self> {
        let name = text(program)?;
        let mut files = Vec::new();
        if program.as_bytes().contains(&b'/') || program.is_empty() {
            files.push(name.clone());
        } else {
            let path = environment.get(OsStr::new("PATH"));
            let path = path.map_or(OsStr::new(DEFAULT_PATH), OsString::as_os_str);
            for folder in std::env::split_paths(path) {
                files.push(text(folder.join(program).as_os_str())?);
            }
        }
        let arguments = arguments.iter().map(|argument| text(argument));
        let arguments: Vec<_> = arguments.collect::<io::Result<_>>()?;
        let variables = environment.iter().map(|(name, value)| {
            text(&[name.as_os_str(), value.as_os_str()].join(OsStr::new("=")))
        });
        let variables: Vec<_> = variables.collect::<io::Result<_>>()?;

        let end = std::iter::once(std::ptr::null());
        let given = || arguments.iter().map(|argument| argument.as_ptr());
        Ok(Self {
            by_shell: [SHELL.as_ptr(), std::ptr::null()]
                .into_iter()
                .chain(given())
                .chain(end.clone())
                .collect(),
            arguments: std::iter::once(name.as_ptr()).chain(given()).chain(end.clone()).collect(),
            environment: variables.iter().map(|v| v.as_ptr()).chain(end).collect(),
            files,
            _texts: std::iter::once(name).chain(arguments).chain(variables).collect(),
        })
    }

    /// Executes it, as execvp(3) does; returns only if that could not be. For the child of a fork: it
    /// makes system calls only.
    pub(super) fn execute(&mut self) -> Errno {
        let mut denied = false;
        for file in &self.files {
            match execve(file.as_ptr(), &self.arguments, &self.environment) {
                Errno::NOEXEC => {
                    self.by_shell[1] = file.as_ptr();
                    return execve(SHELL.as_ptr(), &self.by_shell, &self.environment);
                }
                // There may be another one further on.
                Errno::ACCESS => denied = true,
                Errno::NOENT | Errno::NOTDIR | Errno::STALE | Errno::NODEV | Errno::TIMEDOUT
                    if self.files.len() > 1 => {}
                errno => return errno,
            }
        }
        if denied { Errno::ACCESS } else { Errno::NOENT }
    }
}

fn execve(
    file: *const c_char,
    arguments: &[*const c_char],
    environment: &[*const c_char],
) -> Errno {
    // SAFETY: all are texts that end with a zero byte, and lists that end with a null pointer, which live
    // as long as the image.
    unsafe { libc::execve(file, arguments.as_ptr(), environment.as_ptr()) };
    Errno::from_raw_os_error(nix::errno::Errno::last_raw())
}

fn text(text: &OsStr) -> io::Result<CString> {
    Ok(CString::new(text.as_bytes())?)
}
