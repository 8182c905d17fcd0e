//! The program `cluster`: runs any server as a cluster of workers on one machine.

mod args;
mod demo;
mod keep;
mod report;
mod run;
mod wake;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Verb};

fn main() -> ExitCode {
    let args = Args::parse();
    match args.verb {
        Verb::Run(run) => run::run(*run),
        Verb::DemoWorker { address } => demo::serve(&address),
    }
}
