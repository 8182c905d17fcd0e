//! `cluster serve`: a primary that is driven by whoever connects.

use std::process::ExitCode;
use std::time::Duration;

use cluster_primary::Settings;
use cluster_primary::control::ControlServer;

use crate::args::Serve;
use crate::config::{Output, Seeing};
use crate::report::Report;
use crate::run::{Ends, FAILED, Runner};

pub(crate) fn serve(args: Serve) -> ExitCode {
    let report = Report::start(&Seeing {
        json: args.json,
        // What workers write to pipes is for those who asked for pipes.
        output: Output::Inherit,
        ..Seeing::default()
    });
    let grace = Duration::from_secs(args.grace);
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
    let outcome =
        Runner::new(settings, grace, report.clone(), Some(control), ends).and_then(|mut runner| {
            report.ready(&args.control);
            runner.run()
        });
    outcome.unwrap_or_else(|error| {
        report.broken(&error);
        ExitCode::from(FAILED)
    })
}
