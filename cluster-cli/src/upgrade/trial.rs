//! The new program is run as a child first, which reads a copy of the state and says whether it could
//! go on with it.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::rc::Rc;
use std::time::Duration;

use cluster_primary::Mono;
use rustix::io::FdFlags;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

use super::candidate::{self, Candidate, Texts};
use super::handed::Handed;
use super::variables::TRIAL;

/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often it is looked after once it has said all.
const LOOK: Duration = Duration::from_millis(5);
/// What it says if it can: a program that knows nothing of this may leave with code 0 as well.
const GOOD: &str = "cluster: this program can go on";
/// Reads at once, before others have their turn, and how much each reads. Together they read what a pipe
/// holds at the most.
const READS: usize = 16;
const READ: usize = 64 << 10;
/// What it says is not listened to without end.
const MOST: usize = 16 << 10;

/// A trial that is under way.
#[derive(Debug)]
pub(crate) struct Trial {
    child: Child,
    program: Rc<Candidate>,
    output: File,
    said: Vec<u8>,
    /// There may be more to read.
    more: bool,
    over: bool,
    deadline: Mono,
}

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It can go on.
    Good,
    /// It cannot, or is no such program: why.
    Bad(String),
}

impl Trial {
    /// # Errors
    /// If the program cannot be executed at all.
    pub(crate) fn begin(
        path: &Path,
        program: Rc<Candidate>,
        handed: &Handed,
        now: Mono,
    ) -> io::Result<Self> {
        let state = handed.write()?;
        let (output, theirs) = io::pipe()?;
        // What is executed is the open file; the path is never looked at.
        let mut command = Command::new(path);
        command
            .stdin(Stdio::from(state))
            .stdout(theirs.try_clone()?)
            .stderr(theirs)
            // What it starts and leaves behind is found by this.
            .process_group(0);
        execute_in(&mut command, &program, handed.descriptors().collect())?;
        let child = command.spawn().map_err(|error| {
            let what = match error.raw_os_error() {
                Some(libc::ENOEXEC) => "it is no program for this system".into(),
                _ => error.to_string(),
            };
            io::Error::new(error.kind(), format!("cannot execute {}: {what}", path.display()))
        })?;
        let output = File::from(OwnedFd::from(output));
        rustix::io::ioctl_fionbio(&output, true)?;
        Ok(Self {
            child,
            program,
            output,
            said: Vec::new(),
            more: false,
            over: false,
            deadline: now + PATIENCE,
        })
    }

    /// What is tried.
    pub(crate) fn program(&self) -> Rc<Candidate> {
        Rc::clone(&self.program)
    }

    /// Ends what the trial has started, if it has left anything; whether it has.
    fn has_left_processes(&self) -> bool {
        // A number stays a group's as long as there is a member.
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        group.is_some_and(|group| {
            test_kill_process_group(group).is_ok()
                && kill_process_group(group, Signal::KILL).is_ok()
        })
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// When [`poll`](Self::poll) is wanted, beside when its descriptor is readable.
    pub(crate) fn poll_timeout(&self, now: Mono) -> Mono {
        match (self.over, self.more) {
            (true, _) => now + LOOK,
            (false, true) => now,
            (false, false) => self.deadline,
        }
    }

    /// Takes what it has said, up to a limit.
    fn listen(&mut self) {
        let mut buffer = vec![0; READ];
        self.more = false;
        for _ in 0..READS {
            if self.over {
                return;
            }
            match self.output.read(&mut buffer) {
                Ok(0) => self.over = true,
                Ok(length) => {
                    let room = MOST.saturating_sub(self.said.len());
                    self.said.extend_from_slice(&buffer[..length.min(room)]);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => self.over = true,
            }
        }
        self.more = true;
    }

    /// What came of it, if it is over.
    pub(crate) fn poll(&mut self, now: Mono) -> Option<Verdict> {
        self.listen();
        match self.child.try_wait() {
            Ok(Some(status)) => {
                // It may have said it, and left, since we listened.
                self.listen();
                let said = String::from_utf8_lossy(&self.said);
                if self.has_left_processes() {
                    let what = "it left processes behind when its trial was over";
                    return Some(Verdict::Bad(what.into()));
                }
                if status.success() && said.lines().any(|line| line == GOOD) {
                    return Some(Verdict::Good);
                }
                let said = said.lines().find(|line| !line.is_empty()).unwrap_or("it said nothing");
                let stranger = match status.success() {
                    true => ": is it cluster at all?",
                    false => "",
                };
                Some(Verdict::Bad(format!("{said} ({status}){stranger}")))
            }
            Ok(None) if now < self.deadline => None,
            Ok(None) => Some(Verdict::Bad(format!(
                "it has not said within {PATIENCE:?} whether it can go on"
            ))),
            Err(error) => Some(Verdict::Bad(format!("its process is lost: {error}"))),
        }
    }
}

/// Has the child execute the open file, with descriptors of ours under the same numbers.
#[expect(unsafe_code, reason = "std closes all descriptors in a child but the first three")]
fn execute_in(
    command: &mut Command,
    program: &Candidate,
    mut numbers: Vec<RawFd>,
) -> io::Result<()> {
    let text = |text: &OsStr| CString::new(text.as_bytes());
    let arguments: Result<Vec<_>, _> = std::env::args_os().map(|word| text(&word)).collect();
    let variables = std::env::vars_os().filter(|(name, _)| name != TRIAL);
    let variables = variables.map(|(name, value)| [name, value].join(OsStr::new("=")));
    let variables = variables.chain([OsString::from(format!("{TRIAL}={}", std::process::id()))]);
    let variables: Result<Vec<_>, _> = variables.map(|variable| text(&variable)).collect();
    let (arguments, variables) = (Texts::new(arguments?), Texts::new(variables?));
    numbers.extend(program.stays_open());
    let number = program.number();
    let execute = move || {
        for number in &numbers {
            // SAFETY: it was open at the fork, and in the child nobody closes anything.
            let descriptor = unsafe { BorrowedFd::borrow_raw(*number) };
            rustix::io::fcntl_setfd(descriptor, FdFlags::empty())?;
        }
        // If it returns: std would try the path, and a shell.
        Err(candidate::execute(number, &arguments, &variables))
    };
    // SAFETY: between fork and exec it makes system calls only; it neither allocates nor locks.
    unsafe { command.pre_exec(execute) };
    Ok(())
}

impl AsRawFd for Trial {
    fn as_raw_fd(&self) -> RawFd {
        self.output.as_raw_fd()
    }
}

/// It is not waited for any more.
impl Drop for Trial {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            self.has_left_processes();
            let _gone = self.child.kill();
            let _status = self.child.wait();
        }
    }
}

/// If this process is on trial: reads the state, and says whether it could go on with it.
pub(crate) fn on_trial(check: impl FnOnce(&Handed) -> io::Result<()>) -> Option<ExitCode> {
    let asked_by = std::env::var_os(TRIAL)?;
    let checked = is_executed_by(&asked_by)
        .and_then(|()| Handed::read(io::stdin().lock()))
        .and_then(|handed| check(&handed));
    Some(match checked {
        Ok(()) => {
            println!("{GOOD}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    })
}

/// Whether it is this program that the process executes, and not another one that has started this.
fn is_executed_by(asked_by: &OsStr) -> io::Result<()> {
    let parent = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    let asked_by = asked_by.to_str().and_then(|number| number.parse().ok()).unwrap_or(1);
    if asked_by == 1 || asked_by == parent {
        return Ok(());
    }
    Err(io::Error::other(
        "it was started as a child by another program, such as a script that does not exec it: the primary \
         must become cluster itself",
    ))
}
