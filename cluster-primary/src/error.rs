//! What can go wrong, one enum a verb.

use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use cluster_proto::Value;
use rustix::io::Errno;

use crate::id::WorkerId;
use crate::placement::PlacementError;
use crate::script::{Content, content, interpreter};
use crate::settings::SCRIPT_EXTENSIONS;

const EPERM: i32 = Errno::PERM.raw_os_error();
const EINVAL: i32 = Errno::INVAL.raw_os_error();

/// Why a worker could not be forked. No worker is left behind.
#[derive(Debug)]
#[non_exhaustive]
pub enum ForkError {
    /// The program could not be executed.
    Spawn {
        /// The program, or its interpreter.
        program: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The program is there, but what is to run it is not.
    DeadInterpreter {
        /// The program.
        program: PathBuf,
        /// The interpreter that its first line names. A program that is no script is loaded by
        /// what it was built for.
        interpreter: Option<PathBuf>,
    },
    /// The script that an interpreter is to run is not there, or cannot be read.
    Script {
        /// The script.
        script: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The working directory is not there.
    Cwd {
        /// The directory.
        cwd: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Connections cannot be placed as the settings want it.
    Placement(PlacementError),
    /// `stdio` must hold the channel exactly once.
    Stdio {
        /// How often it does.
        channels: usize,
    },
    /// The worker's process could not be made what a setting says.
    Setting {
        /// The setting: `uid`, say.
        setting: &'static str,
        /// What it says.
        value: String,
        /// Why.
        error: io::Error,
    },
    /// A setting is not supported on this system, only on Linux.
    Unsupported {
        /// The setting.
        setting: &'static str,
    },
    /// The system gave no channel, pipe or process descriptor.
    Resources {
        /// What was asked for.
        what: &'static str,
        /// Why there was none.
        error: io::Error,
    },
}

impl fmt::Display for ForkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spawn { program, error } => {
                write!(f, "cannot execute {}: {error}", program.display())?;
                f.write_str(&not_executed(program, error))
            }
            Self::DeadInterpreter { program, interpreter: Some(interpreter) } => {
                let interpreter = interpreter.to_string_lossy();
                write!(
                    f,
                    "cannot execute {}: the interpreter in its first line, {}, does not exist",
                    program.display(),
                    interpreter.trim_end_matches('\r')
                )?;
                match interpreter.ends_with('\r') {
                    true => f.write_str(
                        ": the line ends with CR LF, as on Windows, and the system takes \
                         the CR as part of the name",
                    ),
                    false => Ok(()),
                }
            }
            Self::DeadInterpreter { program, interpreter: None } => write!(
                f,
                "cannot execute {}: the file exists, but its dynamic loader does not (was it built for \
                 another libc or another machine?)",
                program.display()
            ),
            Self::Script { script, error } => {
                write!(f, "cannot run the script {}: {error}", script.display())?;
                match error.kind() {
                    io::ErrorKind::NotFound => f.write_str(&sought(script)),
                    io::ErrorKind::InvalidInput => f.write_str("; not a regular file"),
                    _ => Ok(()),
                }
            }
            Self::Cwd { cwd, error } => {
                write!(f, "cannot run a worker in the directory {}: {error}", cwd.display())?;
                match error.kind() {
                    io::ErrorKind::NotFound => f.write_str(&sought(cwd)),
                    _ => Ok(()),
                }
            }
            Self::Placement(error) => error.fmt(f),
            Self::Stdio { channels } => {
                write!(f, "stdio must name the channel (ipc) exactly once, not {channels} times")
            }
            Self::Setting { setting, value, error } => {
                write!(f, "cannot start a worker with {setting} {value}: {error}")?;
                match (*setting, error.raw_os_error()) {
                    ("uid", Some(EPERM)) => f.write_str("; this requires root, or CAP_SETUID"),
                    ("gid" | "groups", Some(EPERM)) => {
                        f.write_str("; this requires root, or CAP_SETGID")
                    }
                    ("affinity", Some(EINVAL)) => {
                        f.write_str("; each set must name a CPU that this process may use")
                    }
                    _ => Ok(()),
                }
            }
            Self::Unsupported { setting } => {
                write!(f, "{setting} needs Linux, and is not supported on this system")
            }
            Self::Resources { what, error } => {
                write!(f, "cannot get a {what} for another worker: {error}")?;
                f.write_str(exhausted(error))
            }
        }
    }
}

/// What can be done about a program that was not executed.
fn not_executed(program: &Path, error: &io::Error) -> String {
    use io::ErrorKind;
    let bare = !program.as_os_str().as_bytes().contains(&b'/');
    match error.kind() {
        ErrorKind::NotFound if program.as_os_str().is_empty() => {
            "; its name is empty: is a variable not set?".into()
        }
        ErrorKind::NotFound if bare && program.is_file() => match not_executable(program) {
            Some(advice) => advice,
            None => format!("; for the one in this directory write ./{}", program.display()),
        },
        ErrorKind::NotFound => match with_extension(program) {
            Some(script) => format!("; did you mean {}?", script.display()),
            None if bare => "; is it installed, and on PATH?".into(),
            None => sought(program),
        },
        ErrorKind::PermissionDenied => not_executable(program).unwrap_or_else(|| {
            "; is it executable (chmod +x), and may this user enter the folders above it?".into()
        }),
        ErrorKind::IsADirectory => package_main(program),
        ErrorKind::ArgumentListTooLong => {
            "; the arguments and the environment together are too long".into()
        }
        _ => exhausted(error).into(),
    }
}

/// What can be done about a file that lacks the permission to be executed.
fn not_executable(program: &Path) -> Option<String> {
    let mode = std::fs::metadata(program).ok()?.permissions().mode();
    if mode & 0o111 != 0 {
        return None;
    }
    let name = program.display();
    Some(match content(program) {
        Content::Text => format!(
            "; {name} is not executable, and has no first line (#!) that names its interpreter: for a \
             Node.js script use --exec-path node"
        ),
        Content::Script(words) => match interpreter(&words) {
            Some(interpreter) => format!(
                "; {name} is not executable: chmod +x, or name its interpreter: --exec-path {}",
                interpreter.to_string_lossy()
            ),
            None => format!("; {name} is not executable: chmod +x"),
        },
        Content::Other => format!("; {name} is not executable: chmod +x"),
    })
}

/// The script of that name that was perhaps meant, as `node NAME` would find it.
fn with_extension(program: &Path) -> Option<PathBuf> {
    let named = |extension: &str| {
        let mut name = program.as_os_str().to_owned();
        name.push(".");
        name.push(extension);
        PathBuf::from(name)
    };
    SCRIPT_EXTENSIONS.iter().map(|extension| named(extension)).find(|script| script.is_file())
}

/// The script that `node FOLDER` would run.
fn package_main(folder: &Path) -> String {
    let package = std::fs::read(folder.join("package.json")).ok();
    let package = package.and_then(|text| serde_json::from_slice::<Value>(&text).ok());
    let main = package.as_ref().and_then(|package| package["main"].as_str());
    let script = folder.join(main.unwrap_or("index.js"));
    match main.is_some() || script.is_file() {
        true => format!("; the program is a file: {}", script.display()),
        false => "; the program is a file".into(),
    }
}

/// From where a path that is not absolute was sought.
fn sought(path: &Path) -> String {
    match std::env::current_dir() {
        _ if path.is_absolute() => String::new(),
        Ok(here) => format!("; looked up relative to {}", here.display()),
        Err(_) => {
            "; the folder that it is relative to has been removed (a reload looks up the folder in which \
             the cluster was started again, by its name)"
                .into()
        }
    }
}

/// What can be done where the system gives no more.
fn exhausted(error: &io::Error) -> &'static str {
    match Errno::from_io_error(error) {
        Some(Errno::MFILE) => {
            "; this process has reached its limit of open descriptors: ulimit -n, or LimitNOFILE= of its \
             unit"
        }
        Some(Errno::NFILE) => {
            "; the system has reached its limit of open descriptors: sysctl fs.file-max"
        }
        Some(Errno::AGAIN) => {
            "; the limit of processes is reached: ulimit -u, TasksMax= of the unit, or the container's \
             pids limit"
        }
        _ => "",
    }
}

impl std::error::Error for ForkError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Spawn { error, .. }
            | Self::Script { error, .. }
            | Self::Cwd { error, .. }
            | Self::Setting { error, .. }
            | Self::Resources { error, .. } => Some(error),
            Self::DeadInterpreter { .. }
            | Self::Stdio { .. }
            | Self::Placement(_)
            | Self::Unsupported { .. } => None,
        }
    }
}

/// What went wrong with a worker that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkerError {
    /// What it sent is no message; its channel is closed for that.
    Channel {
        /// What is wrong with it.
        what: String,
    },
    /// A message of its nests deeper than 127 levels, and is lost.
    TooDeep,
    /// It answered for something that it was not asked.
    StrayAck {
        /// The `seq` that it claims to answer.
        ack: u64,
    },
    /// Its [agent](crate::agent) does not keep to its protocol, or does not read; it is given up, and
    /// the worker goes on without.
    Agent {
        /// What is wrong.
        what: String,
    },
    /// It made a call of the primary block, which was interrupted: by a descriptor that lingers when it
    /// is closed (`SO_LINGER` and unsent data), or a listener that it has made blocking. Said of each
    /// worker once.
    BlocksPrimary {
        /// The system call.
        call: &'static str,
    },
    /// Its process was forked and does not execute its program: it could not, or took longer than
    /// [`Limits::start_timeout`](crate::Limits::start_timeout). That it ends follows. (What fails at once
    /// is a [`ForkError`].)
    Start {
        /// Why.
        what: String,
    },
    /// A message to it could not be sent.
    Send {
        /// Why.
        what: String,
    },
    /// It does not read the descriptors that are sent to it; its channel is closed for that. Those of one
    /// worker must not use up what all may have in flight.
    LeavesUnread {
        /// How many it has not read, at most.
        handles: u64,
        /// It has answered for some of these all the same. Else it has read nothing for ten seconds.
        answered: bool,
    },
}

impl WorkerError {
    /// A name for programs: `ERR_…`, as the control API has it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Channel { .. } => "ERR_IPC_BAD_FRAME",
            Self::TooDeep => "ERR_IPC_TOO_DEEP",
            Self::StrayAck { .. } => "ERR_IPC_STRAY_ACK",
            Self::Agent { .. } => "ERR_AGENT",
            Self::BlocksPrimary { .. } => "ERR_BLOCKS_PRIMARY",
            Self::Start { .. } => "ERR_START",
            Self::Send { .. } => "ERR_IPC_SEND",
            Self::LeavesUnread { .. } => "ERR_IPC_UNREAD",
        }
    }
}

impl fmt::Display for WorkerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Channel { what } => write!(f, "its channel was closed: {what}"),
            Self::Start { what } => write!(f, "it was not started: {what}"),
            Self::Agent { what } => write!(f, "it continues without its agent: {what}"),
            Self::TooDeep => {
                f.write_str("a message of it nests deeper than 127 levels, and was dropped")
            }
            Self::StrayAck { ack } => {
                write!(
                    f,
                    "it answered message {ack}, which was not sent to it, or which it has answered before"
                )
            }
            Self::BlocksPrimary { call } => write!(
                f,
                "it made a call of the primary ({call}) block, which was interrupted; sockets with \
                 SO_LINGER do that, and listeners that are made blocking"
            ),
            Self::Send { what } => write!(f, "a message could not be sent: {what}"),
            Self::LeavesUnread { handles, answered } => {
                write!(
                    f,
                    "its channel was closed: it left up to {handles} descriptors unread, and {}",
                    match answered {
                        true => "answered for connections that it had not read",
                        false => "read nothing for ten seconds",
                    }
                )
            }
        }
    }
}

impl std::error::Error for WorkerError {}

/// Why a message to a worker was not taken.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SendError {
    /// There is no such worker, or its channel is closed.
    Closed {
        /// The worker.
        worker: WorkerId,
    },
    /// So much waits already that the hard limit is reached
    /// ([`Limits::queue_limit`](crate::Limits::queue_limit)).
    QueueFull {
        /// The worker.
        worker: WorkerId,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The message is longer than a frame may be
    /// ([`Limits::max_frame`](crate::Limits::max_frame)).
    TooLong {
        /// The message's length, in bytes.
        length: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The worker says that the descriptor did not arrive, and so did not get the message either:
    /// it may be out of descriptors.
    Undelivered {
        /// The worker.
        worker: WorkerId,
    },
    /// The message cannot be written, or is the protocol's own.
    Encode {
        /// Why.
        error: cluster_proto::EncodeError,
    },
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { worker } => write!(f, "worker {worker} has no open channel"),
            Self::QueueFull { worker, limit } => write!(
                f,
                "worker {worker} does not read its messages: over {limit} bytes are queued for it"
            ),
            Self::TooLong { length, limit } => {
                write!(f, "a message of {length} bytes is over the limit of {limit}")
            }
            Self::Undelivered { worker } => write!(
                f,
                "the descriptor for worker {worker} did not arrive: is it out of descriptors?"
            ),
            Self::Encode { error } => error.fmt(f),
        }
    }
}

impl SendError {
    /// A name for programs: Node's where it has one, as the control API has it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Closed { .. } => "ERR_IPC_CHANNEL_CLOSED",
            Self::QueueFull { .. } => "ERR_IPC_QUEUE_FULL",
            Self::TooLong { .. } => "ERR_IPC_TOO_LONG",
            Self::Undelivered { .. } => "ERR_IPC_UNDELIVERED",
            Self::Encode { .. } => "ERR_INVALID_ARG_VALUE",
        }
    }
}

impl std::error::Error for SendError {}

impl From<cluster_proto::EncodeError> for SendError {
    fn from(error: cluster_proto::EncodeError) -> Self {
        Self::Encode { error }
    }
}

/// Why a signal could not be sent.
#[derive(Debug)]
#[non_exhaustive]
pub enum KillError {
    /// The system has no such signal.
    UnknownSignal {
        /// Its number.
        number: i32,
    },
    /// The system refused.
    Refused {
        /// The worker.
        worker: WorkerId,
        /// Why.
        error: io::Error,
    },
}

impl fmt::Display for KillError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownSignal { number } => {
                write!(f, "unknown signal {number}: this system has none of that number")
            }
            Self::Refused { worker, error } => {
                write!(f, "worker {worker} cannot be signalled: {error}")?;
                match error.raw_os_error() {
                    Some(EPERM) => {
                        f.write_str("; it runs as another user: this requires root, or CAP_KILL")
                    }
                    _ => Ok(()),
                }
            }
        }
    }
}

impl std::error::Error for KillError {}
