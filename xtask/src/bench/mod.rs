//! `cargo xtask bench`: how fast things are here, beside the others that do the same.
//!
//! *micro* runs the crates' criterion benches; the other parts run whole clusters. Each row of a part
//! in its turn, and that several times over, so that what the machine does meanwhile meets all rows
//! alike and ratios are taken within one round.

mod agent;
mod at_rest;
mod bare;
mod bars;
mod case;
mod cluster;
mod connections;
mod cpu;
mod effort;
mod hostile;
pub(crate) mod interrupt;
mod kept_alive;
mod load;
mod machine;
mod memory;
mod messages;
mod notes;
pub(crate) mod peers;
mod plan;
mod pm2;
pub(crate) mod processes;
mod programs;
mod refusing;
mod report;
mod rounds;
mod samples;
mod startup;
mod statistics;
mod svg;
mod table;
mod talk;

use std::env;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

pub(crate) use bare::{
    PrimaryArgs as BarePrimaryArgs, WorkerArgs as BareWorkerArgs, primary as bare_primary,
    worker as bare_worker,
};
pub(crate) use talk::{
    BareArgs as TalkBareArgs, PrimaryArgs as TalkPrimaryArgs, WorkerArgs as TalkWorkerArgs,
    bare as talk_bare, primary as talk_primary, worker as talk_worker,
};

use crate::{node, step, targets};
use machine::Machine;
use notes::Notes;
use peers::Peers;
use plan::{Bench, Part};
use programs::{Profile, Programs};
use report::Report;
use samples::Samples;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only see whether everything runs; the numbers mean little
    #[arg(long)]
    quick: bool,
    /// Run this part only; may be repeated
    #[arg(long, value_enum, value_name = "PART")]
    only: Vec<Part>,
    /// How often each row is measured [default: 5, with --quick 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,
    /// Run only rows whose name contains this (such as rust-rust-handoff, node-20, bare); may be
    /// repeated
    #[arg(long, value_name = "FILTER")]
    case: Vec<String>,
    /// A Node to compare with; may be repeated [default: those that CLUSTER_TEST_NODES names, else
    /// the one on PATH]
    #[arg(long, value_name = "PATH")]
    node: Vec<PathBuf>,
    /// Where Bun and PM2 are, and npm installs them if they are not; none: leave them out [default:
    /// bench-peers in the target directory]
    #[arg(long, value_name = "DIR")]
    peers: Option<PathBuf>,
    /// Write every number of every round there
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Keep the results in docs/bench.md and docs/bench.svg
    #[arg(long)]
    save: bool,
    /// The programs are built, and this is one of them
    #[arg(long, hide = true)]
    built: bool,
}

pub(crate) fn run(args: &Args) -> io::Result<ExitCode> {
    if args.built {
        return measure(args);
    }
    if args.wants(Part::Micro) {
        let smoke = args.quick.then_some(["--", "--test"]);
        micro(&[], smoke.as_ref().map_or(&[], <[_; 2]>::as_slice))?;
    }
    programs::build(Profile::Release)?;
    // From here on in the program as it is built for release: clients that are slow make servers
    // look fast.
    let given = env::args_os().skip(2);
    Err(rest(Profile::Release)?.args(given).exec())
}

/// Checks that every bench runs, without anything from the net. Its figures mean nothing, so that the programs need not be optimized: the
/// tests' are used, since to build others would take as long as many of CI's stages together.
pub(crate) fn smoke() -> io::Result<()> {
    micro(&Profile::Dev.option(), &["--", "--test"])?;
    programs::build(Profile::Dev)?;
    step::run(rest(Profile::Dev)?.args(["--quick", "--peers", "none"]))
}

/// The rest of the bench, in the program that was built for it.
fn rest(profile: Profile) -> io::Result<Command> {
    let mut command = Command::new(Programs::built(profile)?.own);
    command.args(["bench", "--built"]);
    Ok(command)
}

impl Args {
    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }
}

/// The criterion benches, by name: `cargo bench` alone would build and run unit tests too.
fn micro(options: &[&str], arguments: &[&str]) -> io::Result<()> {
    let benches = targets::of_kind(&step::root().join("Cargo.toml"), "bench")?;
    let mut command = step::cargo(["bench", "--workspace"]);
    command.args(options).args(benches.iter().flat_map(|name| ["--bench", name]));
    step::run(command.args(arguments))
}

/// All but the criterion benches.
fn measure(args: &Args) -> io::Result<ExitCode> {
    interrupt::watch()?;
    let nodes = node::in_use(&args.node)?;
    let mut notes = Notes::default();
    let peers = match &args.peers {
        Some(folder) if folder.as_os_str() == "none" => Peers::default(),
        Some(folder) => peers::find(&std::path::absolute(folder)?, &mut notes),
        None => peers::find(&step::target_dir().join("bench-peers"), &mut notes),
    };
    let mut effort = if args.quick { effort::QUICK } else { effort::FULL };
    effort.rounds = args.rounds.map_or(effort.rounds, usize::from);
    let programs = Programs::beside_this()?;
    let bench = Bench { programs, effort, selected: args.case.clone() };
    let machine = Machine::describe(&nodes, &peers);

    let mut samples = Samples::default();
    let (bench_, to, say) = (&bench, &mut samples, &mut notes);
    if args.wants(Part::Connections) {
        rounds::play(bench_, case::all(&nodes, &peers), to, say)?;
    }
    if args.wants(Part::Messages) {
        rounds::play(bench_, messages::all(&nodes, &peers), to, say)?;
    }
    if args.wants(Part::Startup) {
        rounds::play(bench_, startup::all(&nodes, &peers), to, say)?;
    }
    if args.wants(Part::Memory) {
        rounds::play(bench_, at_rest::all(&nodes, &peers), to, say)?;
    }
    if args.wants(Part::Refusing) {
        rounds::play(bench_, refusing::all(&nodes), to, say)?;
    }
    if args.wants(Part::Hostile) {
        rounds::play(bench_, hostile::all(), to, say)?;
    }
    if args.wants(Part::Agent) {
        rounds::play(bench_, agent::all(&nodes), to, say)?;
    }

    let mut bars = bars::all(&nodes);
    bars.retain(|bar| bar.part().is_some_and(|part| args.wants(part)));
    let report = Report { bench: &bench, quick: args.quick, machine, samples, bars, notes };
    println!("\n{}", report.text());
    if let Some(file) = &args.json {
        fs::write(file, format!("{:#}\n", report.json()))?;
    }
    if args.save {
        report.save()?;
    }
    Ok(ExitCode::SUCCESS)
}
