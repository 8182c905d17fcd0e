//! The program `cluster`: runs any server as a cluster of workers on one machine.

mod access;
mod args;
mod client;
mod command;
mod config;
mod ctl;
mod demo;
mod descriptor;
mod directory;
mod ecosystem;
mod effective;
mod exec;
mod exit_status;
mod folder;
mod hex;
mod http;
mod init;
mod line;
mod listen;
mod logs;
mod manual;
mod place;
mod repeats;
mod report;
mod resume;
mod run;
mod runner;
#[cfg(target_os = "linux")]
mod script;
#[cfg(not(target_os = "linux"))]
#[path = "script/elsewhere.rs"]
mod script;
mod serve;
mod settings;
mod signals;
mod status;
mod systemd;
mod tips;
mod top;
mod upgrade;
mod warnings;
mod wrapper;

use std::process::ExitCode;

use args::Verb;
use command::Command;

fn main() -> ExitCode {
    let args = tips::read_args();
    match args.verb {
        Verb::Run(run) => run::run(*run),
        Verb::Exec(exec) => exec::exec(&exec),
        Verb::Serve(serve) => serve::serve(serve),
        Verb::Ctl(ctl) => ctl::ctl(ctl),
        Verb::Status(status) => status::status(&status),
        Verb::Top(top) => top::top(top),
        Verb::Reload(reload) => command::run(&reload.command, &Command::Reload),
        Verb::Scale(scale) => command::run(&scale.command, &Command::Scale(scale.workers.number())),
        Verb::Drain(drain) => {
            let delay =
                drain.delay.map(|delay| u64::try_from(delay.0.as_millis()).unwrap_or(u64::MAX));
            command::run(&drain.command, &Command::Drain(delay))
        }
        Verb::Upgrade(upgrade) => command::run(&upgrade.command, &Command::Upgrade),
        Verb::Completions(completions) => manual::completions(&completions),
        Verb::Man(pages) => manual::man(&pages),
        Verb::DemoWorker { address } => demo::serve(&address),
        Verb::CheckAccess(asked) => access::answer(&asked),
        Verb::ExecPrimary(args) => exec::primary(&args),
        Verb::ExecAttach(args) => exec::attach(&args),
        Verb::ExecWorker(args) => exec::worker(&args),
        Verb::ListenShim { command } => listen::shim::run(&command),
    }
}
