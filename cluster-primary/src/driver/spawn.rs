//! Starts a worker's process.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use cluster_proto::env::WorkerEnv;
use rustix::process::Rlimit;

use crate::agent::is_node;
use crate::settings::WORKER_VARIABLES;
use crate::{ForkError, Settings, Stdio, WorkerId};

use super::agent::Prepared;
use super::before_exec::{BeforeExec, Step, failed_step};
use super::{inherited, inspect, program, runtime};

/// A process that was started.
pub(super) struct Spawned {
    pub(super) pid: u32,
    /// The primary's ends of the worker's pipes, by the worker's number of the descriptor.
    pub(super) pipes: Vec<(u32, OwnedFd)>,
}

/// Starts the worker of that slot, whose channel is `channel`, with its agent, and with `limit` as its
/// limit of descriptors.
pub(super) fn spawn(
    settings: &Settings,
    id: WorkerId,
    slot: u32,
    env: &[(OsString, Option<OsString>)],
    channel: OwnedFd,
    agent: Option<&mut Prepared>,
    limit: Rlimit,
) -> Result<Spawned, ForkError> {
    program::directory(settings)?;
    if !settings.launcher.is_empty() {
        // The launcher could tell nobody but the terminal.
        program::findable(settings, env)?;
    }
    let inspect = inspect::port(settings, id, env);
    let mut command = command(settings, inspect, agent.as_deref())?;
    let (agent_env, agent_fds) = agent.map(Prepared::take).unwrap_or_default();
    let Plan { places, pipes, channel_at, taken } = plan(settings, channel, agent_fds)?;

    for name in WORKER_VARIABLES {
        command.env_remove(name);
    }
    for (name, value) in settings.env.iter().chain(env) {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let serialization = settings.serialization;
    let contract = WorkerEnv { id: id.0, channel_fd: channel_at, serialization, slot: Some(slot) };
    command.envs(contract.variables());
    command.envs(agent_env);
    if let Some(cwd) = &settings.cwd {
        command.current_dir(cwd);
    }
    // A group of its own: Ctrl-C on the terminal is for the primary alone.
    command.process_group(0);
    become_worker(&mut command, settings, slot, places, limit)?;

    let child = command.spawn().map_err(|error| match failed_step(&error) {
        Some((step, error)) => unmade(settings, step, error),
        None => program::explain(settings, env, executed(settings), error),
    })?;
    drop(taken);
    // The process is waited for by its descriptor; std's `Child` does nothing when it is dropped.
    Ok(Spawned { pid: child.id(), pipes })
}

/// The command line: `interpreter exec_argv… exec args…`, or `exec args…`; the launcher before it.
fn command(
    settings: &Settings,
    inspect: Option<u16>,
    agent: Option<&Prepared>,
) -> Result<Command, ForkError> {
    let mut command = Command::new(executed(settings));
    command.args(settings.launcher.iter().skip(1));
    // The last one counts.
    let inspect = inspect.map(|port| format!("--inspect-port={port}"));
    if let Some(interpreter) = settings.interpreter() {
        program::script(settings)?;
        if !settings.launcher.is_empty() {
            command.arg(interpreter);
        }
        command.args(runtime::implied_arguments(interpreter, &settings.exec_argv));
        command.args(agent.into_iter().flat_map(|agent| &agent.exec_argv));
        command.args(&settings.exec_argv);
        command.args(inspect);
        command.arg(&settings.exec);
        command.args(agent.into_iter().flat_map(|agent| &agent.args));
        command.args(&settings.args);
    } else {
        if !settings.launcher.is_empty() {
            command.arg(&settings.exec);
        }
        command.args(agent.into_iter().flat_map(|agent| &agent.args));
        let (nodes, programs) = settings.args.split_at(inspect::node_arguments(settings).len());
        command.args(nodes).args(inspect.filter(|_| is_node(&settings.exec))).args(programs);
    }
    Ok(command)
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
    /// Whatever is free below the numbers that are targets, until the process is started: std
    /// would open its pipe there by which the child tells that it could not exec, and a
    /// descriptor that is placed would close it.
    taken: Vec<OwnedFd>,
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
    let mut plan = Plan { places: Vec::new(), pipes: Vec::new(), channel_at: 0, taken: Vec::new() };
    for (at, entry) in (0..).zip(&stdio) {
        let source = match entry {
            // A worker is in a process group of its own, and so in the background of the terminal:
            // whoever reads from it there is stopped (SIGTTIN), and waits for a SIGCONT that never comes.
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
    let free = || {
        let place = rustix::io::fcntl_dupfd_cloexec(&plan.places[0].1, 0).map_err(no("descriptor"));
        place.map(|fd| (fd.as_raw_fd() < lowest).then_some(fd))
    };
    while let Some(fd) = free()? {
        plan.taken.push(fd);
    }
    Ok(plan)
}

fn null() -> Result<OwnedFd, ForkError> {
    let null = File::options().read(true).write(true).open("/dev/null");
    null.map(OwnedFd::from).map_err(|error| ForkError::Resources { what: "/dev/null", error })
}

/// Has the child make of itself what the settings say.
#[cfg(target_os = "linux")]
fn become_worker(
    command: &mut Command,
    settings: &Settings,
    slot: u32,
    places: Vec<(RawFd, OwnedFd)>,
    limit: Rlimit,
) -> Result<(), ForkError> {
    let becoming = super::becoming::Becoming::new(settings, slot)?;
    prepare(command, BeforeExec { places, limit, becoming });
    Ok(())
}

/// Elsewhere std does what can be done.
#[cfg(not(target_os = "linux"))]
fn become_worker(
    command: &mut Command,
    settings: &Settings,
    _slot: u32,
    places: Vec<(RawFd, OwnedFd)>,
    limit: Rlimit,
) -> Result<(), ForkError> {
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
    if let Some(uid) = settings.uid {
        command.uid(uid);
    }
    if let Some(gid) = settings.gid {
        command.gid(gid);
    }
    prepare(command, BeforeExec { places, limit });
    Ok(())
}

#[allow(unsafe_code, reason = "std has no safe way to act in a child")]
fn prepare(command: &mut Command, before_exec: BeforeExec) {
    // SAFETY: between fork and exec it makes system calls only; it neither allocates nor locks (see
    // there). It is dropped in the parent.
    unsafe { command.pre_exec(move || before_exec.run()) };
}

/// The error of a worker that could not be made what the settings want.
pub(super) fn unmade(settings: &Settings, step: Step, error: io::Error) -> ForkError {
    let number = |number: Option<u32>| number.map(|n| n.to_string()).unwrap_or_default();
    let (setting, value) = match step {
        Step::Descriptors => return ForkError::Resources { what: "place for a descriptor", error },
        Step::Affinity => {
            ("affinity", settings.affinity.as_ref().map(ToString::to_string).unwrap_or_default())
        }
        Step::Groups => ("groups", format!("{:?}", settings.groups.as_deref().unwrap_or_default())),
        Step::Gid => ("gid", number(settings.gid)),
        Step::Uid => ("uid", number(settings.uid)),
        Step::NoNewPrivs => ("no_new_privs", true.to_string()),
        Step::DieWithPrimary => ("die_with_primary", true.to_string()),
    };
    ForkError::Setting { setting, value, error }
}
