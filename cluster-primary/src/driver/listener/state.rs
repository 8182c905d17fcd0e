//! A server's socket, written down, and taken up.

use std::os::fd::{AsRawFd, RawFd};

use cluster_sched::Mono;
use serde::{Deserialize, Serialize};

use super::super::rights::Rights;
use super::super::socket_file::SocketFile;
use super::Listener;
use crate::upgrade::{Arriving, Leaving, StateError};

/// What there is of a server's socket.
#[derive(Debug, Serialize, Deserialize)]
pub(in super::super) struct ListenerState {
    fd: usize,
    shared: bool,
    file: Option<SocketFile>,
    paused_until: Option<Mono>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rights: Option<Rights>,
}

impl Listener {
    pub(in super::super) fn state(
        &self,
        leaving: &mut Leaving,
    ) -> Result<ListenerState, StateError> {
        Ok(ListenerState {
            fd: leaving.place(&self.fd)?,
            shared: self.shared,
            file: self.file.clone(),
            paused_until: self.paused_until,
            rights: self.rights.clone(),
        })
    }

    pub(in super::super) fn from_state(
        state: ListenerState,
        arriving: &Arriving,
    ) -> Result<Self, StateError> {
        Ok(Self {
            fd: arriving.share(state.fd)?,
            shared: state.shared,
            file: state.file,
            paused_until: state.paused_until,
            rights: state.rights,
        })
    }

    /// Workers accept from it themselves.
    pub(in super::super) fn is_shared(&self) -> bool {
        self.shared
    }

    /// Its file is to stay when it goes.
    pub(in super::super) fn keep_file(&mut self) {
        self.file = None;
    }
}

impl AsRawFd for Listener {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}
