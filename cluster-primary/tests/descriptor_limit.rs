//! A primary takes all descriptors that it may have; its workers find what they would have found
//! without it. (One test, alone in its binary: the limit is the process's.)

#[path = "support/process.rs"]
mod support;

use cluster_primary::Primary;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::{Cluster, puppet};

#[test]
fn workers_get_the_limit_that_the_primary_was_started_with() {
    let before = getrlimit(Resource::Nofile);
    let lower = Rlimit { current: Some(200), maximum: before.maximum };
    setrlimit(Resource::Nofile, lower).expect("lower is allowed");
    let mut cluster = Cluster::new();
    assert_eq!(getrlimit(Resource::Nofile).current, before.maximum, "the primary has it all");
    let worker = cluster.fork();
    assert_eq!(cluster.ask(worker, "nofile"), "200");

    // So do those of a second primary in this process.
    drop(cluster);
    let mut cluster = Cluster::new();
    let worker = cluster.fork();
    assert_eq!(cluster.ask(worker, "nofile"), "200");

    // What the program sets itself from then on counts.
    let own = Rlimit { current: Some(300), maximum: before.maximum };
    setrlimit(Resource::Nofile, own).expect("lower is allowed");
    let mut cluster = Cluster::with(puppet());
    let worker = cluster.fork();
    assert_eq!(cluster.ask(worker, "nofile"), "300");
    assert!(Primary::new(puppet()).is_ok());
}
