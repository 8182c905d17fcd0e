//! Begins an in-place upgrade: tries the new program. [`hand_over`](super::hand_over) does the rest.

use std::io;
use std::os::fd::AsRawFd;

use cluster_control::{CommandId, ControlCommand, Refusal};
use cluster_supervisor::driver::State;

use super::base::{Runner, unkept};
use crate::upgrade::Trial;

impl Runner {
    /// Tries the program that is now where this one was, and goes over to it if it is good.
    pub(super) fn begin_upgrade(&mut self, asked_by: Option<CommandId>) {
        self.upgrades.asked_by.extend(asked_by);
        if self.upgrades.trial.is_some() {
            return;
        }
        if !self.is_supervised() {
            self.not_upgraded(&unkept(&ControlCommand::Upgrade, self.has_script()));
        } else if let Err(error) = self.try_program() {
            self.not_upgraded(&error.to_string());
        }
    }

    /// Begins to open the program; what follows happens in [`hand_over`](super::hand_over).
    fn try_program(&mut self) -> io::Result<()> {
        self.may_upgrade()?;
        let trial = Trial::open(&self.upgrades.program.path, self.now())?;
        self.keep_trial(trial)
    }

    pub(super) fn may_upgrade(&self) -> io::Result<()> {
        let no = |what: &str| Err(io::Error::other(what));
        match self.supervisor_state() {
            State::Running | State::Starting => Ok(()),
            State::Reloading => no("a reload is under way; try again when it is over"),
            _ => no("the cluster is stopping"),
        }
    }

    pub(super) fn keep_trial(&mut self, trial: Trial) -> io::Result<()> {
        let watch = self.primary_mut().watch(trial.as_raw_fd())?;
        self.upgrades.trial = Some((trial, watch));
        Ok(())
    }

    pub(super) fn not_upgraded(&mut self, why: &str) {
        let why = format!("not upgraded, the old program continues: {why}");
        self.failure(&why);
        let waiting = std::mem::take(&mut self.upgrades.asked_by);
        if let Some(control) = self.control_mut() {
            for command in waiting {
                control.answer(command, Err(Refusal::new("ERR_NOT_UPGRADED", &why)));
            }
        }
    }
}
