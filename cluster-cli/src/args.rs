//! The command line.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use cluster_primary::{Placement, PolicyName};

use crate::config::{Count, LogLevel, Name, One, Options, Period};
use crate::directory::Directory;

/// Runs a server as a cluster of worker processes on one machine: node:cluster with a primary written in
/// Rust.
#[derive(Debug, Parser)]
#[command(name = "cluster", version, max_term_width = 100)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Run(Box<Run>),
    Exec(Exec),
    Serve(Serve),
    Ctl(Ctl),
    Status(Status),
    Top(Top),
    Reload(Reload),
    Scale(Scale),
    Drain(Drain),
    Upgrade(Upgrade),
    Completions(Completions),
    Man(Pages),
    /// The worker of the demo.
    #[command(hide = true)]
    DemoWorker {
        address: String,
    },
    /// Whether another user can read or execute a file.
    #[command(hide = true)]
    CheckAccess(CheckAccess),
    /// The primary of a script.
    #[command(hide = true)]
    ExecPrimary(ExecPrimary),
    /// Starts the primary of a process that has preloaded exec.cjs by itself.
    #[command(hide = true)]
    ExecAttach(ExecAttach),
    /// A process that the script has spawned, before it becomes the worker.
    #[command(hide = true)]
    ExecWorker(ExecWorker),
    /// A worker that is passed sockets, before it becomes the program.
    #[command(hide = true)]
    ListenShim {
        #[arg(last = true)]
        command: Vec<OsString>,
    },
}

/// What `run --check` asks a process that runs as that user.
#[derive(Debug, clap::Args)]
pub(crate) struct CheckAccess {
    #[arg(long)]
    pub(crate) uid: Option<u32>,
    #[arg(long)]
    pub(crate) gid: Option<u32>,
    #[arg(long)]
    pub(crate) group: Vec<u32>,
    #[arg(long)]
    pub(crate) execute: bool,
    pub(crate) file: PathBuf,
}

/// Run a program as a cluster of workers that share its ports.
///
/// Each worker is a separate process that runs PROGRAM. Workers that listen on the same address share one
/// socket, which belongs to the primary: it accepts connections and passes them to the workers in turn. A
/// worker that dies unexpectedly is replaced.
///
/// PROGRAM is an unmodified Node.js server, with or without node:cluster. With it, the program runs as a
/// worker only: its primary half does not run, and messages to its primary are not delivered. A .js, .mjs,
/// .cjs, .ts, .mts or .cts file runs under node (TypeScript needs Node 22.18 or later). Any other PROGRAM is
/// an executable that speaks node:cluster's protocol, such as a Rust program with the crate cluster-worker,
/// or one that takes its sockets from --listen. A program that binds its port itself cannot share it. Without
/// PROGRAM a small demo server runs.
///
/// Ctrl-C, SIGTERM, SIGQUIT and the end of the terminal session stop the cluster gracefully: workers stop
/// accepting, finish their connections and exit. They are killed after the grace period, or at a second
/// Ctrl-C. SIGHUP reloads. SIGUSR1 and SIGWINCH are ignored; as process 1 of a container, cluster forwards
/// them to the workers, and SIGQUIT and SIGCONT too.
///
/// A DURATION is a number of seconds, or a number with a unit: 500ms, 10s, 5m, 1h, 7d. A SIZE is a number of
/// bytes, or a number with a unit, which is a power of 1024: 800K, 512M, 1G. A BOOL is true or false; the
/// option without a value means true.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  cluster run                            the demo, on http://127.0.0.1:8000/
  cluster run server.js                  one worker per core
  cluster run -n 4 server.js --port 80   four workers; what follows the program is the program's
  cluster run --policy sticky chat.js    each client's connections go to one worker
  cluster run --placement shared ./app   all workers accept from one socket
  cluster run --placement kernel ./app   the kernel chooses the worker of each connection
  cluster run --config cluster.toml      options and program from a file
  cluster run --config cluster.toml --check   … checked, and nothing started

Exit status:
  0  stopped as requested
  1  could not start (with --check: the program does not exist), or could not continue
  2  wrong usage, or an invalid configuration file
  3  stopped as requested, but workers had to be sent SIGKILL
  4  gave up: workers failed repeatedly, and none was ready
  5  no worker was left: all had disconnected (with --replace-disconnected=false)

Messages, their causes and remedies: docs/troubleshooting.md")]
pub(crate) struct Run {
    /// Read options from this TOML file, by their names here (max-failures = 5). Options on the command line
    /// override it. Relative paths in the file are relative to its folder
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Print the resulting options in the format of --config, and start nothing. Exits with status 1 if the
    /// program, its interpreter or the working directory does not exist
    #[arg(long)]
    pub(crate) check: bool,

    #[command(flatten)]
    pub(crate) options: Options,

    /// Where the cluster was started.
    #[arg(skip)]
    pub(crate) directory: Directory,
}

/// Run a Node.js program that uses node:cluster, with the Rust primary in place of Node's.
///
/// Both halves of the program run unmodified, as under `node PROGRAM`: its primary half (the part under
/// `cluster.isPrimary`) forks and supervises the workers itself. Ports that workers listen on, and the
/// connections to them, are the Rust primary's: every --placement and --policy can be used, and
/// `cluster status`, `top` and `ctl` show the workers. `cluster run` is for programs whose workers cluster
/// should keep running; it does not run their primary halves.
///
/// Output, exit status and signals are those of `node PROGRAM`: this process becomes it. Linux only.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  cluster exec app.js                              as node app.js
  cluster exec --placement kernel app.js --port 80
  cluster exec --exec-arg=--enable-source-maps app.js

Exit status:
  1  could not start
  2  wrong usage
  else the program's")]
pub(crate) struct Exec {
    #[command(flatten)]
    pub(crate) options: ExecOptions,

    /// Start nothing, and print the path of a file: a program that is run by `node --require FILE PROGRAM`, in
    /// whatever way, has these options too
    #[arg(long, conflicts_with = "program")]
    pub(crate) preload: bool,

    /// The program and its arguments
    #[arg(required_unless_present = "preload", trailing_var_arg = true, value_name = "PROGRAM")]
    pub(crate) program: Vec<OsString>,
}

/// What exec.cjs asks for.
#[derive(Debug, Parser)]
pub(crate) struct ExecAttach {
    #[command(flatten)]
    pub(crate) options: ExecOptions,

    /// The script's process
    #[arg(long)]
    pub(crate) script: u32,

    /// The script, for the cluster's name
    #[arg(long)]
    pub(crate) program: PathBuf,
}

/// The options of `cluster exec`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ExecOptions {
    /// The Node.js that runs the program [default: node]
    #[arg(long, value_name = "PATH")]
    pub(crate) exec_path: Option<PathBuf>,

    /// An option for Node.js, which its workers get too; may be given several times
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    pub(crate) exec_arg: Vec<OsString>,

    /// Who accepts connections: handoff, shared or kernel, as for cluster run [default: as
    /// cluster.schedulingPolicy says: handoff or shared]
    #[arg(long, hide_possible_values = true, value_name = "PLACEMENT")]
    pub(crate) placement: Option<One<Placement>>,

    /// Which worker gets a connection: rr, least-connections, sticky or random, as for cluster run [default:
    /// rr]
    #[arg(long, hide_possible_values = true, value_name = "POLICY")]
    pub(crate) policy: Option<One<PolicyName>>,

    /// A worker whose event loop does not respond for so long gets no connections until it does, and the log
    /// says so (--log-level warn); 0 turns that off [default: 0]
    #[arg(long, value_name = "DURATION")]
    pub(crate) hang_after: Option<Period<0>>,

    /// The path of the control socket [default: a socket in the user's own folder, named after --name]
    #[arg(long, value_name = "PATH", conflicts_with = "name")]
    pub(crate) control: Option<PathBuf>,

    /// The cluster's name, by which cluster ctl finds it [default: the program's name and the process id]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<Name>,

    /// The lowest level that the primary logs, to standard error: error, warn, info, debug or trace [default:
    /// error]
    #[arg(long, hide_possible_values = true, value_name = "LEVEL")]
    pub(crate) log_level: Option<One<LogLevel>>,

    /// A file to which the primary adds a line when it ends: how many workers it had. For tests.
    #[arg(long, value_name = "FILE", hide = true)]
    pub(crate) record: Option<PathBuf>,
}

/// The primary of a script, which `exec` starts.
#[derive(Debug, Parser)]
pub(crate) struct ExecPrimary {
    #[command(flatten)]
    pub(crate) options: ExecOptions,

    /// The script's process
    #[arg(long)]
    pub(crate) script: u32,

    /// The listening socket for workers
    #[arg(long)]
    pub(crate) listener: RawFd,

    /// The folder to remove at the end
    #[arg(long)]
    pub(crate) folder: PathBuf,

    /// The script, for the cluster's name
    #[arg(long)]
    pub(crate) program: Option<PathBuf>,
}

/// A process that becomes a worker. The words before the command are exec.cjs's.
#[derive(Debug, Parser)]
pub(crate) struct ExecWorker {
    /// The primary's socket
    pub(crate) socket: PathBuf,

    /// The worker's number
    pub(crate) worker: u64,

    /// The script's cluster.schedulingPolicy
    pub(crate) policy: String,

    #[arg(last = true)]
    pub(crate) command: Vec<OsString>,
}

/// Start a primary without workers, driven by other programs through its control socket.
///
/// Clients, written in any language, connect to the socket and speak JSON-RPC 2.0, one message per line. The
/// methods (setupPrimary, fork, send, disconnect, kill, …) and events have the names of node:cluster. The
/// primary runs until a client calls stop, or until Ctrl-C or SIGTERM.
///
/// It does not supervise: the client replaces workers that die. Therefore reload, scale, drain and upgrade
/// (SIGHUP, SIGTTIN, SIGTTOU, SIGUSR2) belong to `cluster run` only; here SIGHUP stops the primary. To
/// replace the primary with a new version of cluster, start that on another socket.
#[derive(Debug, Parser)]
#[command(after_help = "\
Exit status:
  0  stopped as requested
  1  could not start, or could not continue
  2  wrong usage
  3  stopped as requested, but workers had to be sent SIGKILL")]
pub(crate) struct Serve {
    /// The control socket
    #[arg(long, value_name = "PATH")]
    pub(crate) control: PathBuf,

    /// Stop when the first client that connected disconnects; the workers then exit, as they do when any
    /// primary dies
    #[arg(long)]
    pub(crate) once: bool,

    /// How long workers may take to leave gracefully before they are sent SIGTERM
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    pub(crate) grace: Period,

    /// How long after SIGTERM they are sent SIGKILL
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    pub(crate) kill_after: Period,

    /// Load cluster's agent into Node.js workers, as `cluster run` does
    #[arg(long)]
    pub(crate) node_agent: bool,

    /// Print events as JSON, one per line, in place of the log
    #[arg(long)]
    pub(crate) json: bool,
}

/// The exit status of a command that changes a cluster.
const ORDERED: &str = "\
Exit status:
  0  done
  1  not done; the reason was printed
  2  wrong usage";

/// The exit status of a command that shows a cluster.
const LOOKED: &str = "\
Exit status:
  0  shown
  1  there is no such cluster, it does not answer, or its output cannot be written
  2  wrong usage";

/// Selects the cluster. Without --control or --name it is the only one that this user runs.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Whose {
    /// The cluster's control socket
    #[arg(long, value_name = "PATH", conflicts_with = "name", global = true)]
    pub(crate) control: Option<PathBuf>,

    /// The cluster's name. The name of its program is enough if no other cluster runs the same program
    #[arg(long, value_name = "NAME", global = true)]
    pub(crate) name: Option<Name>,
}

/// The arguments of every command to a cluster.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CommandArgs {
    #[command(flatten)]
    pub(crate) whose: Whose,

    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Replace every worker of a cluster without losing a request.
///
/// Slots are replaced one at a time (or as many at a time as `run --batch` says). The new worker starts
/// first. When it has been ready (`run --ready`) for a second (`run --min-ready-time`), the old one gets no
/// more connections, finishes those it has and exits; after the grace period it is sent SIGTERM, then
/// SIGKILL. If a new worker is not ready in time (`run --ready-timeout`), or if one dies before the reload is
/// complete, the reload is aborted: workers that were not replaced yet stay, and the exit status is 1. The
/// configuration file is read again, and its changes take effect.
///
/// A client may send a request on a kept-alive connection just as the worker closes it. Clients and proxies
/// that repeat such a request lose nothing.
///
/// The folder in which the cluster was started is looked up by name: if it is a symbolic link, new workers
/// run in the folder that it points to now.
///
/// The command returns when the reload has ended. SIGHUP to the cluster also reloads.
#[derive(Debug, Parser)]
#[command(after_help = ORDERED)]
pub(crate) struct Reload {
    #[command(flatten)]
    pub(crate) command: CommandArgs,
}

/// Change the number of workers of a cluster.
///
/// Surplus workers finish their connections and exit. SIGTTIN to the cluster adds a worker, SIGTTOU removes
/// one. A reload keeps the number unless the configuration file has another.
#[derive(Debug, Parser)]
#[command(after_help = ORDERED)]
pub(crate) struct Scale {
    #[command(flatten)]
    pub(crate) command: CommandArgs,

    /// How many, up to 10,000
    pub(crate) workers: Count<1, 10_000>,
}

/// Mark a cluster as not ready, and stop it after a delay.
///
/// /readyz fails from now on, so that load balancers send no more clients; the cluster goes on serving until
/// the delay is over, then stops gracefully. SIGTERM to the cluster does the same with `run --drain-delay`.
#[derive(Debug, Parser)]
#[command(after_help = ORDERED)]
pub(crate) struct Drain {
    #[command(flatten)]
    pub(crate) command: CommandArgs,

    /// How long the cluster goes on serving [default: its --drain-delay]
    #[arg(long, value_name = "DURATION")]
    pub(crate) delay: Option<Period<0>>,
}

/// Replace the running primary with the new version of its program, without interrupting service.
///
/// Install the new version of cluster in place of the old one, then run this. The primary executes the new
/// program and keeps its process id, workers, sockets, channels and connections. The new program is tried
/// first: if it cannot take over, the old one continues. SIGUSR2 to the cluster does the same.
#[derive(Debug, Parser)]
#[command(after_help = ORDERED)]
pub(crate) struct Upgrade {
    #[command(flatten)]
    pub(crate) command: CommandArgs,
}

/// Inspect and control a running cluster.
///
/// Without --control or --name it is the only cluster that this user runs.
#[derive(Debug, Parser)]
#[command(after_help = "\
Exit status:
  0  done; for events: the cluster ended, or the reader of the output went away
  1  not done; the reason was printed. For kill also: no such process. For events also: the output was read too
     slowly, and the cluster closed the connection
  2  wrong usage, or invalid JSON")]
pub(crate) struct Ctl {
    #[command(flatten)]
    pub(crate) whose: Whose,

    /// Print results and events as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) command: CtlCommand,
}

/// Show the state of a running cluster and of each worker.
///
/// Without --control or --name it is the only cluster that this user runs.
#[derive(Debug, Parser)]
#[command(after_help = LOOKED)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) whose: Whose,

    /// Print what the cluster says as it is, in JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Show a running cluster live.
///
/// Without --control or --name it is the only cluster that this user runs. If the cluster goes away, top
/// waits for it to return.
///
/// Keys: q quits, s sorts by the next column, r reloads, + and - add and remove a worker, the arrow keys
/// scroll.
#[derive(Debug, Parser)]
#[command(after_help = LOOKED)]
pub(crate) struct Top {
    #[command(flatten)]
    pub(crate) whose: Whose,

    /// The time between two updates
    #[arg(long, value_name = "DURATION", default_value = "1s")]
    pub(crate) interval: Period<100>,
}

/// Print a completion script for a shell.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  cluster completions bash > ~/.local/share/bash-completion/completions/cluster
  cluster completions zsh > ~/.zfunc/_cluster
  cluster completions fish > ~/.config/fish/completions/cluster.fish")]
pub(crate) struct Completions {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

/// Write the manual pages.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  cluster man | man -l -                 reads the first page
  cluster man ~/.local/share/man/man1    has man find all of them")]
pub(crate) struct Pages {
    /// The directory for the pages: one for the program and one for each command. Without it, the program's
    /// page is printed
    pub(crate) directory: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CtlCommand {
    /// List the workers
    Ls,
    /// Print events as they happen: all, or only those of the given types (message, exit, listening, …;
    /// docs/control.md lists them)
    Events {
        #[arg(value_name = "TYPE")]
        types: Vec<String>,
    },
    /// Send a worker a message
    Send {
        worker: u32,
        /// JSON
        message: String,
        /// Send the message as text, even if it is valid JSON
        #[arg(long)]
        text: bool,
    },
    /// Send a worker a signal; signal 0 only checks whether the process exists
    Kill {
        worker: u32,
        #[arg(default_value = "SIGTERM")]
        signal: String,
    },
    /// Ask a worker, or all of them, to finish their connections and exit
    Disconnect { worker: Option<u32> },
    /// Close the channel to a worker; the worker then exits
    CloseChannel { worker: u32 },
    /// Fork one more worker
    Fork {
        /// Environment variables for it; a NAME without a value removes that variable
        #[arg(value_name = "NAME=VALUE")]
        env: Vec<String>,
    },
    /// Change the settings of future workers
    Setup {
        /// JSON: {"exec": "server.js", "args": [], …}
        settings: String,
    },
    /// Print the settings of future workers
    Settings,
    /// Stop the cluster gracefully
    Stop,
    /// Print the version of the running primary
    Version,
    /// Call any method of the control API
    Call {
        method: String,
        /// JSON
        #[arg(default_value = "{}")]
        params: String,
    },
}
