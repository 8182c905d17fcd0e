//! `cargo xtask bench`: how fast things are here.
//!
//! *micro* runs the crates' criterion benches. *e2e* runs whole clusters, and measures what handing
//! a connection on costs: each case in turn, and that several times over, so that what the machine
//! does meanwhile meets all cases alike and ratios are taken within one round.

mod case;
mod cpu;
mod load;
mod server;
mod table;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::node::{self, Node};
use crate::{step, targets};
use case::Case;
use load::Load;
use table::Sample;

#[derive(Clone, Default, clap::Args)]
pub(crate) struct Args {
    /// Only see whether everything runs; the numbers mean little
    #[arg(long)]
    quick: bool,
    /// A Node to compare with; may be repeated [default: those that CLUSTER_TEST_NODES names, else
    /// the one on PATH]
    #[arg(long, value_name = "PATH")]
    node: Vec<PathBuf>,
    /// Run this part only
    #[arg(long, value_enum)]
    only: Option<Part>,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// The crates' criterion benches
    Micro,
    /// Whole clusters under load
    E2e,
}

/// Workers in each cluster.
const WORKERS: usize = 2;

/// How much is measured.
struct Effort {
    rounds: usize,
    /// Connections that warm a cluster up.
    warm_up: u32,
    /// Connections that are measured.
    connections: u32,
}

const FULL: Effort = Effort { rounds: 5, warm_up: 5_000, connections: 20_000 };
const QUICK: Effort = Effort { rounds: 1, warm_up: 100, connections: 1_000 };

pub(crate) fn run(args: &Args) -> io::Result<ExitCode> {
    if args.only != Some(Part::E2e) {
        micro(args.quick)?;
    }
    if args.only != Some(Part::Micro) {
        e2e(&node::in_use(&args.node)?, if args.quick { &QUICK } else { &FULL })?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Sees whether every bench runs.
pub(crate) fn smoke() -> io::Result<()> {
    run(&Args { quick: true, ..Args::default() }).map(drop)
}

/// The criterion benches, by name: `cargo bench` alone would build and run unit tests too.
fn micro(quick: bool) -> io::Result<()> {
    let benches = targets::of_kind(&step::root().join("Cargo.toml"), "bench")?;
    let mut command = step::cargo(["bench", "--workspace"]);
    command.args(benches.iter().flat_map(|name| ["--bench", name]));
    if quick {
        command.args(["--", "--test"]);
    }
    step::run(&mut command)
}

fn e2e(nodes: &[Node], effort: &Effort) -> io::Result<()> {
    // With all of the workspace, as `cargo bench` has it: the same features, so nothing twice.
    let programs = ["--bin", "cluster", "--example", "bench_http"];
    step::run(step::cargo(["build", "--release", "--workspace"]).args(programs))?;
    let cases = case::all(nodes);
    let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); cases.len()];
    for round in 1..=effort.rounds {
        for (case, samples) in cases.iter().zip(&mut samples) {
            eprintln!("round {round} of {}: {case}", effort.rounds);
            samples
                .push(measure(case, effort).map_err(|e| io::Error::other(format!("{case}: {e}")))?);
        }
    }
    println!(
        "{WORKERS} workers, {} clients, {} connections, median of {}",
        load::CLIENTS,
        effort.connections,
        effort.rounds
    );
    print!("{}", table::render(&cases, &samples));
    Ok(())
}

/// One case once, in a cluster of its own.
fn measure(case: &Case, effort: &Effort) -> io::Result<Sample> {
    let server = case.start()?;
    let port = server.port();
    Load { port, connections: effort.warm_up }.run()?;
    let before = (cpu::used(server.primary())?, cpu::used_by_all(server.workers())?);
    let took = Load { port, connections: effort.connections }.run()?;
    let after = (cpu::used(server.primary())?, cpu::used_by_all(server.workers())?);
    let connections = f64::from(effort.connections);
    let micros = |from: std::time::Duration, to: std::time::Duration| {
        to.saturating_sub(from).as_secs_f64() * 1e6 / connections
    };
    Ok(Sample {
        rate: connections / took.as_secs_f64(),
        primary: micros(before.0, after.0),
        workers: micros(before.1, after.1),
    })
}
