//! The loop of a primary: what happens in the cluster, what clients and signals ask for, and the time.

mod causes;
mod commands;
mod exit_status;
mod manager;
mod notifications;
mod reloads;
mod supervised_config;
mod unheard;
mod upgrade;
mod warnings;

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::time::Duration;

use cluster_control::{ControlServer, Refusal, Status, status_object};
use cluster_primary::{
    Event, Mono, Object, Primary, Request, Settings, Signal, UserMessage, WatchId, WorkerId,
    scheduling,
};
use cluster_supervisor::driver::{ClusterEvent, Config, Notice, Ready, State, Supervised};

use crate::exit_status::FAILED;
use crate::http::HttpServer;
use crate::init::Init;
use crate::line::line;
use crate::report::{Report, after_ready, left_by_reload};
use crate::signals::{Signals, Stopped};
use crate::upgrade::release_signals;
use crate::warnings::Warnings;
use causes::Causes;
use manager::Manager;
use notifications::Notifications;
use reloads::Reloads;
pub(crate) use supervised_config::SupervisedConfig;
use unheard::Unheard;
use upgrade::Upgrades;

/// Events that are handled before signals and timers have their turn.
const EVENTS_PER_PASS: usize = 256;

/// The most workers that signals can ask for.
const MAX_WORKERS: u32 = 10_000;

/// What a worker hears that asks.
const ANSWERS_NO_REQUESTS: &str = "this primary is the program cluster, which does not answer requests; a \
     client of its control socket can, or a primary of your own";

const NOT_SHOWN: &str = "no client of the control socket was shown this request: it is not JSON, and has more \
    than 16 MiB or 131,072 values, or cannot be decoded";

/// Signals to end that come within this time are one request.
const SAME_REQUEST: Duration = Duration::from_secs(1);

/// What ends it, other than a request.
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
        kept: Option<&SupervisedConfig>,
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

/// The loop, and what it looks at.
pub(crate) struct Runner {
    cluster: Supervised,
    control: Option<(ControlServer, WatchId)>,
    signals: Signals,
    ends: Ends,
    report: Report,
    kept: Option<SupervisedConfig>,
    notifications: Notifications,
    http: Option<(HttpServer, WatchId)>,
    manager: Manager,
    init: Option<Init>,
    /// Orphans may have ended that have not been waited for.
    more_orphans: bool,
    upgrades: Upgrades,
    reloads: Reloads,
    warnings: Warnings,
    causes: Causes,
    unheard: Unheard,
    /// When the end was last asked for by a signal.
    end_asked_at: Option<Mono>,
}

impl Runner {
    pub(crate) fn new(
        settings: Settings,
        config: Config,
        report: Report,
        control: Option<ControlServer>,
        ends: Ends,
        mut kept: Option<SupervisedConfig>,
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
        kept: Option<SupervisedConfig>,
    ) -> Self {
        let manager = Manager::new(cluster.now());
        Self {
            cluster,
            control: control.map(ControlServer::accepting_commands).zip(watched.control),
            signals: watched.signals,
            ends,
            report,
            kept,
            notifications: Notifications::new(watched.notified),
            http,
            manager,
            init: Init::new(),
            more_orphans: false,
            upgrades: watched.upgrades,
            reloads: Reloads::default(),
            warnings: Warnings::default(),
            causes: Causes::default(),
            unheard: Unheard::default(),
            end_asked_at: None,
        }
    }

    /// Runs until all is over; the status to exit with.
    pub(crate) fn run_to_the_end(&mut self) -> ExitCode {
        let status = self.run().unwrap_or_else(|error| {
            self.report.broken("the primary cannot go on", &error);
            ExitCode::from(FAILED)
        });
        if let Some((control, _)) = self.control.take() {
            control.finish();
        }
        status
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
            if self.more_orphans {
                self.reap();
            }
            self.hear_workers();
            self.update_manager();
            let warning = self.warn();
            self.watch_trial();
            self.publish();
            if let Some(outcome) = self.cluster.outcome() {
                self.warn_of_the_rest();
                // After the messages of workers that still leave, so that it is the last line.
                if let Some(hint) = self.causes.take_last_word() {
                    self.report.hint(&hint);
                }
                return Ok(exit_status::of(outcome));
            }
            let control = self.control.as_ref().and_then(|(control, _)| control.poll_timeout());
            let manager = self.manager.poll_timeout(self.cluster.now());
            let more = (self.notifications.more || self.more_orphans).then_some(Duration::ZERO);
            let due = [control, manager, self.trial_timeout(), warning, more];
            self.cluster.wait(due.into_iter().flatten().min())?;
        }
    }

    fn happened(&mut self, happening: ClusterEvent) {
        match happening {
            ClusterEvent::Event(event) => {
                let primary = self.cluster.primary();
                self.report.event(primary, &event);
                let control = self.control.as_mut();
                let is_shown = control.is_some_and(|(control, _)| control.event(primary, &event));
                if let Event::Message { worker, message, .. } = &event
                    && !self.hears(message)
                {
                    self.mention_unheard(*worker, message);
                }
                if !is_shown && let Event::Request { request, .. } = event {
                    self.refuse(request);
                }
                self.learn(event);
            }
            ClusterEvent::Notice(notice) => {
                if matches!(notice, Notice::Draining { .. } | Notice::Ending { .. }) {
                    // /readyz says so before the log does.
                    self.show();
                }
                let config = self.cluster.supervisor().config();
                self.report.notice(&notice, config, self.causes.online());
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
        let is_sign = config.ready == Ready::Message && *message == "ready";
        self.has_listener() || is_sign
    }

    /// Says, once for each program, that its messages are not read. (The program that drives a `cluster
    /// serve` knows whether it listens.)
    fn mention_unheard(&mut self, worker: WorkerId, message: &UserMessage) {
        if self.kept.is_none() {
            return;
        }
        let is_ready = *message == "ready";
        let program = &self.cluster.primary().settings().exec;
        if self.unheard.is_new(program, is_ready) {
            self.report.unheard(worker, is_ready);
        }
    }

    /// No client of the control API was shown that request, so none answers it.
    fn refuse(&mut self, request: Request) {
        let why = if self.has_listener() { NOT_SHOWN } else { ANSWERS_NO_REQUESTS };
        // A worker that has gone waits for nothing.
        let _ = self.cluster.primary_mut().refuse(request, why);
    }

    /// What may explain a death to come. A descriptor that came with a message is of no use here.
    fn learn(&mut self, event: Event) {
        self.causes.learn(&event, self.cluster.primary().settings());
        // A client of the control API gets the message alone.
        if let Event::Message { worker, handle: Some(handle), .. }
        | Event::Request { worker, handle: Some(handle), .. } = event
        {
            self.cluster.primary_mut().refuse_handle(worker, handle);
        }
    }

    /// Does what follows from what the supervisor has decided.
    fn follow(&mut self, notice: Notice) {
        self.manager.follow(&notice);
        match notice {
            Notice::Reloaded { generation, replaced } => {
                self.reloads.succeeded();
                let frozen: Vec<_> =
                    self.reloads.frozen.iter().map(|option| (*option).into()).collect();
                let answer = Object::new()
                    .with("generation", generation)
                    .with("replaced", replaced)
                    .with("frozen", frozen);
                self.answer_reloads(|| Ok(answer.clone().into()));
            }
            Notice::ReloadAborted { slot, reason, was_ready, replaced, kept, .. } => {
                self.go_back();
                let reason = format!("{reason}{}", after_ready(was_ready));
                self.reload_failed(format!(
                    "the replacement worker for slot {slot} failed: {reason}"
                ));
                let why = format!(
                    "the reload was aborted: the replacement worker for slot {slot} failed: {reason}. {}; \
                     its output is in the cluster's log",
                    left_by_reload(replaced, kept)
                );
                self.answer_reloads(|| Err(Refusal::new("ERR_RELOAD_ABORTED", &why)));
            }
            Notice::Replacing { death, .. } => {
                if let Some(worker) = death.worker {
                    self.causes.forget(worker);
                }
            }
            Notice::GaveUp { deaths } => self.causes.gave_up(&deaths, self.has_channel()),
            Notice::Ending { .. } => {
                if let Some((control, _)) = &mut self.control {
                    control.end_forks();
                }
                self.answer_reloads(|| Err(Refusal::new("ERR_ENDING", "the cluster is stopping")));
            }
            _ => {}
        }
    }

    /// Whether workers are meant to speak on their channels.
    fn has_channel(&self) -> bool {
        let kept = self.kept.as_ref();
        kept.is_none_or(|kept| kept.options.listening.listen.is_empty())
    }

    /// Waits for orphans that have ended, up to a limit, if they come to this process.
    fn reap(&mut self) {
        let trial = self.trial_pid();
        let Some(init) = &mut self.init else { return };
        let primary = self.cluster.primary();
        let states = primary.all_workers().into_iter().filter_map(|id| primary.worker_state(id));
        let workers: BTreeSet<_> = states.map(|state| state.pid).collect();
        let reaped = init.reap(|pid| workers.contains(&pid) || Some(pid) == trial);
        self.more_orphans = reaped.more;
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

    /// Workers may report that they are ready as services do.
    fn hear_workers(&mut self) {
        if let Some(notify) = self.kept.as_mut().and_then(|kept| kept.notify.as_mut()) {
            self.notifications.process(notify, &mut self.cluster, &self.report);
        }
    }

    /// Tells the service manager what has changed.
    fn update_manager(&mut self) {
        let (now, failure) = (self.cluster.now(), self.reloads.failure());
        self.manager.update(now, self.cluster.supervisor(), failure, &self.report);
    }

    /// Shows the status, if it was asked for.
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

    /// A reload has failed: that is shown until one succeeds.
    fn reload_failed(&mut self, reason: String) {
        self.reloads.failed(self.cluster.now(), reason);
        self.manager.status_changed();
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
        while let Some((id, command)) = self.control.as_mut().and_then(|(c, _)| c.next_command()) {
            self.execute(id, command);
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
        status.reload_failure = self.reloads.failure().cloned();
        status_object(self.cluster.primary(), self.cluster.supervisor(), &status)
    }
}

/// Says that there is no loop to run.
pub(crate) fn not_started(report: &Report, error: &io::Error) -> ExitCode {
    report.broken("cannot start", error);
    ExitCode::from(FAILED)
}
