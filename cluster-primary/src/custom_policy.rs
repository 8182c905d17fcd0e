//! A policy that is none of those with a name.

use std::fmt;
use std::sync::Arc;

use cluster_sched::{BoxedPolicy, Policy};

use crate::id::{ConnId, WorkerId};

/// A policy of the program's own, for [`Settings::custom_policy`](crate::Settings::custom_policy):
/// its name, and how it is made. Each server that workers listen on has one of its own.
///
/// The policy is asked for every connection that the primary hands over, in the thread that drives the
/// primary, so it must be quick. It implements [`sched::Policy`](crate::sched::Policy), which says what it is told
/// of workers.
///
/// ```
/// use cluster_primary::sched::{Choice, Policy, Standing};
/// use cluster_primary::{ConnId, CustomPolicy, Settings, WorkerId};
///
/// /// The newest worker that has room.
/// #[derive(Default)]
/// struct Newest(std::collections::BTreeSet<WorkerId>);
///
/// impl Policy<WorkerId, ConnId> for Newest {
///     fn join(&mut self, _: WorkerId, _slot: u32) {}
///     fn leave(&mut self, worker: WorkerId) { self.0.remove(&worker); }
///     fn ready(&mut self, worker: WorkerId) { self.0.insert(worker); }
///     fn busy(&mut self, worker: WorkerId) { self.0.remove(&worker); }
///     fn pick(
///         &mut self,
///         _: &ConnId,
///         _client: Option<u32>,
///         standing: &mut dyn FnMut(WorkerId) -> Standing,
///     ) -> Choice<WorkerId> {
///         let free = |worker: &WorkerId| standing(*worker) == Standing::Free;
///         self.0.iter().rev().copied().find(free).map_or(Choice::Wait, Choice::Give)
///     }
/// }
///
/// let policy = CustomPolicy::new("newest", |_seed| Newest::default());
/// let settings = Settings::new("app").custom_policy(policy);
/// assert_eq!(settings.policy_name(), "newest");
/// ```
#[derive(Clone)]
pub struct CustomPolicy {
    name: Arc<str>,
    make: Arc<dyn Fn(u64) -> BoxedPolicy<WorkerId, ConnId> + Send + Sync>,
}

impl CustomPolicy {
    /// `make` makes the policy of one server. It is given a seed, for policies that draw random numbers.
    /// The name is shown where policies are: in the status and in the control API.
    pub fn new<P>(name: &str, make: impl Fn(u64) -> P + Send + Sync + 'static) -> Self
    where
        P: Policy<WorkerId, ConnId> + Send + 'static,
    {
        let make = move |seed| -> BoxedPolicy<WorkerId, ConnId> { Box::new(make(seed)) };
        Self { name: name.into(), make: Arc::new(make) }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn build(&self, seed: u64) -> BoxedPolicy<WorkerId, ConnId> {
        (self.make)(seed)
    }
}

impl fmt::Debug for CustomPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CustomPolicy").field(&self.name).finish()
    }
}

/// It is the same policy if it was made by the same call of [`new`](CustomPolicy::new), cloned or not.
impl PartialEq for CustomPolicy {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.make, &other.make)
    }
}

impl Eq for CustomPolicy {}
