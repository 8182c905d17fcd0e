//! What people and programs ask of a cluster that runs, by signals and by the control API.

use cluster_control::{CommandId, ControlCommand, Refusal};
use cluster_primary::Object;
use cluster_supervisor::driver::State;

use super::base::{Runner, unkept};
use crate::config::Resolved;
use crate::signals::{Asked, explanation};
use crate::wrapper::{self, Complaint};

/// The command that a signal is.
fn command_of(asked: Asked) -> Option<ControlCommand> {
    match asked {
        Asked::Reload { .. } => Some(ControlCommand::Reload),
        Asked::More | Asked::Fewer { .. } => Some(ControlCommand::Scale { workers: 1 }),
        Asked::Upgrade => Some(ControlCommand::Upgrade),
        Asked::End
        | Asked::HangUp
        | Asked::Reap
        | Asked::Stopped(_)
        | Asked::Forward(_)
        | Asked::Explain(_) => None,
    }
}

/// The most workers that signals can ask for.
pub(super) const MAX_WORKERS: u32 = 10_000;

impl Runner {
    pub(super) fn asked(&mut self, asked: Asked) {
        let wanted = self.supervisor().wanted();
        if let Some(command) = command_of(asked)
            && let Err(refusal) = self.can(&command)
        {
            self.warning(&format!("{}: {}", command.name(), refusal.message));
            return;
        }
        match asked {
            Asked::End => self.asked_to_end(),
            Asked::Reload { by } => {
                self.spare(by);
                // What is wrong has been said.
                let _ = self.reload();
            }
            Asked::More => self.cluster.scale(wanted.saturating_add(1).min(MAX_WORKERS)),
            Asked::Fewer { by } => {
                self.spare(by);
                self.cluster.scale(wanted.saturating_sub(1));
            }
            Asked::Upgrade => self.begin_upgrade(None),
            Asked::Reap => self.reap(),
            Asked::HangUp => self.hung_up(),
            Asked::Stopped(stopped) => self.mention_stopped(stopped),
            Asked::Explain(signal) => self.warning(&explanation(signal)),
            Asked::Forward(signal) => {
                for worker in self.primary().all_workers() {
                    // One that has just ended needs no signal.
                    let _ = self.primary_mut().kill(worker, signal);
                }
            }
        }
    }

    /// A script that a worker has started may be what asks: it is not ended by what it asked for. (One that
    /// is known by its pid alone may have ended already; `cluster reload` waits for its answer.)
    fn spare(&mut self, requester: Option<u32>) {
        requester.into_iter().for_each(|pid| self.primary_mut().spare_requester(pid));
    }

    /// Reads the options again, and replaces every worker.
    fn reload(&mut self) -> Result<(), Refusal> {
        self.can(&ControlCommand::Reload)?;
        let read = self.config().map(|kept| {
            let options = kept.args.read().map_err(|error| error.to_string())?;
            match wrapper::complaint(&options) {
                Some(Complaint::Error(error)) => Err(error.to_string()),
                _ => Ok(options),
            }
        });
        match read {
            Some(Ok(options)) => self.apply(options),
            None => {}
            Some(Err(error)) => {
                let what = format!("nothing is reloaded: {error}");
                self.failure(&what);
                self.reload_failed(error);
                return Err(Refusal::new("ERR_CONFIG", what));
            }
        }
        self.cluster.reload();
        Ok(())
    }

    /// Whether a supervisor keeps the workers, and the cluster is neither draining nor stopping.
    fn can(&self, command: &ControlCommand) -> Result<(), Refusal> {
        if !self.is_supervised() {
            return Err(Refusal::new("ERR_NOT_SUPERVISED", unkept(command, self.has_script())));
        }
        match self.supervisor_state() {
            State::Draining => {
                Err(Refusal::new("ERR_ENDING", "the cluster is draining, and stops after that"))
            }
            State::Stopping | State::GaveUp => {
                Err(Refusal::new("ERR_ENDING", "the cluster is stopping"))
            }
            _ => Ok(()),
        }
    }

    /// Has changed options take effect. What cannot change any more is said.
    fn apply(&mut self, mut options: Resolved) {
        let Some(kept) = &mut self.kept else { return };
        self.reloads.frozen = crate::settings::keep_frozen(&kept.options, &mut options);
        if options == kept.options && self.reloads.frozen.is_empty() {
            return;
        }
        for what in &self.reloads.frozen {
            self.report.warning(&format!("{what} takes effect when the cluster is restarted"));
        }
        let settings = kept.settings_of(&options);
        let old = std::mem::replace(&mut kept.options, options);
        let options = &kept.options;
        crate::settings::schedule(options);
        self.cluster.supervisor_mut().configure(crate::settings::config(options));
        if options.workers != old.workers {
            self.cluster.scale(options.workers);
        }
        let before = self.primary().settings().clone();
        self.reloads.before.get_or_insert((before, old));
        self.primary_mut().setup(|set| *set = settings);
    }

    pub(super) fn execute(&mut self, id: CommandId, command: ControlCommand) {
        let answer = match command {
            ControlCommand::Status => Ok(self.status().into()),
            ControlCommand::Reload => match self.reload() {
                Ok(()) => {
                    self.reloads.await_end(id);
                    return;
                }
                Err(refusal) => Err(refusal),
            },
            command if !self.is_supervised() => {
                Err(Refusal::new("ERR_NOT_SUPERVISED", unkept(&command, self.has_script())))
            }
            ControlCommand::Scale { workers } => self.can(&command).map(|()| {
                self.cluster.scale(workers);
                Object::new().with("workers", self.supervisor().wanted()).into()
            }),
            ControlCommand::Drain { delay } => {
                let set = self.config().map(|kept| kept.options.leaving.drain_delay);
                self.cluster.drain(delay.or(set).unwrap_or_default());
                Ok(true.into())
            }
            ControlCommand::Upgrade => {
                self.begin_upgrade(Some(id));
                return;
            }
            command => Err(Refusal::new(
                "ERR_NOT_SUPPORTED",
                format_args!("this cluster cannot {}", command.name()),
            )),
        };
        if let Some(control) = self.control_mut() {
            control.answer(id, answer);
        }
    }
}
