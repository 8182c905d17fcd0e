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
const PLACEMENT: &str = "Who accepts and who is chosen";
const RESTARTS: &str = "Restarts";
const RELOAD: &str = "Reload";
const HEALTH: &str = "Health";
const LISTENING: &str = "Listening";
const ENDING: &str = "Ending";
const PRIVILEGES: &str = "Privileges";
const SEEING: &str = "Seeing";
const CONTROL: &str = "Control";

/// The options of `cluster run`, each as far as it is given: on the command line, or in a file under
/// the same name.
#[derive(Args, Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Options {
    /// How many workers to keep [default: the machine's parallelism]
    #[arg(short = 'n', long, value_name = "N", help_heading = WORKERS)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) workers: Option<Count<1, 10_000>>,

    /// Run PROGRAM under this interpreter (deno is told to `run -A`, unless --exec-arg says what it may do)
    #[arg(long, value_name = "PATH", help_heading = WORKERS)]
    pub(crate) exec_path: Option<PathBuf>,

    /// An argument for the interpreter; may be given several times
    #[arg(long, value_name = "ARG", allow_hyphen_values = true, help_heading = WORKERS)]
    #[serde(deserialize_with = "texts")]
    pub(crate) exec_arg: Vec<OsString>,

    /// The workers' working directory
    #[arg(long, value_name = "DIR", help_heading = WORKERS)]
    pub(crate) cwd: Option<PathBuf>,

    /// A variable for the workers, or the NAME alone of one that is to be removed from their environment;
    /// may be given several times. In a file: a table [env] with NAME = "value", or NAME = false
    #[arg(
        long,
        value_name = "NAME=VALUE",
        value_parser = OsStringValueParser::new().try_map(Variable::parse),
        help_heading = WORKERS
    )]
    #[serde(deserialize_with = "variable::read")]
    pub(crate) env: Vec<Variable>,

    /// How messages are written on the workers' channels: json, or advanced (structured clones)
    /// [default: json]
    #[arg(long, value_name = "KIND", help_heading = WORKERS)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) serialization: Option<One<Serialization>>,

    /// Who gets a connection: rr (in turn), least-connections (who has the fewest; with the placement
    /// handoff only), sticky (for each client's address always the same) or random; with the placements
    /// handoff and kernel only [default: rr]
    #[arg(long, value_name = "POLICY", help_heading = PLACEMENT)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) policy: Option<One<PolicyName>>,

    /// Who accepts connections: handoff (the primary, which hands them on), shared (the workers,
    /// from one socket) or kernel (the workers, each from a socket of its own, among which the
    /// kernel deals them out; Linux only, and CAP_BPF wanted). shared trusts each worker with the
    /// socket of all (shutdown(2) of it refuses every client), kernel with its own [default: handoff, or what NODE_CLUSTER_SCHED_POLICY says]
    #[arg(long, value_name = "PLACEMENT", help_heading = PLACEMENT)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) placement: Option<One<Placement>>,

    /// When something comes for the primary while all CPUs are busy, wait until who runs pauses, or
    /// has used up its time slice, instead of interrupting it (SCHED_BATCH; Linux only): that takes
    /// far less CPU time for each connection. false has the least delay [default: true]
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

    /// The pause before a worker is started in the place of one that failed; it doubles with each
    /// failure in a row [default: 100ms]
    #[arg(long, value_name = "DURATION", help_heading = RESTARTS)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) backoff_first: Option<Period>,

    /// The longest such pause [default: 10s]
    #[arg(long, value_name = "DURATION", help_heading = RESTARTS)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) backoff_max: Option<Period>,

    /// How often workers of one slot may fail within the failure period while no worker at all is
    /// ready, before the cluster gives up; 0 is never to give up. A cluster that has served keeps trying
    /// for at least the failure period [default: 5]
    #[arg(long, value_name = "N", help_heading = RESTARTS)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) max_failures: Option<Count<0, 1_000_000>>,

    /// How long a failure counts, and how long a cluster that has served keeps trying at least while no
    /// worker is ready [default: 1m]
    #[arg(long, value_name = "DURATION", help_heading = RESTARTS)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) failure_period: Option<Period<1>>,

    /// A worker that lived so long after it was ready has not failed when it dies [default: 5s]
    #[arg(long, value_name = "DURATION", help_heading = RESTARTS)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) stable_after: Option<Period>,

    /// Replace a worker that disconnects voluntarily (cluster.worker.disconnect()), like one that exits
    /// with 0. With false its slot is given up, and the cluster ends with the last worker, with
    /// status 5 [default: true]
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

    /// When a new worker is ready: online (at its first sign of life), listening (when it listens),
    /// message (when it sends 'ready': process.send('ready') in Node.js), notify (when it says
    /// READY=1 on the socket that NOTIFY_SOCKET names) or alive (when it has lived for a second)
    /// [default: listening, or alive with --listen]
    #[arg(long, value_name = "SIGN", help_heading = RELOAD)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) ready: Option<One<Ready>>,

    /// How long a new worker may take until it is ready; a reload in which one takes longer is
    /// broken off, and the old workers stay [default: 30s]
    #[arg(long, value_name = "DURATION", help_heading = RELOAD)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) ready_timeout: Option<Period<1>>,

    /// How long a new worker must have been ready before the old one leaves: if it dies sooner, the
    /// reload is aborted, and the old one stays. 0: the old one leaves at once [default: 1s]
    #[arg(long, value_name = "DURATION", help_heading = RELOAD)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) min_ready_time: Option<Period>,

    /// How many slots are reloaded at a time [default: 1]
    #[arg(long, value_name = "N", help_heading = RELOAD)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) batch: Option<Count<1, 10_000>>,

    /// A worker that answers neither connections handed to it nor pings for so long hangs: it gets
    /// no more connections, and that is said; 0 is never [default: 10s]
    #[arg(long, value_name = "DURATION", help_heading = HEALTH)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) hang_after: Option<Period>,

    /// Replace a worker that hangs [default: false]
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

    /// Replace a worker, as a reload does, that takes more resident memory than this
    /// [default: no limit]
    #[arg(long, value_name = "SIZE", help_heading = HEALTH)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) max_memory: Option<Size>,

    /// Replace a worker, as a reload does, that is older than this [default: no limit]
    #[arg(long, value_name = "DURATION", help_heading = HEALTH)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) max_age: Option<Period<1>>,

    /// Replace a worker, as a reload does, that took so many connections [default: no limit]
    #[arg(long, value_name = "N", help_heading = HEALTH)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) max_connections: Option<Count<1, { i64::MAX as u64 }>>,

    /// By how much of their values these three limits differ from worker to worker, at the most, so
    /// that not all reach them at once; in percent [default: 10]
    #[arg(long, value_name = "PERCENT", help_heading = HEALTH)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) recycle_jitter: Option<Count<0, 100>>,

    /// Open a socket that listens there, and pass it to the workers as systemd does (LISTEN_FDS): for
    /// programs that know nothing of cluster. A port (on every address), HOST:PORT, unix:PATH, or
    /// fd:NAME or fd:NUMBER for a socket that cluster was given itself; NAME= before it names the
    /// socket; may be given several times
    #[arg(long, value_name = "ADDRESS", help_heading = LISTENING)]
    #[serde(deserialize_with = "written::list")]
    pub(crate) listen: Vec<ListenAddress>,

    /// Keep sockets open, and connections waiting, while no worker lives that listens on them
    /// [default: true]
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

    /// The permissions of the files of Unix-domain sockets that the cluster opens, in octal, such as
    /// 0660; to connect takes the permission to write [default: 0660 if --socket-owner names a group;
    /// otherwise as the umask says, and what the program asks for (writableAll)]
    #[arg(long, value_name = "MODE", help_heading = LISTENING)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) socket_mode: Option<SocketMode>,

    /// The owner of these files: USER, USER:GROUP or :GROUP, by names or numbers. A group that is named
    /// may connect, unless --socket-mode says otherwise [default: the primary's user and group]
    #[arg(long, value_name = "OWNER", help_heading = LISTENING)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) socket_owner: Option<SocketOwner>,

    /// Where the demo listens [default: 127.0.0.1:8000]
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        value_parser = demo_address,
        conflicts_with = "program",
        help_heading = LISTENING
    )]
    pub(crate) demo_listen: Option<SocketAddr>,

    /// Start Node.js workers with an agent: a small script of cluster's own, which the program does not
    /// notice. It ends kept-alive connections between requests when the worker is to leave, tells
    /// whether requests are in progress and whether the program handles the stop signal, and reports
    /// loads [default: true]
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        hide_possible_values = true,
        help_heading = ENDING
    )]
    pub(crate) node_agent: Option<bool>,

    /// The signal that asks a worker to stop, once its HTTP requests are done. Programs that do not
    /// handle it are told to disconnect instead, by their channel; of Node.js programs the agent
    /// tells whether they do. none sends none before the grace period is over [default: SIGTERM]
    #[arg(long, value_name = "SIGNAL", help_heading = ENDING)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) stop_signal: Option<StopSignal>,

    /// A message that asks a worker to stop instead of the signal, as PM2 sends 'shutdown': text, or JSON
    /// where it begins with {, [ or \". Programs that do not listen for
    /// messages get the signal [default: none]
    #[arg(long, value_name = "VALUE", help_heading = ENDING)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) stop_message: Option<StopMessage>,

    /// How long a worker that is to leave may take for HTTP requests in progress before it is asked to
    /// stop all the same (one second where only responses are left whose headers have been sent, such
    /// as event streams); for Node.js workers with the agent [default: half of --grace]
    #[arg(long, value_name = "DURATION", help_heading = ENDING)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) drain_timeout: Option<Period>,

    /// How long workers may take to leave gracefully, all in all, before they are sent SIGTERM
    /// [default: 10s]
    #[arg(long, value_name = "DURATION", help_heading = ENDING)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) grace: Option<Period>,

    /// How long after that they are sent SIGKILL [default: 5s]
    #[arg(long, value_name = "DURATION", help_heading = ENDING)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) kill_after: Option<Period>,

    /// Processes that a worker has started in sessions of their own (setsid, Node's detached: true) do
    /// not end with it. Others do: those of its process group, and those that are known to descend from
    /// it, get SIGTERM when the worker has ended, and SIGKILL after --kill-after [default: false]
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        hide_possible_values = true,
        help_heading = ENDING
    )]
    pub(crate) keep_detached: Option<bool>,

    /// How long the workers go on when the end is asked for, while /readyz of --http says no more
    /// that the cluster is ready: for balancers to hear of it [default: 0s]
    #[arg(long, value_name = "DURATION", help_heading = ENDING)]
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

    /// Further groups that workers belong to, by name or number, with commas between them
    /// [default: none if --uid or --gid is given, else the primary's]
    #[arg(long, value_name = "GROUPS", value_delimiter = ',', help_heading = PRIVILEGES)]
    #[serde(deserialize_with = "written::list")]
    pub(crate) groups: Vec<Group>,

    /// Ports below 1024 that workers of another user (--uid, --gid, --groups) may listen on, with commas
    /// between them. Their sockets are otherwise made with the rights of that user, on Linux; ports of
    /// --listen are granted anyway [default: none]
    #[arg(long, value_name = "PORTS", value_delimiter = ',', help_heading = PRIVILEGES)]
    #[serde(deserialize_with = "written::list")]
    pub(crate) privileged_ports: Vec<Count<1, 65_535>>,

    /// Workers keep the primary's ambient capabilities (AmbientCapabilities= of a unit; Linux only)
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

    /// Workers cannot gain privileges by what they execute (no_new_privs; Linux only)
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
    pub(crate) no_new_privs: Option<bool>,

    /// The CPU that workers run on: slot (each slot its own; Linux only) or false (any)
    /// [default: false]
    #[arg(
        long,
        value_name = "CPU",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "slot",
        help_heading = PRIVILEGES
    )]
    #[serde(deserialize_with = "written::one")]
    pub(crate) affinity: Option<One<Affinity>>,

    /// Serve /metrics, /healthz, /readyz and a page there: a port (on 127.0.0.1), or HOST:PORT
    /// [default: nowhere]
    #[arg(long, value_name = "ADDRESS", help_heading = SEEING)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) http: Option<HttpAddress>,

    /// A host name that clients of --http may use, beside IP addresses, localhost and the name in its
    /// own address: NAME, *.DOMAIN for every name below it, or * for every name; may be given several
    /// times. Pages of other sites can read what is served under a name that is allowed and theirs
    #[arg(long, value_name = "NAME", help_heading = SEEING)]
    #[serde(deserialize_with = "written::list")]
    pub(crate) http_host: Vec<AllowedHost>,

    /// Where what workers write goes: prefix (to the cluster's own output, each line whole and after
    /// its worker's slot) or inherit (there too, but as it comes: lines of several workers may mix)
    /// [default: prefix]
    #[arg(long, value_name = "HOW", help_heading = SEEING)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) output: Option<One<Output>>,

    /// What a line of the log is: text, or json (an object; what workers write too)
    /// [default: text]
    #[arg(long, value_name = "FORMAT", help_heading = SEEING)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) log_format: Option<One<LogFormat>>,

    /// What is logged: this, and all that weighs more: error, warn, info, debug or trace
    /// [default: info]
    #[arg(long, value_name = "LEVEL", help_heading = SEEING)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) log_level: Option<One<LogLevel>>,

    /// Log each connection that a worker took from the primary, by the client's address [default:
    /// false]
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        hide_possible_values = true,
        help_heading = SEEING
    )]
    pub(crate) log_connections: Option<bool>,

    /// Print what happens as JSON, an event a line, instead of a log; the workers' output comes as
    /// events too. The cluster waits for the reader, so that no event is lost [default: false]
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        hide_possible_values = true,
        help_heading = SEEING
    )]
    pub(crate) json: Option<bool>,

    /// Where programs drive this cluster by the control API (see cluster ctl) [default: a socket in
    /// the user's own folder, by --name]
    #[arg(long, value_name = "PATH", conflicts_with = "name", help_heading = CONTROL)]
    pub(crate) control: Option<PathBuf>,

    /// The cluster's name, by which cluster ctl finds it [default: the program's, and the process id]
    #[arg(long, value_name = "NAME", help_heading = CONTROL)]
    #[serde(deserialize_with = "written::one")]
    pub(crate) name: Option<Name>,

    /// The program and its arguments. Of a folder (.) Node.js runs the main file
    #[arg(value_name = "PROGRAM", trailing_var_arg = true)]
    #[serde(deserialize_with = "texts")]
    pub(crate) program: Vec<OsString>,
}

/// In the words of the other options.
fn demo_address(text: &str) -> Result<SocketAddr, String> {
    let takes = "it takes ADDRESS:PORT, such as 127.0.0.1:8000 or [::1]:8000, and no names";
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
