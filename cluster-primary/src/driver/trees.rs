//! Follows the processes that workers start, and ends them with their workers.

use std::collections::BTreeMap;
use std::fs::File;
use std::time::Duration;

use super::base::Primary;
use super::process::Process;
use super::tree::{Trees, proc};
use crate::id::WorkerId;
use crate::settings::Settings;
use crate::tree::{Input, Output, ProcessId};

impl Primary {
    /// Neither that process nor its ancestors are ended because of a worker that they descend from,
    /// until all workers are told to leave. It is for a process that requests a reload, for example: a script that a
    /// worker has started must not be ended by what it asked for.
    pub fn spare_requester(&mut self, pid: u32) {
        self.tree_input(Input::Spare { processes: proc::ancestry(pid) });
    }

    /// Ends the wait for descendants of workers that have ended, or will end: they are
    /// sent `SIGKILL` at once.
    pub fn kill_leftovers(&mut self) {
        self.tree_input(Input::KillAll);
    }

    /// Follows what a worker starts, if the settings say how to end it.
    pub(super) fn follow_tree(&mut self, worker: WorkerId, pid: u32, settings: &Settings) {
        let Some(rules) = settings.end_descendants else { return };
        let leader = proc::stat(pid).map(|stat| stat.id);
        // The session is the primary's, but for a launcher that has changed it meanwhile.
        let session = proc::stat(std::process::id()).map(|stat| stat.session);
        // Where there is no `/proc` only the group is ended, and nothing else has to be known.
        let leader = leader.unwrap_or(ProcessId { pid, start: 0 });
        let session = session.unwrap_or_default();
        self.tree_input(Input::Started { worker, leader, session, rules });
    }

    /// A worker is about to be signalled, or told to leave: looks up its descendants first.
    pub(super) fn trace_tree(&mut self, worker: WorkerId) {
        self.tree_input(Input::Leaving { worker });
    }

    /// A worker's process has ended, and has not been waited for: its group's number is still its own.
    pub(super) fn before_reaping(&mut self, worker: WorkerId) {
        let child = self.child(worker);
        let Some(process) = child.and_then(|child| child.process.as_ref()) else { return };
        if self.trees.descendants(worker).is_none() {
            return;
        }
        let known_later = process.descriptor().is_some_and(|fd| proc::group_exists(fd).is_some());
        if known_later {
            return;
        }
        // All members get the signal at once, also those that are started meanwhile; those that ignore it
        // are listed behind it.
        if !self.trees.machine.spares_any() {
            process.end_group();
        }
        self.trees.listed = Some(proc::list());
    }

    /// A worker's process has ended, and has been waited for.
    /// Its pipes stay open while a descendant may write into them.
    pub(super) fn end_tree(
        &mut self,
        worker: WorkerId,
        process: Process,
        pipes: BTreeMap<u32, File>,
    ) {
        let pipes = pipes.into_iter().map(|(fd, pipe)| ((worker, fd), pipe));
        self.trees.pipes.extend(pipes);
        if self.trees.descendants(worker).is_none() {
            self.close_pipes(worker);
            return;
        }
        if self.trees.listed.is_none()
            && let Some(leader) = process.into_descriptor()
        {
            self.trees.leaders.insert(worker, leader);
        }
        self.tree_input(Input::Ended { worker });
        self.trees.listed = None;
    }

    pub(super) fn end_all_trees(&mut self) {
        self.tree_input(Input::EndAll);
    }

    pub(super) fn look_after_trees(&mut self, now: Duration) {
        let traces = self.trees.machine.is_trace_due(now);
        self.trees.machine.handle_timeout(now);
        self.obey_trees();
        if traces {
            let took = self.now().saturating_sub(now);
            self.trees.machine.handle_input(self.now(), Input::TraceTook { took });
        }
    }

    pub(super) fn tree_input(&mut self, input: Input) {
        self.trees.machine.handle_input(self.now(), input);
        self.obey_trees();
    }

    fn obey_trees(&mut self) {
        while let Some(output) = self.trees.machine.poll_output() {
            let answer = match output {
                // Keep what is known.
                Output::Trace { .. } if !proc::can_look() => continue,
                Output::List { worker } if self.trees.listed.is_none() && !proc::can_look() => {
                    Input::NotListed { worker }
                }
                Output::Trace { worker, from } => {
                    Input::Traced { worker, descendants: proc::trace(&from) }
                }
                Output::List { worker } => self.list(worker),
                Output::Signal { process, signal } => {
                    proc::signal(process, signal);
                    continue;
                }
                Output::Report { worker, progress } => {
                    let now = self.now();
                    let report = crate::machine::Input::Leftovers { worker, progress };
                    self.tell_at(now, report);
                    continue;
                }
                Output::Over { worker } => {
                    self.trees.leaders.remove(&worker);
                    self.close_pipes(worker);
                    continue;
                }
            };
            self.trees.machine.handle_input(self.now(), answer);
        }
    }

    /// Reads what is left in the pipes of a worker that has ended, and closes them.
    fn close_pipes(&mut self, worker: WorkerId) {
        let pipes = self.trees.pipes.range((worker, 0)..=(worker, u32::MAX));
        let numbers: Vec<_> = pipes.map(|((_, fd), _)| *fd).collect();
        for fd in numbers {
            self.read_last(worker, fd);
            self.close_pipe(worker, fd);
        }
    }

    fn list(&mut self, worker: WorkerId) -> Input {
        if let Some(processes) = self.trees.listed.take() {
            return Input::Listed { worker, group_exists: true, processes: Some(processes) };
        }
        let exists = |trees: &Trees| {
            use std::os::fd::AsFd;
            let leader = trees.leaders.get(&worker);
            leader.and_then(|leader| proc::group_exists(leader.as_fd()))
        };
        if exists(&self.trees) == Some(false) && !self.trees.machine.knows_leftovers(worker) {
            // As with most workers.
            return Input::Listed { worker, group_exists: false, processes: None };
        }
        let processes = Some(proc::list());
        let group_exists = exists(&self.trees).unwrap_or_default();
        Input::Listed { worker, group_exists, processes }
    }
}
