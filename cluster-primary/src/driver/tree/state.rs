//! Process trees, written down, and taken up.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Trees;
use crate::WorkerId;
use crate::tree::ProcessTrees;
use crate::upgrade::{Arriving, Leaving, StateError};

/// All of [`Trees`].
#[derive(Debug, Default, Serialize, Deserialize)]
pub(in super::super) struct TreesState {
    machine: ProcessTrees,
    leaders: BTreeMap<WorkerId, usize>,
}

impl Trees {
    pub(in super::super) fn state(&self, leaving: &mut Leaving) -> Result<TreesState, StateError> {
        let leaders = self.leaders.iter().map(|(worker, fd)| Ok((*worker, leaving.place(fd)?)));
        Ok(TreesState {
            machine: self.machine.clone(),
            leaders: leaders.collect::<Result<_, StateError>>()?,
        })
    }

    pub(in super::super) fn from_state(
        state: TreesState,
        arriving: &mut Arriving,
    ) -> Result<Self, StateError> {
        let leaders = state.leaders.into_iter();
        let leaders = leaders.map(|(worker, place)| Ok((worker, arriving.take(place)?)));
        let leaders = leaders.collect::<Result<_, StateError>>()?;
        Ok(Self { machine: state.machine, leaders, listed: None })
    }
}
