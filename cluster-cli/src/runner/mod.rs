//! The loop of a primary: what happens in the cluster, what clients and signals ask for, and the time.

mod base;
mod causes;
mod commands;
mod ending;
mod exit_status;
mod following;
mod hand_over;
mod manager;
mod notifications;
mod reloads;
mod supervised_config;
mod unheard;
mod upgrade;
mod upgrades;
mod warnings;

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use cluster_control::ControlServer;
use cluster_primary::scheduling;
use cluster_supervisor::driver::State;

pub(crate) use self::base::{Ends, Runner};
use crate::exit_status::FAILED;
use crate::report::Report;

pub(crate) use self::supervised_config::SupervisedConfig;

/// Events that are handled before signals and timers have their turn.
const EVENTS_PER_PASS: usize = 256;

/// Says that there is no loop to run.
pub(crate) fn not_started(report: &Report, error: &io::Error) -> ExitCode {
    report.broken("cannot start", error);
    ExitCode::from(FAILED)
}

impl Runner {
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
            if self.is_script_over()? {
                return Ok(ExitCode::SUCCESS);
            }
            for asked in self.signals.asked(self.cluster.primary_mut()) {
                // The script hears signals itself; this process lives as long as it does.
                if !self.has_script() {
                    self.asked(asked);
                }
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
            let manager = self.manager.poll_timeout(self.now());
            let more = self.notifications.more || self.more_orphans || self.has_script_pending();
            let more = more.then_some(Duration::ZERO);
            let due = [control, manager, self.trial_timeout(), warning, more];
            self.cluster.wait(due.into_iter().flatten().min())?;
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
        let (now, failure) = (self.now(), self.reloads.failure());
        self.manager.update(now, self.cluster.supervisor(), failure, &self.report);
    }

    /// Shows the status, if it was asked for.
    fn publish(&mut self) {
        let Some((http, watch)) = &mut self.http else { return };
        if self.cluster.primary_mut().take_ready(*watch) && http.asked() {
            self.show();
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
        while let Some((id, command)) = self.control_mut().and_then(ControlServer::next_command) {
            self.execute(id, command);
        }
        if stop && self.has_script() {
            self.stop_script();
        } else if stop && !matches!(self.supervisor_state(), State::Stopping | State::GaveUp) {
            self.cluster.end();
        }
        Ok(orphaned)
    }
}
