//! A primary and its supervisor, written down, and taken up.

use std::collections::{BTreeSet, VecDeque};
use std::os::fd::OwnedFd;
use std::vec::Vec;

use serde::{Deserialize, Serialize};

use cluster_primary::embed::Clock;
use cluster_primary::upgrade::{self, Arriving, Frozen, Leaving, StateError};
use cluster_primary::{Primary, PrimaryState};

use super::Supervisor;
use super::supervised::Supervised;

/// What its text says that it is.
const KIND: &str = "supervised";

/// All that a [`Supervised`] holds.
#[derive(Debug, Serialize, Deserialize)]
struct SupervisedState<S> {
    primary: PrimaryState,
    supervisor: S,
    clock: Clock,
}

impl Supervised {
    /// Everything that it holds, written down for the next image of this process (see
    /// [`upgrade`](cluster_primary::upgrade)). It goes on as before.
    ///
    /// # Errors
    /// [`StateError::EventsWait`] unless [`ready`](Self::ready) has said that there is none, or
    /// another if something cannot be handed over.
    pub fn state(&mut self) -> Result<Frozen, StateError> {
        let mut leaving = Leaving::default();
        let primary = self.primary.leave(&mut leaving)?;
        if !self.notices.is_empty() {
            return Err(StateError::EventsWait);
        }
        let state = SupervisedState { primary, supervisor: &self.supervisor, clock: self.clock };
        Ok(Frozen { text: upgrade::write(KIND, &state)?, fds: leaving.into_fds() })
    }

    /// Takes up what another image of this process has [written down](Self::state), with the
    /// descriptors in the same order.
    ///
    /// Nothing is read or written yet, and no worker told anything: a copy that is only to show that
    /// it can be made is [abandoned](Self::abandon).
    ///
    /// # Errors
    /// [`StateError`]; the descriptors are closed then, and nothing else has changed.
    pub fn from_state(text: &str, fds: Vec<OwnedFd>) -> Result<Self, StateError> {
        let state: SupervisedState<Supervisor> = upgrade::read(KIND, text)?;
        let SupervisedState { primary, supervisor, clock } = state;
        supervisor.check().map_err(StateError::contradiction)?;
        let primary = Primary::arrive(primary, Arriving::new(fds)?)?;
        let (notices, own_forks) = (VecDeque::new(), BTreeSet::new());
        Ok(Self { primary, supervisor, clock, notices, own_forks })
    }

    /// [`Primary::abandon`].
    pub fn abandon(self) {
        self.primary.abandon();
    }
}
