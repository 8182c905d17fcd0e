//! The reload that is under way, and how the last one ended.

use cluster_control::{CommandId, ReloadFailure};
use cluster_primary::{Mono, Settings};

use crate::config::Resolved;

#[derive(Default)]
pub(super) struct Reloads {
    /// What was in force before the reload that is under way, to go back to if it fails.
    pub(super) before: Option<(Settings, Resolved)>,
    /// Why the last reload failed; none if it succeeded.
    failure: Option<ReloadFailure>,
    /// Clients that wait for the reload to end.
    waiting: Vec<CommandId>,
    /// Options that changed, and take effect only when the cluster is restarted.
    pub(super) frozen: Vec<&'static str>,
}

impl Reloads {
    /// A client waits for the end of the reload.
    pub(super) fn await_end(&mut self, client: CommandId) {
        self.waiting.push(client);
    }

    /// The clients that wait for the end of the reload, which has come.
    pub(super) fn take_waiting(&mut self) -> Vec<CommandId> {
        std::mem::take(&mut self.waiting)
    }

    pub(super) fn succeeded(&mut self) {
        self.before = None;
        self.failure = None;
    }

    pub(super) fn failed(&mut self, at: Mono, reason: String) {
        self.failure = Some(ReloadFailure { at, reason });
    }

    pub(super) fn failure(&self) -> Option<&ReloadFailure> {
        self.failure.as_ref()
    }

    /// How the last reload ended before this image of the program.
    pub(super) fn set_failure(&mut self, failure: Option<ReloadFailure>) {
        self.failure = failure;
    }
}
