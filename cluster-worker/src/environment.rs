//! The variables by which a process knows that it is a worker.
//!
//! Node removes them from a worker's environment before the program runs, so that programs which the worker starts
//! (another `node`, for example, which would abort) do not take themselves for workers. So does this module, in a function
//! that runs before `main`: there is one thread then. Later, when a runtime has threads of its own, the environment cannot
//! be changed soundly, as C code in any thread may be reading it.
#![expect(
    unsafe_code,
    reason = "a function that runs before `main`, and the environment is the process's"
)]

use std::ffi::{OsStr, OsString};
use std::process::Command;
use std::sync::OnceLock;

use cluster_proto::env::{EnvError, UNIQUE_ID, WORKER_VARIABLES, WorkerEnv};

/// The variables that were removed from the environment, with their values.
static REMOVED: OnceLock<Vec<(&'static str, OsString)>> = OnceLock::new();

#[cfg(target_os = "linux")]
#[used]
// SAFETY: the section holds pointers to functions that take what the C library passes, or ignore it. This one relies on
// nothing that `main` would set up: of std it uses the environment, files and memory.
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = before_main;

#[cfg(target_os = "linux")]
extern "C" fn before_main() {
    remove();
}

/// Removes the variables, if there are any and no other thread can be reading the environment.
pub(crate) fn remove() {
    if std::env::var_os(UNIQUE_ID).is_none() || !is_single_threaded() {
        return;
    }
    let found = WORKER_VARIABLES.iter().filter_map(|&name| Some((name, std::env::var_os(name)?)));
    if REMOVED.set(found.collect()).is_err() {
        return;
    }
    for name in WORKER_VARIABLES {
        // SAFETY: this is the process's only thread, and it is here: no other thread reads or writes
        // the environment.
        unsafe { std::env::remove_var(name) };
    }
}

/// False where it cannot be known.
fn is_single_threaded() -> bool {
    #[cfg(target_os = "linux")]
    return std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.take(2).count() == 1);
    #[cfg(not(target_os = "linux"))]
    false
}

fn variable(name: &str) -> Option<OsString> {
    let removed = REMOVED.get().into_iter().flatten().find(|(removed, _)| *removed == name);
    removed.map(|(_, value)| value.clone()).or_else(|| std::env::var_os(name))
}

pub(crate) fn is_set(name: &str) -> bool {
    variable(name).is_some()
}

/// What a primary has told this process by its environment: its id, the descriptor of its channel, how messages are
/// written there, and its slot. `None` if no primary has started it.
///
/// The variables `NODE_UNIQUE_ID`, `NODE_CHANNEL_FD` and `NODE_CHANNEL_SERIALIZATION_MODE` are removed from the environment
/// before `main` (on Linux), as Node removes them before a program runs; this function knows them all the same. A program
/// that executes another, which is to be the worker in its place, gives it its environment by [`restore`].
///
/// # Errors
/// [`EnvError`] if it says that this process is a worker, and the rest does not fit.
pub fn environment() -> Result<Option<WorkerEnv>, EnvError> {
    // What is not text is as good as a wrong text.
    WorkerEnv::read(|name| variable(name).map(|value| value.to_string_lossy().into_owned()))
}

/// Removes from a command's environment what would make the child take itself for this worker.
///
/// On Linux that is needed only where a thread existed before `main` (a library that is preloaded may start one), or where
/// `/proc` is not mounted, so that this is not known: everywhere else the variables are no longer in this process's
/// environment. On other systems use it for every child.
///
/// ```
/// let mut command = std::process::Command::new("true");
/// cluster_worker::scrub(&mut command);
/// ```
pub fn scrub(command: &mut Command) -> &mut Command {
    WORKER_VARIABLES.iter().fold(command, |command, name| command.env_remove(name))
}

/// Adds to a command's environment what makes the child take itself for this worker: for a program that executes the worker
/// in its own place, and does not take the channel itself. Without effect if this process is no worker.
///
/// ```no_run
/// use std::os::unix::process::CommandExt;
///
/// let mut server = std::process::Command::new("server");
/// let error = cluster_worker::restore(&mut server).exec();
/// eprintln!("cannot execute the server: {error}");
/// ```
pub fn restore(command: &mut Command) -> &mut Command {
    let set = |name: &'static &str| Some((OsStr::new(name), variable(name)?));
    command.envs(WORKER_VARIABLES.iter().filter_map(set))
}
