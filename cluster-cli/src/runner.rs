//! The loop of a primary: what happens in the cluster, what clients and signals ask for, and the time.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsRawFd;
use std::process::ExitCode;

use cluster_primary::control::{ControlServer, Order, OrderId, Refusal, Status, status_object};
use cluster_primary::supervisor::{Config, Failure, Happening, Notice, Outcome, State, Supervised};
use cluster_primary::{Event, Object, Primary, Settings, WatchId, WorkerId};

use crate::args::Run;
use crate::config::Resolved;
use crate::report::Report;
use crate::signals::{Asked, Signals};

/// Events that are handled before signals and timers have their turn.
const EVENTS_PER_PASS: usize = 256;

/// The most workers that signals can ask for.
const MAX_WORKERS: u32 = 10_000;

/// Exit statuses; `--help` explains them.
pub(crate) const FAILED: u8 = 1;
pub(crate) const USAGE: u8 = 2;
const KILLED: u8 = 3;
const GAVE_UP: u8 = 4;

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

/// The options of a cluster that keeps its workers, and how they are read anew.
pub(crate) struct Kept {
    pub(crate) args: Run,
    pub(crate) options: Resolved,
}

pub(crate) struct Runner {
    cluster: Supervised,
    control: Option<(ControlServer, WatchId)>,
    signals: Signals,
    ends: Ends,
    report: Report,
    kept: Option<Kept>,
    /// What was in force before the reload that is under way, to go back to.
    before: Option<(Settings, Resolved)>,
    /// Clients that wait for a reload to be over.
    reloading: Vec<OrderId>,
    /// Workers that have said anything on their channels.
    online: BTreeSet<WorkerId>,
    /// Why a worker could not listen, if none has listened since.
    cannot_listen: Option<String>,
}

impl Runner {
    pub(crate) fn new(
        settings: Settings,
        config: Config,
        report: Report,
        control: Option<ControlServer>,
        ends: Ends,
        kept: Option<Kept>,
    ) -> io::Result<Self> {
        let mut primary = Primary::new(settings)?;
        let signals = Signals::take(&mut primary, kept.is_some())?;
        let control = match control {
            Some(control) => {
                let control = control.with_orders();
                let watch = primary.watch(control.as_raw_fd())?;
                Some((control, watch))
            }
            None => None,
        };
        Ok(Self {
            cluster: Supervised::new(primary, config),
            control,
            signals,
            ends,
            report,
            kept,
            before: None,
            reloading: Vec::new(),
            online: BTreeSet::new(),
            cannot_listen: None,
        })
    }

    pub(crate) fn run(&mut self) -> io::Result<ExitCode> {
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
            if let Some(outcome) = self.cluster.outcome()
                && self.cluster.primary().poll_timeout().is_none()
            {
                return Ok(status(outcome));
            }
            let control = self.control.as_ref().and_then(|(control, _)| control.poll_timeout());
            self.cluster.wait(control)?;
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
                self.learn(event);
            }
            Happening::Notice(notice) => {
                self.report.notice(&notice, self.cluster.supervisor().config());
                if let Some((control, _)) = &mut self.control {
                    control.notice(&notice);
                }
                self.follow(notice);
            }
            _ => {}
        }
    }

    /// What may explain a death to come.
    fn learn(&mut self, event: Event) {
        match event {
            Event::Online { worker } => {
                self.online.insert(worker);
            }
            Event::Listening { .. } => self.cannot_listen = None,
            Event::ListenFailed { address, error, .. } => {
                self.cannot_listen = Some(format!("cannot listen on {address}: {error}"));
            }
            _ => {}
        }
    }

    /// Does what follows from what the supervisor has decided.
    fn follow(&mut self, notice: Notice) {
        match notice {
            Notice::Reloaded { generation, replaced } => {
                self.before = None;
                let answer =
                    Object::new().with("generation", generation).with("replaced", replaced);
                self.answer_reloads(|| Ok(answer.clone().into()));
            }
            Notice::ReloadAborted { slot, reason, .. } => {
                self.go_back();
                let why = format!("the successor in slot {slot} was not to be had: {reason}");
                self.answer_reloads(|| Err(Refusal::new("ERR_RELOAD_ABORTED", &why)));
            }
            Notice::Replacing { death, .. } => {
                if let Some(worker) = death.worker {
                    self.online.remove(&worker);
                }
            }
            Notice::GaveUp { deaths } => {
                let mute = |death: &cluster_primary::supervisor::Death| {
                    let died = matches!(death.failure, Failure::Died(_));
                    died && death.worker.is_some_and(|worker| !self.online.contains(&worker))
                };
                if let Some(cause) = &self.cannot_listen {
                    self.report.hint(&format!("a worker {cause}"));
                } else if deaths.iter().all(mute) {
                    self.report.hint(
                        "none of them said a word on its channel: does the program speak \
                         node:cluster's protocol? (One that knows nothing of it is given its \
                         sockets by --listen)",
                    );
                }
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

    fn answer_reloads(&mut self, answer: impl Fn() -> Result<cluster_primary::Value, Refusal>) {
        let waiting = std::mem::take(&mut self.reloading);
        if let Some((control, _)) = &mut self.control {
            waiting.into_iter().for_each(|order| control.answer(order, answer()));
        }
    }

    fn asked(&mut self, asked: Asked) {
        let wanted = self.cluster.supervisor().wanted();
        match asked {
            Asked::End => self.asked_to_end(),
            Asked::Reload => {
                // What is wrong has been said.
                let _said = self.reload();
            }
            Asked::More => self.cluster.scale(wanted.saturating_add(1).min(MAX_WORKERS)),
            Asked::Fewer => self.cluster.scale(wanted.saturating_sub(1)),
            Asked::Upgrade => {}
            Asked::Reap => {}
            Asked::Forward(signal) => {
                for worker in self.cluster.primary().all_workers() {
                    // One that has just ended needs no signal.
                    let _gone = self.cluster.primary_mut().kill(worker, signal);
                }
            }
        }
    }

    /// The first time gracefully; whoever asks again means it.
    fn asked_to_end(&mut self) {
        match self.cluster.supervisor().state() {
            State::Stopping | State::GaveUp => self.cluster.end_now(),
            State::Draining => self.cluster.end(),
            _ => {
                let delay = self.kept.as_ref().map(|kept| kept.options.drain_delay);
                self.cluster.drain(delay.unwrap_or_default());
            }
        }
    }

    /// Reads the options anew, and replaces every worker.
    fn reload(&mut self) -> Result<(), Refusal> {
        let Some(kept) = &self.kept else {
            return Err(Refusal::new("ERR_NOT_SUPERVISED", "nobody keeps these workers"));
        };
        match self.cluster.supervisor().state() {
            State::Draining | State::Stopping | State::GaveUp => {
                return Err(Refusal::new("ERR_ENDING", "the cluster is ending"));
            }
            _ => {}
        }
        match kept.args.read() {
            Ok(options) => self.apply(options),
            Err(error) => {
                let what = format!("nothing is reloaded: {error}");
                self.report.failure(&what);
                return Err(Refusal::new("ERR_CONFIG", what));
            }
        }
        self.cluster.reload();
        Ok(())
    }

    /// Has changed options take effect. What cannot change any more is said.
    fn apply(&mut self, options: Resolved) {
        let Some(kept) = &mut self.kept else { return };
        if options == kept.options {
            return;
        }
        for what in crate::run::frozen(&kept.options, &options) {
            self.report.warning(&format!("{what} takes effect when the cluster is started anew"));
        }
        let settings = crate::run::settings(&options);
        let old = std::mem::replace(&mut kept.options, options);
        let options = &kept.options;
        self.cluster.supervisor_mut().configure(crate::run::config(options));
        if options.workers != old.workers {
            self.cluster.scale(options.workers);
        }
        let before = self.cluster.primary().settings().clone();
        self.before.get_or_insert((before, old));
        self.cluster.primary_mut().setup(|set| *set = settings);
    }

    /// Has the settings in force again that the workers have who are there.
    fn go_back(&mut self) {
        let Some((settings, options)) = self.before.take() else { return };
        self.cluster.primary_mut().setup(|set| *set = settings);
        self.cluster.supervisor_mut().configure(crate::run::config(&options));
        if let Some(kept) = &mut self.kept {
            kept.options = options;
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

    fn ordered(&mut self, id: OrderId, order: Order) {
        let answer = match order {
            Order::Status => Ok(self.status().into()),
            Order::Reload => match self.reload() {
                Ok(()) => {
                    self.reloading.push(id);
                    return;
                }
                Err(refusal) => Err(refusal),
            },
            _ if self.kept.is_none() => {
                Err(Refusal::new("ERR_NOT_SUPERVISED", "nobody keeps these workers"))
            }
            Order::Scale { workers } => {
                self.cluster.scale(workers);
                Ok(Object::new().with("workers", self.cluster.supervisor().wanted()).into())
            }
            Order::Drain { delay } => {
                let set = self.kept.as_ref().map(|kept| kept.options.drain_delay);
                self.cluster.drain(delay.or(set).unwrap_or_default());
                Ok(true.into())
            }
            order => Err(Refusal::new(
                "ERR_NOT_SUPPORTED",
                format_args!("this cluster cannot {}", order.name()),
            )),
        };
        if let Some((control, _)) = &mut self.control {
            control.answer(id, answer);
        }
    }

    fn status(&self) -> Object {
        let mut status = Status::default();
        status.now = self.cluster.now();
        status.uptime = self.cluster.now();
        status.supervised = self.kept.is_some();
        status_object(self.cluster.primary(), self.cluster.supervisor(), status)
    }
}

fn status(outcome: Outcome) -> ExitCode {
    match outcome {
        Outcome::AsAsked | Outcome::NobodyLeft => ExitCode::SUCCESS,
        Outcome::Killed => ExitCode::from(KILLED),
        Outcome::GaveUp => ExitCode::from(GAVE_UP),
        _ => ExitCode::from(FAILED),
    }
}
