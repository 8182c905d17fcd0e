//! The settings of one scheduler.

use core::time::Duration;

/// The settings of one [`Scheduler`](crate::Scheduler).
///
/// ```
/// use cluster_sched::Config;
/// let config = Config::default().window(4).max_waiting(1024);
/// assert_eq!(config.window, 4);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Hand-offs that one worker may have in flight (assigned, not yet answered), for workers that
    /// join from now on. Default 1, which is Node's order exactly.
    ///
    /// [`Input::Window`](crate::Input::Window) changes it for one worker at run time. Zero pauses:
    /// the worker is a member, and is given nothing until its window is raised.
    pub window: u32,
    /// Connections that may wait, parked ones included. Default 512; zero is read as one.
    ///
    /// It bounds *arrivals*. What was in flight and comes back (its worker left or refused) is
    /// never shed because the queue is full, so at most this many plus the sum of all windows wait.
    /// Node has no limit here.
    pub max_waiting: usize,
    /// How long a connection that all workers refused is parked before it is offered to all of
    /// them again. Default 50 ms; doubles with each round up to [`park_cap`](Self::park_cap).
    ///
    /// Node does not wait: it offers the connection again at once, and spins.
    pub park: Duration,
    /// The longest that one round parks. Default 1 s.
    pub park_cap: Duration,
    /// How often all workers may refuse a connection: at this many times it is shed with
    /// [`ShedReason::Refused`](crate::ShedReason::Refused). Default 8, which with the other
    /// defaults is 3.55 s of parking in all; zero is read as one.
    pub max_refusal_rounds: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            window: 1,
            max_waiting: 512,
            park: Duration::from_millis(50),
            park_cap: Duration::from_secs(1),
            max_refusal_rounds: 8,
        }
    }
}

impl Config {
    /// Sets [`window`](Self::window).
    #[must_use]
    pub const fn window(mut self, hand_offs: u32) -> Self {
        self.window = hand_offs;
        self
    }

    /// Sets [`max_waiting`](Self::max_waiting).
    #[must_use]
    pub const fn max_waiting(mut self, connections: usize) -> Self {
        self.max_waiting = connections;
        self
    }

    /// Sets [`park`](Self::park).
    #[must_use]
    pub const fn park(mut self, first: Duration) -> Self {
        self.park = first;
        self
    }

    /// Sets [`park_cap`](Self::park_cap).
    #[must_use]
    pub const fn park_cap(mut self, longest: Duration) -> Self {
        self.park_cap = longest;
        self
    }

    /// Sets [`max_refusal_rounds`](Self::max_refusal_rounds).
    #[must_use]
    pub const fn max_refusal_rounds(mut self, rounds: u32) -> Self {
        self.max_refusal_rounds = rounds;
        self
    }
}
