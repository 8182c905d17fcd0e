//! How much is measured.

use std::time::Duration;

/// Workers of each cluster that is put under load.
pub(crate) const WORKERS: usize = 2;

pub(crate) struct Effort {
    pub(crate) rounds: usize,
    /// Connections that warm a cluster up.
    pub(crate) warm_up: u32,
    /// Connections that are measured.
    pub(crate) connections: u32,
    /// Connections one after the other, of which it is seen who gets them.
    pub(crate) sequential: u32,
    /// How long messages go one way, in one measurement.
    pub(crate) talk: Duration,
    /// Workers of the clusters whose start is timed: few, and many.
    pub(crate) starts: [usize; 2],
    /// Workers of the clusters at rest.
    pub(crate) at_rest: &'static [usize],
    /// The same under Node's primary, which needs longer for each.
    pub(crate) at_rest_in_node: &'static [usize],
    /// How long a worker refuses.
    pub(crate) refusing: Duration,
}

pub(crate) const FULL: Effort = Effort {
    rounds: 5,
    warm_up: 5_000,
    connections: 20_000,
    sequential: 10_000,
    talk: Duration::from_millis(400),
    starts: [2, 16],
    at_rest: &[2, 100, 1000],
    at_rest_in_node: &[2, 100],
    refusing: Duration::from_secs(5),
};

/// Only to see whether everything runs.
pub(crate) const QUICK: Effort = Effort {
    rounds: 1,
    warm_up: 100,
    connections: 1_000,
    sequential: 200,
    talk: Duration::from_millis(40),
    starts: [2, 4],
    at_rest: &[2, 20],
    at_rest_in_node: &[2, 20],
    refusing: Duration::from_millis(500),
};
