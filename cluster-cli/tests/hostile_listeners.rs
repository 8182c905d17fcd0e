//! A worker that makes a listener blocking, which it shares with the primary, does not block the primary
//! when that accepts from it.

#[path = "support/hostile.rs"]
mod hostile;
mod support;

use hostile::UnderAttack;
use serde_json::Value;
use support::{Cluster, cluster};

/// The worker's own socket, whose connections the primary rescues.
#[test]
fn under_kernel_what_waits_at_it_is_rescued() {
    let name = format!("blocking-kernel-{}", std::process::id());
    let options = ["--placement", "kernel", "--name", &name];
    let trial = UnderAttack::start(&options, "blocking-listener", &[]);
    trial.cluster.out.wait_for(1, |line| line.contains("the listener is blocking"));
    // Half of what comes waits at the hostile worker, until that is found to be stuck.
    trial.answered(50);
    let status = status(&name);
    assert!(
        status["totals"]["rescued"].as_u64() > Some(0) || status["placement"] != "kernel",
        "{status}"
    );
    assert!(status["totals"]["longestBlockedCallUs"].as_u64() < Some(5_000_000), "{status}");
    trial.survived().end();
}

/// The socket of all: the primary accepts from it when it closes it.
#[test]
fn under_shared_the_primary_answers_and_ends() {
    let name = format!("blocking-shared-{}", std::process::id());
    let options = ["--placement", "shared", "--name", &name];
    let mut run = hostile::run(&options, "blocking-listener", &[]);
    let cluster = Cluster::start(&mut run);
    cluster.out.wait_for(1, |line| line.contains("the listener is blocking"));
    cluster.listening(2);
    assert_eq!(status(&name)["state"], "running");
    let mut cluster = cluster;
    // The well-behaved worker accepts from it as well, and may have to be killed: it trusts the other.
    cluster.signal(rustix::process::Signal::TERM);
    let code = cluster.wait().code();
    assert!(matches!(code, Some(0 | 3)), "{code:?}: {:#?}", cluster.err.all());
}

#[track_caller]
fn status(name: &str) -> Value {
    let output = cluster().args(["status", "--json", "--name", name]).output().expect("it runs");
    serde_json::from_slice(&output.stdout).expect("it is JSON")
}
