//! Starts a worker's process.

use std::collections::BTreeMap;
use std::ffi::{CString, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use cluster_proto::env::WorkerEnv;
use rustix::process::{Pid, Rlimit};

use crate::agent::is_node;
use crate::error::ForkError;
use crate::id::WorkerId;
use crate::settings::{Settings, Stdio, WORKER_VARIABLES};

use super::agent::Prepared;
use super::before_exec::BeforeExec;
use super::exec::Image;
use super::starting::{self, Start, Started};
use super::step::{Step, failed_cwd, failure};
use super::{fork, inherited, inspect, program, runtime};

/// A process that was started.
pub(super) struct Spawned {
    pub(super) pid: Pid,
    /// The primary's ends of the worker's pipes, by the worker's number of the descriptor.
    pub(super) pipes: Vec<(u32, OwnedFd)>,
    /// If it does not execute its program yet.
    pub(super) start: Option<Start>,
}

/// Starts the worker of that slot, whose channel is `channel`, with its agent, and with `limit` as its
/// limit of descriptors; the first is one beside which there is no other.
#[expect(clippy::too_many_arguments, reason = "each is a part of a worker")]
pub(super) fn spawn(
    settings: &Arc<Settings>,
    id: WorkerId,
    slot: u32,
    env: &[(OsString, Option<OsString>)],
    channel: OwnedFd,
    agent: Option<&mut Prepared>,
    limit: Rlimit,
    is_first: bool,
) -> Result<Spawned, ForkError> {
    let inspect = inspect::port(settings, id, env);
    let arguments = arguments(settings, inspect, agent.as_deref());
    let (agent_env, agent_fds) = agent.map(Prepared::take).unwrap_or_default();
    let Plan { places, pipes, channel_at, lowest } = plan(settings, channel, agent_fds)?;

    let mut variables: BTreeMap<_, _> = std::env::vars_os().collect();
    for name in WORKER_VARIABLES {
        variables.remove(std::ffi::OsStr::new(name));
    }
    for (name, value) in settings.env.iter().chain(env) {
        match value {
            Some(value) => variables.insert(name.clone(), value.clone()),
            None => variables.remove(name),
        };
    }
    let serialization = settings.serialization;
    let contract = WorkerEnv { id: id.0, channel_fd: channel_at, serialization, slot: Some(slot) };
    variables.extend(contract.variables().into_iter().map(|(n, v)| (n.into(), v.into())));
    variables.extend(agent_env);

    let file = executed(settings);
    let unreadable = |error| program::explain(settings, env, file, error);
    let image = Image::new(file.as_os_str(), &arguments, &variables).map_err(unreadable)?;
    let path = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(io::Error::from);
    let cwd = settings.cwd.as_deref().map(path).transpose();
    let script = program::script_path(settings).as_deref().map(path).transpose();
    let before_exec = BeforeExec {
        places,
        limit,
        cwd: cwd.map_err(|error| failed_cwd(settings, error))?,
        script: script.map_err(unreadable)?,
        #[cfg(target_os = "linux")]
        privileges: super::privileges::Privileges::new(settings, slot)?,
        #[cfg(not(target_os = "linux"))]
        uid: settings.uid,
        #[cfg(not(target_os = "linux"))]
        gid: settings.gid,
    };
    #[cfg(not(target_os = "linux"))]
    supported(settings)?;
    let (pid, report) = start(before_exec, image, lowest)?;
    let start = match starting::await_exec(&report, is_first) {
        Started::Executed => None,
        Started::NotYet => Some(Start::new(report, file.to_owned())),
        Started::Failed(step, errno) => {
            fork::abandon(pid);
            return Err(match step {
                Step::Exec => program::explain(settings, env, file, errno.into()),
                step => failure(settings, step, file, errno),
            });
        }
    };
    // The process is waited for by its descriptor.
    Ok(Spawned { pid, pipes, start })
}

/// Forks a child that executes the program; the pipe by which it says if it cannot, which closes when it
/// does.
#[allow(unsafe_code, reason = "std would wait for the exec")]
fn start(
    before_exec: BeforeExec,
    mut image: Image,
    lowest: RawFd,
) -> Result<(Pid, OwnedFd), ForkError> {
    let no = |error| ForkError::Resources { what: "pipe", error };
    let (report, theirs) = io::pipe().map_err(no)?;
    let report = OwnedFd::from(report);
    rustix::io::ioctl_fionbio(&report, true).map_err(|errno| no(errno.into()))?;
    // Above every number that is a target.
    let theirs = rustix::io::fcntl_dupfd_cloexec(&theirs, lowest);
    let theirs = theirs.map_err(|errno| no(errno.into()))?;
    let child = || {
        let (step, errno) = match before_exec.run(theirs.as_raw_fd()) {
            Ok(()) => (Step::Exec, image.execute()),
            Err(failed) => failed,
        };
        // If the primary has gone, the result is not needed.
        let _ = rustix::io::write(&theirs, &step.report(errno));
        127
    };
    // SAFETY: it makes system calls only, with what was made ready here; it neither allocates nor locks
    // (see there).
    let pid = unsafe { fork::fork(child) };
    let pid = pid.map_err(|error| ForkError::Resources { what: "process", error })?;
    Ok((pid, report))
}

/// The command line without the program: `exec_argv… exec args…` of an interpreter, or `args…`; behind a
/// launcher all of it.
fn arguments(settings: &Settings, inspect: Option<u16>, agent: Option<&Prepared>) -> Vec<OsString> {
    let mut words: Vec<OsString> = settings.launcher.iter().skip(1).cloned().collect();
    // The last one counts.
    let inspect = inspect.map(|port| OsString::from(format!("--inspect-port={port}")));
    let (agent_argv, agent_args) =
        agent.map_or((&[][..], &[][..]), |agent| (&agent.exec_argv[..], &agent.args[..]));
    if let Some(interpreter) = settings.interpreter() {
        if !settings.launcher.is_empty() {
            words.push(interpreter.into());
        }
        let implied = runtime::implied_arguments(interpreter, &settings.exec_argv);
        words.extend(implied.iter().map(OsString::from));
        words.extend(agent_argv.iter().chain(&settings.exec_argv).cloned());
        words.extend(inspect);
        words.push(settings.exec.clone().into());
        words.extend(agent_args.iter().chain(&settings.args).cloned());
    } else {
        if !settings.launcher.is_empty() {
            words.push(settings.exec.clone().into());
        }
        let (nodes, programs) = settings.args.split_at(inspect::node_arguments(settings).len());
        words.extend(agent_args.iter().chain(nodes).cloned());
        words.extend(inspect.filter(|_| is_node(&settings.exec)));
        words.extend(programs.iter().cloned());
    }
    words
}

/// What is executed first.
fn executed(settings: &Settings) -> &Path {
    match settings.launcher.first() {
        Some(launcher) => Path::new(launcher),
        None => settings.program(),
    }
}

/// What goes where in the worker.
struct Plan {
    places: Vec<(RawFd, OwnedFd)>,
    pipes: Vec<(u32, OwnedFd)>,
    channel_at: RawFd,
    /// The lowest number that is no target.
    lowest: RawFd,
}

/// The number of a worker's first descriptor that the settings say nothing of.
pub(super) fn first_free(settings: &Settings) -> RawFd {
    RawFd::try_from(settings.stdio_in_force().len()).unwrap_or(RawFd::MAX).max(3)
}

fn plan(settings: &Settings, channel: OwnedFd, others: Vec<OwnedFd>) -> Result<Plan, ForkError> {
    let stdio = settings.stdio_in_force();
    let channels = stdio.iter().filter(|s| matches!(s, Stdio::Ipc)).count();
    if channels != 1 {
        return Err(ForkError::Stdio { channels });
    }
    let no =
        |what| move |error: rustix::io::Errno| ForkError::Resources { what, error: error.into() };
    // Above every number that is a target, so that placing one overwrites no other.
    let first_free = first_free(settings);
    let lowest = first_free.saturating_add(RawFd::try_from(others.len()).unwrap_or(RawFd::MAX));
    let mut channel = Some(channel);
    let mut plan = Plan { places: Vec::new(), pipes: Vec::new(), channel_at: 0, lowest };
    for (at, entry) in (0..).zip(&stdio) {
        let source = match entry {
            // A worker is in a process group of its own, and so in the background of the terminal:
            // a process that reads from it there is stopped (SIGTTIN), and waits for a SIGCONT that never comes.
            Stdio::Inherit if at == 0 && inherited::is_controlling_terminal(at) => null()?,
            Stdio::Inherit if at < 3 => continue,
            Stdio::Inherit => inherited::duplicate(at).map_err(no("inherited descriptor"))?,
            Stdio::Ignore => null()?,
            Stdio::Fd(fd) | Stdio::Numbered { fd, .. } => fd.try_clone().map_err(|error| {
                ForkError::Resources { what: "duplicate of a descriptor", error }
            })?,
            Stdio::Ipc => {
                plan.channel_at = at;
                let Some(channel) = channel.take() else { continue };
                channel
            }
            Stdio::Pipe => {
                let (read, write) =
                    io::pipe().map_err(|error| ForkError::Resources { what: "pipe", error })?;
                let (theirs, ours): (OwnedFd, OwnedFd) =
                    if at == 0 { (read.into(), write.into()) } else { (write.into(), read.into()) };
                if at != 0 {
                    rustix::io::ioctl_fionbio(&ours, true).map_err(no("pipe"))?;
                }
                plan.pipes.push((at.unsigned_abs(), ours));
                theirs
            }
        };
        let source = rustix::io::fcntl_dupfd_cloexec(&source, lowest).map_err(no("descriptor"))?;
        plan.places.push((at, source));
    }
    for (at, source) in (first_free..).zip(others) {
        let source = rustix::io::fcntl_dupfd_cloexec(&source, lowest).map_err(no("descriptor"))?;
        plan.places.push((at, source));
    }
    Ok(plan)
}

fn null() -> Result<OwnedFd, ForkError> {
    let null = File::options().read(true).write(true).open("/dev/null");
    null.map(OwnedFd::from).map_err(|error| ForkError::Resources { what: "/dev/null", error })
}

/// What only Linux has.
#[cfg(not(target_os = "linux"))]
fn supported(settings: &Settings) -> Result<(), ForkError> {
    for (asked, setting) in [
        (settings.affinity.is_some(), "affinity"),
        (settings.groups.is_some(), "groups"),
        (settings.no_new_privs, "no_new_privs"),
        (settings.die_with_primary, "die_with_primary"),
    ] {
        if asked {
            return Err(ForkError::Unsupported { setting });
        }
    }
    Ok(())
}
