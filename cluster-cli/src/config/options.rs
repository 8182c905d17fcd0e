//! The options of `cluster run`, as they are given.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};
use cluster_primary::{Placement, PolicyName, Serialization};
use serde::Deserialize;

use super::account::{Group, User};
use super::address::ListenAddress;
use super::choice::{Affinity, LogFormat, LogLevel, One, Output, Ready};
use super::count::Count;
use super::http_address::HttpAddress;
use super::http_hosts::AllowedHost;
use super::name::Name;
use super::period::Period;
use super::size::Size;
use super::socket::{SocketMode, SocketOwner};
use super::stop_message::StopMessage;
use super::stop_signal::StopSignal;
use super::variable::{self, Variable};
use super::written;

/// Headings of `cluster run --help`.
const WORKERS: &str = "Workers";
const PLACEMENT: &str = "Placement";
const RESTARTS: &str = "Restarts";
const RELOAD: &str = "Reload";
const HEALTH: &str = "Health";
const LISTENING: &str = "Listening";
const STOPPING: &str = "Stopping";
const PRIVILEGES: &str = "Privileges";
const OUTPUT: &str = "Output and metrics";
const CONTROL: &str = "Control";

/// The options of `cluster run`: those given on the command line, or in a file under the same names.
#[derive(Args, Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Options {
    /// The number of workers [default: the number of CPUs that the process may use]
    #[arg(short = 'n', long, value_name = "N", help_heading = WORKERS)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) workers: Option<Count<1, 10_000>>,

    /// Run PROGRAM with this interpreter (deno gets `run -A`, unless --exec-arg gives its permissions)
    #[arg(long, value_name = "PATH", help_heading = WORKERS)]
    pub(crate) exec_path: Option<PathBuf>,

    /// An argument for the interpreter; may be given several times
    #[arg(long, value_name = "ARG", allow_hyphen_values = true, help_heading = WORKERS)]
    #[serde(deserialize_with = "texts")]
    pub(crate) exec_arg: Vec<OsString>,

    /// The workers' working directory
    #[arg(long, value_name = "DIR", help_heading = WORKERS)]
    pub(crate) cwd: Option<PathBuf>,

    /// Set an environment variable for the workers; NAME without a value removes it. May be given several
    /// times. In a file: a table [env] with NAME = "value", or NAME = false
    #[arg(
        long,
        value_name = "NAME=VALUE",
        value_parser = OsStringValueParser::new().try_map(Variable::parse),
        help_heading = WORKERS
    )]
    #[serde(deserialize_with = "variable::read")]
    pub(crate) env: Vec<Variable>,

    /// The encoding of messages on the workers' channels: json, or advanced (structured clones) [default:
    /// json]
    #[arg(long, hide_possible_values = true, value_name = "KIND", help_heading = WORKERS)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) serialization: Option<One<Serialization>>,

    /// Which worker gets a connection: rr (round-robin), least-connections (the worker with the fewest; only
    /// with placement handoff), sticky (always the same worker for a client's address) or random; not used
    /// with placement shared [default: rr]
    #[arg(long, hide_possible_values = true, value_name = "POLICY", help_heading = PLACEMENT)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) policy: Option<One<PolicyName>>,

    /// Which process accepts connections: handoff (the primary, which passes them to workers), shared (all
    /// workers, from one socket) or kernel (each worker from a socket of its own, and the kernel chooses
    /// among them; Linux only, needs CAP_BPF for exact round-robin). shared trusts each worker with the
    /// socket of all (shutdown(2) on it refuses every client), kernel with its own [default: handoff, or as
    /// NODE_CLUSTER_SCHED_POLICY says]
    #[arg(long, hide_possible_values = true, value_name = "PLACEMENT", help_heading = PLACEMENT)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) placement: Option<One<Placement>>,

    /// When all CPUs are busy, let the running process pause or use up its time slice before the primary
    /// runs, instead of interrupting it (SCHED_BATCH; Linux only). This takes far less CPU time per
    /// connection; false gives the lowest latency [default: true]
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        hide_possible_values = true,
        help_heading = PLACEMENT
    )]
    pub(crate) give_way: Option<bool>,

    /// The delay before a failed worker is replaced; it doubles with each consecutive failure [default:
    /// 100ms]
    #[arg(long, value_name = "DURATION", help_heading = RESTARTS)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) backoff_first: Option<Period>,

    /// The longest such delay [default: 10s]
    #[arg(long, value_name = "DURATION", help_heading = RESTARTS)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) backoff_max: Option<Period>,

    /// How many times workers of one slot may fail within the failure period, while no worker is ready,
    /// before the cluster gives up; 0 means never. A cluster that was ready before keeps trying for at least
    /// the failure period [default: 5]
    #[arg(long, value_name = "N", help_heading = RESTARTS)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) max_failures: Option<Count<0, 1_000_000>>,

    /// How long a failure counts; also how long a cluster that was ready before keeps trying at least while
    /// no worker is ready [default: 1m]
    #[arg(long, value_name = "DURATION", help_heading = RESTARTS)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) failure_period: Option<Period<1>>,

    /// A worker that dies this long after it was ready does not count as a failure [default: 5s]
    #[arg(long, value_name = "DURATION", help_heading = RESTARTS)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) stable_after: Option<Period>,

    /// Replace a worker that disconnects voluntarily (cluster.worker.disconnect()), like one that exits with
    /// status 0. With false its slot stays empty, and the cluster ends with the last worker, with exit status
    /// 5 [default: true]
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        hide_possible_values = true,
        help_heading = RESTARTS
    )]
    pub(crate) replace_disconnected: Option<bool>,

    /// When a new worker counts as ready: online (it has started), listening (it listens), message (it sent
    /// 'ready': process.send('ready') in Node.js), notify (it sent READY=1 to the socket in NOTIFY_SOCKET) or
    /// alive (it has run for a second) [default: listening, or alive with --listen]
    #[arg(long, hide_possible_values = true, value_name = "SIGN", help_heading = RELOAD)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) ready: Option<One<Ready>>,

    /// How long a new worker may take to become ready; if one takes longer, a reload is aborted, and the old
    /// workers stay [default: 30s]
    #[arg(long, value_name = "DURATION", help_heading = RELOAD)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) ready_timeout: Option<Period<1>>,

    /// How long a new worker must have been ready before the old one leaves: if it dies sooner, the reload is
    /// aborted, and the old one stays. With 0 the old one leaves at once [default: 1s]
    #[arg(long, value_name = "DURATION", help_heading = RELOAD)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) min_ready_time: Option<Period>,

    /// How many slots a reload replaces at a time [default: 1]
    #[arg(long, value_name = "N", help_heading = RELOAD)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) batch: Option<Count<1, 10_000>>,

    /// A worker that for this long answers neither the connections passed to it nor probes is unresponsive:
    /// it gets no more connections, and a warning is logged; 0 means never [default: 10s]
    #[arg(long, value_name = "DURATION", help_heading = HEALTH)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) hang_after: Option<Period>,

    /// Replace an unresponsive worker [default: false]
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        hide_possible_values = true,
        help_heading = HEALTH
    )]
    pub(crate) hang_replace: Option<bool>,

    /// Replace a worker, as a reload does, when its resident memory exceeds this [default: no limit]
    #[arg(long, value_name = "SIZE", help_heading = HEALTH)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) max_memory: Option<Size>,

    /// Replace a worker, as a reload does, when it is older than this [default: no limit]
    #[arg(long, value_name = "DURATION", help_heading = HEALTH)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) max_age: Option<Period<1>>,

    /// Replace a worker, as a reload does, when it has accepted this many connections [default: no limit]
    #[arg(long, value_name = "N", help_heading = HEALTH)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) max_connections: Option<Count<1, { i64::MAX as u64 }>>,

    /// The largest random difference, in percent, of these three limits from worker to worker, so that
    /// workers do not reach them all at once [default: 10]
    #[arg(long, value_name = "PERCENT", help_heading = HEALTH)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) recycle_jitter: Option<Count<0, 100>>,

    /// Open a listening socket and pass it to the workers as systemd does (LISTEN_FDS), for programs that
    /// know nothing of cluster. ADDRESS is a port (on every address), HOST:PORT, unix:PATH, or fd:NAME or
    /// fd:NUMBER for a socket that was passed to cluster; a prefix NAME= names the socket. May be given
    /// several times
    #[arg(long, value_name = "ADDRESS", help_heading = LISTENING)]
    #[serde(deserialize_with = "written::list")]
    pub(crate) listen: Vec<ListenAddress>,

    /// Keep listening sockets open, with connections waiting in them, while no worker that listens on them is
    /// running [default: true]
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        hide_possible_values = true,
        help_heading = LISTENING
    )]
    pub(crate) keep_listeners: Option<bool>,

    /// The permissions of the files of Unix-domain sockets, in octal, such as 0660; clients need write
    /// permission to connect [default: 0660 if --socket-owner names a group; otherwise by the umask, and as
    /// the program asks (writableAll)]
    #[arg(long, value_name = "MODE", help_heading = LISTENING)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) socket_mode: Option<SocketMode>,

    /// The owner of these files: USER, USER:GROUP or :GROUP, by name or number. Members of a given group may
    /// connect, unless --socket-mode says otherwise [default: the primary's user and group]
    #[arg(long, value_name = "OWNER", help_heading = LISTENING)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) socket_owner: Option<SocketOwner>,

    /// The address of the demo server [default: 127.0.0.1:8000]
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        value_parser = demo_address,
        conflicts_with = "program",
        help_heading = LISTENING
    )]
    pub(crate) demo_listen: Option<SocketAddr>,

    /// Load cluster's agent, a small script that is invisible to the program, into Node.js workers. When the
    /// worker is asked to leave, it closes idle kept-alive connections; it reports requests in progress,
    /// load, and whether the program handles the stop signal [default: true]
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        hide_possible_values = true,
        help_heading = STOPPING
    )]
    pub(crate) node_agent: Option<bool>,

    /// The signal that asks a worker to stop, after its HTTP requests have finished. Programs that do not
    /// handle it are asked to disconnect through their channel instead; for Node.js programs the agent
    /// reports whether they do. With none no signal is sent before the grace period is over [default:
    /// SIGTERM]
    #[arg(long, value_name = "SIGNAL", help_heading = STOPPING)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) stop_signal: Option<StopSignal>,

    /// A message that asks a worker to stop, in place of the signal, such as PM2's 'shutdown': text, or JSON
    /// if it begins with {, [ or \". Programs that do not listen for messages get the signal [default: none]
    #[arg(long, value_name = "VALUE", help_heading = STOPPING)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) stop_message: Option<StopMessage>,

    /// How long a leaving worker may take to finish HTTP requests in progress before it is asked to stop
    /// regardless (one second if only responses are left whose headers have been sent, such as event
    /// streams); for Node.js workers with the agent [default: half of --grace]
    #[arg(long, value_name = "DURATION", help_heading = STOPPING)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) drain_timeout: Option<Period>,

    /// How long workers may take to leave gracefully, in total, before they are sent SIGTERM [default: 10s]
    #[arg(long, value_name = "DURATION", help_heading = STOPPING)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) grace: Option<Period>,

    /// How long after SIGTERM they are sent SIGKILL [default: 5s]
    #[arg(long, value_name = "DURATION", help_heading = STOPPING)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) kill_after: Option<Period>,

    /// Do not stop processes that a worker started in sessions of their own (setsid, Node's detached: true).
    /// All others, those of its process group and those known to descend from it, get SIGTERM when the worker
    /// has exited, and SIGKILL after --kill-after [default: false]
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        hide_possible_values = true,
        help_heading = STOPPING
    )]
    pub(crate) keep_detached: Option<bool>,

    /// How long workers go on serving after the cluster was asked to stop, while /readyz of --http already
    /// fails, so that load balancers notice [default: 0s]
    #[arg(long, value_name = "DURATION", help_heading = STOPPING)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) drain_delay: Option<Period>,

    /// The user that workers run as, by name or number [default: the primary's]
    #[arg(long, value_name = "USER", help_heading = PRIVILEGES)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) uid: Option<User>,

    /// The group that workers run as, by name or number [default: that of the user given by --uid,
    /// else the primary's]
    #[arg(long, value_name = "GROUP", help_heading = PRIVILEGES)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) gid: Option<Group>,

    /// The supplementary groups of the workers, by name or number, separated by commas [default: none if
    /// --uid or --gid is given, else the primary's]
    #[arg(long, value_name = "GROUPS", value_delimiter = ',', help_heading = PRIVILEGES)]
    #[serde(deserialize_with = "written::list")]
    pub(crate) groups: Vec<Group>,

    /// The ports below 1024 on which workers of another user (--uid, --gid, --groups) may listen, separated
    /// by commas. On Linux such workers' sockets are otherwise created with that user's rights; ports given
    /// to --listen are always allowed [default: none]
    #[arg(long, value_name = "PORTS", value_delimiter = ',', help_heading = PRIVILEGES)]
    #[serde(deserialize_with = "written::list")]
    pub(crate) privileged_ports: Vec<Count<1, 65_535>>,

    /// Let workers keep the primary's ambient capabilities (AmbientCapabilities= of a unit; Linux only)
    /// [default: false]
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        hide_possible_values = true,
        help_heading = PRIVILEGES
    )]
    pub(crate) keep_capabilities: Option<bool>,

    /// Forbid workers to gain privileges by executing programs (no_new_privs; Linux only) [default: false]
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        hide_possible_values = true,
        help_heading = PRIVILEGES
    )]
    pub(crate) no_new_privs: Option<bool>,

    /// Pin workers to CPUs: slot (each slot to a CPU of its own; Linux only) or false (no pinning) [default:
    /// false]
    #[arg(
        hide_possible_values = true,
        long,
        value_name = "CPU",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "slot",
        help_heading = PRIVILEGES
    )]
    #[serde(deserialize_with = "written::one")]
    pub(crate) affinity: Option<One<Affinity>>,

    /// Serve /metrics, /healthz, /readyz and a status page on a port (of 127.0.0.1) or HOST:PORT [default:
    /// none]
    #[arg(long, value_name = "ADDRESS", help_heading = OUTPUT)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) http: Option<HttpAddress>,

    /// A host name under which clients may use --http, besides IP addresses, localhost and the name in its
    /// own address: NAME, *.DOMAIN for every name below it, or * for every name. May be given several times.
    /// Pages of other sites can read what is served under a name that is allowed and belongs to them
    #[arg(long, value_name = "NAME", help_heading = OUTPUT)]
    #[serde(deserialize_with = "written::list")]
    pub(crate) http_host: Vec<AllowedHost>,

    /// Where the workers' output goes: prefix (to cluster's own output, in whole lines, each with the slot of
    /// its worker) or inherit (the same, but unchanged: lines of several workers may mix) [default: prefix]
    #[arg(long, hide_possible_values = true, value_name = "HOW", help_heading = OUTPUT)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) output: Option<One<Output>>,

    /// The format of the log: text, or json (one object per line, the workers' output included) [default:
    /// text]
    #[arg(long, hide_possible_values = true, value_name = "FORMAT", help_heading = OUTPUT)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) log_format: Option<One<LogFormat>>,

    /// The lowest level that is logged: error, warn, info, debug or trace [default: info]
    #[arg(long, hide_possible_values = true, value_name = "LEVEL", help_heading = OUTPUT)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) log_level: Option<One<LogLevel>>,

    /// Log each connection that a worker took from the primary, with the client's address [default: false]
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        hide_possible_values = true,
        help_heading = OUTPUT
    )]
    pub(crate) log_connections: Option<bool>,

    /// Print events as JSON, one per line, in place of the log; the workers' output is part of it. The
    /// cluster waits for the reader, so that no event is lost [default: false]
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        hide_possible_values = true,
        help_heading = OUTPUT
    )]
    pub(crate) json: Option<bool>,

    /// The path of the control socket, through which programs control this cluster (see cluster ctl)
    /// [default: a socket in the user's own folder, named after --name]
    #[arg(long, value_name = "PATH", conflicts_with = "name", help_heading = CONTROL)]
    pub(crate) control: Option<PathBuf>,

    /// The cluster's name, by which cluster ctl finds it [default: the program's name and the process id]
    #[arg(long, value_name = "NAME", help_heading = CONTROL)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) name: Option<Name>,

    /// The program and its arguments. For a folder, such as ., Node.js runs its main file
    #[arg(value_name = "PROGRAM", trailing_var_arg = true)]
    #[serde(deserialize_with = "texts")]
    pub(crate) program: Vec<OsString>,
}

/// Errors are worded like those of the other options.
fn demo_address(text: &str) -> Result<SocketAddr, String> {
    let takes =
        "expected ADDRESS:PORT, such as 127.0.0.1:8000 or [::1]:8000; names are not resolved";
    text.parse().map_err(|_| takes.to_owned())
}

impl Options {
    /// These options, and where one is not given, that of the others. A list is one thing.
    #[must_use]
    pub(crate) fn over(self, others: Self) -> Self {
        macro_rules! each {
            ($($option:ident)*) => {
                Self { $($option: self.$option.unless_given(others.$option)),* }
            };
        }
        each! {
            workers exec_path exec_arg cwd env serialization policy placement give_way
            backoff_first backoff_max max_failures failure_period stable_after replace_disconnected
            ready ready_timeout min_ready_time batch
            hang_after hang_replace max_memory max_age max_connections recycle_jitter listen
            keep_listeners socket_mode socket_owner demo_listen node_agent stop_signal stop_message drain_timeout grace
            kill_after keep_detached drain_delay uid gid groups privileged_ports keep_capabilities no_new_privs
            affinity http http_host output log_format log_level log_connections json control name program
        }
    }
}

/// An option that may be given.
trait Given {
    fn unless_given(self, other: Self) -> Self;
}

impl<T> Given for Option<T> {
    fn unless_given(self, other: Self) -> Self {
        self.or(other)
    }
}

impl<T> Given for Vec<T> {
    fn unless_given(self, other: Self) -> Self {
        if self.is_empty() { other } else { self }
    }
}

/// Reads a list of texts; the standard library's `OsString` would be read as something else.
fn texts<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<OsString>, D::Error> {
    let texts = Vec::<String>::deserialize(from)?;
    Ok(texts.into_iter().map(OsString::from).collect())
}
