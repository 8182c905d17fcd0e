//! Workers that were forked and have not executed their programs yet.

use std::io;
use std::os::fd::AsRawFd;

use cluster_sched::Mono;
use mio::unix::SourceFd;

use super::aside;
use super::base::Primary;
use super::starting::{Start, Started, read};
use super::step::failure;
use super::tokens::Source;
use crate::error::WorkerError;
use crate::id::WorkerId;
use crate::machine::Input;
use crate::signal::Signal;

impl Primary {
    /// Watches a worker that has not executed its program yet.
    pub(super) fn add_start(&mut self, worker: WorkerId, mut start: Start) -> io::Result<()> {
        start.deadline = self.now() + self.settings.limits.start_timeout;
        start.register(self.poll.registry(), self.tokens.token(Source::Start(worker)))?;
        if let Some(child) = self.child_mut(worker) {
            child.start = Some(start);
        }
        Ok(())
    }

    /// The earliest deadline of such a worker.
    pub(super) fn starts_due(&self) -> Option<Mono> {
        self.children.values().filter_map(|child| Some(child.start.as_ref()?.deadline)).min()
    }

    /// Finds out how a worker's start has ended, if it has.
    pub(super) fn read_start(&mut self, worker: WorkerId) {
        let start = self.child(worker).and_then(|child| child.start.as_ref());
        match start.map(|start| read(&start.report)) {
            None | Some(Started::NotYet) => {}
            Some(Started::Executed) => drop(self.take_start(worker)),
            Some(Started::Failed(step, errno)) => {
                let Some(start) = self.take_start(worker) else { return };
                let settings = &self.settings;
                let error = failure(settings, step, &start.program, errno);
                // Explaining the error may read files.
                let what = aside::ask(move || error.to_string());
                let what = what.unwrap_or_else(|| {
                    format!("cannot execute {}: {errno}", start.program.display())
                });
                self.not_started(worker, what);
            }
        }
    }

    /// Kills workers that take too long to execute their programs.
    pub(super) fn end_late_starts(&mut self, now: Mono) {
        if self.starts_due().is_none_or(|at| at > now) {
            return;
        }
        let is_late = |start: &Start| start.deadline <= now;
        let late =
            self.children.iter().filter(|(_, child)| child.start.as_ref().is_some_and(is_late));
        for worker in late.map(|(id, _)| *id).collect::<Vec<_>>() {
            // It may have succeeded just now.
            self.read_start(worker);
            let Some(start) = self.take_start(worker) else { continue };
            if let Some(process) = self.child(worker).and_then(|c| c.process.as_ref()) {
                // Its end is reported as usual.
                let _ = process.signal(worker, Signal::KILL);
            }
            let patience = self.settings.limits.start_timeout;
            let program = start.program.display();
            self.not_started(
                worker,
                format!(
                    "{program} was not executed within {patience:?}, and its process was killed: either a \
                     file system does not respond, or a process of the worker's user stopped it"
                ),
            );
        }
    }

    fn take_start(&mut self, worker: WorkerId) -> Option<Start> {
        let start = self.child_mut(worker)?.start.take()?;
        let _ = self.registry().deregister(&mut SourceFd(&start.report.as_raw_fd()));
        self.tokens.forget(Source::Start(worker));
        Some(start)
    }

    fn not_started(&mut self, worker: WorkerId, what: String) {
        let error = WorkerError::Start { what };
        self.tell(Input::Failed { worker, error });
    }
}
