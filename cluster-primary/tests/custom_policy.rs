//! A policy of the program's own places connections, and is refused where it cannot.

#[path = "support/machine.rs"]
mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use cluster_primary::machine::Input;
use cluster_primary::sched::{Choice, Policy, PolicyName, Standing};
use cluster_primary::{
    ConnId, CustomPolicy, ForkError, Placement, PlacementError, Primary, Settings, StateError,
    WorkerId,
};
use support::Cluster;

/// Always the worker in the highest slot that is free.
#[derive(Default)]
struct Highest {
    slots: BTreeMap<u32, WorkerId>,
    loads: Arc<Mutex<BTreeMap<WorkerId, u32>>>,
}

impl Policy<WorkerId, ConnId> for Highest {
    fn join(&mut self, worker: WorkerId, slot: u32) {
        self.slots.insert(slot, worker);
    }

    fn leave(&mut self, worker: WorkerId) {
        self.slots.retain(|_, other| *other != worker);
    }

    fn ready(&mut self, _: WorkerId) {}

    fn busy(&mut self, _: WorkerId) {}

    fn load(&mut self, worker: WorkerId, connections: u32) {
        self.loads.lock().unwrap().insert(worker, connections);
    }

    fn pick(
        &mut self,
        _: &ConnId,
        _: Option<u32>,
        standing: &mut dyn FnMut(WorkerId) -> Standing,
    ) -> Choice<WorkerId> {
        let free = |worker: &WorkerId| standing(*worker) == Standing::Free;
        self.slots.values().rev().copied().find(free).map_or(Choice::Wait, Choice::Give)
    }
}

fn highest() -> CustomPolicy {
    CustomPolicy::new("highest", |_| Highest::default())
}

/// The name of the policy of the program's own that is in force.
fn name_of_policy(cluster: &Cluster) -> Option<String> {
    let policy = cluster.machine.config().custom_policy;
    policy.map(|policy| policy.name().to_owned())
}

#[test]
fn it_chooses_workers_and_is_told_their_loads() {
    let loads = Arc::new(Mutex::new(BTreeMap::new()));
    let theirs = Arc::clone(&loads);
    let policy = CustomPolicy::new("highest", move |_| Highest {
        loads: Arc::clone(&theirs),
        ..Highest::default()
    });
    let mut settings = Settings::new("app").custom_policy(policy);
    settings.limits.max_window = 1;
    let mut cluster = Cluster::with(settings);
    let workers = [cluster.fork(), cluster.fork(), cluster.fork()];
    let server = workers.map(|worker| cluster.serves(worker, 80))[0];
    let conns = [(); 4].map(|()| cluster.connects(server).0);
    let sent = |cluster: &Cluster, conn| cluster.sent.get(&conn).map(|(worker, _)| *worker);
    let first = [Some(workers[2]), Some(workers[1]), Some(workers[0]), None];
    assert_eq!(conns.map(|conn| sent(&cluster, conn)), first);
    cluster.takes(conns[1]);
    assert_eq!(sent(&cluster, conns[3]), Some(workers[1]), "it is the one that is free");
    assert_eq!(*loads.lock().unwrap(), workers.map(|worker| (worker, 1)).into());
    assert_eq!(name_of_policy(&cluster).as_deref(), Some("highest"));
}

#[test]
fn it_is_frozen_with_the_first_fork() {
    let mut cluster = Cluster::with(Settings::new("app").custom_policy(highest()));
    cluster.fork();
    cluster.input(Input::Schedule { placement: Placement::Handoff, policy: PolicyName::Random });
    assert_eq!(name_of_policy(&cluster).as_deref(), Some("highest"));
    let mut cluster = Cluster::with(Settings::new("app").custom_policy(highest()));
    cluster.input(Input::Schedule { placement: Placement::Handoff, policy: PolicyName::Random });
    assert_eq!(name_of_policy(&cluster), None);
    assert_eq!(cluster.machine.config().policy, PolicyName::Random);
}

#[test]
fn where_the_primary_does_not_accept_there_is_no_fork() {
    for placement in [Placement::Kernel, Placement::Shared] {
        let settings = Settings::new("/bin/true").placement(placement);
        let mut primary = Primary::new(settings.custom_policy(highest())).unwrap();
        let error = primary.fork().expect_err("it cannot work");
        let ForkError::Placement(reason) = &error else { panic!("{error}") };
        assert_eq!(*reason, PlacementError::CustomPolicy { placement });
        let name = placement.as_str();
        assert!(reason.to_string().contains(&format!("under the placement {name}")), "{reason}");
        assert!(reason.to_string().contains("use the placement handoff"), "{reason}");
    }
}

#[test]
fn a_primary_that_has_one_is_not_handed_over() {
    let settings = Settings::new("/bin/true").placement(Placement::Handoff);
    let mut primary = Primary::new(settings.custom_policy(highest())).unwrap();
    let error = primary.state().expect_err("a policy is code");
    assert!(matches!(&error, StateError::CustomPolicy { name } if name == "highest"), "{error}");
    assert!(error.to_string().contains("custom policy \"highest\""), "{error}");
}
