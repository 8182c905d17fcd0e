//! The supervisor's driver: a [`Primary`](cluster_primary::Primary) and a supervisor in one loop.
//!
//! The types of the [crate] with a type parameter appear here as they are with the types of
//! `cluster-primary`: a worker is a [`WorkerId`](cluster_primary::WorkerId), and so on.

mod host;
mod input;
mod state;
mod supervised;

pub use crate::config::{Ready, Recycle};
pub use crate::io::{Cause, Outcome};
pub use crate::supervisor::{Counts, MemberState, State};
pub use host::{PrimaryHost, StopMessage};
pub use supervised::{ClusterEvent, Supervised};

/// [`Config`](crate::Config) of a [`Supervised`].
pub type Config = crate::config::Config<PrimaryHost>;
/// [`Death`](crate::Death) of a worker of a [`Supervised`].
pub type Death = crate::io::Death<PrimaryHost>;
/// [`Failure`](crate::Failure) of a worker of a [`Supervised`].
pub type Failure = crate::io::Failure<PrimaryHost>;
/// [`Notice`](crate::Notice) of a [`Supervised`].
pub type Notice = crate::io::Notice<PrimaryHost>;
/// The [`Supervisor`](crate::Supervisor) of a [`Supervised`].
pub type Supervisor = crate::supervisor::Supervisor<PrimaryHost>;
/// [`Vacancy`](crate::Vacancy) of a [`Supervised`].
pub type Vacancy = crate::supervisor::Vacancy<PrimaryHost>;

/// [`Input`](crate::Input) of a [`Supervised`]'s supervisor.
pub type Input = crate::io::Input<PrimaryHost>;
/// [`Output`](crate::Output) of a [`Supervised`]'s supervisor.
pub type Output = crate::io::Output<PrimaryHost>;
