//! `cluster run`: keeps N workers until it is told to end.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use cluster_primary::control::ControlServer;
use cluster_primary::supervisor::{Config, Ready, Recycle, StopMessage};
use cluster_primary::tree::EndDescendants;
use cluster_primary::{Affinity, Settings, scheduling};

use crate::access;
use crate::args::Run;
use crate::config::{self, Output, Resolved, Seeing};
use crate::directory::Directory;
use crate::http::HttpServer;
use crate::listen::advice::{Place, advice};
use crate::listen::{self, Sockets};
use crate::place;
use crate::report::Report;
use crate::runner::{Ends, FAILED, Kept, Runner, USAGE, not_started};
use crate::wrapper::{self, Complaint};
use crate::{resume, systemd, tips, upgrade};

/// A worker that has no way to say that it is ready is, when it has lived for so long.
const ALIVE: Duration = Duration::from_secs(1);

/// By which Node.js is told the policy.
const SCHED_POLICY: &str = "NODE_CLUSTER_SCHED_POLICY";

pub(crate) fn run(mut args: Run) -> ExitCode {
    if let Some(verdict) = upgrade::on_trial() {
        return verdict;
    }
    match upgrade::inherited() {
        Ok(Some(inherited)) => return resume::resume(args, inherited),
        Ok(None) => {}
        Err(error) => {
            eprintln!("cluster: error: cannot go on after an upgrade: {error}");
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
    let kept = match Kept::new(args, options, sockets) {
        Ok(kept) => kept.with_http(http),
        Err(error) => {
            report.failure(&format!(
                "cannot make a socket where workers say that they are ready (--ready notify): {error}"
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

/// How this thread is scheduled, whose the primary is.
pub(crate) fn schedule(options: &Resolved) {
    if options.give_way {
        // Where the system has it not, it interrupts those who run.
        scheduling::give_way();
    } else {
        scheduling::give_way_no_more();
    }
}

/// What the primary is told of the options.
pub(crate) fn settings(options: &Resolved, sockets: &Sockets) -> Settings {
    let mut program = options.program.iter().cloned();
    let mut settings = match program.next() {
        Some(exec) => Settings::new(exec).args(program),
        None => {
            let address = options.listening.demo_listen.map(|address| address.to_string());
            Settings::default().args(["demo-worker".to_owned()].into_iter().chain(address))
        }
    };
    settings.policy = options.policy.unwrap_or_default();
    settings.placement = options.placement;
    settings.exec_path = options.exec_path.clone();
    settings.exec_argv = options.exec_arg.clone();
    settings.cwd = options.cwd.clone();
    let variable = |variable: &config::Variable| (variable.name.clone(), variable.value.clone());
    settings.env = options.env.iter().map(variable).collect();
    settings.silent = options.seeing.json || options.seeing.output == Output::Prefix;
    settings.serialization = options.serialization;
    settings.uid = options.privileges.uid.as_ref().map(|user| user.id);
    settings.gid = options.privileges.gid.as_ref().map(|group| group.id);
    let groups: Vec<_> = options.privileges.groups.iter().map(|group| group.id).collect();
    settings.groups = (!groups.is_empty()).then_some(groups);
    settings.listen_as_worker = true;
    settings.privileged_ports = options.privileged_ports();
    settings.keep_capabilities = options.privileges.keep_capabilities;
    settings.no_new_privs = options.privileges.no_new_privs;
    settings.affinity = match options.privileges.affinity {
        config::Affinity::Free => None,
        config::Affinity::Slot => Some(Affinity::Each),
    };
    // Who is killed takes its workers along, also those that never look at their channels.
    settings.die_with_primary = cfg!(target_os = "linux");
    settings.node_agent = options.leaving.node_agent;
    let mut descendants = EndDescendants::default();
    descendants.kill_after = options.leaving.kill_after;
    descendants.keep_detached = options.leaving.keep_detached;
    settings.end_descendants = Some(descendants);
    systemd::keep_from_workers(&mut settings);
    sockets.give(&mut settings, Path::new(&listen::this_program()));
    settings.socket_access = options.listening.socket_access();
    settings.keep_listeners = options.listening.keep_listeners;
    settings.report_connections = options.seeing.log_connections;
    settings.limits.unresponsive_after = options.health.hang_after;
    settings
}

/// What the supervisor is told of the options.
pub(crate) fn config(options: &Resolved) -> Config {
    let mut config = Config::new(options.workers);
    config.ready = match options.reload.ready {
        config::Ready::Online => Ready::Online,
        config::Ready::Listening => Ready::Listening,
        config::Ready::Message => Ready::Message,
        config::Ready::Notify => Ready::Notify,
        config::Ready::Alive => Ready::Alive(ALIVE),
    };
    config.ready_timeout = options.reload.ready_timeout;
    config.min_ready_time = options.reload.min_ready_time;
    config.batch = options.reload.batch;
    config.stop_signal = options.leaving.stop_signal.0;
    config.stop_message = options.leaving.stop_message.clone().map(|text| StopMessage(text.0));
    config.drain_timeout = options.leaving.drain_timeout;
    config.grace = options.leaving.grace;
    config.kill_after = options.leaving.kill_after;
    config.backoff_first = options.restarts.backoff_first;
    config.backoff_max = options.restarts.backoff_max;
    config.max_failures = options.restarts.max_failures;
    config.failure_period = options.restarts.failure_period;
    config.stable_after = options.restarts.stable_after;
    config.replace_disconnected = options.restarts.replace_disconnected;
    config.replace_unresponsive = options.health.hang_replace;
    let mut recycle = Recycle::default();
    recycle.memory = options.health.max_memory;
    recycle.age = options.health.max_age;
    recycle.connections = options.health.max_connections;
    recycle.jitter = options.health.recycle_jitter;
    config.recycle = recycle;
    config.seed = u64::from(std::process::id());
    config
}

/// Options that a running cluster cannot change stay as they are in it; those that were to be otherwise,
/// by their names.
pub(crate) fn keep_frozen(old: &Resolved, new: &mut Resolved) -> Vec<&'static str> {
    fn keep<T: Clone + PartialEq>(old: &T, new: &mut T) -> bool {
        let differs = old != new;
        if differs {
            new.clone_from(old);
        }
        differs
    }
    let mut kept = Vec::new();
    let mut differs = |name, differs: bool| kept.extend(differs.then_some(name));
    differs("placement", keep(&old.placement, &mut new.placement));
    differs("policy", keep(&old.policy, &mut new.policy));
    differs("listen", keep(&old.listening.listen, &mut new.listening.listen));
    differs("control", keep(&old.control, &mut new.control));
    differs("name", keep(&old.name, &mut new.name));
    differs("http", keep(&old.seeing.http, &mut new.seeing.http));
    differs("http-host", keep(&old.seeing.http_host, &mut new.seeing.http_host));
    differs("output", keep(&old.seeing.output, &mut new.seeing.output));
    differs("json", keep(&old.seeing.json, &mut new.seeing.json));
    differs("log-format", keep(&old.seeing.log_format, &mut new.seeing.log_format));
    differs("log-level", keep(&old.seeing.log_level, &mut new.seeing.log_level));
    // There is a socket to say it at from the start, or never.
    let notified = |options: &Resolved| matches!(options.reload.ready, config::Ready::Notify);
    if notified(old) != notified(new) {
        differs("ready", keep(&old.reload.ready, &mut new.reload.ready));
    }
    kept
}
