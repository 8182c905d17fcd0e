//! Where sockets are made with the primary's rights only.

use cluster_proto::ListenQuery;
use cluster_sched::Mono;
use cluster_sched::kernel::Choice;
use mio::Registry;
use serde::{Deserialize, Serialize};

use super::socket_file::SocketFile;
use super::tokens::Tokens;
use crate::id::ServerId;
use crate::upgrade::{Arriving, Leaving, StateError};

/// No child is ever started.
#[derive(Default)]
pub(super) struct Binder(());

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct BinderState {}

impl BinderState {
    pub(super) fn is_empty(&self) -> bool {
        true
    }
}

#[allow(dead_code, reason = "it is what Linux does")]
pub(super) enum Purpose {
    Server {
        server: ServerId,
        query: Box<ListenQuery>,
        shared: bool,
        replace: Option<super::socket_file::Identity>,
    },
    Group {
        server: ServerId,
        query: Box<ListenQuery>,
        choice: Choice,
    },
    Slot {
        server: ServerId,
        slot: u32,
    },
    Remove {
        files: Vec<SocketFile>,
    },
}

impl Binder {
    pub(super) fn poll_timeout(&self) -> Option<Mono> {
        None
    }

    pub(super) fn is_idle(&self) -> bool {
        true
    }

    pub(super) fn state(&self, _: &mut Leaving) -> Result<BinderState, StateError> {
        Ok(BinderState {})
    }

    pub(super) fn from_state(
        _: BinderState,
        _: &mut Arriving,
        _: &Registry,
        _: &mut Tokens,
    ) -> Result<Self, StateError> {
        Ok(Self(()))
    }
}
