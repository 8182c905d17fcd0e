//! `cluster run`: keeps N workers until it is told to end.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use cluster_control::ControlServer;

use crate::access;
use crate::args::Run;
use crate::config::{Resolved, Seeing};
use crate::directory::Directory;
use crate::exit_status::{FAILED, USAGE};
use crate::http::HttpServer;
use crate::listen::Sockets;
use crate::listen::advice::{Place, advice};
use crate::place;
use crate::report::Report;
use crate::runner::{Ends, Runner, SupervisedConfig, not_started};
use crate::settings::{config, settings};
use crate::wrapper::{self, Complaint};
use crate::{resume, tips, upgrade};

/// By which Node.js is told the policy.
const SCHED_POLICY: &str = "NODE_CLUSTER_SCHED_POLICY";

pub(crate) fn run(mut args: Run) -> ExitCode {
    if let Some(verdict) = upgrade::on_trial(resume::check) {
        return verdict;
    }
    match upgrade::inherited() {
        Ok(Some(inherited)) => return resume::resume(args, inherited),
        Ok(None) => {}
        Err(error) => {
            eprintln!("cluster: error: cannot continue after an upgrade: {error}");
            return ExitCode::from(FAILED);
        }
    }
    args.directory = Directory::of_process();
    let words: Vec<_> = std::env::args_os().collect();
    if let Some(mistake) = tips::misplaced_value(&args.options.program, &words) {
        eprintln!("cluster: error: {mistake}");
        return ExitCode::from(USAGE);
    }
    if let Some(mistake) = tips::missing_variable(&args.options.env) {
        eprintln!("cluster: error: {mistake}");
        return ExitCode::from(USAGE);
    }
    let options = match args.read() {
        Ok(options) => options,
        Err(error) => {
            eprintln!("cluster: error: {error}");
            return ExitCode::from(USAGE);
        }
    };
    if args.check {
        return check(&options);
    }
    // Threads that are started from here on never take a signal: the loop does.
    if let Err(error) = upgrade::hold_signals() {
        eprintln!("cluster: error: cannot hold signals: {error}");
        return ExitCode::from(FAILED);
    }
    let report = Report::start(&options.seeing);
    for hint in options.hints(std::env::var_os(SCHED_POLICY).as_deref()) {
        report.hint(&hint);
    }
    match wrapper::complaint(&options) {
        Some(Complaint::Error(error)) => {
            report.failure(&error);
            return ExitCode::from(FAILED);
        }
        Some(Complaint::Hint(hint)) => report.hint(&hint),
        None => {}
    }
    if let Some(address) = options.listening.demo_listen {
        report.demo(address);
    }
    let listens: Vec<_> = options.listening.listen.iter().map(|at| at.0.clone()).collect();
    let sockets = match Sockets::open(&listens, &options.listening.socket_access()) {
        Ok(sockets) => sockets,
        Err(error) => {
            report.failure(&error.to_string());
            return ExitCode::from(FAILED);
        }
    };
    for socket in sockets.iter() {
        report.listens(&socket.at);
    }
    let control = match control(&options, &report) {
        Ok(control) => control,
        Err(error) => {
            report.failure(&error);
            return ExitCode::from(FAILED);
        }
    };
    let http = match http(&options.seeing).transpose() {
        Ok(http) => http,
        Err(error) => {
            report.failure(&error);
            return ExitCode::from(FAILED);
        }
    };
    if let Some(address) = http.as_ref().and_then(|http| http.local_addr().ok()) {
        report.shows(address);
    }
    let kept = match SupervisedConfig::new(args, options, sockets) {
        Ok(kept) => kept.with_http(http),
        Err(error) => {
            report.failure(&format!(
                "cannot create the socket for the workers' notifications (--ready notify): {error}"
            ));
            return ExitCode::from(FAILED);
        }
    };
    let (settings, config) = (kept.settings(), config(&kept.options));
    let ends = Ends::WithTheLastWorker;
    match Runner::new(settings, config, report.clone(), control, ends, Some(kept)) {
        Ok(mut runner) => runner.run_to_the_end(),
        Err(error) => not_started(&report, &error),
    }
}

/// Begins to show how all is, if that was asked for.
fn http(seeing: &Seeing) -> Option<Result<HttpServer, String>> {
    let address = seeing.http.as_ref()?;
    let server =
        address.bind().and_then(|listener| HttpServer::start(listener, seeing.allowed_hosts()));
    Some(server.map_err(|error| {
        let advice = advice(Place::Port(address.port()), &error);
        format!("cannot listen on {address} (--http): {error}{advice}")
    }))
}

/// Prints the options in force, and looks whether there is what they name.
fn check(options: &Resolved) -> ExitCode {
    match io::stdout().lock().write_all(options.to_toml().as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("cluster: error: cannot write to standard output: {error}");
            return ExitCode::from(FAILED);
        }
        _ => {}
    }
    for hint in options.hints(std::env::var_os(SCHED_POLICY).as_deref()) {
        eprintln!("cluster: hint: {hint}");
    }
    match wrapper::complaint(options) {
        Some(Complaint::Error(error)) => {
            eprintln!("cluster: error: {error}");
            return ExitCode::from(FAILED);
        }
        Some(Complaint::Hint(hint)) => eprintln!("cluster: hint: {hint}"),
        None => {}
    }
    let settings = settings(options, &Sockets::default());
    let checked = settings.check_program().map_err(|error| error.to_string());
    match checked.and_then(|()| access::check(options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cluster: error: {error}");
            ExitCode::from(FAILED)
        }
    }
}

/// The control API, where it was asked for, else where `cluster ctl` looks for it. Without the
/// latter a cluster can do.
fn control(options: &Resolved, report: &Report) -> Result<Option<ControlServer>, String> {
    if let Some(path) = &options.control {
        let control = ControlServer::bind(path).map_err(|error| error.to_string())?;
        report.control(path);
        return Ok(Some(control));
    }
    let folder = match place::make_folder() {
        Ok(folder) => folder,
        Err(error) if options.name.is_none() => {
            report.warning(&format!("cluster ctl will not find this cluster: {error}"));
            return Ok(None);
        }
        Err(error) => return Err(error.to_string()),
    };
    let program = options.program.first().map(Path::new);
    let name = options.name.clone().unwrap_or_else(|| place::default_name(program));
    let path = place::of_name(&folder, &name);
    match ControlServer::bind(&path) {
        Ok(control) => {
            report.control(&path);
            Ok(Some(control))
        }
        Err(error) if options.name.is_none() => {
            report.warning(&format!("cluster ctl will not find this cluster: {error}"));
            Ok(None)
        }
        Err(error) => Err(error.to_string()),
    }
}
