//! `cargo xtask apps`: real packages from npm, as ordinary programs under `cluster run`, reloaded
//! under load.
//!
//! Each [app](catalog) is a program in `xtask/apps` as a user of its package would write it. It is
//! [installed](packages), and a [trial] runs it as a cluster, reloads that twice under
//! [load] and stops it. The requests that were lost, and the workers whose own shutdown did not
//! finish, are listed in [docs/apps.md](page).

mod catalog;
mod cluster;
mod load;
mod outcome;
mod packages;
mod page;
mod placement;
mod shutdown_log;
mod trial;
mod upstream;

use std::env;
use std::io;
use std::process::ExitCode;

use crate::bench::interrupt;
use crate::node::{self, Node};
use crate::step;
use crate::tally::Tally;
use catalog::App;
use outcome::Played;
use page::{Page, Row};
use placement::Placement;
use trial::Trial;
use upstream::Upstream;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run these apps only
    #[arg(long, value_name = "APP", value_delimiter = ',')]
    only: Vec<String>,
    /// Run under this Node only: a path, or the major version of one that CLUSTER_TEST_NODES names;
    /// may be repeated [default: those that CLUSTER_TEST_NODES names, else the one on PATH]
    #[arg(long, value_name = "NODE")]
    node: Vec<String>,
    /// Run with these placements
    #[arg(
        long,
        value_enum,
        value_name = "PLACEMENT",
        value_delimiter = ',',
        default_value = "handoff"
    )]
    placement: Vec<Placement>,
    /// Pass this option to `cluster run`, such as --cluster-arg=--grace=2s; may be repeated. Leaves
    /// docs/apps.md as it is
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    cluster_arg: Vec<String>,
    /// Fail if a request was lost, a worker's own shutdown did not finish, a worker reached the grace
    /// period, or the exit status is not 0. Leaves docs/apps.md as it is
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(args: &Args) -> io::Result<ExitCode> {
    let failed = trials(args)?.failed > 0;
    Ok(if args.check && failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Those apps under Node of that major version, as `--check` does it, each counted as a test.
///
/// # Errors
/// If there is no such Node, or interrupted.
pub(crate) fn check(apps: &[&str], node: u32) -> io::Result<Tally> {
    trials(&Args {
        only: apps.iter().map(|app| (*app).to_owned()).collect(),
        node: vec![node.to_string()],
        placement: vec![Placement::Handoff],
        cluster_arg: Vec::new(),
        check: true,
    })
}

/// Runs them all; how many were as they should be.
fn trials(args: &Args) -> io::Result<Tally> {
    interrupt::watch()?;
    let apps = catalog::select(&args.only)?;
    let nodes = nodes(&args.node)?;
    if env::var_os(step::BUILT).is_none() {
        step::run(&mut step::cargo(["build", "--workspace", "--bin", "cluster"]))?;
    }
    let upstream = Upstream::start()?;
    let mut page = (!args.check && args.cluster_arg.is_empty()).then(Page::read).transpose()?;
    let mut problems = Vec::new();
    let mut rows = Vec::new();
    let mut tally = Tally::default();
    for app in apps {
        for node in &nodes {
            for (placement, outcome) in play(app, node, args, &upstream)? {
                let row = Row::new(app, node, placement, &outcome);
                println!("{row}");
                let judged = outcome.map_or_else(|why| vec![why], |(_, done)| done.problems());
                if judged.is_empty() {
                    tally.passed += 1;
                } else {
                    tally.failed += 1;
                }
                let name = format!("{}, Node {}, {placement}", app.name, node.major());
                problems.extend(judged.iter().map(|problem| format!("{name}: {problem}")));
                if let Some(page) = &mut page {
                    // At once: a run may be interrupted.
                    page.put(row.clone());
                    page.write()?;
                }
                rows.push(row);
            }
        }
    }
    println!("\n{}", page::table(&rows));
    if args.check {
        problems.iter().for_each(|problem| println!("!!! {problem}"));
        if !problems.is_empty() {
            let logs = step::target_dir().join("apps/<Node>/<app>/data/<placement>");
            println!("events and error output: {}/cluster.log", logs.display());
        }
    }
    Ok(tally)
}

/// One app under one Node, with each placement.
///
/// # Errors
/// If interrupted: an app that cannot be installed or does not start is a result.
fn play(
    app: &App,
    node: &Node,
    args: &Args,
    upstream: &Upstream,
) -> io::Result<Vec<(Placement, Played)>> {
    let installed = packages::install(app, node);
    let mut played = Vec::new();
    for &placement in &args.placement {
        interrupt::check()?;
        let outcome = match &installed {
            Ok(installed) => {
                let (more, upstream) = (&args.cluster_arg, upstream.url());
                let trial = Trial { app, node, placement, installed, more, upstream };
                let outcome = trial.run().map_err(|error| format!("did not run: {error}"));
                outcome.map(|outcome| (installed.version.clone(), outcome))
            }
            Err(error) => Err(format!("not installed: {error}")),
        };
        interrupt::check()?;
        played.push((placement, outcome));
    }
    Ok(played)
}

/// The Nodes that were asked for, each by its path or its major version.
fn nodes(asked: &[String]) -> io::Result<Vec<Node>> {
    let mut nodes = Vec::new();
    for asked in asked {
        match asked.parse::<u32>() {
            Ok(major) => nodes.push(of_major(major)?),
            Err(_path) => nodes.push(Node::at(asked.as_ref())?),
        }
    }
    if asked.is_empty() {
        nodes = node::in_use(&[])?;
    }
    if nodes.is_empty() {
        return Err(io::Error::other("there is no Node to run the apps under"));
    }
    Ok(nodes)
}

fn of_major(major: u32) -> io::Result<Node> {
    let found = node::in_use(&[])?.into_iter().find(|node| node.major() == major);
    found.ok_or_else(|| {
        io::Error::other(format!("no Node {major}: CLUSTER_TEST_NODES names none, or --node PATH"))
    })
}
