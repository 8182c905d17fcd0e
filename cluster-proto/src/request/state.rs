//! Requests that wait, as plain data.

use alloc::collections::BTreeMap;
use core::time::Duration;

use super::Requests;
use crate::error::StateError;

/// All that [`Requests`] know, to be taken elsewhere: into another process, say.
///
/// With the feature `serde` it has serde's traits.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct RequestsState<K> {
    /// The last request's id.
    pub last: u64,
    /// Those that wait, by their ids.
    pub open: BTreeMap<u64, OpenRequest<K>>,
}

/// A request that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct OpenRequest<K> {
    /// Who was asked.
    pub peer: K,
    /// How long it was to wait.
    pub timeout: Duration,
    /// Until when that is; none forever.
    pub deadline: Option<Duration>,
}

impl<K> Default for RequestsState<K> {
    fn default() -> Self {
        Self { last: 0, open: BTreeMap::new() }
    }
}

impl<K: Copy> Requests<K> {
    /// What they know.
    pub fn state(&self) -> RequestsState<K> {
        RequestsState { last: self.last, open: self.open.clone() }
    }

    /// Requests that go on from there.
    ///
    /// # Errors
    /// [`StateError`] if none can be in this state.
    pub fn from_state(state: RequestsState<K>) -> Result<Self, StateError> {
        let RequestsState { last, open } = state;
        if open.keys().any(|id| !(1..=last).contains(id)) {
            return Err(StateError::OutOfRange { what: "a request's id" });
        }
        let deadline = |(id, open): (&u64, &OpenRequest<K>)| Some((open.deadline?, *id));
        let deadlines = open.iter().filter_map(deadline).collect();
        Ok(Self { last, open, deadlines })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_go_on_elsewhere() {
        let second = Duration::from_secs(1);
        let mut requests = Requests::default();
        let id = requests.begin(Duration::ZERO, 'a', second);
        let there = Requests::from_state(requests.state()).unwrap();
        assert_eq!(there.poll_timeout(), requests.poll_timeout());
        let mut there = there;
        assert!(there.end(id, 'a') && there.poll_timeout().is_none());
        let mut broken = requests.state();
        broken.last = 0;
        assert!(Requests::from_state(broken).is_err());
    }
}
