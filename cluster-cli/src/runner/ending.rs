//! How the cluster is asked to stop, and processes that have ended.

use std::collections::BTreeSet;

use cluster_primary::{Signal, WorkerId};
use cluster_supervisor::driver::State;

use super::base::Runner;
use crate::signals::Stopped;

impl Runner {
    /// The first time gracefully, the second time at once. A second request that comes with the first
    /// one is the same: a launcher forwards Ctrl-C to this process, which the terminal has sent it
    /// already.
    pub(super) fn asked_to_end(&mut self) {
        if self.is_same_request() {
            return;
        }
        match self.supervisor_state() {
            State::Stopping | State::GaveUp => self.cluster.end_now(),
            State::Draining => self.cluster.end(),
            _ => {
                let delay = self.config().map(|kept| kept.options.leaving.drain_delay);
                self.cluster.drain(delay.unwrap_or_default());
            }
        }
    }

    /// Ends gracefully, since the terminal was closed. It says so several times: the kernel does, and the
    /// shell.
    pub(super) fn hung_up(&mut self) {
        let state = self.supervisor_state();
        if !matches!(state, State::Draining | State::Stopping | State::GaveUp) {
            self.warning(
                "the terminal was closed (nohup, or a service manager, keeps a cluster running without one)",
            );
            self.asked_to_end();
        }
    }

    /// Says that a worker was stopped: it looks like one that hangs.
    pub(super) fn mention_stopped(&self, stopped: Stopped) {
        let primary = self.primary();
        let is_it =
            |id: &WorkerId| primary.worker_state(*id).is_some_and(|state| state.pid == stopped.pid);
        if let Some(worker) = primary.all_workers().into_iter().find(is_it) {
            self.report.stopped(worker, Signal::from_number(stopped.signal));
        }
    }

    /// Waits for orphans that have ended, up to a limit, if they come to this process.
    pub(super) fn reap(&mut self) {
        let trial = self.trial_pid();
        let Some(init) = &mut self.init else { return };
        let primary = self.cluster.primary();
        let states = primary.all_workers().into_iter().filter_map(|id| primary.worker_state(id));
        let workers: BTreeSet<_> = states.map(|state| state.pid).collect();
        let reaped = init.reap(|pid| workers.contains(&pid) || Some(pid) == trial);
        self.more_orphans = reaped.more;
    }
}
