//! Workers' processes have ended.

use std::time::Duration;

use super::base::Primary;
use super::tokens::Source;
use crate::id::WorkerId;
use crate::machine::Input;

/// Messages read at most from a worker that has ended.
pub(super) const LAST_MESSAGES: usize = 65_536;

impl Primary {
    /// The process may have ended: reads its last messages, then tells the machine.
    pub(super) fn reap(&mut self, now: Duration, worker: WorkerId) {
        self.before_reaping(worker);
        self.read_start(worker);
        let Some(child) = self.children.get_mut(&worker) else { return };
        let Some(process) = &mut child.process else { return };
        let status = match process.try_wait() {
            Ok(Some(status)) => status,
            // Not yet.
            Ok(None) => return,
            // Other code has waited for it: its status cannot be learned any more.
            Err(_) => crate::event::ExitStatus::Unknown,
        };
        process.deregister(self.poll.registry());
        let process = child.process.take();
        self.tokens.forget(Source::Process(worker));
        // Another process that inherited the channel could hold it open, and write, forever.
        #[cfg(target_os = "linux")]
        if let Some(channel) = self.child_mut(worker).and_then(|c| c.channel.as_mut()) {
            channel.note_readable(true);
            // What was written remains to be read; nothing more can be. (Elsewhere it would be lost.)
            let _ = rustix::net::shutdown(&*channel, rustix::net::Shutdown::Read);
        }
        self.read_messages(now, worker, LAST_MESSAGES, usize::MAX);
        self.close_agent(now, worker);
        let pipes: Vec<_> =
            self.child(worker).map_or_else(Vec::new, |c| c.pipes.keys().copied().collect());
        for fd in pipes {
            self.read_last(worker, fd);
        }
        let child = self.child_mut(worker);
        let pipes = child.map(|child| std::mem::take(&mut child.pipes)).unwrap_or_default();
        self.close_now(now, worker);
        self.tell_at(now, Input::Exited { worker, status });
        if let Some(process) = process {
            self.end_tree(worker, process, pipes);
        }
        self.forget_if_over(worker);
    }
}
