//! Process trees, written down, and taken up.

use std::collections::BTreeMap;
use std::os::fd::AsRawFd;

use mio::unix::SourceFd;
use mio::{Interest, Registry};
use serde::{Deserialize, Serialize};

use super::super::tokens::{Source, Tokens};
use super::Trees;
use crate::id::WorkerId;
use crate::tree::ProcessTrees;
use crate::upgrade::{Arriving, Leaving, StateError};

/// All of [`Trees`].
#[derive(Debug, Default, Serialize, Deserialize)]
pub(in super::super) struct TreesState {
    machine: ProcessTrees,
    leaders: BTreeMap<WorkerId, usize>,
    pipes: Vec<(WorkerId, u32, usize)>,
}

impl TreesState {
    /// Whether no worker's processes are followed, and none are left.
    pub(in super::super) fn is_empty(&self) -> bool {
        self.machine.is_empty() && self.leaders.is_empty() && self.pipes.is_empty()
    }
}

impl Trees {
    pub(in super::super) fn state(&self, leaving: &mut Leaving) -> Result<TreesState, StateError> {
        let mut state = TreesState { machine: self.machine.clone(), ..TreesState::default() };
        for (worker, fd) in &self.leaders {
            state.leaders.insert(*worker, leaving.place(fd)?);
        }
        for ((worker, fd), pipe) in &self.pipes {
            state.pipes.push((*worker, *fd, leaving.place(pipe)?));
        }
        Ok(state)
    }

    pub(in super::super) fn from_state(
        state: TreesState,
        arriving: &mut Arriving,
    ) -> Result<Self, StateError> {
        let leaders = state.leaders.into_iter();
        let leaders = leaders.map(|(worker, place)| Ok((worker, arriving.take(place)?)));
        let leaders = leaders.collect::<Result<_, StateError>>()?;
        let pipes = state.pipes.into_iter();
        let pipes =
            pipes.map(|(worker, fd, place)| Ok(((worker, fd), arriving.take(place)?.into())));
        let pipes = pipes.collect::<Result<_, StateError>>()?;
        Ok(Self { machine: state.machine, leaders, pipes, listed: None })
    }

    /// Watches the pipes.
    pub(in super::super) fn register(
        &self,
        registry: &Registry,
        tokens: &mut Tokens,
    ) -> Result<(), StateError> {
        for ((worker, fd), pipe) in self.pipes.iter().filter(|((_, fd), _)| *fd != 0) {
            let token = tokens.token(Source::Pipe(*worker, *fd));
            registry
                .register(&mut SourceFd(&pipe.as_raw_fd()), token, Interest::READABLE)
                .map_err(StateError::system("watch on a pipe"))?;
        }
        Ok(())
    }
}
