//! A program that goes on where the image before it in this process stopped.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use cluster_control::ControlServer;
use cluster_supervisor::driver::Supervised;

use crate::args::Run;
use crate::config::{Options, Resolved};
use crate::directory::Directory;
use crate::exit_status::FAILED;
use crate::report::Report;
use crate::runner::Runner;
use crate::upgrade::{self, Handed, Inherited};

/// Whether this program could go on with that: it does as if, and lets go of it.
pub(crate) fn check(handed: &Handed) -> io::Result<()> {
    options(handed)?;
    let broken = |error: cluster_primary::StateError| io::Error::other(error.to_string());
    let part = &handed.cluster;
    Supervised::from_state(&part.text, part.duplicates()?).map_err(broken)?.abandon();
    if let Some(part) = &handed.control {
        ControlServer::from_state(&part.text, part.duplicates()?).map_err(broken)?.abandon();
    }
    Ok(())
}

/// The options that were in force.
fn options(handed: &Handed) -> io::Result<Resolved> {
    let options = Options::parse(&handed.options).map_err(io::Error::other)?;
    options.resolve().map_err(io::Error::other)
}

/// Goes on. If that cannot be, the image before is executed again.
pub(crate) fn resume(mut args: Run, inherited: Inherited) -> ExitCode {
    upgrade::restore_name();
    args.directory = Directory::take_up(inherited.handed.directory.as_ref());
    let options = match options(&inherited.handed) {
        Ok(options) => options,
        Err(error) => return go_back(&inherited, &error.to_string()),
    };
    let report = Report::start(&options.seeing);
    if let Some(lines) = inherited.handed.lines.clone() {
        report.put_lines(lines);
    }
    // A mistake of ours, too, is a reason to go back, as long as one can.
    let resumed = catch_unwind(AssertUnwindSafe(|| {
        Runner::resume(args, options, report.clone(), &inherited)
    }));
    let why = match resumed {
        Ok(Ok(mut runner)) => {
            let from = inherited.handed.version.clone();
            let failed = inherited.failed.clone();
            inherited.done();
            if let Err(error) = upgrade::release_signals() {
                report.broken("signals cannot be heard any more", &error);
            }
            runner.resumed(&from, failed.as_deref());
            return runner.run_to_the_end();
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => "it panicked".to_owned(),
    };
    go_back(&inherited, &why)
}

fn go_back(inherited: &Inherited, why: &str) -> ExitCode {
    // Once is enough: a program that the cluster has fallen back to has no earlier one to fall back to.
    if inherited.failed.is_none() {
        let error = upgrade::give_back(inherited, why);
        eprintln!("cluster: error: cannot return to the previous program: {error}");
    }
    eprintln!("cluster: error: cannot continue after an upgrade: {why}");
    ExitCode::from(FAILED)
}
