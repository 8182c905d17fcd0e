//! `cluster reload`, `scale`, `drain` and `upgrade`: what a running cluster is told to do.

use std::process::ExitCode;

use cluster_primary::{Object, Value};

use crate::args::CommandArgs;
use crate::client::Client;
use crate::ctl::{complain, print};
use crate::line::line;

/// What is done, and how it is told.
pub(crate) enum Command {
    Reload,
    Scale(u32),
    Drain(Option<u64>),
    Upgrade,
}

impl Command {
    fn name(&self) -> &'static str {
        match self {
            Self::Reload => "reload",
            Self::Scale(_) => "scale",
            Self::Drain(_) => "drain",
            Self::Upgrade => "upgrade",
        }
    }

    fn params(&self) -> Object {
        match self {
            Self::Scale(workers) => Object::new().with("workers", *workers),
            Self::Drain(Some(delay)) => Object::new().with("delayMs", *delay),
            _ => Object::new(),
        }
    }

    fn done(&self, result: &Value) -> String {
        match self {
            Self::Reload => {
                let frozen = result["frozen"].as_array().into_iter().flatten();
                let frozen: Vec<_> = frozen.filter_map(Value::as_str).collect();
                let frozen = match &frozen[..] {
                    [] => String::new(),
                    _ => format!(
                        "\nthese changes take effect when the cluster is restarted: {}",
                        frozen.join(", ")
                    ),
                };
                format!(
                    "reload {} done: workers replaced: {}{frozen}",
                    line(&result["generation"]),
                    line(&result["replaced"])
                )
            }
            Self::Scale(_) => format!("workers: {}", line(&result["workers"])),
            Self::Drain(_) => "draining".into(),
            Self::Upgrade => format!(
                "upgraded: the primary now runs version {}",
                result["version"].as_str().unwrap_or("unknown")
            ),
        }
    }
}

pub(crate) fn run(args: &CommandArgs, command: &Command) -> ExitCode {
    let outcome = Client::of(&args.whose).and_then(|mut client| {
        if matches!(command, Command::Reload | Command::Upgrade) {
            // As long as the slowest worker takes.
            client.wait_for_ever()?;
        }
        let result = client.call(command.name(), command.params())?;
        print(&if args.json { line(&result) } else { command.done(&result) })
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => complain(command.name(), trouble),
    }
}
