//! Written down, and taken up.

use std::os::fd::OwnedFd;

use super::Supervised;
use crate::upgrade::{Frozen, StateError};

impl Supervised {
    /// Everything that it holds, written down for the next image of this process
    /// ([`upgrade`](crate::upgrade)). It goes on as before.
    ///
    /// # Errors
    /// [`StateError`]: events wait to be taken, or something cannot be handed over.
    pub fn state(&mut self) -> Result<Frozen, StateError> {
        Err(StateError::EventsWait)
    }

    /// Takes up what another image of this process has [written down](Self::state).
    ///
    /// # Errors
    /// [`StateError`]; the descriptors are closed then, and nothing else has changed.
    pub fn from_state(text: &str, fds: Vec<OwnedFd>) -> Result<Self, StateError> {
        let _ = (text, fds);
        Err(StateError::EventsWait)
    }

    /// Closes its descriptors and leaves everything else as it is: no file of a socket is removed, no
    /// last word said. For a copy that was only a trial, or after another has taken over.
    pub fn abandon(self) {}
}
