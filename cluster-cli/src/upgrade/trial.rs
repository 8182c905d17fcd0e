//! The new program is run as a child first, which reads a copy of the state and says whether it could
//! go on with it.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use cluster_primary::Mono;
use rustix::io::FdFlags;

use super::execute::Program;
use super::handed::Handed;

/// Says to a process that it is on trial, the state on its standard input.
pub(super) const TRIAL: &str = "CLUSTER_UPGRADE_TRIAL";

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
    pub(crate) fn begin(program: &Program, handed: &Handed, now: Mono) -> io::Result<Self> {
        let state = handed.write()?;
        let (output, theirs) = io::pipe()?;
        let mut command = Command::new(&program.path);
        command
            .args(std::env::args_os().skip(1))
            .env(TRIAL, "1")
            .stdin(Stdio::from(state))
            .stdout(theirs.try_clone()?)
            .stderr(theirs);
        lend(&mut command, handed.descriptors().collect());
        let child = command.spawn().map_err(|error| {
            let path = program.path.display();
            io::Error::new(error.kind(), format!("cannot execute {path}: {error}"))
        })?;
        let output = File::from(OwnedFd::from(output));
        rustix::io::ioctl_fionbio(&output, true)?;
        Ok(Self {
            child,
            output,
            said: Vec::new(),
            more: false,
            over: false,
            deadline: now + PATIENCE,
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

/// Has a child find descriptors of ours under the same numbers.
#[expect(unsafe_code, reason = "std closes all descriptors in a child but the first three")]
fn lend(command: &mut Command, numbers: Vec<RawFd>) {
    let before_exec = move || {
        for number in &numbers {
            // SAFETY: it was open at the fork, and in the child nobody closes anything.
            let descriptor = unsafe { BorrowedFd::borrow_raw(*number) };
            rustix::io::fcntl_setfd(descriptor, FdFlags::empty())?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec it makes system calls only (fcntl); it neither allocates nor
    // locks.
    unsafe { command.pre_exec(before_exec) };
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
            let _gone = self.child.kill();
            let _status = self.child.wait();
        }
    }
}

/// If this process is on trial: reads the state, and says whether it could go on with it.
pub(crate) fn on_trial() -> Option<ExitCode> {
    std::env::var_os(TRIAL)?;
    let checked = Handed::read(io::stdin().lock()).and_then(|handed| crate::resume::check(&handed));
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
