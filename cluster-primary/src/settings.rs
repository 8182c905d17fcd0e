//! How workers are started, and who accepts their connections.

mod state;

use std::ffi::OsString;
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use cluster_proto::env::{self, SchedulingPolicy, Serialization};
use cluster_sched::PolicyName;
use serde::{Deserialize, Serialize};

use crate::custom_policy::CustomPolicy;
use crate::machine::Config;
use crate::socket_access::SocketAccess;
use crate::tree::EndDescendants;

pub(crate) use state::SettingsState;

/// Node's `cluster.settings`: what the next fork does. Workers that run already keep theirs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// The program, or the script that [`exec_path`](Self::exec_path) runs. A `.js`, `.mjs`, `.cjs`,
    /// `.ts`, `.mts` or `.cts` file without an `exec_path` runs under `node`; anything else is executed itself,
    /// and sought along `PATH` if it holds no `/`. Default: the running executable, so that one
    /// program is both primary and worker.
    pub exec: PathBuf,
    /// The worker's arguments. Default: those of this process.
    pub args: Vec<OsString>,
    /// The interpreter: the worker's command line is `exec_path exec_argv… exec args…`.
    pub exec_path: Option<PathBuf>,
    /// The interpreter's own arguments. Without an interpreter they are not used.
    pub exec_argv: Vec<OsString>,
    /// Words that go before the worker's command line: a program that does something and then
    /// executes the rest in its own process, as `nice`, `env` and `setpriv` do. It must not fork: the
    /// process that is started is the worker, which has the channel. Default: none.
    pub launcher: Vec<OsString>,
    /// The worker's working directory. Default: the primary's.
    pub cwd: Option<PathBuf>,
    /// How messages are written on the channel: [`Serialization::Json`], or
    /// [`Serialization::Advanced`] for what JSON cannot hold. Default: JSON.
    pub serialization: Serialization,
    /// Laid over the primary's environment, in this order; `None` removes.
    pub env: Vec<(OsString, Option<OsString>)>,
    /// Whether the worker's output comes to the primary as
    /// [`Event::Stdio`](crate::Event::Stdio) instead of going where the primary's goes.
    pub silent: bool,
    /// The worker's descriptors from 0 on, one of them [`Stdio::Ipc`]. Overrides
    /// [`silent`](Self::silent).
    pub stdio: Option<Vec<Stdio>>,
    /// The user that the worker runs as (`setuid(2)`).
    pub uid: Option<u32>,
    /// The group that the worker runs as (`setgid(2)`).
    pub gid: Option<u32>,
    /// The supplementary groups that the worker is in (`setgroups(2)`). Default: none where a `uid`
    /// or `gid` is set, if that is permitted, as in Node; else the primary's. On Linux only.
    pub groups: Option<Vec<u32>>,
    /// Whether the worker keeps the primary's ambient and inheritable capabilities, as Node's workers
    /// do (systemd's `AmbientCapabilities=` sets them). Without, a worker that does not run as root has
    /// no capability but what the file of its program gives it. On Linux only. Default: yes.
    pub keep_capabilities: bool,
    /// Whether the worker, and whatever it starts, can have no more privileges than it is given
    /// (`PR_SET_NO_NEW_PRIVS`): executing `sudo`, say, gives it none. On Linux only. Default: no.
    pub no_new_privs: bool,
    /// Which CPUs the worker runs on. Default: those of the primary. On Linux only.
    pub affinity: Option<Affinity>,
    /// Whether the kernel kills the worker (`SIGKILL`) when the primary is gone, however it went.
    /// Any worker exits when its channel closes; one whose event loop is blocked does not see that.
    /// On Linux only. Default: no.
    ///
    /// It is the *thread* that forked it whose end the kernel takes for the primary's: fork from one
    /// that lives as long as the primary does. A worker that executes a file with more privileges
    /// (set-user-ID, file capabilities), or changes its user, is let off; so are its own children.
    pub die_with_primary: bool,
    /// Whether Node workers are started with an [agent](crate::agent), which the program does not
    /// notice: it ends HTTP work when the worker is to leave, knows whether the program handles a
    /// signal, and reports loads. Other programs are started as ever. Default: no.
    pub node_agent: bool,
    /// How the processes end that a worker has started, once it has ended itself: those of its process
    /// group, and those that are [proven](crate::tree) to descend from it. `None`: they are left alone,
    /// as Node leaves them. On Linux only; elsewhere the group gets `SIGTERM`, and no more. Default: none.
    pub end_descendants: Option<EndDescendants>,
    /// The port of a worker's inspector, if [`exec_argv`](Self::exec_argv) or `NODE_OPTIONS` asks for
    /// inspection (`--inspect` and the like). Default: each worker its own, counted up from the port
    /// that they name, 9229 if none.
    pub inspect_port: InspectPort,
    /// Accepted for Node's sake: there is no console window to hide but on Windows.
    pub windows_hide: bool,
    /// Who accepts connections. Frozen by the first [`setup`](crate::Primary::setup) or fork.
    /// Default: what `NODE_CLUSTER_SCHED_POLICY` says, else [`Placement::Handoff`].
    pub placement: Placement,
    /// Who gets a connection that the primary accepted, or that the kernel deals out. Frozen with the placement. Default:
    /// round-robin.
    pub policy: PolicyName,
    /// A policy of the program's own, instead of [`policy`](Self::policy): for [`Placement::Handoff`] only.
    /// Frozen with the placement. A primary that has one cannot be [handed over](crate::Primary::state). Default: none.
    pub custom_policy: Option<CustomPolicy>,
    /// Whether server sockets stay open while no worker serves them, so that clients wait for the next
    /// worker instead of being refused, until [`Primary::release_unused`](crate::Primary::release_unused)
    /// or [`disconnect`](crate::Primary::disconnect). Default: no, as in Node.
    pub keep_listeners: bool,
    /// Whether each connection that a worker took from the primary is told as
    /// [`Event::Taken`](crate::Event::Taken): to find one that was lost. Default: no.
    pub report_connections: bool,
    /// Whether the sockets that a worker asks for are made with the worker's rights where it has another
    /// `uid`, `gid` or other `groups` than the primary: a child process that has taken them on binds the
    /// socket and returns it, and removes the file of a Unix-domain socket when its server closes. So a
    /// worker gets no path and no port that its own user could not have. On Linux only.
    ///
    /// Default: no, as in Node, where the primary makes them with its own rights: a primary that runs as
    /// root then creates, changes and removes files of sockets wherever a worker says, and binds any
    /// port. Set it unless the workers are trusted with that.
    pub listen_as_worker: bool,
    /// Ports that the primary binds with its own rights for workers that ask for them, although
    /// [`listen_as_worker`](Self::listen_as_worker) is set: those below 1024 that workers of another
    /// user need. Default: none.
    pub privileged_ports: Vec<u16>,
    /// Whose the files of Unix-domain sockets are that workers listen on, and who may connect to them.
    /// Sockets that are open already keep theirs. Default: as the system makes them.
    pub socket_access: SocketAccess,
    /// What a worker may do to the primary.
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            exec: std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/proc/self/exe")),
            args: std::env::args_os().skip(1).collect(),
            exec_path: None,
            exec_argv: Vec::new(),
            launcher: Vec::new(),
            cwd: None,
            serialization: Serialization::default(),
            env: Vec::new(),
            silent: false,
            stdio: None,
            uid: None,
            gid: None,
            groups: None,
            keep_capabilities: true,
            no_new_privs: false,
            affinity: None,
            die_with_primary: false,
            node_agent: false,
            end_descendants: None,
            inspect_port: InspectPort::default(),
            windows_hide: false,
            placement: match SchedulingPolicy::read(|name| std::env::var(name).ok()) {
                SchedulingPolicy::None => Placement::Shared,
                _ => Placement::Handoff,
            },
            policy: PolicyName::RoundRobin,
            custom_policy: None,
            keep_listeners: false,
            report_connections: false,
            listen_as_worker: false,
            privileged_ports: Vec::new(),
            socket_access: SocketAccess::default(),
            limits: Limits::default(),
        }
    }
}

/// What concerns the machine.
impl From<&Settings> for Config {
    fn from(settings: &Settings) -> Self {
        Self {
            placement: settings.placement,
            policy: settings.policy,
            custom_policy: settings.custom_policy.clone(),
            serialization: settings.serialization,
            keep_listeners: settings.keep_listeners,
            report_connections: settings.report_connections,
            limits: settings.limits,
        }
    }
}

impl Settings {
    /// The default settings for that program, without arguments.
    pub fn new(exec: impl Into<PathBuf>) -> Self {
        Self { exec: exec.into(), args: Vec::new(), ..Self::default() }
    }

    /// Sets the worker's arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args = args.into_iter().map(Into::into).collect();
        self
    }

    /// Sets a variable of the worker's environment.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), Some(value.into())));
        self
    }

    /// Sets who accepts connections.
    #[must_use]
    pub fn placement(mut self, placement: Placement) -> Self {
        self.placement = placement;
        self
    }

    /// Sets who gets a connection that the primary accepted.
    #[must_use]
    pub fn policy(mut self, policy: PolicyName) -> Self {
        self.policy = policy;
        self
    }

    /// Sets a policy of the program's own, which decides who gets a connection that the primary accepted.
    #[must_use]
    pub fn custom_policy(mut self, policy: CustomPolicy) -> Self {
        self.custom_policy = Some(policy);
        self
    }

    /// The name of the policy in force.
    pub fn policy_name(&self) -> &str {
        self.custom_policy.as_ref().map_or(self.policy.as_str(), CustomPolicy::name)
    }

    /// Sets whether the worker's output comes to the primary.
    #[must_use]
    pub fn silent(mut self, silent: bool) -> Self {
        self.silent = silent;
        self
    }

    /// The interpreter in force: [`exec_path`](Self::exec_path), or `node` for a script of its.
    pub(crate) fn interpreter(&self) -> Option<&Path> {
        self.exec_path.as_deref().or_else(|| self.is_script().then(|| Path::new("node")))
    }

    /// The worker's program, or its interpreter.
    pub(crate) fn program(&self) -> &Path {
        self.interpreter().unwrap_or(&self.exec)
    }

    /// Whether `node` runs the program, by its name, where there is no
    /// [`exec_path`](Self::exec_path).
    pub fn runs_under_node(&self) -> bool {
        self.exec_path.is_none() && self.is_script()
    }

    /// Whether the name of the program alone says that `node` runs it.
    pub(crate) fn is_script(&self) -> bool {
        let extension = self.exec.extension().and_then(|e| e.to_str());
        extension.is_some_and(|extension| SCRIPT_EXTENSIONS.contains(&extension))
    }

    /// The descriptors of a worker under these settings.
    pub(crate) fn stdio_in_force(&self) -> Vec<Stdio> {
        match &self.stdio {
            Some(stdio) => stdio.clone(),
            None if self.silent => vec![Stdio::Pipe, Stdio::Pipe, Stdio::Pipe, Stdio::Ipc],
            None => vec![Stdio::Inherit, Stdio::Inherit, Stdio::Inherit, Stdio::Ipc],
        }
    }
}

/// One descriptor of a worker.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Stdio {
    /// The primary's descriptor of the same number. For descriptor 0 it is `/dev/null` instead while that
    /// is the terminal from which the primary was started: workers are in process groups of their own,
    /// and one that read from it would be stopped (`SIGTTIN`).
    Inherit,
    /// `/dev/null`.
    Ignore,
    /// A pipe. What the worker writes comes as [`Event::Stdio`](crate::Event::Stdio); descriptor 0
    /// is one from which nothing comes until the worker has gone.
    Pipe,
    /// This descriptor: an open file, say.
    Fd(Arc<OwnedFd>),
    /// A duplicate of what was open here under that number when it was set. The settings tell the
    /// number, as Node's do.
    Numbered {
        /// The number that was asked for.
        number: i32,
        /// The duplicate.
        fd: Arc<OwnedFd>,
    },
    /// The channel. It must stand exactly once.
    Ipc,
}

/// Which CPUs workers run on, by their [slots](crate::WorkerState::slot).
///
/// As text, for command lines: `each`, or sets as taskset(1) lists them, separated by slashes:
/// `0-3,8/4-7`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Affinity {
    /// Each slot has one, of those that the thread which forks may run on, in their order; around at
    /// the end.
    Each,
    /// Slot 0 has the first of these sets, and so on; around at the end. Of a set's CPUs those
    /// count that the process may use; there must be one.
    Sets(Vec<Vec<u32>>),
}

impl fmt::Display for Affinity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Sets(sets) = self else { return f.write_str("each") };
        for (at, set) in sets.iter().enumerate() {
            f.write_str(if at > 0 { "/" } else { "" })?;
            for (at, cpu) in set.iter().enumerate() {
                write!(f, "{}{cpu}", if at > 0 { "," } else { "" })?;
            }
        }
        Ok(())
    }
}

impl FromStr for Affinity {
    type Err = UnknownAffinity;
    fn from_str(text: &str) -> Result<Self, UnknownAffinity> {
        if text == "each" {
            return Ok(Self::Each);
        }
        let sets: Option<Vec<_>> = text.split('/').map(cpu_list).collect();
        sets.map(Self::Sets).ok_or_else(|| UnknownAffinity { text: text.to_owned() })
    }
}

/// So many can be named.
const MOST_CPUS: u32 = 1024;

/// `0-3,8`
fn cpu_list(text: &str) -> Option<Vec<u32>> {
    let mut cpus = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let range: std::ops::RangeInclusive<u32> = first.parse().ok()?..=last.parse().ok()?;
        if range.is_empty() || *range.end() >= MOST_CPUS {
            return None;
        }
        cpus.extend(range);
    }
    Some(cpus)
}

/// That says not which CPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownAffinity {
    /// What was said.
    pub text: String,
}

impl fmt::Display for UnknownAffinity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} says not which CPUs; say each, or sets such as 0-3,8/4-7", self.text)
    }
}

impl std::error::Error for UnknownAffinity {}

/// Which port a worker's inspector listens on: Node's `inspectPort`.
///
/// It matters only if the interpreter's own arguments, or `NODE_OPTIONS` in the settings'
/// environment, ask for inspection.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum InspectPort {
    /// Each worker its own: worker 1 the port after the one that `exec_argv` or else `NODE_OPTIONS` names,
    /// on which a Node primary would listen itself, and so on. 9229 if neither names one.
    #[default]
    Count,
    /// The same for all: only one of them at a time can be inspected. 0 lets the system choose.
    Fixed(u16),
    /// What the function says, at each fork.
    With(Arc<dyn Fn() -> u16 + Send + Sync>),
}

impl fmt::Debug for InspectPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count => f.write_str("Count"),
            Self::Fixed(port) => f.debug_tuple("Fixed").field(port).finish(),
            Self::With(_) => f.write_str("With(..)"),
        }
    }
}

/// Who accepts connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Placement {
    /// The primary accepts, and hands each connection to a worker (Node's `SCHED_RR`).
    #[default]
    Handoff,
    /// All workers accept from one socket (Node's `SCHED_NONE`). The workers are trusted with it: one
    /// that shuts it down (`shutdown(2)`) refuses all clients, and one that makes it blocking can block
    /// the others.
    Shared,
    /// Each worker accepts from a socket of its own, and the kernel deals connections out among
    /// them by the [policy](Settings::policy): exactly in turns, at random, or by the client's
    /// address. Nothing is handed over, but what waits at a worker that is stuck, dies or leaves.
    ///
    /// On Linux only. The program in the kernel needs the privilege `CAP_BPF` and Linux 5.12;
    /// without, [`Event::Fallback`](crate::Event::Fallback) says what is done instead. The workers
    /// are trusted with their sockets: one that shuts its own down refuses the clients dealt to it.
    /// Unix-domain sockets, inherited descriptors (`fd`) and listens
    /// with `reusePort` are served as under [`Handoff`](Self::Handoff); UDP is shared.
    Kernel,
}

impl Placement {
    /// Every placement.
    pub const ALL: &'static [Self] = &[Self::Handoff, Self::Shared, Self::Kernel];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Handoff => "handoff",
            Self::Shared => "shared",
            Self::Kernel => "kernel",
        }
    }
}

impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Placement {
    type Err = UnknownPlacement;
    fn from_str(name: &str) -> Result<Self, UnknownPlacement> {
        let found = Self::ALL.iter().copied().find(|p| p.as_str() == name);
        found.ok_or_else(|| UnknownPlacement { name: name.to_owned() })
    }
}

/// There is no such placement.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownPlacement {
    /// What was asked for.
    pub name: String,
}

impl fmt::Display for UnknownPlacement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown placement {:?}; there are handoff, shared and kernel", self.name)
    }
}

impl std::error::Error for UnknownPlacement {}

/// What a worker may do to the primary. A worker that goes beyond is told so, or loses its channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(default)]
pub struct Limits {
    /// The longest message from or to a worker, in bytes. Default 64 MiB, as much as may wait for a
    /// worker. One that is longer costs the worker its channel. The primary keeps a message as it came;
    /// when the program [asks for its values](crate::UserMessage::value) they may take some sixty times its
    /// length of memory (in `advanced` two hundred), if it is made for that: where workers are not trusted,
    /// and the program asks, set less. Nor is a longer one sent to a worker.
    pub max_frame: usize,
    /// Bytes that may wait for a worker before [`Pressure::High`](crate::Pressure::High) is
    /// reported. Default 128 KiB, as in Node.
    pub high_water: usize,
    /// Bytes that may wait for a worker at all. Default 64 MiB. Beyond, sending is an error.
    pub queue_limit: usize,
    /// Servers that one worker may have. Default 1,024. Beyond, a listen fails with `EMFILE`.
    pub max_servers: usize,
    /// Descriptors that a worker may send, in its life, with no message that has one, or with messages
    /// that are not the program's. They are closed; beyond the limit its channel is too. Default 64.
    #[serde(skip_serializing_if = "is_default_limit")]
    pub max_unexpected_handles: u64,
    /// Server sockets that may be open because workers of one slot asked for them, one worker after the
    /// other: those of workers that are gone count as long as others serve them, or
    /// [`Settings::keep_listeners`] keeps them open. Default 1,024; no more than an eighth of the
    /// descriptors that the process may have. Beyond, listeners that wait for a worker of this slot to come
    /// back are closed, the oldest first; where there are none, a listen fails with `EMFILE`.
    #[serde(skip_serializing_if = "is_default_per_slot")]
    pub max_sockets_per_slot: usize,
    /// Server sockets that may be open in all. Default 8,192; no more than a quarter of the descriptors that
    /// the process may have. Beyond, as with [`max_sockets_per_slot`](Self::max_sockets_per_slot).
    #[serde(skip_serializing_if = "is_default_in_all")]
    pub max_sockets: usize,
    /// Connections that may wait for a worker, on one server; beyond, the kernel's queue holds
    /// them. Default 512.
    pub max_waiting: usize,
    /// Connections that may be under way to a worker as long as it answers promptly (within 10 ms);
    /// a slower one gets fewer, down to one. Its servers share them equally, and each may have one. So
    /// many are its own by turns: those that it has not shown to keep up with are kept back for it,
    /// until it has not answered for 10 ms.
    /// Default 64, or fewer where the process may have few descriptors. With 1 the order is exactly
    /// Node's.
    pub max_window: u32,
    /// How long accepting rests when the system is out of descriptors or memory. Default 100 ms.
    pub accept_pause: Duration,
    /// How long a worker may take until it executes its program: on a file system that does not answer
    /// that never happens. Beyond, it is killed, and
    /// [`WorkerError::Start`](crate::WorkerError::Start) says why. Default 30 s.
    #[serde(skip_serializing_if = "is_usual_start")]
    pub start_timeout: Duration,
    /// How often the accept queues of [`Placement::Kernel`] are looked at while anything waits
    /// there; ten times as rarely while nothing does. Default 100 ms.
    pub queue_watch: Duration,
    /// When a worker under [`Placement::Kernel`] is stuck: connections wait in its queue for so
    /// long without becoming fewer, and for as long its event loop has not answered. Then what
    /// waits there is given to others, and it gets nothing more until it answers. One that answers
    /// but accepts nothing, while others have nothing to do, is given four times as long. The last
    /// worker of a server is never stuck. Default 1 s.
    pub stuck_after: Duration,
    /// When a worker is unresponsive: it has left a connection that was handed to it, or the question
    /// whether it is there, unanswered for so long, and has said nothing else. It gets nothing more
    /// until it answers, unless it is the last of its server;
    /// [`Event::Unresponsive`](crate::Event::Unresponsive) says so. One whose event loop is busy
    /// with one thing for so long looks the same: give it longer than its longest piece of work.
    /// Default: none, no worker is asked.
    pub unresponsive_after: Option<Duration>,
}

/// [`Limits::start_timeout`] unless it is set.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// What is as ever is written down as by earlier versions.
fn is_usual_start(timeout: &Duration) -> bool {
    *timeout == START_TIMEOUT
}

const MAX_UNEXPECTED_HANDLES: u64 = 64;

/// What an upgrade need not write down.
fn is_default_limit(limit: &u64) -> bool {
    *limit == MAX_UNEXPECTED_HANDLES
}

/// As older versions, which did not know of it, have written it.
fn is_default_per_slot(sockets: &usize) -> bool {
    *sockets == Limits::default().max_sockets_per_slot
}

/// The same.
fn is_default_in_all(sockets: &usize) -> bool {
    *sockets == Limits::default().max_sockets
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_frame: 64 << 20,
            high_water: 128 << 10,
            queue_limit: 64 << 20,
            max_servers: 1024,
            max_unexpected_handles: MAX_UNEXPECTED_HANDLES,
            max_sockets_per_slot: 1024,
            max_sockets: 8192,
            max_waiting: 512,
            max_window: 64,
            accept_pause: Duration::from_millis(100),
            start_timeout: START_TIMEOUT,
            queue_watch: Duration::from_millis(100),
            stuck_after: Duration::from_secs(1),
            unresponsive_after: None,
        }
    }
}

/// The extensions of files that `node` runs. (Those of TypeScript need Node 22.18 or later, or a loader.)
pub(crate) const SCRIPT_EXTENSIONS: [&str; 6] = ["js", "mjs", "cjs", "ts", "mts", "cts"];

/// The variables by which a worker knows that it is one: a primary that is itself a worker must not
/// pass its own on.
pub(crate) const WORKER_VARIABLES: [&str; 3] = env::WORKER_VARIABLES;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_affinity_is_read_as_it_is_written() {
        assert_eq!("each".parse(), Ok(Affinity::Each));
        let sets = Affinity::Sets(vec![vec![0, 1, 2, 3, 8], vec![4]]);
        assert_eq!("0-3,8/4".parse(), Ok(sets.clone()));
        for affinity in [Affinity::Each, sets] {
            assert_eq!(affinity.to_string().parse(), Ok(affinity));
        }
    }

    #[test]
    fn what_names_no_cpus_is_no_affinity() {
        for text in ["", "all", "0-", "3-1", "0,,1", "0/", "-1", "0-4294967295", "1;2"] {
            assert_eq!(
                text.parse::<Affinity>(),
                Err(UnknownAffinity { text: text.to_owned() }),
                "{text:?}"
            );
        }
    }
}
