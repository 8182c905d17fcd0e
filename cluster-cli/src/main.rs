//! The program `cluster`: runs any server as a cluster of workers on one machine.

mod args;
mod config;
mod ctl;
mod demo;
mod logs;
#[allow(dead_code, reason = "`cluster run` is to use it")]
mod init;
#[allow(dead_code, reason = "`cluster run` is to use it")]
mod listen;
mod place;
mod report;
mod run;
mod runner;
mod serve;
mod signals;
#[allow(dead_code, reason = "`cluster run` is to use it")]
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
