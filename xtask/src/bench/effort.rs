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
    /// Connections one after the other, for which the bench records the worker.
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
    /// How long a worker attacks.
    pub(crate) hostile: Duration,
    /// Pairs of starts and of loads a round, with the agent of Node workers and without. Even numbers, so
    /// that each side is the first equally often.
    pub(crate) agent_starts: u32,
    pub(crate) agent_loads: u32,
    /// Requests that warm such a worker up.
    pub(crate) agent_warm_up: u32,
    /// Requests of one turn of such a worker.
    pub(crate) agent_requests: u32,
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
    hostile: Duration::from_secs(10),
    agent_starts: 4,
    agent_loads: 2,
    agent_warm_up: 16_000,
    agent_requests: 4_000,
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
    hostile: Duration::from_millis(500),
    agent_starts: 2,
    agent_loads: 2,
    agent_warm_up: 160,
    agent_requests: 160,
};
