//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::config::{Count, Name, Options, Period};
use crate::directory::Directory;

/// Runs servers as clusters of workers on one machine: node:cluster, without a Node.js primary.
#[derive(Debug, Parser)]
#[command(name = "cluster", version, max_term_width = 100)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Run(Box<Run>),
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
    /// A worker that is passed sockets, before it becomes the program.
    #[command(hide = true)]
    ListenShim {
        #[arg(last = true)]
        command: Vec<OsString>,
    },
}

/// What `run --check` asks a process that becomes that user.
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
/// Each worker is a process of its own that runs PROGRAM. When workers listen on the same address
/// they share one socket of the primary's; the primary accepts connections and hands them to the
/// workers in turn. A worker that dies by accident is replaced.
///
/// PROGRAM is an unmodified Node.js server that simply listens, or one that uses node:cluster: it
/// finds itself a worker, so what it does as a primary is not done, and messages to its primary
/// end here. A .js, .mjs, .cjs, .ts, .mts or .cts file runs under node (the last three need a Node
/// that takes TypeScript: 22.18 and later). Or it is an executable that speaks node:cluster's protocol, such as a Rust program
/// with the crate cluster-worker; one that binds its port itself cannot be shared. Without PROGRAM
/// a small demo server runs.
///
/// Ctrl-C (or SIGTERM, SIGQUIT, the end of the terminal) ends the cluster gracefully: workers stop
/// accepting, finish their connections and leave. After the grace period, or at a second Ctrl-C, they
/// are killed. SIGHUP reloads; SIGUSR1 and SIGWINCH are ignored, but as process 1 of a container they,
/// SIGQUIT and SIGCONT are forwarded to the workers.
///
/// A DURATION is a number of seconds, or has a unit: 500ms, 10s, 5m, 1h, 7d. A SIZE is a number of
/// bytes, or has a unit that is a power of 1024: 800K, 512M, 1G. A BOOL is true or false; the option
/// alone is true.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  cluster run                            the demo, on http://127.0.0.1:8000/
  cluster run server.js                  one worker per core
  cluster run -n 4 server.js --port 80   four workers; what follows the program is the program's
  cluster run --policy sticky chat.js    each client's connections go to one worker
  cluster run --placement shared ./app   all workers accept from one socket
  cluster run --placement kernel ./app   the kernel deals connections out to the workers
  cluster run --config cluster.toml      options and program from a file
  cluster run --config cluster.toml --check   … which is only looked at

Exit status:
  0  ended as asked
  1  could not start (or with --check: the program is not there), or could not go on
  2  wrong usage, or a configuration file with mistakes
  3  ended as asked, but workers had to be sent SIGKILL
  4  gave up: workers failed again and again, and none was ready
  5  no worker was left: all had disconnected (with --replace-disconnected=false)

What messages mean, and what to do: docs/troubleshooting.md")]
pub(crate) struct Run {
    /// Read options from this file, in TOML, by the names that they have here: max-failures = 5. What
    /// is given here counts more. Relative paths in it are relative to its folder
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Print all options that would be in force, as such a file, and start nothing. Says also if the
    /// program, its interpreter or the working directory is not there (exit status 1)
    #[arg(long)]
    pub(crate) check: bool,

    #[command(flatten)]
    pub(crate) options: Options,

    /// Where the cluster was started.
    #[arg(skip)]
    pub(crate) directory: Directory,
}

/// Start a primary without workers, to be driven by programs of any language.
///
/// They connect to the control socket, and speak JSON-RPC 2.0, a message a line: setupPrimary, fork,
/// send, disconnect, kill, and so on, with the names of node:cluster, and its events come back. It
/// ends when one of them calls stop, or at Ctrl-C (SIGTERM).
///
/// It keeps no workers itself: who drives it starts others for those that die. So reload, scale, drain
/// and upgrade (SIGHUP, SIGTTIN, SIGTTOU, SIGUSR2) are not for it, but for cluster run; at SIGHUP it
/// ends. A new version of cluster takes its place by being started on another socket.
#[derive(Debug, Parser)]
#[command(after_help = "\
Exit status:
  0  ended as asked
  1  could not start, or could not go on
  2  wrong usage
  3  ended as asked, but workers had to be sent SIGKILL")]
pub(crate) struct Serve {
    /// The control socket
    #[arg(long, value_name = "PATH")]
    pub(crate) control: PathBuf,

    /// End when the first client to have connected goes away; workers exit at that, as when any
    /// primary dies
    #[arg(long)]
    pub(crate) once: bool,

    /// How long workers may take to leave gracefully before they are sent SIGTERM
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    pub(crate) grace: Period,

    /// How long after that they are sent SIGKILL
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    pub(crate) kill_after: Period,

    /// Start Node.js workers with cluster's agent, as `cluster run` does
    #[arg(long)]
    pub(crate) node_agent: bool,

    /// Print what happens as JSON, an event a line
    #[arg(long)]
    pub(crate) json: bool,
}

/// What a command that tells a cluster something exits with.
const ORDERED: &str = "\
Exit status:
  0  it is done
  1  it is not done, and why was said
  2  wrong usage";

/// What a command that looks at a cluster exits with.
const LOOKED: &str = "\
Exit status:
  0  all was shown
  1  there is no such cluster, it does not answer, or there is nowhere to show it
  2  wrong usage";

/// Which cluster is meant. Without --control or --name it is the one that this user runs, if there is
/// only one.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Whose {
    /// The cluster's control socket
    #[arg(long, value_name = "PATH", conflicts_with = "name")]
    pub(crate) control: Option<PathBuf>,

    /// The cluster's name. That of its program is enough where no other cluster runs it
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<Name>,
}

/// What all commands to a cluster have.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct CommandArgs {
    #[command(flatten)]
    pub(crate) whose: Whose,

    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Replace every worker of a cluster by a new one, and lose no request.
///
/// A slot at a time (run --batch) the new worker is started first. When it has been ready (run --ready)
/// for a second (run --min-ready-time), the old one gets nothing more, finishes its connections and
/// leaves; after the grace period it is sent SIGTERM, then SIGKILL. If a new worker is not ready in time
/// (run --ready-timeout), or any new worker dies before the reload is done, the reload is aborted: old
/// workers that were not replaced yet stay, and the status is 1. The configuration file is read anew:
/// what has changed in it takes effect.
///
/// On a kept connection a client may send a request just when the worker closes it: clients and proxies
/// that send such a one again lose nothing.
///
/// The folder that the cluster was started in is looked up by its name: where that is a link, the new
/// workers run in the release that it leads to now.
///
/// This waits until all of that is done. SIGHUP to the cluster does the same.
#[derive(Debug, Parser)]
#[command(after_help = ORDERED)]
pub(crate) struct Reload {
    #[command(flatten)]
    pub(crate) command: CommandArgs,
}

/// Have a cluster keep more workers, or fewer.
///
/// Those who are too many finish their connections and leave. SIGTTIN to the cluster is one more,
/// SIGTTOU one fewer. A reload keeps the number, unless the configuration file has another.
#[derive(Debug, Parser)]
#[command(after_help = ORDERED)]
pub(crate) struct Scale {
    #[command(flatten)]
    pub(crate) command: CommandArgs,

    /// How many, up to 10,000
    pub(crate) workers: Count<1, 10_000>,
}

/// Have a cluster say that it is not ready, and end after a while.
///
/// /readyz says so at once, so that balancers send no more clients; until it ends the cluster
/// serves on. SIGTERM to the cluster does the same, with run --drain-delay.
#[derive(Debug, Parser)]
#[command(after_help = ORDERED)]
pub(crate) struct Drain {
    #[command(flatten)]
    pub(crate) command: CommandArgs,

    /// How long it serves on [default: its --drain-delay]
    #[arg(long, value_name = "DURATION")]
    pub(crate) delay: Option<Period<0>>,
}

/// Have the primary of a cluster execute its program anew, without interrupting service.
///
/// For a new version of cluster itself, put in the place of the old one. It keeps its process id, its
/// workers, sockets, channels and connections. The new program is tried first: if it cannot take over,
/// the old one goes on. SIGUSR2 to the cluster does the same.
#[derive(Debug, Parser)]
#[command(after_help = ORDERED)]
pub(crate) struct Upgrade {
    #[command(flatten)]
    pub(crate) command: CommandArgs,
}

/// Look at a running cluster, and drive it.
///
/// Without --control or --name it is the one that this user runs, if there is only one.
#[derive(Debug, Parser)]
#[command(after_help = "\
Exit status:
  0  it is done; of events: their reader has gone, or the cluster
  1  it is not done, and the reason was printed; of kill also: there was no such process; of events also: it read too
     slowly, and was cut off
  2  wrong usage, or what should be JSON is none")]
pub(crate) struct Ctl {
    #[command(flatten)]
    pub(crate) whose: Whose,

    /// Print results and events as JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) command: CtlCommand,
}

/// Say how a running cluster is: its state, and a line for each worker.
///
/// Without --control or --name it is the one that this user runs, if there is only one.
#[derive(Debug, Parser)]
#[command(after_help = LOOKED)]
pub(crate) struct Status {
    #[command(flatten)]
    pub(crate) whose: Whose,

    /// Print what the cluster says as it is, in JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Watch a running cluster, live: what its workers do now.
///
/// Without --control or --name it is the one that this user runs, if there is only one. A cluster
/// that goes away is waited for.
///
/// Keys: q quits, s sorts by the next column, r reloads, + and - ask for one worker more or less, the
/// arrows scroll.
#[derive(Debug, Parser)]
#[command(after_help = LOOKED)]
pub(crate) struct Top {
    #[command(flatten)]
    pub(crate) whose: Whose,

    /// How long it is from one look to the next
    #[arg(long, value_name = "DURATION", default_value = "1s")]
    pub(crate) interval: Period<100>,
}

/// Print what completes this program's options in a shell.
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

/// Write the manual's pages.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  cluster man | man -l -                 reads the first page
  cluster man ~/.local/share/man/man1    has man find all of them")]
pub(crate) struct Pages {
    /// Where to: a page for the program, and one for each command. Without it the program's own is printed
    pub(crate) directory: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CtlCommand {
    /// List the workers
    Ls,
    /// Print events as they happen: all, or those of these types (message, exit, …)
    Events {
        #[arg(value_name = "TYPE")]
        types: Vec<String>,
    },
    /// Send a worker a message
    Send {
        worker: u32,
        /// JSON
        message: String,
        /// The message is text, whatever it looks like
        #[arg(long)]
        text: bool,
    },
    /// Send a worker a signal; 0 only asks whether it is there
    Kill {
        worker: u32,
        #[arg(default_value = "SIGTERM")]
        signal: String,
    },
    /// Have a worker, or all of them, finish their connections and leave
    Disconnect { worker: Option<u32> },
    /// Close a worker's channel; it exits at that
    CloseChannel { worker: u32 },
    /// Fork one more worker
    Fork {
        /// Variables for it; a NAME alone removes one
        #[arg(value_name = "NAME=VALUE")]
        env: Vec<String>,
    },
    /// Change the settings for future workers
    Setup {
        /// JSON: {"exec": "server.js", "args": [], …}
        settings: String,
    },
    /// Print the settings for future workers
    Settings,
    /// End the cluster gracefully
    Stop,
    /// Say what is running there
    Version,
    /// Call any method of the control API
    Call {
        method: String,
        /// JSON
        #[arg(default_value = "{}")]
        params: String,
    },
}
