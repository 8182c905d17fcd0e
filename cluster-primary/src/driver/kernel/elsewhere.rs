//! Where there is no such thing.

use std::convert::Infallible;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use cluster_proto::ListenQuery;
use cluster_sched::kernel::Choice;
use rustix::io::Errno;

use super::super::rights::Rights;
use super::state::GroupState;
use crate::machine::{Bound, Queue};
use crate::upgrade::{Arriving, Leaving, StateError};

/// A new group.
#[derive(Debug)]
pub(in super::super) struct Opened {
    pub(in super::super) group: Group,
    pub(in super::super) bound: Bound,
    pub(in super::super) without_program: Option<String>,
}

/// Why there is none.
#[derive(Debug)]
pub(in super::super) enum OpenError {
    Bind(Errno),
    #[allow(dead_code, reason = "where there are groups it is made")]
    NoChoice(String),
}

/// None can be made here; [`Primary::fork`](crate::Primary::fork) has said so before.
#[derive(Debug)]
pub(in super::super) struct Group(Infallible);

impl Group {
    pub(in super::super) fn open(_: &ListenQuery, _: Choice) -> Result<Opened, OpenError> {
        Err(OpenError::Bind(Errno::OPNOTSUPP))
    }

    pub(in super::super) fn state(&self, _: &mut Leaving) -> Result<GroupState, StateError> {
        match self.0 {}
    }

    pub(in super::super) fn from_state(
        _: GroupState,
        _: &mut Arriving,
    ) -> Result<Self, StateError> {
        Err(StateError::contradiction("there is no placement in the kernel here"))
    }

    pub(in super::super) fn rights(&self) -> Option<Rights> {
        match self.0 {}
    }

    pub(in super::super) fn choice(&self) -> Choice {
        match self.0 {}
    }

    pub(in super::super) fn slot(&mut self, _: u32) -> Result<Option<String>, Errno> {
        match self.0 {}
    }

    pub(in super::super) fn socket(&self, _: Option<u32>) -> Option<&Arc<OwnedFd>> {
        match self.0 {}
    }

    pub(in super::super) fn sockets(&self) -> Vec<Arc<OwnedFd>> {
        match self.0 {}
    }

    pub(in super::super) fn switch(&mut self, _: u32, _: u32, _: bool) -> Result<(), String> {
        match self.0 {}
    }

    pub(in super::super) fn refuse(&mut self) {
        match self.0 {}
    }

    pub(in super::super) fn queues(&self) -> Vec<Queue> {
        match self.0 {}
    }
}
