//! The in-place upgrade: the state is handed over to the new program, and taken back if that cannot continue.

use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use cluster_control::{CommandId, ControlCommand, ControlServer};
use cluster_primary::{Object, Primary, WatchId, WorkerId, scheduling};
use cluster_supervisor::driver::{State, Supervised};

use super::base::{Ends, Runner, Watched, unkept};
use super::causes::Causes;
use super::supervised_config::SupervisedConfig;
use crate::args::Run;
use crate::config::{AllowedHost, Resolved};
use crate::descriptor::duplicate;
use crate::hex::Hex;
use crate::http::HttpServer;
use crate::listen::Sockets;
use crate::listen::advice::exhausted;
use crate::report::Report;
use crate::signals::{Asked, Signals};
use crate::systemd::notified::NotifySocket;
use crate::systemd::reader::NotifyReader;
use crate::upgrade::{
    self, Candidate, FORMAT, Handed, HandedSocket, Inherited, Part, Progress, Trial, Verdict,
};
use crate::warnings::Warnings;

/// How long the log's reader and HTTP clients are waited for before the program changes.
pub(super) const LAST_WORDS: Duration = Duration::from_millis(500);

pub(super) fn start_http(
    primary: &mut Primary,
    names: Vec<AllowedHost>,
    listener: OwnedFd,
) -> io::Result<(HttpServer, WatchId)> {
    let server = HttpServer::start(listener.into(), names)?;
    let watch = primary.watch(server.bell().as_raw_fd())?;
    Ok((server, watch))
}

impl Runner {
    /// Starts the program, which has been opened, with a copy of the state.
    fn start_trial(&mut self, mut trial: Trial, program: Candidate) -> io::Result<()> {
        self.may_upgrade()?;
        self.take_all();
        let program = Rc::new(program);
        let (handed, _kept) = self.handed(None, &program)?;
        let paused = self.primary().pause_closing();
        trial.start(program, &handed, paused)?;
        self.keep_trial(trial)
    }

    /// Looks how the trial goes.
    pub(super) fn watch_trial(&mut self) {
        let now = self.now();
        let Some((trial, watch)) = &mut self.upgrades.trial else { return };
        self.cluster.primary_mut().take_ready(*watch);
        let watched = trial.as_raw_fd();
        let progress = trial.poll(now);
        if let Progress::Pending = progress
            && trial.as_raw_fd() == watched
        {
            return;
        }
        let Some((trial, watch)) = self.upgrades.trial.take() else { return };
        self.primary_mut().unwatch(watch);
        let outcome = match progress {
            Progress::Pending => self.keep_trial(trial),
            Progress::Opened(program) => self.start_trial(trial, program),
            Progress::Over(verdict) => {
                drop(trial);
                match verdict {
                    Verdict::Good(program) => Err(self.hand_over(&program)),
                    Verdict::Bad(why) => {
                        Err(io::Error::other(format!("the new program failed its trial: {why}")))
                    }
                    Verdict::NotExecuted(why) => Err(io::Error::other(why)),
                }
            }
        };
        if let Err(error) = outcome {
            self.not_upgraded(&error.to_string());
        }
    }

    /// Everything that has happened is seen to: none of it is handed over.
    fn take_all(&mut self) {
        while let Some(happening) = self.cluster.ready() {
            self.happened(happening);
        }
    }

    /// Executes the program. It returns only if that could not be.
    fn hand_over(&mut self, program: &Candidate) -> io::Error {
        // A signal that comes from here on is for the next image.
        let error = match upgrade::hold_signals() {
            Ok(()) => self.hand_over_held(program),
            Err(error) => return error,
        };
        // It fails only for invalid arguments.
        let _ = upgrade::release_signals();
        error
    }

    fn hand_over_held(&mut self, program: &Candidate) -> io::Error {
        // One that came before is for this one.
        for asked in self.signals.rest() {
            if asked != Asked::Upgrade {
                self.asked(asked);
            }
        }
        // What has been read of the workers' notifications is for this image, too.
        if let Some(notify) = self.kept.as_mut().and_then(|kept| kept.notify.as_mut()) {
            notify.stop();
        }
        if let Some(notify) = self.kept.as_mut().and_then(|kept| kept.notify.as_mut()) {
            while self.notifications.take(notify, &mut self.cluster, &self.report) {}
        }
        self.take_all();
        if !matches!(self.supervisor_state(), State::Running | State::Starting) {
            return io::Error::other("the cluster is stopping, or a reload is in progress");
        }
        self.manager.reloading();
        let http = self.http.take().map(|(server, watch)| {
            self.primary_mut().unwatch(watch);
            server.finish(LAST_WORDS)
        });
        self.report.finish(LAST_WORDS);
        // The next image sees to that itself.
        scheduling::give_way_no_more();
        let ready = self.finish_closing().and_then(|()| self.handed(http.as_ref(), program));
        let error = match ready {
            Ok((handed, _kept)) => upgrade::hand_over(program, &handed),
            Err(error) => error,
        };
        // Nothing has happened.
        if let Some(listener) = http {
            let names = self.config().map(|kept| kept.options.seeing.allowed_hosts());
            let names = names.unwrap_or_default();
            match start_http(self.primary_mut(), names, listener) {
                Ok(http) => self.http = Some(http),
                Err(error) => self.failure(&format!(
                    "the HTTP server (--http) is off: it could not be started again: \
                     {error}{}",
                    exhausted(&error)
                )),
            }
        }
        // After everything that has threads of its own, which are not stopped.
        if let Some(kept) = &self.kept {
            crate::settings::schedule(&kept.options);
        }
        self.manager.ready();
        error
    }

    /// Waits until descriptors are closed that workers sent and nothing uses: the system would wait for
    /// each when the program is executed.
    fn finish_closing(&self) -> io::Result<()> {
        match self.primary().finish_closing(LAST_WORDS) {
            0 => Ok(()),
            left => Err(io::Error::other(format!(
                "{left} descriptors that workers sent are still being closed; try again"
            ))),
        }
    }

    /// All that is to be handed over, with the descriptors that are made for it, which are to live as
    /// long.
    fn handed(
        &mut self,
        http: Option<&OwnedFd>,
        program: &Candidate,
    ) -> io::Result<(Handed, Vec<OwnedFd>)> {
        let part = |frozen: cluster_primary::Frozen| {
            let descriptors = frozen.fds.iter().map(AsRawFd::as_raw_fd).collect();
            (Part { text: frozen.text, descriptors }, frozen.fds)
        };
        let broken = |error: cluster_primary::StateError| io::Error::other(error.to_string());
        let (cluster, mut kept_open) = part(self.cluster.state().map_err(broken)?);
        let mut control = None;
        if let Some((server, _)) = &mut self.control {
            let (part, fds) = part(server.state().map_err(broken)?);
            control = Some(part);
            kept_open.extend(fds);
        }
        let Some(kept) = &self.kept else {
            return Err(io::Error::other(unkept(&ControlCommand::Upgrade, self.has_script())));
        };
        let shown = self.http.as_ref().map(|(server, _)| server.as_fd().as_raw_fd());
        let handed = Handed {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").into(),
            program: Some(self.upgrades.program.number()),
            executed: program.stays_open(),
            path: Some(Hex::of(&self.upgrades.program.path)),
            upgrades: self.upgrades.count,
            options: kept.options.to_toml(),
            cluster,
            control,
            http: http.map(AsRawFd::as_raw_fd).or(shown),
            notify: kept.notify.as_ref().map(NotifyReader::handed),
            sockets: kept.sockets.iter().map(HandedSocket::of).collect(),
            lines: self.report.lines(),
            announced: self.manager.announced(),
            reload_failure: self.reloads.failure().cloned(),
            warnings: Some(self.warnings.state()),
            asked_by: self.upgrades.asked_by.iter().map(|command| command.number()).collect(),
            online: self.causes.online().iter().map(|worker| worker.0).collect(),
            hang_ups_ignored: self.signals.hang_ups_ignored(),
            directory: kept.args.directory.handed(),
            unheard: self
                .unheard
                .reported()
                .map(|(program, ready)| (Hex::of(program), ready))
                .collect(),
        };
        Ok((handed, kept_open))
    }

    /// Takes up what was handed over. Should that not be possible, nothing has happened that the image
    /// before would miss: what has been taken up is left as it is, not taken down. Its descriptors,
    /// which are duplicates, close when that image is executed again.
    pub(crate) fn resume(
        args: Run,
        options: Resolved,
        report: Report,
        inherited: &Inherited,
    ) -> io::Result<Self> {
        let handed = &inherited.handed;
        let broken = |error: cluster_primary::StateError| io::Error::other(error.to_string());
        let fds = handed.cluster.duplicates()?;
        let cluster = Supervised::from_state(&handed.cluster.text, fds).map_err(broken)?;
        let mut cluster = ManuallyDrop::new(cluster);
        let mut control = ManuallyDrop::new(None);
        if let Some(part) = &handed.control {
            let fds = part.duplicates()?;
            *control = Some(ControlServer::from_state(&part.text, fds).map_err(broken)?);
        }
        let (sockets, notify, http) = (Sockets(Vec::new()), None, None);
        let mut kept = ManuallyDrop::new(SupervisedConfig { args, options, sockets, notify, http });
        let notify = handed.notify.as_ref().map(NotifySocket::take_up).transpose()?;
        kept.notify = notify.map(NotifyReader::new).transpose()?;
        for socket in &handed.sockets {
            kept.sockets.0.push(socket.take_up()?);
        }
        let primary = cluster.primary_mut();
        let signals = Signals::take(primary, true, Some(handed.hang_ups_ignored))?;
        let mut watched = Watched::of(primary, signals, control.as_ref(), Some(&kept))?;
        let upgrades = &mut watched.upgrades;
        if let Some(path) = &handed.path {
            upgrades.program.path = path.bytes()?.into();
        }
        upgrades.count = handed.upgrades + u64::from(inherited.failed.is_none());
        upgrades.asked_by = handed.asked_by.iter().map(|n| CommandId::of_number(*n)).collect();
        let http = match handed.http {
            Some(http) => {
                let listener = duplicate(http)?;
                Some(start_http(primary, kept.options.seeing.allowed_hosts(), listener)?)
            }
            None => None,
        };
        let mut runner = Self::around(
            ManuallyDrop::into_inner(cluster),
            watched,
            report,
            ManuallyDrop::into_inner(control),
            http,
            Ends::WithTheLastWorker,
            Some(ManuallyDrop::into_inner(kept)),
        );
        runner.manager.set_announced(handed.announced);
        runner.reloads.set_failure(handed.reload_failure.clone());
        let counts = runner.counts();
        runner.warnings = Warnings::resumed(handed.warnings, counts);
        for (program, is_ready) in &handed.unheard {
            let program: PathBuf = program.bytes()?.into();
            runner.unheard.is_new(&program, *is_ready);
        }
        runner.causes = Causes::resumed(handed.online.iter().map(|worker| WorkerId(*worker)));
        Ok(runner)
    }

    /// Says that this image goes on, or why it is still the old one.
    pub(crate) fn resumed(&mut self, from: &str, failed: Option<&str>) {
        if let Some(why) = failed {
            self.not_upgraded(&format!("the new program could not continue: {why}"));
        } else {
            self.report.upgraded(from, self.upgrades.count);
            let answer = Object::new()
                .with("version", env!("CARGO_PKG_VERSION"))
                .with("from", from)
                .with("upgrades", self.upgrades.count);
            let waiting = std::mem::take(&mut self.upgrades.asked_by);
            if let Some(control) = self.control_mut() {
                for command in waiting {
                    control.answer(command, Ok(answer.clone().into()));
                }
            }
        }
        self.manager.ready();
        // A child that ended while the program was replaced has not been waited for.
        self.reap();
    }
}
