//! `cluster run`: keeps N workers until it is told to end.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use cluster_primary::control::{ControlError, ControlServer};
use cluster_primary::{Event, Mono, Primary, Settings, Signal, WorkerId};

use crate::args::Run;
use crate::config::{Output, Resolved};
use crate::keep::{Keeper, Verdict};
use crate::place;
use crate::report::Report;
use crate::wake::Wake;

/// Workers that do not leave in time are asked once more (SIGTERM), and are killed after this.
const LAST_CHANCE: Duration = Duration::from_secs(1);

/// Events that are handled before signals and timers have their turn.
const EVENTS_PER_PASS: usize = 256;

/// Exit statuses; `--help` explains them.
pub(crate) const FAILED: u8 = 1;
const USAGE: u8 = 2;
const KILLED: u8 = 3;

pub(crate) fn run(args: Run) -> ExitCode {
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
    let report = Report::start(&options.seeing);
    for hint in options.hints() {
        report.hint(&hint);
    }
    let control = match control(&options, &report) {
        Ok(control) => control,
        Err(error) => {
            report.failure(&error.to_string());
            return ExitCode::from(FAILED);
        }
    };
    let ends = Ends::WithTheLastWorker;
    let (workers, grace) = (options.workers, options.grace);
    let outcome = Runner::new(settings(options), grace, report.clone(), control, ends).and_then(
        |mut runner| {
            runner.start(workers);
            runner.run()
        },
    );
    outcome.unwrap_or_else(|error| {
        report.broken(&error);
        ExitCode::from(FAILED)
    })
}

/// Prints the options in force.
fn check(options: &Resolved) -> ExitCode {
    match io::stdout().lock().write_all(options.to_toml().as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            eprintln!("cluster: error: cannot write to standard output: {error}");
            ExitCode::from(FAILED)
        }
        _ => ExitCode::SUCCESS,
    }
}

/// The control API, where it was asked for, else where `cluster ctl` looks for it. Without the
/// latter a cluster can do.
fn control(options: &Resolved, report: &Report) -> Result<Option<ControlServer>, ControlError> {
    if let Some(path) = &options.control {
        let control = ControlServer::bind(path)?;
        report.control(path);
        return Ok(Some(control));
    }
    let folder = match place::make_folder() {
        Ok(folder) => folder,
        Err(error) if options.name.is_none() => {
            report.warning(&format!("cluster ctl will not find this cluster: {error}"));
            return Ok(None);
        }
        Err(error) => return Err(ControlError::Socket { path: place::folder(), error }),
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
        Err(error) => Err(error),
    }
}

fn settings(options: Resolved) -> Settings {
    let mut program = options.program.into_iter();
    let mut settings = match program.next() {
        Some(exec) => Settings::new(exec).with_args(program),
        None => {
            let address = options.listening.demo_listen.map(|address| address.to_string());
            Settings::default().with_args(["demo-worker".to_owned()].into_iter().chain(address))
        }
    };
    settings.policy = options.policy.unwrap_or_default();
    settings.placement = options.placement;
    settings.exec_path = options.exec_path;
    settings.exec_argv = options.exec_arg;
    settings.cwd = options.cwd;
    settings.env =
        options.env.into_iter().map(|variable| (variable.name, variable.value)).collect();
    settings.silent = options.seeing.json || options.seeing.output == Output::Prefix;
    settings.serialization = options.serialization;
    settings.uid = options.privileges.uid.map(|user| user.id);
    settings.gid = options.privileges.gid.map(|group| group.id);
    settings
}

/// What ends it, but for whoever asks it to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    /// It keeps its workers; when all have left of their own will there is nothing to keep.
    WithTheLastWorker,
    /// Nothing.
    WhenAsked,
    /// The first client of the control API goes away.
    WithFirstClient,
}

pub(crate) struct Runner {
    primary: Primary,
    control: Option<ControlServer>,
    ends: Ends,
    wake: Wake,
    keeper: Keeper,
    report: Report,
    grace: Duration,
    ending: Option<Ending>,
    gave_up: bool,
    /// Workers that have said anything on their channels.
    online: BTreeSet<WorkerId>,
    /// Why a worker could not listen, if none has listened since.
    cannot_listen: Option<String>,
}

/// How far the end is.
struct Ending {
    /// When the next step is due.
    next: Mono,
    /// The signal of that step.
    signal: Signal,
    killed: bool,
    /// Whoever asked does not want to wait.
    asked_twice: bool,
}

impl Runner {
    pub(crate) fn new(
        settings: Settings,
        grace: Duration,
        report: Report,
        control: Option<ControlServer>,
        ends: Ends,
    ) -> io::Result<Self> {
        let mut primary = Primary::new(settings)?;
        let wake = Wake::new(&mut primary, control.as_ref())?;
        let keeper = Keeper::default();
        Ok(Self {
            primary,
            control,
            ends,
            wake,
            keeper,
            report,
            grace,
            ending: None,
            gave_up: false,
            online: BTreeSet::new(),
            cannot_listen: None,
        })
    }

    fn start(&mut self, workers: u32) {
        for _ in 0..workers {
            if !self.fork() {
                return;
            }
        }
    }

    /// Forks a worker; if that cannot be, everything ends.
    fn fork(&mut self) -> bool {
        match self.primary.fork() {
            Ok(worker) => {
                self.keeper.forked(self.wake.now(), worker);
                true
            }
            Err(error) => {
                self.report.failure(&error.to_string());
                self.give_up();
                false
            }
        }
    }

    /// Forks a worker in a dead one's place. That this cannot be now (the program is just being
    /// replaced, the system is short of processes) ends nothing: the others serve on.
    fn replace(&mut self, now: Mono) {
        match self.primary.fork() {
            Ok(worker) => self.keeper.forked(now, worker),
            Err(error) => {
                self.report.failure(&error.to_string());
                let verdict = self.keeper.not_forked(now);
                self.obey("no worker can be forked", verdict, |report, pause| {
                    report.tried_again(pause);
                });
            }
        }
    }

    fn obey(&mut self, what: &str, verdict: Verdict, replace: impl FnOnce(&Report, Duration)) {
        match verdict {
            Verdict::Replace(pause) => replace(&self.report, pause),
            Verdict::GiveUp(count) => {
                self.report.failure(&format!(
                    "{what}; giving up: {count} workers in a row could not be started, or died \
                     before they listened"
                ));
                self.give_up();
            }
        }
    }

    pub(crate) fn run(&mut self) -> io::Result<ExitCode> {
        loop {
            // A worker that talks without end must not keep anything else from happening.
            let mut told = false;
            for _ in 0..EVENTS_PER_PASS {
                let Some(event) = self.primary.ready_event() else { break };
                told = true;
                self.report.event(&self.primary, &event);
                if let Some(control) = &mut self.control {
                    control.event(&self.primary, &event);
                }
                self.handle(event);
            }
            if self.listen_to_clients(told)? {
                return Ok(self.status());
            }
            for _ in 0..self.wake.signals(&mut self.primary) {
                self.asked_to_end();
            }
            let now = self.wake.now();
            if self.ending.is_none() {
                for _ in 0..self.keeper.take_due(now) {
                    self.replace(now);
                }
            }
            self.end_if_late(now);
            let nobody = self.primary.is_over();
            let nobody_comes =
                self.ending.is_some() || (self.keeps() && self.keeper.next_due().is_none());
            if nobody && nobody_comes && self.primary.poll_timeout().is_none() {
                if self.ending.is_none() {
                    self.report.nobody_left();
                }
                return Ok(self.status());
            }
            let due = match &self.ending {
                Some(ending) => Some(ending.next),
                None => self.keeper.next_due(),
            };
            let due = due.map(|at| at.saturating_sub(self.wake.now()));
            let control = self.control.as_ref().and_then(ControlServer::poll_timeout);
            let patience = [due, self.primary.poll_timeout(), control].into_iter().flatten().min();
            self.primary.wait(patience)?;
        }
    }

    /// Whether dead workers are replaced.
    fn keeps(&self) -> bool {
        self.ends == Ends::WithTheLastWorker
    }

    /// Does what clients of the control API want; whether that is to end at once.
    /// (`told`: they have been sent events.)
    fn listen_to_clients(&mut self, told: bool) -> io::Result<bool> {
        let Some(control) = &mut self.control else { return Ok(false) };
        let called = self.wake.control(&mut self.primary);
        if told || called || control.poll_timeout().is_some() {
            control.process(&mut self.primary)?;
        }
        let stop = control.asked_to_stop();
        let orphaned = self.ends == Ends::WithFirstClient && control.first_client_is_gone();
        if stop {
            self.end();
        }
        Ok(orphaned)
    }

    fn handle(&mut self, event: Event) {
        let now = self.wake.now();
        match event {
            Event::Fork { worker, .. } if self.keeps() => self.keeper.adopt(now, worker),
            Event::Online { worker } => {
                self.online.insert(worker);
            }
            Event::Listening { worker, .. } => {
                self.keeper.started(worker);
                self.cannot_listen = None;
            }
            Event::ListenFailed { address, error, .. } => {
                self.cannot_listen = Some(format!("cannot listen on {address}: {error}"));
            }
            Event::Exit { worker, exited_after_disconnect: true, .. } => {
                self.keeper.left(worker);
                self.online.remove(&worker);
            }
            Event::Exit { worker, status, .. } if self.ending.is_none() && self.keeps() => {
                let verdict = self.keeper.died(now, worker);
                let mut what = format!("worker {worker} died ({status})");
                if !self.online.remove(&worker) {
                    what.push_str(
                        " without a word on its channel (does it speak node:cluster's protocol?)",
                    );
                } else if let Some(cause) = &self.cannot_listen {
                    what.push_str(": ");
                    what.push_str(cause);
                }
                self.obey(&what, verdict, |report, pause| {
                    report.replaced(worker, &status.to_string(), pause);
                });
            }
            _ => {}
        }
    }

    fn give_up(&mut self) {
        self.gave_up = true;
        self.end();
    }

    fn end(&mut self) {
        if self.ending.is_some() {
            return;
        }
        if !self.primary.is_over() {
            self.report.ending(self.grace);
        }
        let next = self.wake.now() + self.grace;
        self.ending =
            Some(Ending { next, signal: Signal::TERM, killed: false, asked_twice: false });
        self.primary.disconnect();
        if let Some(control) = &mut self.control {
            control.end_forks();
        }
    }

    /// The first time gracefully; whoever asks again means it.
    fn asked_to_end(&mut self) {
        let now = self.wake.now();
        match &mut self.ending {
            None => self.end(),
            Some(ending) => {
                ending.next = now;
                ending.signal = Signal::KILL;
                ending.asked_twice = true;
            }
        }
    }

    /// Takes the next step with workers that are still there when it is due.
    fn end_if_late(&mut self, now: Mono) {
        let Some(ending) = &mut self.ending else { return };
        if now < ending.next {
            return;
        }
        let signal = std::mem::replace(&mut ending.signal, Signal::KILL);
        ending.next = now + LAST_CHANCE;
        for worker in self.primary.all_workers() {
            ending.killed = true;
            self.report.killed(worker, signal, ending.asked_twice);
            if let Err(error) = self.primary.kill(worker, signal) {
                self.report.failure(&error.to_string());
            }
        }
    }

    fn status(&self) -> ExitCode {
        match &self.ending {
            _ if self.gave_up => ExitCode::from(FAILED),
            Some(ending) if ending.killed => ExitCode::from(KILLED),
            _ => ExitCode::SUCCESS,
        }
    }
}
