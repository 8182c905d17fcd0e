//! The loop of a primary: what happens in the cluster, what clients and signals ask for, and the time.

mod orders;
mod upgrade;
mod warnings;
mod why;

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use cluster_primary::control::{
    ControlServer, OrderId, Refusal, ReloadFailure, Status, status_object,
};
use cluster_primary::supervisor::{self, Config, Happening, Notice, Outcome, State, Supervised};
use cluster_primary::{
    Event, Mono, Object, Primary, Request, Settings, Signal, UserMessage, WatchId, WorkerId,
    scheduling,
};

use crate::args::Run;
use crate::config::{Ready, Resolved};
use crate::exit_status::{FAILED, GAVE_UP, KILLED};
use crate::http::HttpServer;
use crate::init::Init;
use crate::line::line;
use crate::listen::Sockets;
use crate::listen::advice::{Place, advice};
use crate::place;
use crate::report::{Report, after_ready, left_by_reload};
use crate::signals::{Signals, Stopped};
use crate::systemd::Systemd;
use crate::systemd::notified::{Heard, NotifySocket};
use crate::systemd::reader::NotifyReader;
use crate::upgrade::release_signals;
use crate::warnings::Warnings;
use upgrade::Upgrades;

/// Events that are handled before signals and timers have their turn.
const EVENTS_PER_PASS: usize = 256;

/// Notifications of workers that are handled before others have their turn.
const NOTIFICATIONS_PER_PASS: usize = 64;

/// The most workers that signals can ask for.
const MAX_WORKERS: u32 = 10_000;

/// What a worker hears that asks.
const NOBODY_ANSWERS: &str = "this primary is the program cluster, which answers no requests: \
    a program can that drives the cluster by its control socket, or a primary of your own";

/// Signals to end that come within this time are one request.
const SAME_REQUEST: Duration = Duration::from_secs(1);

const NO_WORKER_LEFT: u8 = 5;

/// What ends it, but for whoever asks it to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ends {
    /// It keeps its workers; when all have disconnected, and none is to be replaced, there is nothing to
    /// keep.
    WithTheLastWorker,
    /// Nothing.
    WhenAsked,
    /// The first client of the control API goes away.
    WithFirstClient,
}

/// What a cluster that keeps its workers has beside them.
pub(crate) struct Kept {
    /// How options are read anew.
    args: Run,
    pub(crate) options: Resolved,
    /// Sockets for workers that know no channel.
    sockets: Sockets,
    /// Where workers say that they are ready, if they are to say so there.
    notify: Option<NotifyReader>,
    /// Who shows how all is, until the loop has it.
    http: Option<HttpServer>,
}

impl Kept {
    pub(crate) fn new(args: Run, options: Resolved, sockets: Sockets) -> io::Result<Self> {
        let notify = match options.reload.ready {
            Ready::Notify => {
                // Workers of another user cannot get into our folder.
                let socket = match &options.privileges.uid {
                    None => NotifySocket::bind(Some(&place::make_folder()?))?,
                    Some(user) => NotifySocket::bind_for(user.id)?,
                };
                Some(NotifyReader::new(socket)?)
            }
            _ => None,
        };
        Ok(Self { args, options, sockets, notify, http: None })
    }

    /// Shows how all is there.
    pub(crate) fn with_http(mut self, http: Option<HttpServer>) -> Self {
        self.http = http;
        self
    }

    /// What the primary is told.
    pub(crate) fn settings(&self) -> Settings {
        self.settings_of(&self.options)
    }

    fn settings_of(&self, options: &Resolved) -> Settings {
        let mut settings = crate::settings::settings(options, &self.sockets);
        if let Some(notify) = &self.notify {
            notify.admit(options.privileges.uid.as_ref().map(|user| user.id));
            settings.env.push(("NOTIFY_SOCKET".into(), Some(notify.address().to_owned())));
        }
        settings
    }
}

/// What the primary's wait sees beside its own.
struct Watched {
    signals: Signals,
    control: Option<WatchId>,
    notified: Option<WatchId>,
    upgrades: Upgrades,
}

impl Watched {
    fn of(
        primary: &mut Primary,
        signals: Signals,
        control: Option<&ControlServer>,
        kept: Option<&Kept>,
    ) -> io::Result<Self> {
        let notify = kept.and_then(|kept| kept.notify.as_ref());
        Ok(Self {
            signals,
            control: control.map(|control| primary.watch(control.as_raw_fd())).transpose()?,
            notified: notify.map(|notify| primary.watch(notify.as_raw_fd())).transpose()?,
            upgrades: Upgrades::new()?,
        })
    }
}

/// A program whose messages nothing listens to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Unheard {
    program: PathBuf,
    /// Whether it is PM2's message `ready`.
    is_ready: bool,
}

pub(crate) struct Runner {
    cluster: Supervised,
    control: Option<(ControlServer, WatchId)>,
    signals: Signals,
    ends: Ends,
    report: Report,
    kept: Option<Kept>,
    notified: Option<WatchId>,
    /// More notifications of workers have been read than were handled.
    more_notifications: bool,
    /// It has been said that something came which is no notification.
    ignored_notifications: bool,
    http: Option<(HttpServer, WatchId)>,
    systemd: Systemd,
    /// Whether the service manager has been told that all is ready.
    announced: bool,
    /// What it is told of the status may not be what it was.
    status_changed: bool,
    init: Option<Init>,
    upgrades: Upgrades,
    /// What was in force before the reload that is under way, to go back to.
    before: Option<(Settings, Resolved)>,
    /// The last reload failed.
    reload_failure: Option<ReloadFailure>,
    warnings: Warnings,
    /// Clients that wait for a reload to be over.
    reloading: Vec<OrderId>,
    /// Options that would be otherwise in force, were the cluster started anew.
    frozen: Vec<&'static str>,
    /// Workers that have said anything on their channels.
    online: BTreeSet<WorkerId>,
    /// Why a worker could not listen, if none has listened since.
    cannot_listen: Option<String>,
    /// When the end was last asked for by a signal.
    end_asked_at: Option<Mono>,
    /// What may explain why it gave up.
    last_word: Option<String>,
    /// The programs whose messages nothing listens to: it has been said.
    unheard: BTreeSet<Unheard>,
}

impl Runner {
    pub(crate) fn new(
        settings: Settings,
        config: Config,
        report: Report,
        control: Option<ControlServer>,
        ends: Ends,
        mut kept: Option<Kept>,
    ) -> io::Result<Self> {
        let http = kept.as_mut().and_then(|kept| kept.http.take());
        let mut primary = Primary::new(settings)?;
        // What has come since the start is for this loop, which is there before the first worker is.
        let signals = Signals::take(&mut primary, kept.is_some(), None)?;
        release_signals()?;
        let mut cluster = Supervised::new(primary, config);
        let primary = cluster.primary_mut();
        let watched = Watched::of(primary, signals, control.as_ref(), kept.as_ref())?;
        let http = match http {
            Some(http) => {
                let watch = primary.watch(http.bell().as_raw_fd())?;
                Some((http, watch))
            }
            None => None,
        };
        Ok(Self::around(cluster, watched, report, control, http, ends, kept))
    }

    /// The loop of that cluster. Nothing can go wrong with it any more.
    fn around(
        cluster: Supervised,
        watched: Watched,
        report: Report,
        control: Option<ControlServer>,
        http: Option<(HttpServer, WatchId)>,
        ends: Ends,
        kept: Option<Kept>,
    ) -> Self {
        let systemd = Systemd::from_env(cluster.now());
        Self {
            cluster,
            control: control.map(ControlServer::with_orders).zip(watched.control),
            signals: watched.signals,
            ends,
            report,
            kept,
            notified: watched.notified,
            more_notifications: false,
            ignored_notifications: false,
            http,
            systemd,
            announced: false,
            status_changed: true,
            init: Init::new(),
            upgrades: watched.upgrades,
            before: None,
            reload_failure: None,
            warnings: Warnings::default(),
            reloading: Vec::new(),
            frozen: Vec::new(),
            online: BTreeSet::new(),
            cannot_listen: None,
            end_asked_at: None,
            last_word: None,
            unheard: BTreeSet::new(),
        }
    }

    /// Runs until all is over; the status to exit with.
    pub(crate) fn run_to_the_end(&mut self) -> ExitCode {
        self.run().unwrap_or_else(|error| {
            self.report.broken("the primary cannot go on", &error);
            ExitCode::from(FAILED)
        })
    }

    fn run(&mut self) -> io::Result<ExitCode> {
        match &self.kept {
            Some(kept) => crate::settings::schedule(&kept.options),
            None => {
                scheduling::give_way();
            }
        }
        loop {
            // A worker that talks without end must not keep anything else from happening.
            let mut told = false;
            for _ in 0..EVENTS_PER_PASS {
                let Some(happening) = self.cluster.ready() else { break };
                told = true;
                self.happened(happening);
            }
            if self.listen_to_clients(told)? {
                return Ok(ExitCode::SUCCESS);
            }
            for asked in self.signals.asked(self.cluster.primary_mut()) {
                self.asked(asked);
            }
            self.hear_workers();
            self.tell_manager();
            let warning = self.warn();
            self.watch_trial();
            self.publish();
            if let Some(outcome) = self.cluster.outcome() {
                self.warn_of_the_rest();
                // Behind whatever those say who still leave: it is what people see.
                if let Some(hint) = self.last_word.take() {
                    self.report.hint(&hint);
                }
                return Ok(status(outcome));
            }
            let control = self.control.as_ref().and_then(|(control, _)| control.poll_timeout());
            let manager = self.systemd.poll_timeout();
            let manager = manager.map(|at| at.saturating_sub(self.cluster.now()));
            let more = self.more_notifications.then_some(Duration::ZERO);
            let due = [control, manager, self.trial_timeout(), warning, more];
            self.cluster.wait(due.into_iter().flatten().min())?;
        }
    }

    fn happened(&mut self, happening: Happening) {
        match happening {
            Happening::Event(event) => {
                let primary = self.cluster.primary();
                self.report.event(primary, &event);
                if let Some((control, _)) = &mut self.control {
                    control.event(primary, &event);
                }
                if let Event::Message { worker, message, .. } = &event
                    && !self.hears(message)
                {
                    self.mention_unheard(*worker, message);
                }
                if let Event::Request { request, .. } = event {
                    self.refuse(request);
                }
                self.learn(event);
            }
            Happening::Notice(notice) => {
                if matches!(notice, Notice::Draining { .. } | Notice::Ending { .. }) {
                    // /readyz says so before the log does.
                    self.show();
                }
                let config = self.cluster.supervisor().config();
                self.report.notice(&notice, config, &self.online);
                if let Some((control, _)) = &mut self.control {
                    control.notice(&notice);
                }
                self.follow(notice);
            }
            _ => {}
        }
    }

    /// Whether a client of the control API has subscribed to messages.
    fn has_listener(&self) -> bool {
        self.control.as_ref().is_some_and(|(control, _)| control.hears_messages())
    }

    /// Whether a message has an effect, or a reader.
    fn hears(&self, message: &UserMessage) -> bool {
        let config = self.cluster.supervisor().config();
        let is_sign = config.ready == supervisor::Ready::Message && *message == "ready";
        self.has_listener() || is_sign
    }

    /// Says, once for each program, that its messages are read by nothing. (Whoever drives a `cluster
    /// serve` knows whether it listens.)
    fn mention_unheard(&mut self, worker: WorkerId, message: &UserMessage) {
        if self.kept.is_none() {
            return;
        }
        let is_ready = *message == "ready";
        let program = self.cluster.primary().settings().exec.clone();
        if self.unheard.insert(Unheard { program, is_ready }) {
            self.report.unheard(worker, is_ready);
        }
    }

    /// A worker asks. There is nobody here who knows, unless somebody listens.
    fn refuse(&mut self, request: Request) {
        if !self.has_listener() {
            // If it has gone it waits for nothing.
            let _ = self.cluster.primary_mut().refuse(request, NOBODY_ANSWERS);
        }
    }

    /// What may explain a death to come.
    fn learn(&mut self, event: Event) {
        match event {
            Event::Online { worker } => {
                self.online.insert(worker);
            }
            Event::Listening { .. } => self.cannot_listen = None,
            // A client of the control API hears the message alone.
            Event::Message { worker, handle: Some(handle), .. }
            | Event::Request { worker, handle: Some(handle), .. } => {
                self.cluster.primary_mut().refuse_handle(worker, handle);
            }
            Event::ListenFailed { address, error, limit: Some(limit), .. } => {
                self.cannot_listen = Some(format!("cannot listen on {address}: {error}: {limit}"));
            }
            Event::ListenFailed { address, error, .. } => {
                let settings = self.cluster.primary().settings();
                let advice = advice(Place::of(&address, settings), &error);
                self.cannot_listen = Some(format!("cannot listen on {address}: {error}{advice}"));
            }
            _ => {}
        }
    }

    /// Does what follows from what the supervisor has decided.
    fn follow(&mut self, notice: Notice) {
        self.status_changed = true;
        match &notice {
            Notice::ReloadBegan { .. } if self.announced => {
                let _unheard = self.systemd.reloading();
            }
            Notice::Reloaded { .. } | Notice::ReloadAborted { .. } if self.announced => {
                let _unheard = self.systemd.ready();
            }
            Notice::Draining { .. } | Notice::Ending { .. } => {
                let _unheard = self.systemd.stopping();
            }
            _ => {}
        }
        match notice {
            Notice::Reloaded { generation, replaced } => {
                self.before = None;
                self.reload_failure = None;
                let frozen: Vec<_> = self.frozen.iter().map(|option| (*option).into()).collect();
                let answer = Object::new()
                    .with("generation", generation)
                    .with("replaced", replaced)
                    .with("frozen", frozen);
                self.answer_reloads(|| Ok(answer.clone().into()));
            }
            Notice::ReloadAborted { slot, reason, was_ready, replaced, kept, .. } => {
                self.go_back();
                let reason = format!("{reason}{}", after_ready(was_ready));
                self.reload_failed(format!("the new worker of slot {slot} failed: {reason}"));
                let why = format!(
                    "the reload is not done: the new worker of slot {slot} was no good: {reason}. {}; \
                     what the new one wrote is in the cluster's log",
                    left_by_reload(replaced, kept)
                );
                self.answer_reloads(|| Err(Refusal::new("ERR_RELOAD_ABORTED", &why)));
            }
            Notice::Replacing { death, .. } => {
                if let Some(worker) = death.worker {
                    self.online.remove(&worker);
                }
            }
            Notice::GaveUp { deaths } => {
                self.last_word = match &self.cannot_listen {
                    Some(cause) => Some(format!("a worker {cause}")),
                    None => why::they_died(&deaths, &self.online, self.has_channel()),
                };
            }
            Notice::Ending { .. } => {
                if let Some((control, _)) = &mut self.control {
                    control.end_forks();
                }
                self.answer_reloads(|| Err(Refusal::new("ERR_ENDING", "the cluster is ending")));
            }
            _ => {}
        }
    }

    /// Whether workers are meant to speak on their channels.
    fn has_channel(&self) -> bool {
        let kept = self.kept.as_ref();
        kept.is_none_or(|kept| kept.options.listening.listen.is_empty())
    }

    /// Waits for strangers that have ended, where nobody else does.
    fn reap(&self) {
        let Some(init) = &self.init else { return };
        let primary = self.cluster.primary();
        let states = primary.all_workers().into_iter().filter_map(|id| primary.worker_state(id));
        let workers: BTreeSet<_> = states.map(|state| state.pid).collect();
        let trial = self.trial_pid();
        init.reap(|pid| workers.contains(&pid) || Some(pid) == trial);
    }

    /// Says that a worker was stopped: it looks like one that hangs.
    fn mention_stopped(&self, stopped: Stopped) {
        let primary = self.cluster.primary();
        let is_it =
            |id: &WorkerId| primary.worker_state(*id).is_some_and(|state| state.pid == stopped.pid);
        if let Some(worker) = primary.all_workers().into_iter().find(is_it) {
            self.report.stopped(worker, Signal::from_number(stopped.signal));
        }
    }

    /// Workers may say that they are ready as services do.
    fn hear_workers(&mut self) {
        let Some(watch) = self.notified else { return };
        let Some(notify) = self.kept.as_mut().and_then(|kept| kept.notify.as_mut()) else { return };
        if let Err(error) = notify.start() {
            self.report
                .warning(&format!("cannot read what workers notify (NOTIFY_SOCKET): {error}"));
        }
        if self.cluster.primary_mut().take_ready(watch) || self.more_notifications {
            self.more_notifications = self.hear_notifications();
        }
    }

    /// Takes notifications of workers, up to a limit; whether there may be more.
    fn hear_notifications(&mut self) -> bool {
        let Some(notify) = self.kept.as_mut().and_then(|kept| kept.notify.as_mut()) else {
            return false;
        };
        let (heard, more) = notify.take(NOTIFICATIONS_PER_PASS);
        for heard in heard {
            match heard {
                Heard::Told(said) if said.is_ready() => {
                    let primary = self.cluster.primary();
                    let said_it = |id: &WorkerId| {
                        primary.worker_state(*id).is_some_and(|state| state.pid == said.pid)
                    };
                    let worker = primary.all_workers().into_iter().find(said_it);
                    worker.into_iter().for_each(|worker| self.cluster.notified(worker));
                }
                Heard::Ignored if !self.ignored_notifications => {
                    self.ignored_notifications = true;
                    self.report
                        .warning("what came to NOTIFY_SOCKET is no notification, and is ignored");
                }
                Heard::Told(_) | Heard::Ignored | Heard::Nothing => {}
            }
        }
        more
    }

    /// Tells a service manager how it goes. One that does not listen is not waited for.
    fn tell_manager(&mut self) {
        let now = self.cluster.now();
        let _unheard = self.systemd.handle_timeout(now);
        if !self.systemd.is_there() {
            return;
        }
        let supervisor = self.cluster.supervisor();
        // While the unit is active nothing is to be extended: that would be its RuntimeMaxSec=.
        let changes = match supervisor.state() {
            State::Starting | State::Running => !self.announced,
            _ => true,
        };
        let _unheard = self.systemd.extend(now, changes && supervisor.is_progressing(now));
        if !self.announced && supervisor.state() == State::Running {
            self.announced = true;
            if let Err(error) = self.systemd.ready() {
                // It waits for that, and may end us for want of it.
                let what = "the service manager cannot be told that the cluster is ready";
                self.report.warning(&format!("{what} (NOTIFY_SOCKET): {error}"));
            }
        }
        if std::mem::take(&mut self.status_changed) {
            self.tell_status();
        }
    }

    /// Shows how all is, if somebody asked.
    fn publish(&mut self) {
        let Some((http, watch)) = &mut self.http else { return };
        if self.cluster.primary_mut().take_ready(*watch) && http.asked() {
            self.show();
        }
    }

    fn show(&self) {
        if let Some((http, _)) = &self.http {
            http.publish(line(&self.status().into()));
        }
    }

    fn tell_status(&mut self) {
        let supervisor = self.cluster.supervisor();
        let (state, wanted) = (supervisor.state().as_str(), supervisor.wanted());
        let mut status = format!("{state}; {wanted} workers wanted");
        if supervisor.outage().is_some()
            && let Some(death) = supervisor.last_death()
        {
            status += &format!("; no worker is ready, slot {}: {}", death.slot, death.failure);
        }
        if let Some(failure) = &self.reload_failure {
            status += &format!("; the last reload failed: {}", failure.reason);
        }
        let _unheard = self.systemd.status(&status);
    }

    /// A reload has failed: that is shown until one succeeds.
    fn reload_failed(&mut self, reason: String) {
        let at = self.cluster.now();
        self.reload_failure = Some(ReloadFailure { at, reason });
        self.status_changed = true;
    }

    /// The first time gracefully, the second time at once. A second request that comes with the first
    /// one is the same: a launcher forwards Ctrl-C to this process, which the terminal has sent it
    /// already.
    fn asked_to_end(&mut self) {
        let now = self.cluster.now();
        if self.end_asked_at.is_some_and(|at| now.saturating_sub(at) < SAME_REQUEST) {
            return;
        }
        self.end_asked_at = Some(now);
        match self.cluster.supervisor().state() {
            State::Stopping | State::GaveUp => self.cluster.end_now(),
            State::Draining => self.cluster.end(),
            _ => {
                let delay = self.kept.as_ref().map(|kept| kept.options.leaving.drain_delay);
                self.cluster.drain(delay.unwrap_or_default());
            }
        }
    }

    /// Ends gracefully, since the terminal was closed. It says so several times: the kernel does, and the
    /// shell.
    fn hung_up(&mut self) {
        let state = self.cluster.supervisor().state();
        if !matches!(state, State::Draining | State::Stopping | State::GaveUp) {
            self.report.warning(
                "the terminal was closed (nohup, or a service manager, keeps a cluster running without one)",
            );
            self.asked_to_end();
        }
    }

    /// Does what clients of the control API want; whether that is to end at once.
    /// (`told`: they have been sent events.)
    fn listen_to_clients(&mut self, told: bool) -> io::Result<bool> {
        let Some((control, watch)) = &mut self.control else { return Ok(false) };
        let called = self.cluster.primary_mut().take_ready(*watch);
        if told || called || control.poll_timeout().is_some() {
            control.process(self.cluster.primary_mut())?;
        }
        let stop = control.asked_to_stop();
        let orphaned = self.ends == Ends::WithFirstClient && control.first_client_is_gone();
        while let Some((id, order)) = self.control.as_mut().and_then(|(c, _)| c.next_order()) {
            self.ordered(id, order);
        }
        if stop && !matches!(self.cluster.supervisor().state(), State::Stopping | State::GaveUp) {
            self.cluster.end();
        }
        Ok(orphaned)
    }

    fn status(&self) -> Object {
        let mut status = Status::default();
        status.now = self.cluster.now();
        status.uptime = self.cluster.now();
        status.supervised = self.kept.is_some();
        status.upgrades = self.upgrades.count;
        status.reload_failure.clone_from(&self.reload_failure);
        status_object(self.cluster.primary(), self.cluster.supervisor(), &status)
    }
}

/// Says that there is no loop to run.
pub(crate) fn not_started(report: &Report, error: &io::Error) -> ExitCode {
    report.broken("cannot start", error);
    ExitCode::from(FAILED)
}

fn status(outcome: Outcome) -> ExitCode {
    match outcome {
        Outcome::AsAsked => ExitCode::SUCCESS,
        Outcome::Killed => ExitCode::from(KILLED),
        Outcome::GaveUp => ExitCode::from(GAVE_UP),
        Outcome::NobodyLeft => ExitCode::from(NO_WORKER_LEFT),
        _ => ExitCode::from(FAILED),
    }
}
