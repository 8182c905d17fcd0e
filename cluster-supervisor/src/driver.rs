//! The supervisor's driver: a [`Primary`](cluster_primary::Primary) and a supervisor in one loop.
//!
//! The types of the [crate](crate) with a type parameter appear here as they are with the types of
//! `cluster-primary`: a worker is a [`WorkerId`](cluster_primary::WorkerId), and so on.

mod host;
mod input;
mod state;
mod supervised;

pub use crate::{Cause, Counts, MemberState, Outcome, Ready, Recycle, State};
pub use host::{PrimaryHost, StopMessage};
pub use supervised::{Happening, Supervised};

/// [`Config`](crate::Config) of a [`Supervised`].
pub type Config = crate::Config<PrimaryHost>;
/// [`Death`](crate::Death) of a worker of a [`Supervised`].
pub type Death = crate::Death<PrimaryHost>;
/// [`Failure`](crate::Failure) of a worker of a [`Supervised`].
pub type Failure = crate::Failure<PrimaryHost>;
/// [`Notice`](crate::Notice) of a [`Supervised`].
pub type Notice = crate::Notice<PrimaryHost>;
/// The [`Supervisor`](crate::Supervisor) of a [`Supervised`].
pub type Supervisor = crate::Supervisor<PrimaryHost>;
/// [`Vacancy`](crate::Vacancy) of a [`Supervised`].
pub type Vacancy = crate::Vacancy<PrimaryHost>;

/// [`Input`](crate::Input) of a [`Supervised`]'s supervisor.
pub type Input = crate::Input<PrimaryHost>;
/// [`Output`](crate::Output) of a [`Supervised`]'s supervisor.
pub type Output = crate::Output<PrimaryHost>;
