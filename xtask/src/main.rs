//! The chores of this workspace: what people would type twice is a subcommand here.

mod agent;
mod api;
mod apps;
mod architecture;
mod base64;
mod bench;
mod ci;
mod compat;
mod deny;
mod exec_apps;
mod frameworks;
mod fuzz;
mod golden;
mod inherited;
mod log;
mod msrv;
mod node;
mod node_tests;
mod package;
#[cfg(test)]
mod pages;
mod portable;
mod relay;
mod scenarios;
mod soak;
mod step;
mod tally;
mod targets;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "xtask", about, bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Do all that CI does: formatting, lints, documentation, fuzz and bench smoke, tests.
    Ci(ci::Args),
    /// One stage of that, in a process of its own; started by `ci`.
    #[command(hide = true)]
    CiStage(ci::StageArgs),
    /// The long form of the tests under load: a hundred reloads and upgrades of each kind, two hundred
    /// deaths. It takes about an hour
    Soak,
    /// Measure: the crates' benches, and whole clusters of Node, of others and of ours.
    Bench(Box<bench::Args>),
    /// The least of a primary; only `bench` starts it.
    #[command(hide = true)]
    BenchBarePrimary(bench::BarePrimaryArgs),
    /// The least of a worker; only that primary starts it.
    #[command(hide = true)]
    BenchBareWorker(bench::BareWorkerArgs),
    /// A primary that talks with its worker; only `bench` starts it.
    #[command(hide = true)]
    BenchTalkPrimary(bench::TalkPrimaryArgs),
    /// The worker of such a talk; only its primary starts it.
    #[command(hide = true)]
    BenchTalkWorker(bench::TalkWorkerArgs),
    /// The least that it takes to talk; only `bench` starts it.
    #[command(hide = true)]
    BenchTalkBare(bench::TalkBareArgs),
    /// Fuzz from the committed seeds, a few seconds a target.
    Fuzz(fuzz::Args),
    /// Pack each crate as it would be published, and check it from that, and with each feature alone.
    Package,
    /// Check the crates for other systems, and those that need none for a target that has none.
    Portable,
    /// Check the crates with the oldest Rust that they are for.
    Msrv,
    /// Check the workers on other frameworks (examples/frameworks).
    Frameworks,
    /// Compare each crate's public API with what was written down of it.
    Api(api::Args),
    /// Check that modules use each other only as architecture.toml allows.
    Architecture(architecture::Args),
    /// Record channels between real Node processes as golden transcripts.
    Golden(golden::Args),
    /// Play the same scenarios with Node and with ours, on both sides, and compare.
    Compat(compat::Args),
    /// Test the agent of Node workers on each Node that it is for
    Agent(agent::Args),
    /// Run real packages from npm under `cluster run`, reload them under load, and count what is
    /// lost: docs/apps.md.
    Apps(apps::Args),
    /// Run packages from npm that have a primary half under `cluster exec`, and compare with `node`.
    ExecApps,
    /// Run Node's own tests of cluster, unmodified, under `cluster exec`.
    NodeTests(node_tests::Args),
    /// The primary of such a play; only a stage starts it.
    #[command(hide = true)]
    CompatPrimary,
    /// The worker of such a play; only its primary starts it.
    #[command(hide = true)]
    CompatWorker(compat::WorkerArgs),
    /// Stand between a Node primary and a Node worker; only `golden` starts it.
    #[command(hide = true)]
    Relay(relay::Args),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().chore {
        Chore::Ci(args) => ci::run(&args),
        Chore::CiStage(args) => ci::stage(&args),
        Chore::Soak => soak::run(),
        Chore::Bench(args) => bench::run(&args),
        Chore::BenchBarePrimary(args) => bench::bare_primary(&args),
        Chore::BenchBareWorker(args) => bench::bare_worker(&args),
        Chore::BenchTalkPrimary(args) => bench::talk_primary(&args),
        Chore::BenchTalkWorker(args) => bench::talk_worker(&args),
        Chore::BenchTalkBare(args) => bench::talk_bare(&args),
        Chore::Fuzz(args) => fuzz::run(&args),
        Chore::Package => package::run(),
        Chore::Portable => portable::run(),
        Chore::Msrv => msrv::run(),
        Chore::Frameworks => frameworks::run(),
        Chore::Api(args) => api::run(&args),
        Chore::Architecture(args) => architecture::run(&args),
        Chore::Golden(args) => golden::run(&args),
        Chore::Compat(args) => compat::run(&args),
        Chore::Agent(args) => agent::run(&args),
        Chore::Apps(args) => apps::run(&args),
        Chore::ExecApps => exec_apps::run(),
        Chore::NodeTests(args) => node_tests::run(&args),
        Chore::CompatPrimary => compat::primary(),
        Chore::CompatWorker(args) => compat::worker(&args),
        Chore::Relay(args) => relay::run(&args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("xtask: {error}");
        ExitCode::FAILURE
    })
}
