//! The program `cluster`: runs any server as a cluster of workers on one machine.

mod args;
mod config;
mod ctl;
mod demo;
mod init;
mod listen;
mod logs;
mod place;
mod report;
mod run;
mod runner;
mod serve;
mod signals;
mod systemd;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Verb};

fn main() -> ExitCode {
    let args = Args::parse();
    match args.verb {
        Verb::Run(run) => run::run(*run),
        Verb::Serve(serve) => serve::serve(serve),
        Verb::Ctl(ctl) => ctl::ctl(ctl),
        Verb::DemoWorker { address } => demo::serve(&address),
        Verb::ListenShim { command } => listen::shim::run(&command),
    }
}
