//! When a worker gave signs of life.

use cluster_sched::Mono;
use serde::{Deserialize, Serialize};

/// What is known of a worker's health.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(in crate::machine) struct Health {
    /// The last sign of life; none before the first.
    heard_at: Option<Mono>,
    /// When the probe was sent that it has not answered.
    asked_at: Option<Mono>,
    /// It is out of rotation.
    silent: bool,
}

impl Health {
    /// Whether the worker has ever given a sign of life.
    pub(in crate::machine) fn has_been_heard(&self) -> bool {
        self.heard_at.is_some()
    }

    pub(in crate::machine) fn heard_at(&self) -> Option<Mono> {
        self.heard_at
    }

    pub(in crate::machine) fn asked_at(&self) -> Option<Mono> {
        self.asked_at
    }

    /// Whether it is out of rotation because it does not answer.
    pub(in crate::machine) fn is_silent(&self) -> bool {
        self.silent
    }

    /// It gave a sign of life. Whether it was silent before.
    pub(in crate::machine) fn hear(&mut self, now: Mono) -> bool {
        self.heard_at = Some(now);
        std::mem::take(&mut self.silent)
    }

    pub(in crate::machine) fn ask(&mut self, now: Mono) {
        self.asked_at = Some(now);
    }

    pub(in crate::machine) fn answer(&mut self) {
        self.asked_at = None;
    }

    pub(in crate::machine) fn fall_silent(&mut self) {
        self.silent = true;
    }

    /// Gives it its whole time again.
    pub(in crate::machine) fn restart(&mut self, now: Mono) {
        if let Some(heard_at) = &mut self.heard_at {
            *heard_at = now;
        }
    }
}
