//! `cargo xtask compat`: the same scenarios over the pairs of Node, Rust, Bun and Deno, and what differs.
//!
//! A [stage] starts a primary, Node's (`xtask/compat/primary.cjs`) or [ours](actor), with
//! workers likewise, has them do a [scenario](scenarios), and writes down what each does and sees.
//! The [traces](trace) of the pairs are compared with that of Node with Node; what may differ is
//! [declared].

mod actor;
mod cast;
mod declared;
mod names;
mod scenarios;
mod stage;
mod summary;
mod trace;

use std::collections::BTreeSet;
use std::env;
use std::io;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::node::{self, Node};
use cast::{Pair, Policy, Side};
use declared::{COMMUTING, Commuting, DIFFERENCES, Difference, Setting, UNPLAYED, Unplayed};
use scenarios::Scenario;
use stage::{Play, Stage};
pub(crate) use summary::Summary;
use trace::{Note, canonical, diff};

const TWO: NonZeroUsize = NonZeroUsize::new(2).unwrap();

#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Args {
    /// Play everything so many times
    #[arg(long, value_name = "TIMES", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// Play this scenario only; may be repeated
    #[arg(long, value_name = "SCENARIO")]
    only: Vec<String>,
    /// Compare this pair only, primary first: `rust-node`, `node-rust`, `rust-rust`, `rust-bun` or
    /// `rust-deno`; may be repeated
    #[arg(long, value_name = "PAIR")]
    pair: Vec<String>,
    /// A Node to compare with; may be repeated [default: those that CLUSTER_TEST_NODES names, else
    /// the one on PATH]
    #[arg(long, value_name = "PATH")]
    node: Vec<PathBuf>,
    /// Play so many at a time [default: as many as there are processors]
    #[arg(long, value_name = "PLAYS")]
    jobs: Option<NonZeroUsize>,
    /// Name the scenarios and what may differ, and play nothing
    #[arg(long)]
    list: bool,
    /// Print every trace
    #[arg(long)]
    show: bool,
}

impl Args {
    /// All of it, so many times, with two plays at a time for each processor: most of a play is waiting.
    pub(crate) fn all(repeat: u32) -> Self {
        let jobs =
            thread::available_parallelism().ok().map(|processors| processors.saturating_mul(TWO));
        Self { repeat, jobs, ..Self::default() }
    }
}

/// The arguments of the worker that a primary starts.
#[derive(clap::Args)]
pub(crate) struct WorkerArgs {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

/// Our primary; a stage starts it.
pub(crate) fn primary() -> io::Result<ExitCode> {
    actor::primary::run()
}

/// Our worker; a primary starts it.
pub(crate) fn worker(args: &WorkerArgs) -> io::Result<ExitCode> {
    actor::worker::run(&args.args).map_err(|error| io::Error::other(error.to_string()))
}

pub(crate) fn run(args: &Args) -> io::Result<ExitCode> {
    if args.list {
        print!("{}", list());
        return Ok(ExitCode::SUCCESS);
    }
    let summary = compare(args)?;
    println!("{summary}");
    if summary.passed() == 0 && summary.failed() == 0 {
        return Err(io::Error::other(
            "nothing was compared: no Node runs, or none of what was asked for is played with it",
        ));
    }
    Ok(if summary.failed() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What is played, and what may differ; in Markdown, for the documentation.
fn list() -> String {
    let mut list = String::from("| scenario | policies |\n| --- | --- |\n");
    for scenario in scenarios::all() {
        let policies: Vec<_> = scenario.policies.iter().map(Policy::to_string).collect();
        list += &format!("| {} | {} |\n", scenario.name, policies.join(", "));
    }
    list += "\n| order that is not compared | noted by | because |\n| --- | --- | --- |\n";
    for Commuting { by, pair: [one, other], because } in COMMUTING {
        list += &format!("| `{one}`, `{other}` | {by} | {because} |\n");
    }
    list += "\n| difference | in | where | because |\n| --- | --- | --- | --- |\n";
    for Difference { id, scenarios, shows, because, .. } in DIFFERENCES {
        list += &format!("| `{id}` | {} | {shows} | {because} |\n", scenarios.join(", "));
    }
    list += "\n| not run | with | because |\n| --- | --- | --- |\n";
    for Unplayed { worker, scenarios, because } in UNPLAYED {
        list += &format!("| {} | {worker} workers | {because} |\n", scenarios.join(", "));
    }
    list
}

/// Plays and compares; each difference is printed when it shows.
pub(crate) fn compare(args: &Args) -> io::Result<Summary> {
    let nodes = node::in_use(&args.node)?;
    let units = units(args, &nodes)?;
    let next = AtomicUsize::new(0);
    let summary = Mutex::new(Summary::default());
    let jobs = args.jobs.or_else(|| thread::available_parallelism().ok());
    thread::scope(|scope| {
        for _ in 0..jobs.map_or(1, NonZeroUsize::get) {
            scope.spawn(|| {
                while let Some(unit) = units.get(next.fetch_add(1, Ordering::Relaxed)) {
                    unit.play(args, &summary);
                }
            });
        }
    });
    Ok(summary.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// One scenario with one Node under one policy: all pairs, as often as asked for.
struct Unit<'a> {
    scenario: &'static Scenario,
    policy: Policy,
    node: &'a Node,
    pairs: Vec<Pair>,
}

fn units<'a>(args: &Args, nodes: &'a [Node]) -> io::Result<Vec<Unit<'a>>> {
    let unknown = args.only.iter().find(|only| scenarios::all().all(|s| s.name != **only));
    if let Some(unknown) = unknown {
        return Err(io::Error::other(format!("no scenario is called {unknown}; see --list")));
    }
    let known = |name: &String| {
        let pair = Pair::ALL.into_iter().find(|pair| pair.to_string() == *name);
        pair.ok_or_else(|| {
            let all = Pair::ALL.map(|pair| pair.to_string()).join(", ");
            io::Error::other(format!("{name} is no pair; there are {all}"))
        })
    };
    let asked: BTreeSet<Pair> = args.pair.iter().map(known).collect::<io::Result<_>>()?;
    let plays = |pair: &Pair| asked.is_empty() || asked.contains(pair) || *pair == Pair::NODE;
    let pairs: Vec<Pair> = Pair::ALL.into_iter().filter(plays).collect();
    let absent: Vec<_> = pairs.iter().filter(|pair| !pair.is_there()).collect();
    if let Some(pair) = absent.iter().find(|_| env::var_os("CI").is_some() || !asked.is_empty()) {
        let variable = pair.variable().unwrap_or_default();
        return Err(io::Error::other(format!("{pair}: {variable} names no runtime")));
    }
    for pair in absent {
        println!("not played: {pair}, as {} is not set", pair.variable().unwrap_or_default());
    }
    let newest = nodes.iter().max_by_key(|node| node.major()).map(|node| &node.path);
    let mut units = Vec::new();
    for node in nodes {
        for scenario in scenarios::all() {
            if !args.only.is_empty() && !args.only.iter().any(|only| only == scenario.name) {
                continue;
            }
            for &policy in scenario.policies {
                // What has nothing to do with Node's version is compared with one of them.
                let plays = |pair: &Pair| match pair.variable() {
                    None => true,
                    Some(_) => {
                        pair.is_there()
                            && Some(&node.path) == newest
                            && declared::is_played(scenario.name, pair.worker)
                    }
                };
                let pairs = pairs.iter().copied().filter(plays).collect();
                units.push(Unit { scenario, policy, node, pairs });
            }
        }
    }
    Ok(units)
}

impl Unit<'_> {
    fn play(&self, args: &Args, summary: &Mutex<Summary>) {
        let mut node_s = None;
        for _ in 0..args.repeat {
            for &pair in &self.pairs {
                let reference = node_s.is_none() && pair == Pair::NODE;
                let outcome = self.compare(args, pair, &mut node_s);
                let mut summary = summary.lock().unwrap_or_else(PoisonError::into_inner);
                if let Err(difference) = &outcome {
                    println!("--- {}\n{difference}", self.title(pair));
                }
                // The first of Node's plays is what the others are compared with.
                if !reference || outcome.is_err() {
                    summary.count(self.node, self.policy, pair, outcome);
                }
            }
        }
    }

    /// Plays it with a pair, and compares with how Node played it first. Gives the declared
    /// differences that showed, or the diff.
    fn compare(
        &self,
        args: &Args,
        pair: Pair,
        node_s: &mut Option<Vec<Note>>,
    ) -> Result<Vec<&'static str>, String> {
        let trace = self.trace(pair)?;
        if args.show {
            let lines: String = trace.iter().map(|note| format!("    {note}\n")).collect();
            println!("{}\n{lines}", self.title(pair));
        }
        let node_s = match node_s {
            Some(node_s) => node_s,
            None if pair == Pair::NODE => {
                *node_s = Some(trace);
                return Ok(Vec::new());
            }
            None => return Err("  Node itself did not play it to the end\n".into()),
        };
        let setting = Setting { pair, major: self.node.major() };
        let (expected, declared) = declared::expected(self.scenario.name, &setting, node_s)?;
        match diff(&canonical(expected), &trace) {
            None => Ok(declared),
            Some(diff) => Err(diff),
        }
    }

    fn trace(&self, pair: Pair) -> Result<Vec<Note>, String> {
        static PLAYS: AtomicUsize = AtomicUsize::new(0);
        let number = PLAYS.fetch_add(1, Ordering::Relaxed);
        let folder = format!("cluster-compat-{}-{number}", std::process::id());
        let play = Play { node: self.node, policy: self.policy, pair, number };
        let mut stage =
            Stage::open(play, env::temp_dir().join(folder)).map_err(|stall| stall.to_string())?;
        let played = (self.scenario.play)(&mut stage);
        if let Err(stall) = played {
            return Err(format!("  stalled: {stall}\n{}", stage.report()));
        }
        stage.close().map(canonical).map_err(|stall| format!("  stalled at its end: {stall}"))
    }

    fn title(&self, pair: Pair) -> String {
        let Self { scenario, policy, node, .. } = self;
        let ours = pair.primary == Side::Rust || pair.worker == Side::Rust;
        let with = if ours { "compared with" } else { "itself, of" };
        format!("{} ({policy}), {pair}, {with} Node {}", scenario.name, node.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the documentation says of the suite is what the suite does.
    #[test]
    fn the_documentation_lists_what_is_played_and_what_may_differ() {
        let documentation = include_str!("../../../docs/compat.md");
        for line in list().lines() {
            assert!(documentation.contains(line), "docs/compat.md lacks (compat --list):\n{line}");
        }
    }

    #[test]
    fn differences_are_declared_of_scenarios_that_there_are() {
        for Difference { id, scenarios: its, .. } in DIFFERENCES {
            let known = |name: &&str| scenarios::all().any(|known| known.name == *name);
            assert!(its.iter().all(known), "{id}");
        }
    }
}
