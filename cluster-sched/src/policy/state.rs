//! What a policy knows that it cannot be told again.

use alloc::vec::Vec;

/// What a [`Policy`](crate::Policy) knows beyond what a scheduler tells it of the workers. What it means
/// is the policy's affair.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default))]
pub struct PolicyState<W> {
    /// Workers, in an order that matters to the policy.
    pub order: Vec<W>,
    /// Numbers: how far a generator has come, say.
    pub numbers: Vec<u64>,
}

impl<W> PolicyState<W> {
    /// Workers in that order.
    pub fn of_order(workers: impl IntoIterator<Item = W>) -> Self {
        Self { order: workers.into_iter().collect(), numbers: Vec::new() }
    }
}

/// Nothing.
impl<W> Default for PolicyState<W> {
    fn default() -> Self {
        Self { order: Vec::new(), numbers: Vec::new() }
    }
}
