//! How workers are started, and how they get their connections.

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
use crate::socket_access::SocketAccess;
use crate::tree::EndDescendants;

pub(crate) use state::SettingsState;

/// Node's `cluster.settings`: how the next worker is started. Running workers keep the settings they were
/// started with.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// The program, or the script that [`exec_path`](Self::exec_path) runs. Without an `exec_path`, a `.js`,
    /// `.mjs`, `.cjs`, `.ts`, `.mts` or `.cts` file runs under `node`; any other file is executed directly,
    /// and looked up along `PATH` if its name has no `/`. Default: the running executable, so that one
    /// program is both primary and worker.
    pub exec: PathBuf,
    /// The worker's arguments. Default: those of this process.
    pub args: Vec<OsString>,
    /// The interpreter: the worker's command line is `exec_path exec_argv… exec args…`.
    pub exec_path: Option<PathBuf>,
    /// The interpreter's own arguments. Without an interpreter they are not used.
    pub exec_argv: Vec<OsString>,
    /// Words in front of the worker's command line: a program that executes the rest in its own process, as
    /// `nice`, `env` and `setpriv` do. It must not fork, because the process that is started is the worker,
    /// which has the channel. Default: none.
    pub launcher: Vec<OsString>,
    /// The worker's working directory. Default: the primary's.
    pub cwd: Option<PathBuf>,
    /// The encoding of messages on the channel: [`Serialization::Json`], or [`Serialization::Advanced`] for
    /// values that JSON cannot represent. Default: JSON.
    pub serialization: Serialization,
    /// Changes to the primary's environment for the worker, in this order; `None` removes a variable.
    pub env: Vec<(OsString, Option<OsString>)>,
    /// Whether the worker's output comes to the primary as [`Event::Stdio`](crate::Event::Stdio) instead of
    /// going to the primary's own output.
    pub silent: bool,
    /// The worker's descriptors, from 0 on; exactly one of them is [`Stdio::Ipc`]. Overrides
    /// [`silent`](Self::silent).
    pub stdio: Option<Vec<Stdio>>,
    /// The user that the worker runs as (`setuid(2)`).
    pub uid: Option<u32>,
    /// The group that the worker runs as (`setgid(2)`).
    pub gid: Option<u32>,
    /// The worker's supplementary groups (`setgroups(2)`). Default: none if a `uid` or `gid` is set and the
    /// system permits it, as in Node; otherwise the primary's. Linux only.
    pub groups: Option<Vec<u32>>,
    /// Whether the worker keeps the primary's ambient and inheritable capabilities, as Node's workers do
    /// (systemd's `AmbientCapabilities=` sets them). If false, a worker that does not run as root has only
    /// the capabilities of its program's file. Linux only. Default: true.
    pub keep_capabilities: bool,
    /// Whether the worker and its descendants are barred from gaining privileges (`PR_SET_NO_NEW_PRIVS`), for
    /// example by executing `sudo`. Linux only. Default: false.
    pub no_new_privs: bool,
    /// The CPUs that the worker runs on. Default: those of the primary. Linux only.
    pub affinity: Option<Affinity>,
    /// Whether the kernel kills the worker (`SIGKILL`) when the primary ends, for whatever reason. A worker
    /// exits by itself when its channel closes, but not while its event loop is blocked. Linux only. Default:
    /// false.
    ///
    /// For the kernel, the end of the *thread* that forked the worker counts: fork from one that lives as
    /// long as the primary. It does not apply to a worker that executes a file with more privileges
    /// (set-user-ID, file capabilities) or changes its user, nor to the worker's own children.
    pub die_with_primary: bool,
    /// Whether Node workers are started with an [agent](crate::agent), which is invisible to the program: it
    /// finishes HTTP work when the worker has to leave, knows whether the program handles a signal, and
    /// reports load. Other programs are started without one. Default: false.
    pub node_agent: bool,
    /// How processes that a worker has started are ended after it has exited: those of its process group, and
    /// those that [provably](crate::tree) descend from it. `None`: they are left running, as Node leaves
    /// them. On other systems than Linux only the group gets `SIGTERM`. Default: `None`.
    pub end_descendants: Option<EndDescendants>,
    /// The port of a worker's inspector, if [`exec_argv`](Self::exec_argv) or `NODE_OPTIONS` enables one
    /// (`--inspect` and the like). Default: a port of its own for each worker, counted up from the one they
    /// give, or 9229.
    pub inspect_port: InspectPort,
    /// Accepted for compatibility with Node, where it hides a console window on Windows. It has no effect.
    pub windows_hide: bool,
    /// Which process accepts connections. Fixed by the first [`setup`](crate::Primary::setup) or fork.
    /// Default: according to `NODE_CLUSTER_SCHED_POLICY`, otherwise [`Placement::Handoff`].
    pub placement: Placement,
    /// Which worker gets a connection that the primary accepted, or that the kernel distributes. Fixed
    /// together with the placement. Default: round-robin.
    pub policy: PolicyName,
    /// A policy of the program's own in place of [`policy`](Self::policy), for [`Placement::Handoff`] only.
    /// Fixed together with the placement. A primary that has one cannot be [handed
    /// over](crate::Primary::state). Default: none.
    pub custom_policy: Option<CustomPolicy>,
    /// Whether listening sockets stay open while no worker serves them, so that clients wait for the next
    /// worker instead of being refused, until [`Primary::release_unused`](crate::Primary::release_unused) or
    /// [`disconnect`](crate::Primary::disconnect). Default: false, as in Node.
    pub keep_listeners: bool,
    /// Whether there is an [`Event::Taken`](crate::Event::Taken) for each connection that a worker took from
    /// the primary, which helps to trace a lost one. Default: false.
    pub report_connections: bool,
    /// Whether the sockets that a worker asks for are created with the worker's rights if it has another
    /// `uid`, `gid` or other `groups` than the primary: a child process with these rights binds the socket
    /// and returns it, and removes the file of a Unix-domain socket when its server closes. A worker then
    /// gets no path and no port that its own user could not have. Linux only.
    ///
    /// Default: false, as in Node, where the primary creates them with its own rights: a primary that runs as
    /// root then creates, changes and removes socket files wherever a worker says, and binds any port. Set it
    /// unless the workers are trusted with that.
    pub listen_as_worker: bool,
    /// Ports below 1024 that the primary binds with its own rights for workers of another user, although
    /// [`listen_as_worker`](Self::listen_as_worker) is set. Default: none.
    pub privileged_ports: Vec<u16>,
    /// Owner and permissions of the files of Unix-domain sockets on which workers listen. Open sockets keep
    /// theirs. Default: as the system creates them.
    pub socket_access: SocketAccess,
    /// Limits to what a worker may cost the primary.
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

impl Settings {
    /// The default settings for a program without arguments.
    pub fn new(exec: impl Into<PathBuf>) -> Self {
        Self { exec: exec.into(), args: Vec::new(), ..Self::default() }
    }

    /// Sets the worker's arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args = args.into_iter().map(Into::into).collect();
        self
    }

    /// Sets an environment variable of the worker.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), Some(value.into())));
        self
    }

    /// Sets which process accepts connections.
    #[must_use]
    pub fn placement(mut self, placement: Placement) -> Self {
        self.placement = placement;
        self
    }

    /// Sets the policy that chooses a worker for each connection.
    #[must_use]
    pub fn policy(mut self, policy: PolicyName) -> Self {
        self.policy = policy;
        self
    }

    /// Sets a policy of the program's own.
    #[must_use]
    pub fn custom_policy(mut self, policy: CustomPolicy) -> Self {
        self.custom_policy = Some(policy);
        self
    }

    /// The name of the effective policy.
    pub fn policy_name(&self) -> &str {
        self.custom_policy.as_ref().map_or(self.policy.as_str(), CustomPolicy::name)
    }

    /// Sets whether the worker's output comes to the primary.
    #[must_use]
    pub fn silent(mut self, silent: bool) -> Self {
        self.silent = silent;
        self
    }

    /// The effective interpreter: [`exec_path`](Self::exec_path), or `node` for a script.
    pub(crate) fn interpreter(&self) -> Option<&Path> {
        self.exec_path.as_deref().or_else(|| self.is_script().then(|| Path::new("node")))
    }

    /// The worker's program, or its interpreter.
    pub(crate) fn program(&self) -> &Path {
        self.interpreter().unwrap_or(&self.exec)
    }

    /// Whether the file's extension makes `node` run it, as no [`exec_path`](Self::exec_path) is set.
    pub fn runs_under_node(&self) -> bool {
        self.exec_path.is_none() && self.is_script()
    }

    /// Whether the file's extension is one that `node` runs.
    pub(crate) fn is_script(&self) -> bool {
        let extension = self.exec.extension().and_then(|e| e.to_str());
        extension.is_some_and(|extension| SCRIPT_EXTENSIONS.contains(&extension))
    }

    /// The effective descriptors of a worker.
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
    /// The primary's descriptor of the same number. If descriptor 0 is the terminal from which the primary
    /// was started, it is `/dev/null` instead: workers have process groups of their own, and one that read
    /// from the terminal would be stopped (`SIGTTIN`).
    Inherit,
    /// `/dev/null`.
    Ignore,
    /// A pipe. The worker's output comes as [`Event::Stdio`](crate::Event::Stdio); nothing can be read from
    /// descriptor 0, and it ends with the worker.
    Pipe,
    /// The given descriptor, such as an open file.
    Fd(Arc<OwnedFd>),
    /// A duplicate of the primary's descriptor of that number, made when this was set. The settings show the
    /// number, as Node's do.
    Numbered {
        /// The number that was asked for.
        number: i32,
        /// The duplicate.
        fd: Arc<OwnedFd>,
    },
    /// The channel. Required exactly once.
    Ipc,
}

/// The CPUs that workers run on, by their [slots](crate::WorkerState::slot).
///
/// As text, for command lines: `each`, or sets as taskset(1) lists them, separated by slashes: `0-3,8/4-7`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Affinity {
    /// One CPU for each slot, in the order of those that the forking thread may use, starting over at the
    /// end.
    Each,
    /// One of these sets for each slot, starting over at the end. CPUs that the process may not use are
    /// ignored; each set must have one that it may use.
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

/// The highest CPU number that can be named, plus one.
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

/// An invalid CPU affinity.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownAffinity {
    /// The text.
    pub text: String,
}

impl fmt::Display for UnknownAffinity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid CPU affinity {:?}; expected each, or sets such as 0-3,8/4-7", self.text)
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
    /// A port of its own for each worker: for worker 1 the port after the one in `exec_argv` or else in
    /// `NODE_OPTIONS`, on which a Node primary would listen itself, and so on. If neither has one, it counts
    /// from 9229.
    #[default]
    Count,
    /// The same port for all: only one worker at a time can be inspected. With 0 the system chooses.
    Fixed(u16),
    /// The result of a function, called at each fork.
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

/// Which process accepts connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Placement {
    /// The primary accepts, and passes each connection to a worker (Node's `SCHED_RR`).
    #[default]
    Handoff,
    /// All workers accept from one socket (Node's `SCHED_NONE`). The workers are trusted with it: one that
    /// shuts it down (`shutdown(2)`) refuses all clients, and one that makes it blocking can block the
    /// others.
    Shared,
    /// Each worker accepts from a socket of its own, and the kernel distributes connections among them by the
    /// [policy](Settings::policy): exactly in turn, at random, or by the client's address. The primary does
    /// not pass connections on, except for those that wait at a worker that is stuck, dies or leaves.
    ///
    /// Linux only. The program in the kernel needs the capability `CAP_BPF` and Linux 5.12; without them,
    /// [`Event::Fallback`](crate::Event::Fallback) reports what is done instead. The workers are trusted with
    /// their sockets: one that shuts down its own refuses the clients that are assigned to it. Unix-domain
    /// sockets, inherited descriptors (`fd`) and listens with `reusePort` are served as under
    /// [`Handoff`](Self::Handoff); UDP is shared.
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

/// An unknown placement.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownPlacement {
    /// The text.
    pub name: String,
}

impl fmt::Display for UnknownPlacement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown placement {:?}; expected handoff, shared or kernel", self.name)
    }
}

impl std::error::Error for UnknownPlacement {}

/// Limits to what a worker may cost the primary. A worker that exceeds one gets an error, or loses its
/// channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
#[serde(default)]
pub struct Limits {
    /// The longest message from or to a worker, in bytes. Default 64 MiB, which is also what may be queued
    /// for a worker. A worker that sends a longer one loses its channel; sending a longer one is an error.
    /// The primary keeps a message in its encoding. If the program [asks for its
    /// values](crate::UserMessage::value), a message that is made for it can take some sixty times its length
    /// in memory (two hundred times in `advanced`): set a lower limit if workers are not trusted and the
    /// program does that.
    pub max_frame: usize,
    /// The number of queued bytes for a worker above which [`Pressure::High`](crate::Pressure::High) is
    /// reported. Default 128 KiB, as in Node.
    pub high_water: usize,
    /// The number of bytes that may be queued for a worker; beyond it, sending is an error. Default 64 MiB.
    pub queue_limit: usize,
    /// The number of servers that one worker may have; beyond it, a listen fails with `EMFILE`. Default
    /// 1,024.
    pub max_servers: usize,
    /// The number of descriptors that a worker may send in its life without a message that has one, or with
    /// messages that are not the program's. They are closed; beyond the limit its channel is closed too.
    /// Default 64.
    #[serde(skip_serializing_if = "is_default_limit")]
    pub max_unexpected_handles: u64,
    /// The number of listening sockets that may be open because successive workers of one slot asked for
    /// them; those of workers that are gone count as long as others serve them, or
    /// [`Settings::keep_listeners`] keeps them open. Default 1,024, and at most an eighth of the descriptors
    /// that the process may have. Beyond it, listeners that are kept open for this slot are closed, the
    /// oldest first; if there are none, a listen fails with `EMFILE`.
    #[serde(skip_serializing_if = "is_default_per_slot")]
    pub max_sockets_per_slot: usize,
    /// The number of listening sockets that may be open in total. Default 8,192, and at most a quarter of the
    /// descriptors that the process may have. Beyond it, as for
    /// [`max_sockets_per_slot`](Self::max_sockets_per_slot).
    #[serde(skip_serializing_if = "is_default_in_all")]
    pub max_sockets: usize,
    /// The number of accepted connections of one server that may wait for a worker; further ones wait in the
    /// kernel's queue. Default 512.
    pub max_waiting: usize,
    /// The number of connections that may be in flight to a worker that answers promptly (within 10 ms); a
    /// slower worker gets fewer, down to one. The worker's servers share them equally, and each may have one.
    /// Up to this many connections are assigned to a worker in turn; those beyond its window are kept back
    /// for it until it has not answered for 10 ms. Default 64, or fewer if the process may have few
    /// descriptors. With 1 the order is exactly Node's.
    pub max_window: u32,
    /// How long accepting pauses when the system is out of descriptors or memory. Default 100 ms.
    pub accept_pause: Duration,
    /// How long a worker's process may take to execute its program, which never happens on a file system that
    /// does not respond. After that it is killed, and [`WorkerError::Start`](crate::WorkerError::Start)
    /// reports it. Default 30 s.
    #[serde(skip_serializing_if = "is_usual_start")]
    pub start_timeout: Duration,
    /// How often the accept queues of [`Placement::Kernel`] are inspected while connections wait there; a
    /// tenth as often otherwise. Default 100 ms.
    pub queue_watch: Duration,
    /// How long a worker under [`Placement::Kernel`] may take before it counts as stuck: connections wait in
    /// its queue without becoming fewer, and its event loop does not answer. Its queued connections then go
    /// to other workers, and it gets no more until it answers. A worker that answers but accepts nothing,
    /// while others are idle, has four times as long. The last worker of a server never counts as stuck.
    /// Default 1 s.
    pub stuck_after: Duration,
    /// How long a worker may leave a connection or a probe unanswered, without any other sign of life, before
    /// it counts as unresponsive. It gets no more connections until it answers, unless it is the last of its
    /// server; [`Event::Unresponsive`](crate::Event::Unresponsive) reports it. A worker whose event loop is
    /// busy with one task for that long looks the same: choose a time longer than its longest task. Default:
    /// none, and workers are not probed.
    pub unresponsive_after: Option<Duration>,
}

/// [`Limits::start_timeout`] unless it is set.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Values that earlier versions did not have are not written while they have their defaults.
fn is_usual_start(timeout: &Duration) -> bool {
    *timeout == START_TIMEOUT
}

const MAX_UNEXPECTED_HANDLES: u64 = 64;

/// See [`is_usual_start`].
fn is_default_limit(limit: &u64) -> bool {
    *limit == MAX_UNEXPECTED_HANDLES
}

/// See [`is_usual_start`].
fn is_default_per_slot(sockets: &usize) -> bool {
    *sockets == Limits::default().max_sockets_per_slot
}

/// See [`is_usual_start`].
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

/// The variables by which a worker knows that it is one. A primary that is itself a worker must not pass on
/// its own.
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
