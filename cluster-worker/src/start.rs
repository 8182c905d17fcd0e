//! How a worker starts.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use cluster_proto::env::WorkerEnv;

use crate::driver::{Core, Front, Shared};
use crate::error::StartError;
use crate::event::EventedWorker;
use crate::inherit;
use crate::setup::Options;
use crate::worker::Worker;

impl Options {
    /// Starts this process's worker, if the environment says that it is one.
    ///
    /// # Errors
    /// As [`Worker::from_env`].
    pub fn from_env(&self) -> Result<Option<Worker>, StartError> {
        let start = |(env, fd): (WorkerEnv, OwnedFd)| {
            self.clone().serialization(env.serialization).slot(env.slot).worker(env.id, fd)
        };
        inherit::channel()?.map(start).transpose()
    }

    /// As [`from_env`](Self::from_env), for an event loop of the application's own.
    ///
    /// # Errors
    /// As [`Worker::from_env`].
    pub fn evented_from_env(&self) -> Result<Option<EventedWorker>, StartError> {
        let start = |(env, fd): (WorkerEnv, OwnedFd)| {
            self.clone().serialization(env.serialization).slot(env.slot).evented(env.id, fd)
        };
        inherit::channel()?.map(start).transpose()
    }

    /// A worker of that id on a channel that the caller has: one end of a Unix stream socket, the
    /// other of which a primary holds.
    ///
    /// # Errors
    /// [`StartError::Io`] if the operating system would not set it up.
    pub fn worker(&self, id: u32, channel: OwnedFd) -> Result<Worker, StartError> {
        Ok(Worker::new(Shared::new(Core::new(id, channel, self, Front::Threads)?)))
    }

    /// As [`worker`](Self::worker), for an event loop of the application's own.
    ///
    /// # Errors
    /// [`StartError::Io`] if the operating system would not set it up.
    pub fn evented(&self, id: u32, channel: OwnedFd) -> Result<EventedWorker, StartError> {
        Ok(EventedWorker::new(Shared::new(Core::new(
            id,
            channel,
            self,
            Front::Loop(VecDeque::new()),
        )?)))
    }

    /// As [`from_env`](Self::from_env), for a program on tokio.
    ///
    /// # Errors
    /// As [`Worker::from_env`].
    ///
    /// # Panics
    /// Outside a runtime, or in one without I/O or time.
    #[cfg(feature = "tokio")]
    pub fn tokio_from_env(&self) -> Result<Option<crate::tokio::Worker>, StartError> {
        self.tokio_without_telling().map(crate::tokio::Worker::known)
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn tokio_without_telling(&self) -> Result<Option<crate::tokio::Worker>, StartError> {
        let start = |(env, fd): (WorkerEnv, OwnedFd)| {
            self.clone().serialization(env.serialization).slot(env.slot).tokio(env.id, fd)
        };
        inherit::channel()?.map(start).transpose()
    }

    /// As [`worker`](Self::worker), for a program on tokio.
    ///
    /// # Errors
    /// [`StartError::Io`] if the operating system would not set it up.
    ///
    /// # Panics
    /// Outside a runtime, or in one without I/O or time.
    #[cfg(feature = "tokio")]
    pub fn tokio(&self, id: u32, channel: OwnedFd) -> Result<crate::tokio::Worker, StartError> {
        crate::tokio::Worker::start(id, channel, self)
    }
}
