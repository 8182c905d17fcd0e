//! `cluster serve`: a primary that is driven by the clients of its control socket.

use std::process::ExitCode;

use cluster_control::ControlServer;
use cluster_primary::Settings;
use cluster_supervisor::driver::Config;

use crate::args::Serve;
use crate::config::{Output, Seeing};
use crate::exit_status::FAILED;
use crate::report::Report;
use crate::runner::{Ends, Runner, not_started};

pub(crate) fn serve(args: Serve) -> ExitCode {
    let report = Report::unsupervised(&Seeing {
        json: args.json,
        // The output of workers with pipes is for the clients that asked for pipes.
        output: Output::Inherit,
        ..Seeing::default()
    });
    let control = match ControlServer::bind(&args.control) {
        Ok(control) => control.without_program(),
        Err(error) => {
            report.failure(&error.to_string());
            return ExitCode::from(FAILED);
        }
    };
    let ends = if args.once { Ends::WithFirstClient } else { Ends::WhenAsked };
    let mut settings = Settings::default();
    settings.args = Vec::new();
    let mut config = Config::default();
    config.keep = false;
    config.grace = args.grace.0;
    config.kill_after = args.kill_after.0;
    settings.node_agent = args.node_agent;
    let runner = Runner::new(settings, config, report.clone(), Some(control), ends, None);
    match runner {
        Ok(mut runner) => {
            report.ready(&args.control);
            runner.run_to_the_end()
        }
        Err(error) => not_started(&report, &error),
    }
}
