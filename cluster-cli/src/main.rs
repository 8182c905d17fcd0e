//! The program `cluster`: runs any server as a cluster of workers on one machine.

mod args;
mod client;
mod ctl;
mod demo;
#[cfg_attr(
    not(test),
    expect(dead_code, unused_imports, reason = "cluster run starts it, once it has the option")
)]
mod http;
mod keep;
mod place;
mod report;
mod run;
mod serve;
mod status;
mod top;
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
        Verb::Status(status) => status::status(&status),
        Verb::Top(top) => top::top(top),
        Verb::DemoWorker { address } => demo::serve(&address),
    }
}
