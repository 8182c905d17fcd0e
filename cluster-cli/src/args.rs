//! The command line.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use cluster_primary::{Placement, PolicyName};

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
    /// The worker of the demo.
    #[command(hide = true)]
    DemoWorker {
        address: String,
    },
}

/// Run a program as a cluster of workers that share its ports.
///
/// Each worker is a process of its own that runs PROGRAM. When workers listen on the same address
/// they share one socket of the primary's; the primary accepts connections and hands them to the
/// workers in turn. A worker that dies by accident is replaced.
///
/// PROGRAM is an unmodified Node.js server that simply listens, or one that uses node:cluster: it
/// finds itself a worker, so what it does as a primary is not done, and messages to its primary
/// end here. A .js, .mjs, .cjs or .ts file runs under node (.ts needs a Node that takes it: 22.18
/// and later). Or it is an executable that speaks node:cluster's protocol, such as a Rust program
/// with the crate cluster-worker; one that binds its port itself cannot be shared. Without PROGRAM
/// a small demo server runs.
///
/// Ctrl-C (or SIGTERM) ends the cluster gracefully: workers stop accepting, finish their
/// connections and leave. After the grace period, or at a second Ctrl-C, they are killed.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  cluster run                            the demo, on http://127.0.0.1:8000/
  cluster run server.js                  one worker per core
  cluster run -n 4 server.js --port 80   four workers; what follows the program is the program's
  cluster run --policy sticky chat.js    each client's connections go to one worker
  cluster run --placement shared ./app   all workers accept from one socket
  cluster run --placement kernel ./app   the kernel deals connections out to the workers

Exit status:
  0  ended as asked, or all workers left of their own will
  1  could not start, or gave up: too many workers failed to start in a row
  2  wrong usage
  3  ended as asked, but workers had to be killed after the grace period")]
pub(crate) struct Run {
    /// How many workers to keep [default: the machine's parallelism]
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) workers: Option<u32>,

    /// Who gets a connection: rr (in turn), least-connections (who has the fewest; with the placement
    /// handoff only), sticky (for each client's address always the same) or random; with the placements
    /// handoff and kernel only [default: rr]
    #[arg(long, value_name = "POLICY")]
    pub(crate) policy: Option<PolicyName>,

    /// Who accepts connections: handoff (the primary, which hands them on), shared (the workers,
    /// from one socket) or kernel (the workers, each from a socket of its own, among which the
    /// kernel deals them out; Linux only, and CAP_BPF wanted) [default: handoff, or what NODE_CLUSTER_SCHED_POLICY says]
    #[arg(long, value_name = "PLACEMENT")]
    pub(crate) placement: Option<Placement>,

    /// How long workers may take to leave gracefully before they are killed
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub(crate) grace: u64,

    /// Run PROGRAM under this interpreter
    #[arg(long, value_name = "PATH")]
    pub(crate) exec_path: Option<PathBuf>,

    /// An argument for the interpreter; may be given several times
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    pub(crate) exec_arg: Vec<OsString>,

    /// The workers' working directory
    #[arg(long, value_name = "DIR")]
    pub(crate) cwd: Option<PathBuf>,

    /// Print what happens as JSON, an event a line; the workers' output comes as events too
    #[arg(long)]
    pub(crate) json: bool,

    /// How messages are written on the workers' channels: json, or advanced (structured clones)
    #[arg(long, value_name = "KIND", default_value = "json", value_parser = ["json", "advanced"])]
    pub(crate) serialization: String,

    /// Where programs drive this cluster by the control API (see cluster ctl); default: a socket in
    /// the user's own folder, by --name
    #[arg(long, value_name = "PATH", conflicts_with = "name")]
    pub(crate) control: Option<PathBuf>,

    /// The cluster's name, by which cluster ctl finds it [default: the program's, and the process id]
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub(crate) name: Option<String>,

    /// Where the demo listens
    #[arg(
        long,
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:8000",
        conflicts_with = "program"
    )]
    pub(crate) demo_listen: SocketAddr,

    /// The program and its arguments
    #[arg(value_name = "PROGRAM", trailing_var_arg = true)]
    pub(crate) program: Vec<OsString>,
}

/// Start a primary without workers, to be driven by programs of any language.
///
/// They connect to the control socket, and speak JSON-RPC 2.0, a message a line: setupPrimary, fork,
/// send, disconnect, kill, and so on, with the names of node:cluster, and its events come back. It
/// ends when one of them calls stop, or at Ctrl-C (SIGTERM).
#[derive(Debug, Parser)]
pub(crate) struct Serve {
    /// The control socket
    #[arg(long, value_name = "PATH")]
    pub(crate) control: PathBuf,

    /// End when the first client to have connected goes away; workers exit at that, as when any
    /// primary dies
    #[arg(long)]
    pub(crate) once: bool,

    /// How long workers may take to leave gracefully before they are killed
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub(crate) grace: u64,

    /// Print what happens as JSON, an event a line
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which cluster is meant. Without --control or --name it is the one that this user runs, if there is
/// only one.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Whose {
    /// The cluster's control socket
    #[arg(long, value_name = "PATH", conflicts_with = "name")]
    pub(crate) control: Option<PathBuf>,

    /// The cluster's name
    #[arg(long, value_name = "NAME", value_parser = name)]
    pub(crate) name: Option<String>,
}

/// Look at a running cluster, and drive it.
///
/// Without --control or --name it is the one that this user runs, if there is only one.
#[derive(Debug, Parser)]
pub(crate) struct Ctl {
    #[command(flatten)]
    pub(crate) whose: Whose,

    /// Print results and events as JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) order: Order,
}

/// Say how a running cluster is: its state, and a line for each worker.
///
/// Without --control or --name it is the one that this user runs, if there is only one.
#[derive(Debug, Parser)]
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
pub(crate) struct Top {
    #[command(flatten)]
    pub(crate) whose: Whose,

    /// How long it is from one look to the next
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    pub(crate) interval: Duration,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Order {
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

/// Seconds, as a person writes them: 1, 0.5.
fn interval(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.1..=3600.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "0.1 to 3600 seconds".into())
}

/// A name that is a file's too.
fn name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if text.is_empty() || text.len() > 60 || !text.chars().all(plain) || text.starts_with('.') {
        return Err("a name is made of letters, digits, -, _ and ., at most 60".into());
    }
    Ok(text.into())
}
