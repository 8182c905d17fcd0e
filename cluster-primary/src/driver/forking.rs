//! Forks workers.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;

use cluster_ipc::Channel;
use rustix::process::Pid;

use super::base::{Primary, channel_config};
use super::child::Child;
use super::process::Process;
use super::rights::Rights;
use super::tokens::Source;
use super::{fork, program, spawn};
use crate::error::ForkError;
use crate::id::WorkerId;
use crate::machine::Input;

/// A process that becomes a worker ([`Primary::adopt`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Adopted {
    /// The id that it gets, which no worker has.
    pub worker: WorkerId,
    /// Its process id.
    pub pid: u32,
}

impl Primary {
    /// Forks a worker: Node's `cluster.fork()`.
    ///
    /// # Errors [`ForkError`] says what could not be executed, and why. (Node returns a worker that then
    /// emits `'error'`; here there is no worker.)
    pub fn fork(&mut self) -> Result<WorkerId, ForkError> {
        self.fork_with(std::iter::empty::<(OsString, Option<OsString>)>())
    }

    /// Forks a worker with changes to the environment of the settings: `cluster.fork(env)`. `None` removes a
    /// variable.
    ///
    /// # Errors As [`fork`](Self::fork).
    pub fn fork_with<N, V>(
        &mut self,
        env: impl IntoIterator<Item = (N, Option<V>)>,
    ) -> Result<WorkerId, ForkError>
    where
        N: Into<OsString>,
        V: Into<OsString>,
    {
        let env = env.into_iter().map(|(n, v)| (n.into(), v.map(Into::into))).collect();
        self.spawn(None, env)
    }

    /// Forks a worker for a [slot](crate::WorkerState::slot), even if the slot has a worker, which the new one then
    /// succeeds. Otherwise as [`fork`](Self::fork).
    ///
    /// # Errors As [`fork`](Self::fork).
    pub fn fork_in(&mut self, slot: u32) -> Result<WorkerId, ForkError> {
        self.spawn(Some(slot), Vec::new())
    }

    /// Takes over a process that another one has started, as a worker. It is to use the descriptor that is returned
    /// as its channel (`NODE_CHANNEL_FD`), with the encoding of [`Settings::serialization`](crate::Settings::serialization).
    ///
    /// The process is no child of this one, so its exit status is not known ([`ExitStatus::Unknown`](crate::ExitStatus::Unknown)), unless this
    /// process becomes its parent. Everything else is as with a worker that was [forked](Self::fork).
    ///
    /// # Errors
    /// [`ForkError`] if the placement is not possible, the id belongs to another worker, or resources are lacking. The
    /// process is left alone then.
    pub fn adopt(&mut self, adopted: Adopted) -> Result<OwnedFd, ForkError> {
        let Adopted { worker: id, pid } = adopted;
        let settings = self.shared_settings();
        settings.check_placement().map_err(ForkError::Placement)?;
        let no = |what| move |error| ForkError::Resources { what, error };
        if !self.machine.claim_worker(id) {
            let error = io::Error::new(io::ErrorKind::AlreadyExists, "another worker has it");
            return Err(no("worker id")(error));
        }
        let (mut channel, theirs) =
            Channel::pair(channel_config(&settings)).map_err(no("channel"))?;
        channel.keep_unexpected(settings.limits.max_unexpected_handles);
        let registry = self.poll.registry();
        let interest = mio::Interest::READABLE | mio::Interest::WRITABLE;
        registry
            .register(&mut channel, self.tokens.token(Source::Channel(id)), interest)
            .map_err(no("watch on a worker's channel"))?;
        let token = self.tokens.token(Source::Process(id));
        let process =
            Process::watch_again(pid, registry, token).map_err(no("process descriptor"))?;
        let rights = Rights::of(&settings);
        self.children.insert(id, Child::new(channel, process, settings.serialization, rights));
        self.input(Input::Forked { worker: id, pid, slot: None });
        Ok(theirs)
    }

    fn spawn(
        &mut self,
        slot: Option<u32>,
        env: Vec<(OsString, Option<OsString>)>,
    ) -> Result<WorkerId, ForkError> {
        let settings = self.shared_settings();
        settings.check_placement().map_err(ForkError::Placement)?;
        let no = |what| move |error| ForkError::Resources { what, error };
        let (mut channel, theirs) =
            Channel::pair(channel_config(&settings)).map_err(no("channel"))?;
        channel.keep_unexpected(settings.limits.max_unexpected_handles);

        let id = self.machine.next_worker();
        let slot = slot.unwrap_or_else(|| self.machine.next_slot());
        let first_line = program::survey(&settings, &env)?;
        let mut agent = self.prepare_agent(&settings, id, &env, first_line);
        let limit = self.descriptor_limit;
        let paused = self.closer.pause();
        let (agent_of, is_first) = (agent.as_mut(), self.children.is_empty());
        let spawned = spawn::spawn(&settings, id, slot, &env, theirs, agent_of, limit, is_first)?;
        let start = spawned.start.map(|start| start.with_closing_paused(paused));
        let registered = self.watch_worker(id, spawned.pid, &mut channel);
        let process = match registered {
            Ok(process) => process,
            Err(error) => {
                fork::abandon(spawned.pid);
                return Err(ForkError::Resources { what: "process descriptor", error });
            }
        };
        let pid = spawned.pid;
        let rights = Rights::of(&settings);
        self.children.insert(id, Child::new(channel, process, settings.serialization, rights));
        let mut pipes = spawned.pipes.into_iter();
        let added = pipes
            .try_for_each(|(fd, pipe)| self.add_pipe(id, fd, pipe))
            .and_then(|()| agent.map_or(Ok(()), |agent| self.add_agent(id, agent)))
            .and_then(|()| start.map_or(Ok(()), |start| self.add_start(id, start)));
        if let Err(error) = added {
            self.closer.discard_from(id, self.children.remove(&id));
            fork::abandon(pid);
            return Err(ForkError::Resources { what: "watch on a worker's pipe or socket", error });
        }
        let pid = pid.as_raw_nonzero().get().cast_unsigned();
        self.input(Input::Forked { worker: id, pid, slot: Some(slot) });
        self.follow_tree(id, pid, &settings);
        Ok(id)
    }

    fn watch_worker(
        &mut self,
        id: WorkerId,
        pid: Pid,
        channel: &mut Channel,
    ) -> io::Result<Process> {
        let pid = pid.as_raw_nonzero().get().cast_unsigned();
        let registry = self.poll.registry();
        let interest = mio::Interest::READABLE | mio::Interest::WRITABLE;
        registry.register(channel, self.tokens.token(Source::Channel(id)), interest)?;
        Process::watch(pid, registry, self.tokens.token(Source::Process(id)))
    }
}
