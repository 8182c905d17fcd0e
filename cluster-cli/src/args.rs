//! The command line.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

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
  cluster run --placement shared ./app   all workers accept from one socket

Exit status:
  0  ended as asked, or all workers left of their own will
  1  could not start, or gave up: too many workers failed to start in a row
  2  wrong usage
  3  ended as asked, but workers had to be killed after the grace period")]
pub(crate) struct Run {
    /// How many workers to keep [default: the machine's parallelism]
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) workers: Option<u32>,

    /// Who gets a connection that the primary accepted: rr (in turn) or random; with the placement
    /// handoff only [default: rr]
    #[arg(long, value_name = "POLICY")]
    pub(crate) policy: Option<PolicyName>,

    /// Who accepts connections: handoff (the primary, which hands them on) or shared (the workers,
    /// from one socket) [default: handoff, or what NODE_CLUSTER_SCHED_POLICY says]
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
