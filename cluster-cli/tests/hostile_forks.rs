//! A worker that does not get to execute its program delays no other: neither where its file cannot be
//! opened, nor where a process of its user stops it on its way.

#[path = "support/dropped.rs"]
mod dropped;
#[path = "support/hostile.rs"]
mod hostile;
#[path = "../../cluster-primary/tests/support/lease.rs"]
mod lease;
mod support;

use dropped::{Stage, is_root};
use hostile::UnderAttack;
use lease::Lease;
use rustix::process::Signal;
use support::{Cluster, eventually, kill, state};

/// So many workers are forked under the eyes of one that stops them.
const FORKS: usize = 20;

/// What a process executes.
fn comm(pid: i32) -> Option<String> {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(name.trim().to_owned())
}

fn descriptors(pid: i32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

#[test]
fn a_worker_that_has_not_executed_its_program_delays_no_other() {
    if !is_root() {
        return;
    }
    let stage = Stage::new("forks");
    let text = format!("#!/bin/sh\nexec '{}' \"$@\"\n", stage.program.display());
    let start = stage.folder.file("start", &text, 0o755);
    for user in [&[][..], &["--uid", "65534", "--gid", "65534"]] {
        let mut run = support::cluster();
        run.args(["run", "-n", "2", "--ready", "online"]).args(user);
        run.arg(&start).args(["silent", "127.0.0.1:0"]);
        let trial = UnderAttack::of(Cluster::start(&mut run));
        trial.cluster.err.wait_for(2, |line| line.ends_with(") started"));
        eventually("both execute the program", || {
            let pids = trial.cluster.worker_pids();
            pids.iter().all(|pid| comm(*pid).as_deref() == Some("hostile")).then_some(())
        });
        let lease = Lease::take(&start);
        trial.cluster.signal(Signal::TTIN);
        trial.cluster.err.wait_for(3, |line| line.ends_with(") started"));
        let third = trial.cluster.worker_pids()[2];
        trial.answered(25);
        assert_eq!(comm(third).as_deref(), Some("cluster"), "it waits for its program");
        // As a worker has them, and the pipe by which it would say what fails.
        let (open, workers) = (descriptors(third), descriptors(trial.cluster.worker_pids()[1]));
        assert!(open <= workers + 1, "it holds {open} descriptors open, and a worker {workers}");

        kill(third, Signal::STOP);
        eventually("it is stopped", || (state(third) == Some('T')).then_some(()));
        drop(lease);
        trial.answered(25);
        assert_eq!(comm(third).as_deref(), Some("cluster"), "it was stopped on its way");
        kill(third, Signal::CONT);
        eventually("it goes on", || (comm(third).as_deref() == Some("hostile")).then_some(()));
        trial.survived().end();
    }
}

#[test]
fn a_worker_that_stops_all_that_are_forked_delays_no_other() {
    if !is_root() {
        return;
    }
    // A user of its own, as other tests run beside this one: all processes of that user are stopped.
    let stage = Stage { user: 64_123, ..Stage::new("stops") };
    let begin = stage.folder.0.join("begin");
    let arguments = [begin.to_str().expect("it is text")];
    let trial = UnderAttack::of(Cluster::start(&mut stage.run(&[], "stops", &arguments)));
    // Not before the well-behaved worker has its socket, which a process of that user makes.
    std::fs::write(&begin, "").expect("a file");
    trial.cluster.out.wait_for(1, |line| line.contains("stops what comes"));
    for fork in 1..=FORKS {
        trial.cluster.signal(Signal::TTIN);
        trial.cluster.err.wait_for(2 + fork, |line| line.ends_with(") started"));
    }
    trial.cluster.out.wait_for(FORKS / 2, |line| line.contains("stopped "));
    // Its own listens are made by processes that it stops, too.
    trial.cluster.out.wait_for(1, |line| line.contains("asked for sockets"));
    trial.answered(25);
    // Those that are stopped are killed with it.
    drop(trial.survived());
}
