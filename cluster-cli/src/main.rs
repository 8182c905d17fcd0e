//! The program `cluster`: runs any server as a cluster of workers on one machine.

mod args;
mod ctl;
mod demo;
#[allow(dead_code, reason = "`cluster run` is to use it")]
mod init;
mod keep;
#[allow(dead_code, reason = "`cluster run` is to use it")]
mod listen;
mod place;
mod report;
mod run;
mod serve;
#[allow(dead_code, reason = "`cluster run` is to use it")]
mod systemd;
mod wake;

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
