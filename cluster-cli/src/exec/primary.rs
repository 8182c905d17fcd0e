//! The hidden verb `exec-primary`: the primary of a script.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::process::ExitCode;

use cluster_control::ControlServer;
use cluster_primary::Settings;
use cluster_supervisor::driver::Config;

use crate::args::ExecPrimary;
use crate::config::{LogLevel, Output, Seeing};
use crate::descriptor;
use crate::place;
use crate::report::Report;
use crate::runner::{Ends, Runner, not_started};
use crate::script::LONGEST_MESSAGE;

/// Why clients of the control socket fork nothing.
const FORKS: &str = "under cluster exec the program itself forks its workers";

pub(crate) fn primary(args: &ExecPrimary) -> ExitCode {
    let options = &args.options;
    let report = Report::unsupervised(&Seeing {
        json: false,
        output: Output::Inherit,
        log_level: options.log_level.map_or(LogLevel::Error, |level| level.0),
        ..Seeing::default()
    });
    let mut settings = Settings::default();
    settings.args = Vec::new();
    if let Some(placement) = options.placement {
        settings.placement = placement.0;
    }
    if let Some(policy) = options.policy {
        settings.policy = policy.0;
    }
    // What the script has sent is never refused; it waits where Node's would.
    settings.limits.max_frame = LONGEST_MESSAGE;
    settings.limits.queue_limit = usize::MAX;
    settings.limits.unresponsive_after =
        options.hang_after.map(|period| period.0).filter(|after| !after.is_zero());
    let mut config = Config::default();
    config.keep = false;
    let control = control(args, &report);
    let runner = Runner::new(settings, config, report.clone(), control, Ends::WhenAsked, None);
    let started = runner.and_then(|mut runner| {
        let listener = UnixListener::from(descriptor::duplicate(args.listener)?);
        let placement_is_set = options.placement.is_some();
        runner.serve_script(args.script, listener, placement_is_set)?;
        Ok(runner)
    });
    let (status, workers) = match started {
        Ok(mut runner) => (runner.run_to_the_end(), runner.script_workers()),
        Err(error) => (not_started(&report, &error), None),
    };
    if let (Some(file), Some(workers)) = (&options.record, workers) {
        let added = fs::File::options().append(true).create(true).open(file);
        // It is for tests, which notice.
        let _ = added.and_then(|mut file| writeln!(file, "{workers}"));
    }
    // It may be gone.
    let _ = fs::remove_dir_all(&args.folder);
    status
}

/// The control socket. A cluster can do without one that was not asked for.
fn control(args: &ExecPrimary, report: &Report) -> Option<ControlServer> {
    let options = &args.options;
    let path = match &options.control {
        Some(path) => path.clone(),
        None => {
            let name = options.name.as_ref().map_or_else(
                || place::name_of(args.program.as_deref(), args.script),
                ToString::to_string,
            );
            place::of_name(&place::make_folder().ok()?, &name)
        }
    };
    match ControlServer::bind(&path) {
        Ok(control) => Some(control.without_forks(FORKS)),
        Err(error) => {
            report.warning(&format!("cluster ctl will not find this cluster: {error}"));
            None
        }
    }
}
