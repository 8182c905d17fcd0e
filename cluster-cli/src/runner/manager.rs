//! What the service manager is told of the cluster.

use std::time::Duration;

use cluster_control::ReloadFailure;
use cluster_primary::Mono;
use cluster_supervisor::driver::{Notice, State, Supervisor};

use crate::report::Report;
use crate::systemd::Systemd;

/// The service manager, if there is one. One that does not listen is not waited for: what it does not take
/// is sent again later, or was no more than a status line.
pub(super) struct Manager {
    systemd: Systemd,
    /// It has been told that all is ready.
    announced: bool,
    /// The status line may have changed.
    status_changed: bool,
}

impl Manager {
    pub(super) fn new(now: Mono) -> Self {
        Self { systemd: Systemd::from_env(now), announced: false, status_changed: true }
    }

    /// Whether it has been told that all is ready, for the next image of this program.
    pub(super) fn announced(&self) -> bool {
        self.announced
    }

    /// The image before this one has told it.
    pub(super) fn set_announced(&mut self, announced: bool) {
        self.announced = announced;
    }

    /// How long until it is to be told something.
    pub(super) fn poll_timeout(&self, now: Mono) -> Option<Duration> {
        self.systemd.poll_timeout().map(|at| at.saturating_sub(now))
    }

    /// The status line may have changed.
    pub(super) fn status_changed(&mut self) {
        self.status_changed = true;
    }

    /// This program is about to be executed again.
    pub(super) fn reloading(&mut self) {
        let _ = self.systemd.reloading();
    }

    /// It goes on, after [`reloading`](Self::reloading).
    pub(super) fn ready(&mut self) {
        let _ = self.systemd.ready();
    }

    /// Tells it what follows from a decision of the supervisor.
    pub(super) fn follow(&mut self, notice: &Notice) {
        self.status_changed = true;
        let _ = match notice {
            Notice::ReloadBegan { .. } if self.announced => self.systemd.reloading(),
            Notice::Reloaded { .. } | Notice::ReloadAborted { .. } if self.announced => {
                self.systemd.ready()
            }
            Notice::Draining { .. } | Notice::Ending { .. } => self.systemd.stopping(),
            _ => return,
        };
    }

    /// Tells it what has changed, and what is due.
    pub(super) fn update(
        &mut self,
        now: Mono,
        supervisor: &Supervisor,
        failure: Option<&ReloadFailure>,
        report: &Report,
    ) {
        let _ = self.systemd.handle_timeout(now);
        if !self.systemd.is_there() {
            return;
        }
        // While the unit is active nothing is to be extended: that would be its RuntimeMaxSec=.
        let changes = match supervisor.state() {
            State::Starting | State::Running => !self.announced,
            _ => true,
        };
        let _ = self.systemd.extend(now, changes && supervisor.is_progressing(now));
        if !self.announced && supervisor.state() == State::Running {
            self.announced = true;
            if let Err(error) = self.systemd.ready() {
                // It waits for that, and may end the cluster otherwise.
                let what = "cannot notify the service manager that the cluster is ready";
                report.warning(&format!("{what} (NOTIFY_SOCKET): {error}"));
            }
        }
        if std::mem::take(&mut self.status_changed) {
            let _ = self.systemd.status(&status_line(supervisor, failure));
        }
    }
}

fn status_line(supervisor: &Supervisor, failure: Option<&ReloadFailure>) -> String {
    let (state, wanted) = (supervisor.state().as_str(), supervisor.wanted());
    let mut status = format!("{state}; {wanted} workers wanted");
    if supervisor.outage().is_some()
        && let Some(death) = supervisor.last_death()
    {
        status += &format!("; no worker is ready, slot {}: {}", death.slot, death.failure);
    }
    if let Some(failure) = failure {
        status += &format!("; the last reload failed: {}", failure.reason);
    }
    status
}
