//! The new program is run as a child first, which reads a copy of the state and says whether it could
//! go on with it.
//!
//! The primary serves meanwhile, and waits for nothing: the file is opened in a thread, the exec is observed
//! through a pipe, and so is what the child says. All of it has one deadline.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use cluster_primary::Mono;
use cluster_primary::embed::PausedClosing;
use rustix::io::Errno;

use super::candidate::Candidate;
use super::child::{self, Exec, Started, TrialChild};
use super::handed::Handed;
use super::opening::Opening;
use super::variables::TRIAL;

/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often it is looked after once it has said all.
const LOOK: Duration = Duration::from_millis(5);
/// What it says if it can: a program that knows nothing of this may leave with code 0 as well.
const GOOD: &str = "cluster: this program can go on";
/// Reads at once, before others have their turn, and how much each reads. Together they read what a pipe
/// holds at most.
const READS: usize = 16;
const READ: usize = 64 << 10;
/// What it says is not listened to without end.
const MOST: usize = 16 << 10;

/// A trial that is under way.
#[derive(Debug)]
pub(crate) struct Trial {
    path: PathBuf,
    deadline: Mono,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Opening(Opening),
    Running(Running),
}

/// The child is there.
#[derive(Debug)]
struct Running {
    child: TrialChild,
    program: Rc<Candidate>,
    /// Closes at the exec. It stays open here, as it is watched.
    report: OwnedFd,
    executed: bool,
    /// Until the exec the child has copies of descriptors that workers made.
    paused: Option<PausedClosing>,
    output: File,
    said: Vec<u8>,
    /// There may be more to read.
    more: bool,
    over: bool,
}

/// How far a trial is.
#[derive(Debug)]
pub(crate) enum Progress {
    /// It goes on. What [`AsRawFd`] names may have changed.
    Pending,
    /// The program can be [started](Trial::start).
    Opened(Candidate),
    /// It is over.
    Over(Verdict),
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// The program can go on.
    Good(Rc<Candidate>),
    /// It cannot, or is no such program: why.
    Bad(String),
    /// It was not executed: why.
    NotExecuted(String),
}

impl Trial {
    /// Opens the program, which may take a while.
    ///
    /// # Errors
    /// If that cannot be done without waiting for it.
    pub(crate) fn open(path: &Path, now: Mono) -> io::Result<Self> {
        let stage = Stage::Opening(Opening::begin(path.to_owned())?);
        Ok(Self { path: path.to_owned(), deadline: now + PATIENCE, stage })
    }

    /// Starts the program that has been [opened](Progress::Opened).
    ///
    /// # Errors
    /// If there can be no process.
    pub(crate) fn start(
        &mut self,
        program: Rc<Candidate>,
        handed: &Handed,
        paused: PausedClosing,
    ) -> io::Result<()> {
        let Started { child, output, report } = child::start(&program, handed)?;
        self.stage = Stage::Running(Running {
            child,
            program,
            report,
            executed: false,
            paused: Some(paused),
            output,
            said: Vec::new(),
            more: false,
            over: false,
        });
        Ok(())
    }

    /// Its process, if there is one.
    pub(crate) fn pid(&self) -> Option<u32> {
        match &self.stage {
            Stage::Opening(_) => None,
            Stage::Running(running) => Some(running.child.pid()),
        }
    }

    /// When [`poll`](Self::poll) is wanted, beside when its descriptor is readable.
    pub(crate) fn poll_timeout(&self, now: Mono) -> Mono {
        match &self.stage {
            Stage::Running(Running { executed: true, over: true, .. }) => now + LOOK,
            Stage::Running(Running { executed: true, more: true, .. }) => now,
            _ => self.deadline,
        }
    }

    /// Looks how far it is.
    pub(crate) fn poll(&mut self, now: Mono) -> Progress {
        let (path, is_late) = (self.path.display(), now >= self.deadline);
        match &mut self.stage {
            Stage::Opening(opening) => match opening.poll() {
                Some(Ok(program)) => Progress::Opened(program),
                Some(Err(error)) => {
                    let what = format!("cannot execute {path}: {error}");
                    Progress::Over(Verdict::NotExecuted(what))
                }
                None if is_late => Progress::Over(Verdict::NotExecuted(format!(
                    "cannot open {path}: its file system has not answered within {PATIENCE:?}"
                ))),
                None => Progress::Pending,
            },
            Stage::Running(running) => match running.await_exec() {
                Exec::Failed(errno) => {
                    let what = match errno {
                        Errno::NOEXEC => "not a program for this system".into(),
                        errno => io::Error::from(errno).to_string(),
                    };
                    let what = format!("cannot execute {path}: {what}");
                    Progress::Over(Verdict::NotExecuted(what))
                }
                Exec::NotYet if is_late => Progress::Over(Verdict::NotExecuted(format!(
                    "{path} was not executed within {PATIENCE:?}: either a file system does not answer, or \
                     a process stops it"
                ))),
                Exec::NotYet => Progress::Pending,
                Exec::Done => match running.poll() {
                    Some(verdict) => Progress::Over(verdict),
                    None if is_late => Progress::Over(Verdict::Bad(format!(
                        "it did not report within {PATIENCE:?} whether it can take over"
                    ))),
                    None => Progress::Pending,
                },
            },
        }
    }
}

impl Running {
    fn await_exec(&mut self) -> Exec {
        if self.executed {
            return Exec::Done;
        }
        let exec = child::read_report(&self.report);
        if let Exec::Done = exec {
            self.executed = true;
            self.paused = None;
        }
        exec
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
    fn poll(&mut self) -> Option<Verdict> {
        self.listen();
        let finished = match self.child.has_ended() {
            Ok(false) => return None,
            Ok(true) => {
                // It may have said it, and left, since we listened.
                self.listen();
                self.child.finish()
            }
            Err(error) => Err(error),
        };
        let (status, has_left_processes) = match finished {
            Ok(finished) => finished,
            Err(error) => return Some(Verdict::Bad(format!("its process is lost: {error}"))),
        };
        if has_left_processes {
            let what = "it left processes behind when its trial was over";
            return Some(Verdict::Bad(what.into()));
        }
        let said = String::from_utf8_lossy(&self.said);
        if status.success() && said.lines().any(|line| line == GOOD) {
            return Some(Verdict::Good(Rc::clone(&self.program)));
        }
        let said = said.lines().find(|line| !line.is_empty()).unwrap_or("it said nothing");
        let stranger = match status.success() {
            true => ": is it cluster at all?",
            false => "",
        };
        Some(Verdict::Bad(format!("{said} ({status}){stranger}")))
    }
}

/// What is to be watched at the moment. It stays open until [`Trial::start`], and then as long as the trial.
impl AsRawFd for Trial {
    fn as_raw_fd(&self) -> RawFd {
        match &self.stage {
            Stage::Opening(opening) => opening.as_raw_fd(),
            Stage::Running(Running { executed: false, report, .. }) => report.as_raw_fd(),
            Stage::Running(Running { output, .. }) => output.as_raw_fd(),
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
