//! For fuzz targets: workers whose bytes and descriptors the fuzzer chooses, over a socket pair and
//! without a process.

use std::io;
use std::os::fd::OwnedFd;

use cluster_ipc::Channel;
use mio::Interest;

use super::base::{Primary, channel_config};
use super::child::Child;
use super::process::Process;
use super::rights::Rights;
use super::tokens::Source;
use crate::id::WorkerId;
use crate::machine::Input;

/// No process has this id: it is beyond the greatest that a system can be set to.
const NO_PROCESS: u32 = i32::MAX as u32;

impl Primary {
    /// Adds a worker without a process, and returns its end of the channel. It can do everything that
    /// a worker does on its channel. Signals do not reach it.
    ///
    /// # Errors
    /// If the system has no socket for it.
    #[doc(hidden)]
    pub fn fuzz_worker(&mut self) -> io::Result<(WorkerId, OwnedFd)> {
        let settings = self.shared_settings();
        let (mut channel, theirs) = Channel::pair(channel_config(&settings))?;
        let worker = self.machine.next_worker();
        let registry = self.poll.registry();
        let interest = Interest::READABLE | Interest::WRITABLE;
        registry.register(&mut channel, self.tokens.token(Source::Channel(worker)), interest)?;
        let token = self.tokens.token(Source::Process(worker));
        let process = Process::watch_again(NO_PROCESS, registry, token)?;
        let rights = Rights::of(&settings);
        self.children.insert(worker, Child::new(channel, process, settings.serialization, rights));
        self.input(Input::Forked { worker, pid: NO_PROCESS, slot: None });
        Ok((worker, theirs))
    }

    /// The process of such a worker has ended, as far as the primary is concerned.
    #[doc(hidden)]
    pub fn fuzz_exit(&mut self, worker: WorkerId) {
        self.pending.insert(Source::Process(worker));
    }
}
