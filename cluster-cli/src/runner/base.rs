//! The state of the loop.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use cluster_control::{ControlCommand, ControlServer, Status, status_object};
use cluster_primary::{Event, Mono, Object, Primary, Settings, WatchId};
use cluster_supervisor::driver::{Config, State, Supervised, Supervisor};

use super::causes::Causes;
use super::manager::Manager;
use super::notifications::Notifications;
use super::reloads::Reloads;
use super::supervised_config::SupervisedConfig;
use super::unheard::Unheard;
use super::upgrades::Upgrades;
use crate::http::HttpServer;
use crate::init::Init;
use crate::line::line;
use crate::report::Report;
use crate::script::Script;
use crate::signals::Signals;
use crate::upgrade::release_signals;
use crate::warnings::Warnings;

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
pub(super) struct Watched {
    pub(super) signals: Signals,
    pub(super) control: Option<WatchId>,
    pub(super) notified: Option<WatchId>,
    pub(super) upgrades: Upgrades,
}

impl Watched {
    pub(super) fn of(
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
    pub(super) cluster: Supervised,
    pub(super) control: Option<(ControlServer, WatchId)>,
    pub(super) signals: Signals,
    pub(super) ends: Ends,
    pub(super) report: Report,
    pub(super) kept: Option<SupervisedConfig>,
    pub(super) notifications: Notifications,
    pub(super) http: Option<(HttpServer, WatchId)>,
    pub(super) manager: Manager,
    pub(super) init: Option<Init>,
    /// Orphans may have ended that have not been waited for.
    pub(super) more_orphans: bool,
    pub(super) upgrades: Upgrades,
    pub(super) reloads: Reloads,
    pub(super) warnings: Warnings,
    pub(super) causes: Causes,
    pub(super) unheard: Unheard,
    /// When the end was last asked for by a signal.
    pub(super) end_asked_at: Option<Mono>,
    /// The program whose workers these are, if they are not the supervisor's.
    pub(super) script: Option<Script>,
    script_stopped: bool,
}

/// Why a primary without a supervisor refuses a command. (`script`: it is a `cluster exec`.)
pub(super) fn unkept(command: &ControlCommand, script: bool) -> String {
    match command {
        command if script => format!(
            "under cluster exec the program itself forks and replaces its workers, as under node; the primary has \
             nothing to {}",
            command.name()
        ),
        ControlCommand::Upgrade => {
            "cluster serve cannot be upgraded in place, as cluster run can: start \
             the new version on another --control path, point its clients there, and stop this one"
                .into()
        }
        command => format!(
            "cluster serve does not supervise workers, as cluster run does: its clients fork and replace \
             them; there is nothing to {}",
            command.name()
        ),
    }
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

    pub(super) fn supervisor(&self) -> &Supervisor {
        self.cluster.supervisor()
    }

    /// Whether a supervisor keeps the workers: it is a `cluster run`.
    pub(super) fn is_supervised(&self) -> bool {
        self.kept.is_some()
    }

    /// The options of a `cluster run`.
    pub(super) fn config(&self) -> Option<&SupervisedConfig> {
        self.kept.as_ref()
    }

    /// Serves the workers of that process, which come through that listener. (`placement_is_set`: by an option.)
    pub(crate) fn serve_script(
        &mut self,
        pid: u32,
        listener: UnixListener,
        placement_is_set: bool,
    ) -> io::Result<()> {
        let script = Script::new(self.cluster.primary_mut(), pid, listener, placement_is_set)?;
        self.script = Some(script);
        Ok(())
    }

    /// How many workers the script has forked, if there is one.
    pub(crate) fn script_workers(&self) -> Option<u64> {
        self.script.as_ref().map(Script::workers)
    }

    /// Whether the script has something to do that needs no wake.
    pub(super) fn has_script_pending(&self) -> bool {
        self.script.as_ref().is_some_and(Script::has_pending)
    }

    /// Passes on what waits; whether the script has ended, and the cluster with it.
    pub(super) fn is_script_over(&mut self) -> io::Result<bool> {
        let Some(script) = &mut self.script else { return Ok(false) };
        script.process(self.cluster.primary_mut())
    }

    /// Asks the script to end, once: the cluster ends with it.
    pub(super) fn stop_script(&mut self) {
        if !std::mem::replace(&mut self.script_stopped, true) {
            self.script.iter().for_each(Script::terminate);
        }
    }

    /// Tells the script of an event, if there is a script; gives it back otherwise.
    pub(super) fn tell_script(&mut self, event: Event) -> Option<Event> {
        let Some(script) = &mut self.script else { return Some(event) };
        script.event(self.cluster.primary_mut(), event);
        None
    }

    /// Whether a script has forked the workers: it is a `cluster exec`.
    pub(super) fn has_script(&self) -> bool {
        self.script.is_some()
    }

    pub(super) fn control_mut(&mut self) -> Option<&mut ControlServer> {
        self.control.as_mut().map(|(control, _)| control)
    }

    pub(super) fn primary(&self) -> &Primary {
        self.cluster.primary()
    }

    pub(super) fn primary_mut(&mut self) -> &mut Primary {
        self.cluster.primary_mut()
    }

    pub(super) fn supervisor_state(&self) -> State {
        self.cluster.supervisor().state()
    }

    /// The time by the cluster's clock.
    pub(super) fn now(&self) -> Mono {
        self.cluster.now()
    }

    pub(super) fn warning(&self, what: &str) {
        self.report.warning(what);
    }

    pub(super) fn failure(&self, what: &str) {
        self.report.failure(what);
    }

    /// The loop of that cluster. Nothing can go wrong with it any more.
    pub(super) fn around(
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
            script: None,
            script_stopped: false,
        }
    }

    pub(super) fn status(&self) -> Object {
        let mut status = Status::default();
        status.now = self.cluster.now();
        status.uptime = self.cluster.now();
        status.supervised = self.kept.is_some();
        status.upgrades = self.upgrades.count;
        let sockets = self.kept.iter().flat_map(|kept| kept.sockets.iter());
        status.sockets = sockets.map(|socket| socket.at.clone()).collect();
        status.reload_failure = self.reloads.failure().cloned();
        status_object(self.cluster.primary(), self.cluster.supervisor(), &status)
    }

    pub(super) fn show(&self) {
        if let Some((http, _)) = &self.http {
            http.publish(line(&self.status().into()));
        }
    }

    /// Whether a request to stop comes with an earlier one.
    pub(super) fn is_same_request(&mut self) -> bool {
        let now = self.now();
        let same = self.end_asked_at.is_some_and(|at| now.saturating_sub(at) < SAME_REQUEST);
        if !same {
            self.end_asked_at = Some(now);
        }
        same
    }

    /// When the trial wants the time.
    pub(super) fn trial_timeout(&self) -> Option<Duration> {
        let now = self.now();
        let (trial, _) = self.upgrades.trial.as_ref()?;
        Some(trial.poll_timeout(now).saturating_sub(now))
    }

    /// The process of the trial, which the trial waits for.
    pub(super) fn trial_pid(&self) -> Option<u32> {
        self.upgrades.trial.as_ref().and_then(|(trial, _)| trial.pid())
    }

    /// Whether workers are meant to speak on their channels.
    pub(super) fn has_channel(&self) -> bool {
        let kept = self.kept.as_ref();
        kept.is_none_or(|kept| kept.options.listening.listen.is_empty())
    }

    /// A reload has failed: that is shown until one succeeds.
    pub(super) fn reload_failed(&mut self, reason: String) {
        self.reloads.failed(self.cluster.now(), reason);
        self.manager.status_changed();
    }
}
